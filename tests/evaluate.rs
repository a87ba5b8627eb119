//! Promise: `evaluate` tells of any folder in the layout of MVTec AD how well its defects are caught and what that costs,
//! in figures that another computation confirms, and names what it could not use.

use std::path::{Path, PathBuf};

use common::{assert_code, run, save, text};
use image::{GrayImage, Luma};
use rejectd::source::simulated::{Belt, BeltSettings, Truth};
use serde_json::Value;

mod common;

const SIDE: u32 = 96;
/// Quick to teach, and not chosen by the data.
const QUICK: &str = "--metric none --input-px 96 --bank-rows 200";

fn belt() -> Belt {
    Belt::new(BeltSettings { seed: 11, width: SIDE, height: SIDE, parts: None, defect_fraction: 0.5 })
}

fn save_mask(truth: &Truth, path: &Path) {
    let pixel = |x, y| Luma([255 * u8::from(truth.mask[(y * SIDE + x) as usize])]);
    GrayImage::from_fn(SIDE, SIDE, pixel).save(path).unwrap();
}

/// Renders a set into `folder`: `train` good parts to teach, `good` good and `anomalous` anomalous ones to judge.
fn render(folder: &Path, train: u64, good: usize, anomalous: usize) -> PathBuf {
    let belt = belt();
    let below = |name: &str| {
        let below = folder.join(name);
        std::fs::create_dir_all(&below).unwrap();
        below
    };
    let (train_good, test_good) = (below("train/good"), below("test/good"));
    (0..train).for_each(|part| save(&belt.good_part(part), &train_good.join(format!("{part:03}.png"))));
    let mut left = [good, anomalous];
    for part in 0.. {
        let (frame, truth) = belt.part(part);
        let left = &mut left[usize::from(truth.defect.is_some())];
        if *left > 0 {
            *left -= 1;
            match truth.defect {
                None => save(&frame, &test_good.join(format!("{part:03}.png"))),
                Some((kind, _)) => {
                    let name = kind.to_string().replace(' ', "_");
                    save(&frame, &below(&format!("test/{name}")).join(format!("{part:03}.png")));
                    save_mask(&truth, &below(&format!("ground_truth/{name}")).join(format!("{part:03}_mask.png")));
                }
            }
        } else if part > 500 {
            break;
        }
    }
    folder.to_owned()
}

fn rows(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    serde_json::from_str::<Value>(&text).unwrap().as_array().unwrap().clone()
}

/// The scores that `rejectd inspect --json` gives for the pictures below `folder`.
fn inspected(profile: &Path, folder: &Path) -> Vec<(PathBuf, f64)> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let output = common::rejectd().arg("inspect").arg("--json").arg("--profile").arg(profile).args(&folders).output();
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        (PathBuf::from(row["path"].as_str().unwrap()), row["score"].as_f64().unwrap())
    };
    String::from_utf8(output.unwrap().stdout).unwrap().lines().map(row).collect()
}

