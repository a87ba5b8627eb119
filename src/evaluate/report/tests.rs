use super::histogram::histogram;
use super::pictures::{OUTLINE, outline_uri};
use super::tables::defects;
use super::tally::summary;
use super::words::{ms, share};
use super::*;
use base64::Engine;

fn part(label: &str, defect: Option<&str>, score: f32, verdict: &'static str) -> ReportPart {
    let truth = match defect {
        None => Truth::Good,
        Some(defect) => Truth::Anomalous { defect: defect.to_owned(), severity: Some("faint".to_owned()) },
    };
    let latency = Some(Duration::from_millis(20));
    let label = label.to_owned();
    ReportPart { label, truth, score: Some(score), verdict, latency, picture: None, heat_map: None, mask: None }
}

fn report(parts: Vec<ReportPart>) -> Report {
    Report {
        title: "a run".to_owned(),
        subtitle: String::new(),
        facts: Vec::new(),
        threshold: 0.5,
        promise: String::new(),
        parts,
        timed: "trigger to verdict".to_owned(),
        stages: vec![("backbone".to_owned(), vec![Duration::from_millis(12); 3])],
        ..Report::default()
    }
}

fn four() -> Report {
    report(vec![
        part("fine", None, 0.2, "accept"),
        part("overdone", None, 0.6, "reject"),
        part("overlooked", Some("scratch"), 0.4, "accept"),
        part("found", Some("dent"), 0.9, "reject"),
    ])
}

#[test]
fn the_summary_counts_what_went_wrong() {
    let summary = |report: &Report| summary(&Tally::of(&report.parts));
    assert_eq!(
        summary(&four()),
        "4 parts: <em>1 false reject</em> among 2 good, <em>1 false accept</em> among 2 anomalous."
    );
    let mut unjudged = part("dark", Some("dent"), 0.0, "no-decision");
    unjudged.score = None;
    let perfect = report(vec![part("fine", None, 0.2, "accept"), unjudged]);
    assert_eq!(
        summary(&perfect),
        "2 parts: no false reject among 1 good, no false accept among 1 anomalous, 1 without a decision."
    );
    assert_eq!(summary(&report(Vec::new())), "0 parts: nothing was inspected.");
}

#[test]
fn rejects_come_first_then_what_was_overlooked_and_false_ones_are_marked() {
    let page = render(&four());
    let cards: Vec<&str> = page.split("<article class=\"part").skip(1).collect();
    let expected = [
        ("found", "reject"),
        ("overdone", "reject false-reject"),
        ("overlooked", "accept false-accept"),
        ("fine", "accept"),
    ];
    assert_eq!(cards.len(), expected.len());
    for (card, (label, kind)) in cards.iter().zip(expected) {
        assert!(card.contains(&format!("<b>{label}</b>")), "{label}");
        assert!(card.contains(&format!("data-kind=\"{kind}\"")), "{label}");
        assert_eq!(card.contains(" false\" data-kind"), kind.contains("false"), "{label}");
    }
}

#[test]
fn words_of_other_people_are_escaped_wherever_they_appear() {
    let hostile = "<script>alert('1')</script>\"{{parts}}&";
    let mut report = report(vec![part(hostile, Some(hostile), 0.4, "accept"), part(hostile, None, 0.4, "accept")]);
    for part in &mut report.parts {
        part.picture = Some(RgbImage::new(16, 16));
        if let Truth::Anomalous { severity, .. } = &mut part.truth {
            *severity = Some(hostile.to_owned());
        }
    }
    report.title = hostile.to_owned();
    report.subtitle = hostile.to_owned();
    report.promise = hostile.to_owned();
    report.facts = vec![(hostile.to_owned(), hostile.to_owned())];
    report.stages[0].0 = hostile.to_owned();
    let page = render(&report);
    let escaped = "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;";
    assert!(page.matches("alert(").count() >= 14);
    assert_eq!(page.matches("alert(").count(), page.matches(escaped).count());
    assert_eq!(page.matches("<article class=\"part").count(), 2, "a slot in a label was filled");
}

