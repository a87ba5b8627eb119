//! Promise: `explain` shows where a part is wrong, on the scale of the threshold, for every picture that can be read.

use std::path::Path;

use common::{assert_code, belt, rejectd, run, save, text};
use rejectd::source::simulated::{Severity, Truth};
use serde_json::Value;

mod common;

const SIDE: u32 = 192;
/// Near the defect: the input is as large as the picture, and a patch is 8 pixels wide.
const NEAR: f64 = 12.0;

/// Renders parts with a plain defect into `folder/bad`.
fn render_plain(folder: &Path, count: usize) -> Vec<Truth> {
    let belt = belt(SIDE);
    std::fs::create_dir_all(folder.join("bad")).unwrap();
    let plain = |part: &u64| belt.defect_of(*part).is_some_and(|(_, severity)| severity == Severity::Plain);
    let parts = (0..).filter(plain).take(count).enumerate();
    parts
        .map(|(number, part)| {
            let (frame, truth) = belt.part(part);
            save(&frame, &folder.join(format!("bad/{number:02}.png")));
            truth
        })
        .collect()
}

/// The rows of `explain --json`, in the order of the names of the pictures.
fn rows(output: &std::process::Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How far the hottest place lies from the nearest pixel of the defect.
fn pixels_off(row: &Value, truth: &Truth) -> f64 {
    let place = |axis: &str| row["hottest"][axis].as_f64().unwrap();
    let (x, y) = (place("x"), place("y"));
    let side = SIDE as usize;
    let pixels = truth.mask.iter().enumerate().filter(|(_, changed)| **changed);
    pixels.map(|(at, _)| (x - (at % side) as f64).hypot(y - (at / side) as f64)).fold(f64::INFINITY, f64::min)
}

/// From good parts in `folder/good` to `folder/product.profile`.
fn teach(folder: &Path, good: u64, options: &str) {
    let belt = belt(SIDE);
    std::fs::create_dir_all(folder.join("good")).unwrap();
    (0..good).for_each(|part| save(&belt.good_part(part), &folder.join(format!("good/good-{part:03}.png"))));
    let command = format!("teach --from {{}}/good --profile {{}}/product.profile --bank-rows 400 {options}");
    assert_code(&run(&command, folder), 0, "teach");
}

#[test]
fn the_hottest_patch_of_most_plain_defects_lies_on_them() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    teach(folder, 40, "--input-px 192 --score top:0.01");
    let truths = render_plain(folder, 10);
    let output = run("explain --json --profile {}/product.profile --out {}/out {}/bad", folder);
    assert_code(&output, 1, "explain");
    let rows = rows(&output);
    assert_eq!(rows.len(), 10);
    let off: Vec<f64> = rows.iter().zip(&truths).map(|(row, truth)| pixels_off(row, truth)).collect();
    assert!(off.iter().filter(|off| **off <= NEAR).count() >= 8, "pixels from the defect: {off:.0?}");
    for row in &rows {
        assert_eq!(row["method"], "anomaly_map");
        let times = row["hottest"]["times_threshold"].as_f64().unwrap();
        // The score is a mean of the largest distances, which the largest is not below.
        assert!(times >= 0.99 * row["score"].as_f64().unwrap() / row["threshold"].as_f64().unwrap(), "{row}");
        let picture = image::open(row["explanation"].as_str().unwrap()).unwrap();
        assert_eq!((picture.width(), picture.height()), (2 * (SIDE + 4) + 84, 14 + SIDE));
    }
}

#[test]
fn one_embedding_a_picture_is_explained_by_a_grad_cam_whose_hottest_place_has_the_score() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    teach(folder, 40, "--input-px 192 --granularity image");
    let truths = render_plain(folder, 10);
    let output = run("explain --json --profile {}/product.profile --out {}/out {}/bad {}/good/good-000.png", folder);
    assert_code(&output, 1, "explain");
    let rows = rows(&output);
    assert_eq!(rows.len(), 11);
    // A part that is in the bank has nothing to explain.
    let (bad, taught) = rows.split_at(10);
    assert!(taught[0]["hottest"]["times_threshold"].as_f64().unwrap_or(0.0) < 1e-3, "{}", taught[0]);
    for row in bad {
        assert_eq!(row["method"], "grad_cam");
        assert!(image::open(row["explanation"].as_str().unwrap()).is_ok());
        let number = |value: &Value| value.as_f64().unwrap();
        let times = number(&row["hottest"]["times_threshold"]);
        assert!((times - number(&row["score"]) / number(&row["threshold"])).abs() < 1e-4, "{row}");
        assert_eq!(times > 1.0, row["verdict"] == "reject", "{row}");
    }
    let off: Vec<f64> = rows.iter().zip(&truths).map(|(row, truth)| pixels_off(row, truth)).collect();
    // Less than one place of ten that were drawn at random would be as near.
    assert!(off.iter().filter(|off| **off <= NEAR).count() >= 4, "pixels from the defect: {off:.0?}");
    let score = |row: &Value| row["score"].as_f64().unwrap();
    // The same score as 'inspect' gives.
    let inspected = run("inspect --json --profile {}/product.profile {}/bad", folder);
    let inspected = String::from_utf8_lossy(&inspected.stdout);
    for (explained, inspected) in rows.iter().zip(inspected.lines()) {
        assert_eq!(score(explained), score(&serde_json::from_str(inspected).unwrap()));
    }
}

#[test]
fn a_picture_that_cannot_be_read_is_named_and_the_others_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    teach(folder, 20, "--input-px 96 --granularity image");
    std::fs::write(folder.join("good/broken.png"), "no picture").unwrap();
    let output = run("explain --profile {}/product.profile --out {}/out {}/good", folder);
    assert_code(&output, 65, "explain");
    let text = text(&output);
    let failed = text.lines().find(|line| line.starts_with("no-decision")).unwrap();
    assert!(failed.contains("broken.png"), "{text}");
    assert!(text.contains("21 pictures") && text.contains("1 without a decision; Grad-CAM"), "{text}");
    assert!(folder.join("out/good-000.png.explain.png").is_file());
    assert_eq!(std::fs::read_dir(folder.join("out")).unwrap().count(), 20);

    let missing = run("explain --profile {}/product.profile {}/nothing.png", folder);
    assert_code(&missing, 66, "a missing picture");
    let unwritable = rejectd()
        .args(["explain", "--out"])
        .arg(folder.join("good/good-000.png/out"))
        .arg("--profile")
        .args([folder.join("product.profile"), folder.join("good/good-001.png")])
        .output()
        .unwrap();
    assert_code(&unwritable, 73, "an output folder that cannot be made");
}