#[test]
fn the_figures_are_those_of_the_scores_that_inspect_gives_and_all_keys_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    render(&path.join("plate"), 60, 12, 24);
    let output = run(&format!("evaluate --data {{}}/plate --out {{}}/out --seed 3 {QUICK}"), path);
    assert_code(&output, 0, "evaluate");
    let told = text(&output);
    for word in ["AUROC", "AUPR", "F1-max", "AUPRO", "at 1 %", "median", "defect type", "with 95 % confidence"] {
        assert!(told.contains(word), "{word}:\n{told}");
    }
    let [row] = &rows(&path.join("out/evaluation.json"))[..] else { panic!("one set, one object") };
    let shares = ["image_auroc", "image_aupr", "image_f1_max", "pixel_auroc", "pixel_aupr", "aupro"];
    let caught = ["caught_at_1pct_false_rejects", "caught_at_0_false_rejects", "caught_at_5pct_false_rejects"];
    let threshold = ["false_reject_rate", "stated_bound", "caught_at_threshold"];
    for key in shares.iter().chain(&caught).chain(&threshold) {
        assert!((0.0..=1.0).contains(&row[key].as_f64().unwrap()), "{key}: {}", row[key]);
        assert!(row["spread"][key].is_null(), "one seed has no spread");
    }
    assert_eq!((&row["set"], &row["seeds"]), (&"plate".into(), &serde_json::json!([3])));
    assert_eq!(
        [&row["train_good"], &row["test_good"], &row["test_anomalous"]],
        [60, 12, 24].map(Value::from).each_ref()
    );
    assert!(row["metric"].as_str().unwrap().contains("cosine") && row["latency_ms_median"].as_f64().unwrap() > 0.0);
    let types = row["per_type"].as_object().unwrap();
    assert_eq!(types.values().map(|one| one["parts"].as_u64().unwrap()).sum::<u64>(), 24);

    // The same teaching, by the verbs that a line uses.
    let teach = run(&format!("teach --from {{}}/plate/train/good --profile {{}}/p.profile --seed 3 {QUICK}"), path);
    assert_code(&teach, 0, "teach");
    let scores = inspected(&path.join("p.profile"), &path.join("plate/test"));
    let of = |wanted: bool| -> Vec<f64> {
        let is_good = |path: &Path| path.parent().unwrap().ends_with("good");
        scores.iter().filter(|(path, _)| is_good(path) == wanted).map(|(_, score)| *score).collect()
    };
    let (good, anomalous) = (of(true), of(false));
    let pairs = good.iter().flat_map(|g| anomalous.iter().map(move |a| (g, a)));
    let won: f64 = pairs.map(|(g, a)| if a > g { 1.0 } else { 0.5 * f64::from(u8::from(a == g)) }).sum();
    let auroc = won / (good.len() * anomalous.len()) as f64;
    assert!((row["image_auroc"].as_f64().unwrap() - auroc).abs() < 1e-9, "{} and {auroc}", row["image_auroc"]);
    let most = good.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let above = anomalous.iter().filter(|score| **score > most).count() as f64 / 24.0;
    assert_eq!(row["caught_at_0_false_rejects"].as_f64().unwrap(), above);
    let limit = row["by_seed"][0]["threshold"].as_f64().unwrap();
    let rejected = good.iter().filter(|score| **score > limit).count() as f64 / 12.0;
    assert_eq!(row["false_reject_rate"].as_f64().unwrap(), rejected);

    // The same profile, given.
    assert_code(&run("evaluate --data {}/plate --profile {}/p.profile --json {}/given.json", path), 0, "given");
    let given = &rows(&path.join("given.json"))[0];
    for key in shares.iter().chain(&caught).chain(&threshold) {
        assert_eq!(given[key], row[key], "{key}");
    }
}

#[test]
fn trap_t1_and_t10_test_pictures_are_in_no_bank_and_do_not_move_the_threshold() {
    let folder = tempfile::tempdir().unwrap();
    let plate = render(&folder.path().join("plate"), 40, 8, 12);
    let evaluated = || {
        let output = run(&format!("evaluate --data {{}}/plate --json {{}}/e.json {QUICK}"), folder.path());
        assert_code(&output, 0, "evaluate");
        rows(&folder.path().join("e.json")).remove(0)
    };
    let all = evaluated();
    // In its own bank every picture would be at distance 0 of itself, and good and bad ones alike.
    assert!(all["image_auroc"].as_f64().unwrap() > 0.6, "{}", all["image_auroc"]);
    let good = std::fs::read_dir(plate.join("test/good")).unwrap();
    good.skip(1).for_each(|entry| std::fs::remove_file(entry.unwrap().path()).unwrap());
    let few = evaluated();
    assert_eq!((&few["test_good"], &all["test_good"]), (&1.into(), &8.into()));
    for key in ["threshold", "caught_at_threshold"] {
        assert!(all["by_seed"][0][key].is_number());
        assert_eq!(few["by_seed"][0][key], all["by_seed"][0][key], "{key}");
    }
    assert_eq!((&few["promise"], &few["metric"]), (&all["promise"], &all["metric"]));
}

#[test]
fn the_page_is_one_file_with_charts_pictures_and_heat_maps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    render(&path.join("plate"), 20, 6, 8);
    let output = run(&format!("evaluate --data {{}}/plate --html {{}}/page/plate.html {QUICK}"), path);
    assert_code(&output, 0, "evaluate");
    let page = std::fs::read_to_string(path.join("page/plate.html")).unwrap();
    for outside in ["src=\"http", "href=\"http", "url(http", "@import", "<link"] {
        assert!(!page.contains(outside), "the page fetches from elsewhere: {outside}");
    }
    for inside in [
        "Histogram of the anomaly scores",
        ">20 calibration</text>",
        "Receiver operating",
        "class=\"threshold\"",
        "Missed, or nearest to it",
        "False alarms, or nearest to it",
        "image AUROC",
        "AUPRO",
    ] {
        assert!(page.contains(inside), "{inside}");
    }
    assert_eq!(page.matches("alt=\"heat map of ").count(), 14);
    assert_eq!(page.matches("<img class=\"outline\"").count(), 2 * 8, "the mask on picture and heat map");
}

