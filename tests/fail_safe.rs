//! Promise: each row of docs/fail-safe.md names a test that there is.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder, as one text.
fn texts(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| if path.is_dir() { texts(&path) } else { std::fs::read_to_string(path).unwrap_or_default() })
        .collect()
}

/// The text in which a test of this name must stand: `board` is the virtual one, any other a file of tests/.
fn file_text(name: &str) -> String {
    let path = if name == "board" { "tests/board/guest".into() } else { format!("tests/{name}.rs") };
    std::fs::read_to_string(root().join(&path)).unwrap_or_else(|_| panic!("there is no {path}"))
}

#[test]
fn every_fault_has_a_test_that_exists() {
    let page = std::fs::read_to_string(root().join("docs/fail-safe.md")).unwrap();
    let everything = texts(&root().join("src")) + &texts(&root().join("tests"));
    let (mut rows, mut named) = (0, 0);
    for row in page.split("## Fault by fault").nth(1).unwrap().lines().filter(|line| line.starts_with("| ")) {
        let last = row.trim_end_matches('|').rsplit('|').next().unwrap().trim();
        if last == "test" {
            continue;
        }
        rows += 1;
        assert!(matches!(last, "–" | "none") || last.contains('`') || last == "the same", "{row}");
        let mut text = everything.clone();
        for item in last.split('`').skip(1).step_by(2) {
            let name = match item.split_once(": ") {
                Some((file, name)) => {
                    text = file_text(file);
                    name
                }
                // A file of its own, or another test of the file before.
                None if root().join(format!("tests/{item}.rs")).exists() => continue,
                None if item.contains("::") || item == "config" => {
                    let module = root().join("src").join(item.replace("::", "/"));
                    assert!(module.with_extension("rs").exists() || module.join("mod.rs").exists(), "{item}: {row}");
                    continue;
                }
                None => item,
            };
            named += 1;
            assert!(name.split('…').all(|piece| text.contains(piece)), "there is no test {item}: {row}");
        }
    }
    assert!(rows > 30 && named > 30, "{rows} rows, {named} tests");
}