#[test]
fn the_page_needs_nothing_but_itself() {
    let mut report = four();
    report.parts[0].picture = Some(RgbImage::new(20, 10));
    let page = render(&report);
    for foreign in ["http:", "https:", "//cdn", "url(", "@import", "<link", "fetch(", "XMLHttp"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert_eq!(page.matches("src=").count(), 1);
    assert_eq!(page.matches("src=\"data:image/jpeg;base64,").count(), 1);
    assert!(page.contains("default-src 'none'"));
}

/// The bars of the histogram: class, left edge and width in percent.
fn bars(report: &Report) -> Vec<(String, f64, f64)> {
    let svg = histogram(report);
    let attribute =
        |bar: &str, name: &str| bar.split_once(&format!(" {name}=\"")).unwrap().1.split_once('"').unwrap().0.to_owned();
    let percent = |bar: &str, name| attribute(bar, name).trim_end_matches('%').parse().unwrap();
    svg.split("<rect").skip(1).map(|bar| (attribute(bar, "class"), percent(bar, "x"), percent(bar, "width"))).collect()
}

#[test]
fn a_part_at_the_threshold_is_drawn_left_of_it_and_the_next_one_right() {
    let next = 0.5f32.next_up();
    let both = report(vec![part("at", None, 0.5, "accept"), part("beyond", None, next, "reject")]);
    let bars = bars(&both);
    assert_eq!(bars.iter().map(|bar| bar.0.as_str()).collect::<Vec<_>>(), ["good", "good wrong"]);
    assert!((bars[0].1 + bars[0].2 - bars[1].1).abs() < 0.02);
    assert!(histogram(&both).contains(&format!("class=\"threshold\" x1=\"{:.2}%\"", bars[1].1)));
}

#[test]
fn every_bar_lies_on_the_page_on_either_kind_of_axis() {
    let scores = [0.01, 0.2, 0.49, 0.5, 0.51, 3.0];
    for (highest, logarithmic) in [(3.5, false), (400.0, true)] {
        let scores = scores.iter().chain([&highest]);
        let report = report(scores.map(|&score| part("x", Some("dent"), score, "reject")).collect());
        assert_eq!(histogram(&report).contains("logarithmic"), logarithmic);
        for (_, x, width) in bars(&report) {
            assert!(x >= 0.0 && x + width <= 100.01, "{x} {width}");
        }
    }
}

#[test]
fn severities_stand_from_faint_to_plain() {
    let mut parts = Vec::new();
    for word in ["plain", "medium", "faint"] {
        let mut dent = part("x", Some("dent"), 0.9, "reject");
        dent.truth = Truth::Anomalous { defect: "dent".to_owned(), severity: Some(word.to_owned()) };
        parts.push(dent);
    }
    let table = defects(&parts);
    let place = |word| table.find(&format!("<th scope=\"col\">{word}</th>")).unwrap();
    assert!(place("faint") < place("medium") && place("medium") < place("plain"));
    assert_eq!(table.matches("1 of 1").count(), 6);
    assert_eq!(table.matches("3 of 3").count(), 2);
}

#[test]
fn odd_numbers_and_no_parts_at_all_still_give_a_page() {
    let mut odd = four();
    for (part, score) in odd.parts.iter_mut().zip([None, Some(f32::NAN), Some(f32::INFINITY), Some(-1.0)]) {
        part.score = score;
    }
    for threshold in [0.5, 0.0, -2.0, 1e-30, 1e30, f32::NAN, f32::INFINITY] {
        odd.threshold = threshold;
        assert!(render(&odd).contains("4 parts:"), "{threshold}");
    }
    let nothing = Report { stages: Vec::new(), ..report(Vec::new()) };
    assert!(render(&nothing).contains("Nothing was timed."));
}

#[test]
fn pictures_shrink_until_the_page_is_below_6_mb() {
    let mut seed = 1u32;
    let noise = RgbImage::from_fn(320, 240, |_, _| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        image::Rgb([(seed >> 24) as u8; 3])
    });
    let mut noisy = part("x", Some("dent"), 0.9, "reject");
    (noisy.picture, noisy.heat_map) = (Some(noise.clone()), Some(noise));
    let page = render(&report(vec![noisy; 100]));
    assert!((3_500_000..6_000_000).contains(&page.len()), "{}", page.len());
}