#[test]
fn trap_t12_seeds_repeat_and_several_sets_are_told_with_mean_and_spread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    render(&path.join("sets/a"), 12, 3, 4);
    render(&path.join("sets/b"), 14, 4, 5);
    let evaluate = |file: &str, threads: u8| {
        let arguments =
            format!("evaluate --data {{}}/sets --out {{}}/{file} --seed 5 --seeds 2 --threads {threads} {QUICK}");
        let output = run(&arguments, path);
        assert_code(&output, 0, "evaluate");
        assert!(text(&output).contains("± ") && text(&output).contains("\nmean "), "{}", text(&output));
        let mut rows = rows(&path.join(file).join("evaluation.json"));
        for row in &mut rows {
            row.as_object_mut().unwrap().retain(|key, _| !key.starts_with("latency"));
        }
        rows
    };
    let first = evaluate("first", 1);
    assert_eq!(first, evaluate("second", 3), "the same seeds give the same figures on any number of threads");
    assert_eq!([&first[0]["set"], &first[1]["set"]], ["a", "b"]);
    for row in &first {
        assert_eq!(row["seeds"], serde_json::json!([5, 6]));
        let by_seed: Vec<f64> = (0..2).map(|i| row["by_seed"][i]["pixel_auroc"].as_f64().unwrap()).collect();
        assert_ne!(by_seed[0], by_seed[1], "another seed chooses another bank");
        assert!((row["pixel_auroc"].as_f64().unwrap() - (by_seed[0] + by_seed[1]) / 2.0).abs() < 1e-12);
        let spread = (by_seed[0] - by_seed[1]).abs() / 2f64.sqrt();
        assert!((row["spread"]["pixel_auroc"].as_f64().unwrap() - spread).abs() < 1e-12);
        assert!(row["stated_bound"].is_null() && row["promise"].as_str().unwrap().contains("an estimate"));
    }
    let page = std::fs::read_to_string(path.join("first/evaluation.html")).unwrap();
    assert!(page.contains("<a href=\"#run-1\">b</a>") && page.matches("<article class=\"report\"").count() == 2);
}

#[test]
fn good_parts_in_another_light_are_told_and_do_not_agree_with_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    render(&path.join("plate"), 60, 20, 0);
    for entry in std::fs::read_dir(path.join("plate/test/good")).unwrap() {
        let file = entry.unwrap().path();
        let mut picture = image::open(&file).unwrap().to_rgb8();
        picture.pixels_mut().for_each(|pixel| pixel.0 = [pixel.0[0].saturating_add(70), pixel.0[1], pixel.0[2] / 2]);
        picture.save(&file).unwrap();
    }
    let output = run(&format!("evaluate --data {{}}/plate --json {{}}/e.json {QUICK}"), path);
    assert_code(&output, 0, "evaluate");
    assert!(text(&output).contains("the good parts of train and test differ"), "{}", text(&output));
    let row = &rows(&path.join("e.json"))[0];
    assert_eq!(row["agrees_with_bound"], false);
    // One class only: the false rejects are all that can be told.
    assert!(row["false_reject_rate"].as_f64().unwrap() > 0.5);
    for key in
        ["image_auroc", "image_aupr", "image_f1_max", "aupro", "caught_at_threshold", "caught_at_1pct_false_rejects"]
    {
        assert!(row[key].is_null(), "{key}");
    }
    assert!(text(&output).contains("there is no anomalous part to judge"));
}

