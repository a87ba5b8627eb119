//! Promise: one command shows the whole job, and misses no plain defect.

use common::{assert_code, run, text};

mod common;

#[test]
fn the_demo_teaches_watches_and_leaves_a_page_with_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let output = run("demo --out {}/out", folder.path());
    assert_code(&output, 0, "demo");
    let text = text(&output);
    let parts = text.lines().filter(|line| line.starts_with("part ")).count();
    assert_eq!(parts, 200, "{text}");
    // The last column of the table of what was caught is 'plain'.
    let table = text.lines().skip_while(|line| !line.starts_with("caught")).skip(1).take_while(|line| !line.is_empty());
    let mut plain = 0;
    for line in table {
        let cell = line.split_whitespace().last().unwrap();
        if let Some((caught, of)) = cell.split_once('/') {
            assert_eq!(caught, of, "{line}");
            plain += of.parse::<u32>().unwrap();
        }
    }
    assert!(plain >= 10, "{plain} plain defects in 200 parts:\n{text}");
    for line in ["false rejects", "false accepts", "image AUROC", "latency, ms", "search"] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
    let out = folder.path().join("out");
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("data:image/jpeg;base64") && page.contains("<svg"));
    for outside in ["src=\"http", "href=\"http", "url(http", "@import"] {
        assert!(!page.contains(outside), "the page fetches from elsewhere: {outside}");
    }
    let rejected = text.lines().filter(|line| line.starts_with("part ") && line.contains(" reject: ")).count();
    assert_eq!(std::fs::read_dir(out.join("heat-maps")).unwrap().count(), rejected);
    assert_code(&run("profile verify {}/out/demo.profile", folder.path()), 0, "the profile of the demo");
}