#[test]
fn a_defect_of_one_pixel_is_still_outlined_on_a_small_picture() {
    let mut mask = GrayImage::new(1000, 500);
    assert_eq!(outline_uri(&mask, (100, 50)), None);
    mask.put_pixel(999, 499, image::Luma([1]));
    let uri = outline_uri(&mask, (100, 50)).unwrap();
    let png = base64::engine::general_purpose::STANDARD.decode(uri.split_once(',').unwrap().1).unwrap();
    let outline = image::load_from_memory(&png).unwrap().to_rgba8();
    let coloured: Vec<_> = outline.enumerate_pixels().filter(|(_, _, pixel)| **pixel == OUTLINE).collect();
    // The corner of a square of 7 × 7, less the corner of the one of 3 × 3 in its middle.
    assert_eq!(coloured.len(), 4 * 4 - 2 * 2);
    assert!(coloured.iter().all(|&(x, y, _)| x >= 96 && y >= 46));
}

#[test]
fn figures_are_short_and_shares_never_round_to_a_promise() {
    let shares = [share(0, 9), share(9, 9), share(1, 3000), share(2999, 3000)];
    assert_eq!(shares, ["0\u{a0}%", "100\u{a0}%", "0.1\u{a0}%", "99.9\u{a0}%"]);
    assert_eq!([4.567, 45.67, 456.7].map(|t| ms(Duration::from_secs_f64(t / 1e3))), ["4.57", "45.7", "457"]);
    assert_eq!([0.3124f32, 12.5, 345.0, 54_321.0].map(decimals), [4, 2, 1, 0]);
}

#[test]
fn galleries_show_what_they_name_in_their_order_and_say_how_many_are_not_shown() {
    let mut two = four();
    two.galleries = vec![
        Gallery { title: "missed".to_owned(), parts: vec![2] },
        Gallery { title: "alarms".to_owned(), parts: vec![1, 0] },
    ];
    let page = render(&two);
    let labels: Vec<&str> =
        page.split("<div class=\"line\"><b>").skip(1).map(|card| card.split_once('<').unwrap().0).collect();
    assert_eq!(labels, ["overlooked", "overdone", "fine"]);
    assert!(page.contains("Shown are 3 of 4 parts.") && page.contains("<h3>missed</h3>"));
    assert!(page.contains("False accepts<span>1</span>") && page.contains(">Rejects<span>1</span>"));
}

#[test]
fn the_curve_goes_through_its_corners_and_marks_the_threshold_in_force() {
    let mut report = four();
    report.figures =
        Some(Table { title: "<Figures>".to_owned(), rows: vec![vec!["a&b".to_owned()]], ..Table::default() });
    let page = render(&report);
    // Scores 0.9 (anomalous), 0.6 (good), 0.4 (anomalous), 0.2 (good): up, right, up, right.
    assert!(page.contains("points=\"0.00,100.00 0.00,50.00 50.00,50.00 50.00,0.00 100.00,0.00\""), "{page}");
    assert!(page.contains("<circle cx=\"50.00%\" cy=\"125.0\""));
    assert!(page.contains("&lt;Figures&gt;") && page.contains("a&amp;b"));
    report.parts.truncate(2);
    assert!(render(&report).contains("Good and anomalous parts are needed"));
}

#[test]
fn calibration_scores_are_a_row_of_their_own_and_are_never_wrong() {
    let mut report = four();
    report.calibration = vec![0.1, 0.5, 0.7, f32::NAN];
    let classes: Vec<String> = bars(&report).into_iter().map(|bar| bar.0).collect();
    assert_eq!(classes[..3], ["calibration"; 3]);
    assert!(histogram(&report).contains(">3 calibration</text>"));
}

#[test]
fn several_runs_stand_on_one_page_below_an_overview_that_leads_to_them() {
    let overview = Table {
        title: "Sets".to_owned(),
        head: vec!["set".to_owned()],
        rows: ["a", "b", "mean"].map(|name| vec![name.to_owned()]).to_vec(),
        note: String::new(),
    };
    let page = render_all("two sets", Some(&overview), &[four(), four()]);
    assert!(page.contains("<a href=\"#run-1\">b</a>") && page.contains("id=\"run-1\""));
    assert!(page.contains("<th scope=\"row\">mean</th>"));
    assert_eq!(page.matches("<article class=\"part").count(), 8);
}
