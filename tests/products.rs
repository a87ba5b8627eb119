//! Promise: several products share one metric and nothing else; known defects help to teach and never judge what they
//! taught; variants of few good parts join the bank and never judge.

use std::path::Path;

use rejectd::frame::Frame;
use rejectd::inspect::Inspector;
use rejectd::inspect::card::Model;
use rejectd::profile::{Profile, generations};
use rejectd::source::simulated::{Belt, BeltSettings};
use rejectd::teach::augment::{Augment, Augmentation};
use rejectd::teach::defects::Mask;
use rejectd::teach::known::{KnownDefect, KnownDefects};
use rejectd::teach::{GoodParts, Options, TeachError, teach};

mod common;
use common::{assert_code, run, save, text};

/// Another product for each seed; every part has a defect unless asked for a good one.
fn belt(seed: u64) -> Belt {
    Belt::new(BeltSettings { seed, width: 128, height: 128, parts: None, defect_fraction: 1.0 })
}

fn render(folder: &Path, pictures: impl Iterator<Item = Frame>) {
    std::fs::create_dir_all(folder).unwrap();
    pictures.enumerate().for_each(|(at, frame)| save(&frame, &folder.join(format!("{at:03}.png"))));
}

fn score(profile: &Profile, frame: &Frame) -> f32 {
    Inspector::new(&Model::built_in(), profile).unwrap().inspect(frame).unwrap().score
}

#[test]
fn two_products_get_one_head_and_a_bank_and_threshold_each() {
    let folder = tempfile::tempdir().unwrap();
    let belts = [belt(5), belt(6)];
    for (name, belt) in ["a", "b"].iter().zip(&belts) {
        render(&folder.path().join(name), (0..24).map(|part| belt.good_part(part)));
    }
    // The good parts of both are the classes, as in the experiment of the literature; no test picture is among them.
    let output = run(
        "teach --from {}/a --from {}/b --profile {}/a.profile --profile {}/b.profile --input-px 96 --metric arc-face \
         --metric-options preset=none,shape=linear,steps=50,batch=48",
        folder.path(),
    );
    assert_code(&output, 0, "two products");
    let [a, b] = ["a.profile", "b.profile"].map(|name| generations::load(&folder.path().join(name)).unwrap());
    assert_eq!(a.metric, b.metric);
    assert!(a.metric.head.is_some());
    assert_ne!(a.bank, b.bank);
    assert_ne!(a.about.threshold.value, b.about.threshold.value);
    assert!(a.about.taught.iter().all(|hash| !b.about.taught.contains(hash)));
    // What a product was taught is in its own bank, and not in that of the other.
    for part in 0..3 {
        let [of_a, of_b] = [&belts[0], &belts[1]].map(|belt| belt.good_part(part));
        assert!(score(&a, &of_a) < score(&b, &of_a), "{part}: {} {}", score(&a, &of_a), score(&b, &of_a));
        assert!(score(&b, &of_b) < score(&a, &of_b), "{part}: {} {}", score(&b, &of_b), score(&a, &of_b));
    }
}

#[test]
fn auto_chooses_one_recipe_for_two_products() {
    let folder = tempfile::tempdir().unwrap();
    for (name, seed) in [("a", 5), ("b", 6)] {
        render(&folder.path().join(name), (0..12).map(|part| belt(seed).good_part(part)));
    }
    let output = run(
        "teach --from {}/a --from {}/b --profile {}/a.profile --profile {}/b.profile --input-px 64 --bank-rows 300 \
         --augment none",
        folder.path(),
    );
    assert_code(&output, 0, "two products");
    let [a, b] = ["a.profile", "b.profile"].map(|name| generations::load(&folder.path().join(name)).unwrap().about);
    assert_eq!((&a.recipe, &a.chosen), (&b.recipe, &b.chosen));
    assert!(a.chosen.unwrap().tried >= (2 * 2 + 1) * 6);
}

#[test]
fn products_that_are_mixed_up_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    render(&folder.path().join("a"), (0..12).map(|part| belt(5).good_part(part)));
    render(&folder.path().join("b"), (0..12).map(|part| belt(if part == 3 { 5 } else { 6 }).good_part(part)));
    let output = run("teach --from {}/a --from {}/b --profile {}/p --profile {}/q --metric none", folder.path());
    assert_code(&output, 65, "a part of both");
    assert!(text(&output).contains("003.png: is given for two products"), "{}", text(&output));
    let output = run("teach --from {}/a --profile {}/p --profile {}/q", folder.path());
    assert_code(&output, 2, "one folder for two profiles");
    assert!(text(&output).contains("equally often"), "{}", text(&output));
    let output = run("teach --from {}/a --from {}/b --profile {}/p --profile {}/p", folder.path());
    assert_code(&output, 2, "one profile for two products");
    // What is good for one product may not be a defect of the other: the head would learn from its calibration parts.
    render(&folder.path().join("b"), (0..12).map(|part| belt(6).good_part(part)));
    render(&folder.path().join("of_a"), (50..52).map(|part| belt(5).good_part(part)));
    render(&folder.path().join("of_b"), (0..2).map(|part| belt(5).good_part(part)));
    let output = run(
        "teach --from {}/a --from {}/b --defects {}/of_a --defects {}/of_b --profile {}/p --profile {}/q --metric none",
        folder.path(),
    );
    assert_code(&output, 65, "a good part of the one as a defect of the other");
    assert!(text(&output).contains("is given for two products"), "{}", text(&output));
}