#[test]
fn what_cannot_be_used_is_named_and_the_rest_is_judged_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let plate = render(&path.join("plate"), 12, 4, 4);
    let evaluate = |code: i32, sentences: &[&str]| {
        let output = run(&format!("evaluate --data {{}}/plate --json {{}}/e.json --html {{}}/e.html {QUICK}"), path);
        assert_code(&output, code, sentences[0]);
        sentences
            .iter()
            .for_each(|sentence| assert!(text(&output).contains(sentence), "{sentence}:\n{}", text(&output)));
    };
    // Unreadable pictures among the good ones are named, counted and skipped.
    std::fs::write(plate.join("train/good/broken.png"), "no picture").unwrap();
    std::fs::write(plate.join("test/good/cut.jpg"), [0xFF, 0xD8, 0xFF]).unwrap();
    evaluate(0, &["2 pictures are left out", "broken.png: not a picture", "cut.jpg"]);
    let row = &rows(&path.join("e.json"))[0];
    assert_eq!([&row["train_good"], &row["test_good"]], [12, 4].map(Value::from).each_ref());
    assert!(row["notes"].to_string().contains("broken.png"));
    // A good part that was taught as well.
    std::fs::copy(plate.join("train/good/003.png"), plate.join("test/good/known.png")).unwrap();
    evaluate(0, &["1 of the 5 pictures in test/good were also taught"]);

    // A mask of another size.
    let masks = std::fs::read_dir(plate.join("ground_truth")).unwrap().next().unwrap().unwrap().path();
    let mask = std::fs::read_dir(&masks).unwrap().next().unwrap().unwrap().path();
    GrayImage::from_pixel(20, 16, Luma([255])).save(&mask).unwrap();
    evaluate(65, &["the mask is 20 × 16 pixels", "but its picture"]);
    // No masks at all.
    std::fs::remove_dir_all(plate.join("ground_truth")).unwrap();
    evaluate(0, &["none of the 4 anomalous parts has a mask"]);
    let row = &rows(&path.join("e.json"))[0];
    assert!(row["pixel_auroc"].is_null() && row["aupro"].is_null() && row["image_auroc"].is_number());
    // No good parts to judge.
    std::fs::remove_dir_all(plate.join("test/good")).unwrap();
    std::fs::create_dir(plate.join("test/good")).unwrap();
    evaluate(65, &["holds no good parts"]);
    // No layout, no folder, a profile that is not there, arguments that contradict each other.
    let refuses = |arguments: &str, code: i32, sentence: &str| {
        let output = run(arguments, path);
        assert_code(&output, code, arguments);
        assert!(text(&output).contains(sentence), "{sentence}:\n{}", text(&output));
    };
    refuses("evaluate --data {}/plate/train", 65, "the layout of MVTec AD is expected");
    refuses("evaluate --data {}/nowhere", 66, "there is no such folder");
    refuses("evaluate --data {}/plate --profile {}/no.profile", 66, "there is no such profile");
    refuses("evaluate --data {}/plate --profile {}/p --pool 5", 2, "cannot be used with");
    refuses("evaluate --data {}/plate --profile {}/p --seeds 3", 2, "cannot be used with");
    refuses("evaluate --data {}/plate --compare --pool 5", 2, "cannot be used with");
    refuses("evaluate --data {}/plate --compare --bank-rows 500", 2, "cannot be used with");
}

#[test]
fn a_region_of_interest_counts_the_pixels_inside_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    render(&path.join("plate"), 12, 4, 10);
    let arguments =
        "evaluate --data {}/plate --json {}/e.json --metric none --bank-rows 200 --input-px 64 --roi 16,16,64,64";
    assert_code(&run(arguments, path), 0, "evaluate");
    assert!(rows(&path.join("e.json"))[0]["pixel_auroc"].as_f64().unwrap() > 0.5);
    let output = run(&arguments.replace("16,16,64,64", "64,64,64,64"), path);
    assert_code(&output, 65, "a region outside of the pictures");
    assert!(text(&output).contains("reaches outside the frame"), "{}", text(&output));
}

#[test]
fn anomalous_parts_that_were_known_to_the_teaching_are_not_judged() {
    let folder = tempfile::tempdir().unwrap();
    let set = render(&folder.path().join("set"), 12, 3, 6);
    let all = rejectd::evaluate::dataset::Dataset::open(&set).unwrap();
    let anomalous = all.test.iter().filter(|image| image.defect_type.is_some()).count();
    let evaluate = "evaluate --data {}/set --json {}/out.json --metric none --input-px 64 --bank-rows 200";
    let output = run(&format!("{evaluate} --known-defects 2"), folder.path());
    assert_code(&output, 0, "two known defects");
    assert!(
        text(&output).contains("2 anomalous parts, drawn by seed 0, were known to the teaching"),
        "{}",
        text(&output)
    );
    assert_eq!(rows(&folder.path().join("out.json"))[0]["test_anomalous"], anomalous - 2);
    // However many are asked for, one is left to judge.
    let output = run(&format!("{evaluate} --known-defects 100"), folder.path());
    assert_code(&output, 0, "all but one");
    assert_eq!(rows(&folder.path().join("out.json"))[0]["test_anomalous"], 1);
}