/// Good parts and known defects of one product in `folder/good` and `folder/bad`, the first two with masks.
fn with_known(folder: &Path, good: u64) {
    render(&folder.join("good"), (0..good).map(|part| belt(5).good_part(part)));
    render(&folder.join("bad"), (0..5).map(|part| belt(5).part(part).0));
    for at in 0..2 {
        let middle = |x: u32, y: u32| image::Luma([if x.abs_diff(64) < 20 && y.abs_diff(64) < 20 { 255u8 } else { 0 }]);
        image::GrayImage::from_fn(128, 128, middle).save(folder.join(format!("bad/{at:03}_mask.png"))).unwrap();
    }
}

#[test]
fn known_defects_teach_a_head_and_only_the_others_are_counted_as_caught() {
    let folder = tempfile::tempdir().unwrap();
    with_known(folder.path(), 24);
    let teach = "teach --from {}/good --defects {}/bad --profile {}/p --input-px 96";
    let output =
        run(&format!("{teach} --metric softmax --metric-options preset=none,steps=25,batch=48"), folder.path());
    assert_code(&output, 0, "learned from known defects alone");
    assert!(text(&output).contains("5 known defects"), "{}", text(&output));
    let known = |about: &rejectd::profile::About| {
        let found = about.expected_catch.iter().find(|caught| caught.defect.starts_with("known defects")).cloned();
        found.map(|caught| (caught.of, caught.defect))
    };
    let about = generations::load(&folder.path().join("p")).unwrap().about;
    assert_eq!(known(&about).unwrap().0, 3, "two of five were learned from");
    let output = run(&format!("{teach} --metric none"), folder.path());
    assert_code(&output, 0, "nothing learned");
    let about = generations::load(&folder.path().join("p")).unwrap().about;
    assert_eq!(known(&about), Some((5, "known defects".to_owned())));
    let output = run(&format!("{teach} --metric auto --augment none"), folder.path());
    assert_code(&output, 0, "chosen by them");
    let about = generations::load(&folder.path().join("p")).unwrap().about;
    assert_eq!(known(&about), Some((5, "known defects, which the metric was chosen by".to_owned())));
}

#[test]
fn known_defects_among_the_good_parts_and_masks_of_another_size_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    with_known(folder.path(), 12);
    std::fs::copy(folder.path().join("good/004.png"), folder.path().join("bad/9.png")).unwrap();
    let teach = "teach --from {}/good --defects {}/bad --profile {}/p --input-px 96";
    let output = run(teach, folder.path());
    assert_code(&output, 65, "a good one");
    assert!(text(&output).contains("9.png: is given as a known defect, but among the good parts"), "{}", text(&output));
    image::GrayImage::from_pixel(64, 64, image::Luma([255])).save(folder.path().join("bad/9_mask.png")).unwrap();
    let output = run(teach, folder.path());
    assert_code(&output, 65, "a small mask");
    assert!(text(&output).contains("64 × 64"), "{}", text(&output));
    std::fs::remove_file(folder.path().join("bad/9.png")).unwrap();
    std::fs::remove_file(folder.path().join("bad/9_mask.png")).unwrap();
    save(
        &Belt::new(BeltSettings { seed: 5, width: 64, height: 64, parts: None, defect_fraction: 1.0 }).part(9).0,
        &folder.path().join("bad/small.png"),
    );
    let output = run(&format!("{teach} --roi 60,0,64,64 --metric none"), folder.path());
    assert_code(&output, 65, "a picture that the region is not inside of");
    assert!(text(&output).contains("small.png") && !text(&output).contains("embedding"), "{}", text(&output));
    let output = run("teach --from {}/good --defects {}/none --profile {}/p", folder.path());
    assert_code(&output, 66, "no folder");
}

#[test]
fn known_defects_are_dealt_into_those_that_teach_and_those_that_judge() {
    let good = GoodParts::read(vec!["g".into()], |_| Ok(belt(5).good_part(0))).unwrap();
    let load = |at: usize| Ok(KnownDefect { frame: belt(5).part([0, 1, 2, 2, 3][at]).0, mask: None });
    let names = (0..5).map(|at| at.to_string()).collect();
    let known = KnownDefects::read(names, load, &good).unwrap();
    assert_eq!(known.len(), 4, "the same picture counts once");
    let (teach, judge) = known.halves(3);
    let mut all = [teach.clone(), judge].concat();
    all.sort_unstable();
    assert_eq!((teach.len(), all), (2, vec![0, 1, 2, 3]));
    assert_eq!(KnownDefects::none().halves(3), (vec![], vec![]));
    let mask = Some(Mask { width: 9, height: 9, data: vec![true; 81] });
    let small = KnownDefects::read(
        vec!["x.png".into()],
        |_| Ok(KnownDefect { frame: belt(5).part(0).0, mask: mask.clone() }),
        &good,
    );
    assert!(
        matches!(small, Err(TeachError::Load(sentence)) if sentence.contains("x.png") && sentence.contains("9 × 9"))
    );
}

/// A part whose right half mirrors its left one: mirrored, it is the very same picture.
fn symmetric(part: u64) -> Frame {
    let frame = belt(5).good_part(part);
    let width = frame.width() as usize;
    let pixel = |at: usize| {
        let column = (at % width).min(width - 1 - at % width);
        <[u8; 3]>::try_from(&frame.rgb()[3 * (at / width * width + column)..][..3]).unwrap()
    };
    let rgb: Vec<u8> = (0..width * frame.height() as usize).flat_map(pixel).collect();
    Frame::new(frame.width(), frame.height(), rgb, Default::default(), part).unwrap()
}

#[test]
fn trap_t6_variants_join_the_bank_and_never_judge_the_part_that_they_are_of() {
    let model = Model::built_in();
    let mut options = Options { augment: Augment::Always(Augmentation::Mirrored), ..Options::for_model(&model) };
    (options.recipe.input_px, options.bank_rows) = ([64, 64], 100_000);
    let names = (0..12).map(|part| part.to_string()).collect();
    let parts = GoodParts::read(names, |part| Ok(symmetric(part as u64))).unwrap();
    let augmented = teach(&model, &options, &parts, &|_, _, _| ()).unwrap();
    assert!(augmented.about.calibration.iter().all(|part| part.score > 1e-4), "{:?}", augmented.about.calibration);
    assert!(augmented.summary().contains("12 parts, mirrored as well"), "{}", augmented.summary());
    // What hangs upside down is new to a bank without variants.
    let upside_down = Augmentation::Mirrored.apply(&symmetric(0), None, 1);
    let plain = teach(&model, &Options { augment: Augment::Never, ..options }, &parts, &|_, _, _| ()).unwrap();
    assert!(score(&augmented, &upside_down) < 0.2 * score(&plain, &upside_down));
}

#[test]
fn auto_says_whether_variants_of_few_parts_help() {
    let folder = tempfile::tempdir().unwrap();
    render(&folder.path().join("good"), (0..12).map(|part| belt(5).good_part(part)));
    let output = run("teach --from {}/good --profile {}/p --input-px 64 --bank-rows 300", folder.path());
    assert_code(&output, 0, "few parts");
    let said = text(&output);
    assert!(said.contains("no augmentation of the good parts") || said.contains("as well add at least"), "{said}");
    let output = run("teach --from {}/good --profile {}/p --augment turn", folder.path());
    assert_code(&output, 2, "no such augmentation");
    let output = run("teach --from {}/good --profile {}/p --augment turned --distance mahalanobis", folder.path());
    assert_code(&output, 65, "a Gaussian has no bank");
    let output = run("teach --from {}/good --profile {}/p --metric none --metric-options steps=5", folder.path());
    assert_code(&output, 2, "options of nothing");
}

#[test]
fn a_learned_class_weight_can_stand_for_the_bank() {
    let folder = tempfile::tempdir().unwrap();
    render(&folder.path().join("good"), (0..24).map(|part| belt(5).good_part(part)));
    let teach =
        "teach --from {}/good --profile {}/p --input-px 96 --metric-options steps=50,batch=48,reference=prototype";
    for loss in ["cos-face", "center"] {
        let output = run(&format!("{teach} --metric {loss}"), folder.path());
        assert_code(&output, 0, loss);
        let profile = generations::load(&folder.path().join("p")).unwrap();
        assert_eq!(profile.bank.len(), 1, "{loss}");
        assert!(profile.summary().contains("to the learned class of good parts"), "{}", profile.summary());
        assert!(score(&profile, &belt(5).good_part(1000)).is_finite());
    }
    render(&folder.path().join("more"), (100..112).map(|part| belt(5).good_part(part)));
    let output = run("teach --add --from {}/more --profile {}/p", folder.path());
    assert_code(&output, 65, "nothing can be added to a class weight");
    let output = run(&format!("{teach} --metric triplet"), folder.path());
    assert_code(&output, 2, "triplet has no class weights");
    assert!(text(&output).contains("learns no class weights"), "{}", text(&output));
}
