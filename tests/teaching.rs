//! Promise: a profile taught from good parts alone tells them from bad ones by every recipe, and learns new good parts
//! without being taught all anew.

use std::sync::atomic::{AtomicU64, Ordering};

use rejectd::evaluate::metrics::auroc;
use rejectd::frame::Frame;
use rejectd::inspect::Inspector;
use rejectd::inspect::card::Model;
use rejectd::inspect::recipe::{Distance, Granularity, HeadKind, ScoreRule};
use rejectd::profile::{Profile, Promise};
use rejectd::source::simulated::{Belt, BeltSettings, Severity};
use rejectd::teach::add::{Added, add};
use rejectd::teach::{GoodParts, Options, TeachError, teach};

mod common;

fn options(model: &Model) -> Options {
    let mut options = Options::for_model(model);
    options.recipe.input_px = [128, 128];
    options.bank_rows = 400;
    options
}

fn names(count: u64) -> Vec<String> {
    (0..count).map(|part| format!("{part:03}")).collect()
}

fn taught(model: &Model, options: &Options, belt: &Belt, count: u64) -> Profile {
    let parts = GoodParts::read(names(count), |part| Ok(belt.good_part(part as u64))).unwrap();
    teach(model, options, &parts, &|_, _, _| ()).unwrap()
}

fn score(inspector: &mut Inspector, frame: &Frame) -> f32 {
    inspector.inspect(frame).unwrap().score
}

#[test]
fn every_distance_head_granularity_and_score_rule_tells_good_parts_from_plainly_bad_ones() {
    let model = Model::built_in();
    let belt = Belt::new(BeltSettings { width: 160, height: 160, defect_fraction: 1.0, ..BeltSettings::default() });
    let plain = |part: &u64| belt.defect_of(*part).is_some_and(|(_, severity)| severity == Severity::Plain);
    let bad: Vec<Frame> = (0..).filter(plain).take(12).map(|part| belt.part(part).0).collect();
    let good: Vec<Frame> = (100..124).map(|part| belt.good_part(part)).collect();
    let base = || options(&model);
    let with = |change: fn(&mut Options)| {
        let mut options = base();
        change(&mut options);
        options
    };
    let recipes = [
        ("cosine", base(), 0.9),
        ("several neighbours, the largest", with(|o| (o.recipe.neighbours, o.recipe.score) = (3, ScoreRule::Max)), 0.9),
        ("PCA", with(|o| (o.recipe.head, o.pca_width) = (HeadKind::Linear, 40)), 0.85),
        ("Euclidean", with(|o| (o.recipe.distance, o.recipe.normalise) = (Distance::Euclidean, false)), 0.9),
        ("product", with(|o| (o.recipe.distance, o.recipe.normalise) = (Distance::Product, false)), 0.9),
        ("cosine, local", with(|o| o.recipe.local = true), 0.9),
        (
            "product, local",
            with(|o| (o.recipe.distance, o.recipe.normalise, o.recipe.local) = (Distance::Product, false, true)),
            0.9,
        ),
        (
            "product, by the later tap alone too, local, smooth",
            with(|o| {
                (o.recipe.distance, o.recipe.normalise, o.recipe.local) = (Distance::Product, false, true);
                (o.recipe.nested, o.recipe.smooth) = (vec![40], true);
            }),
            0.9,
        ),
        ("smooth", with(|o| o.recipe.smooth = true), 0.85),
        ("Mahalanobis", with(|o| (o.recipe.distance, o.recipe.normalise) = (Distance::Mahalanobis, false)), 0.85),
        (
            "Mahalanobis per position",
            with(|o| (o.recipe.distance, o.recipe.normalise) = (Distance::MahalanobisPerPosition, false)),
            0.85,
        ),
        (
            "one embedding a picture",
            with(|o| (o.recipe.granularity, o.recipe.neighbours) = (Granularity::Image, 1)),
            0.6,
        ),
        (
            "one embedding a picture, Mahalanobis",
            with(|o| {
                o.recipe.granularity = Granularity::Image;
                (o.recipe.distance, o.recipe.normalise) = (Distance::Mahalanobis, false);
            }),
            0.6,
        ),
    ];
    for (name, options, floor) in recipes {
        let profile = taught(&model, &options, &belt, 40);
        let bytes = profile.to_bytes();
        let profile = Profile::from_bytes(&bytes, name).unwrap();
        let mut inspector = Inspector::new(&model, &profile).unwrap();
        inspector.verify_probe(&profile).unwrap();
        let mut scores = |frames: &[Frame]| frames.iter().map(|frame| score(&mut inspector, frame)).collect::<Vec<_>>();
        let auroc = auroc(&scores(&good), &scores(&bad));
        println!("{name}: image AUROC {auroc:.3}");
        assert!(auroc >= floor, "{name}: {auroc}");
    }
}

#[test]
fn the_same_parts_and_seed_teach_the_same_profile_on_any_number_of_threads() {
    let model = Model::built_in();
    let belt = common::belt(64);
    let with_threads = |threads| {
        let mut options = Options { threads, ..options(&model) };
        options.recipe.input_px = [64, 64];
        let mut profile = taught(&model, &options, &belt, 12);
        profile.about.taught_at = 0;
        profile.to_bytes()
    };
    assert!(with_threads(1) == with_threads(3));
}

#[test]
fn each_of_sixty_parts_is_in_the_bank_and_was_scored_by_one_without_it() {
    let model = Model::built_in();
    let belt = common::belt(64);
    let mut options = options(&model);
    options.recipe.input_px = [64, 64];
    // A bank of every patch: a part that was in it would score 0.
    options.bank_rows = 100_000;
    let profile = taught(&model, &options, &belt, 60);
    assert_eq!(profile.bank.len(), 60 * 64);
    assert!(profile.about.calibration.iter().all(|calibration| calibration.score > 1e-3));
    let about = &profile.about;
    assert_eq!((about.calibration.len(), about.bank_parts), (60, 60));
    assert!(matches!(about.threshold.promise, Promise::Bound { parts: 60, rank: 60, .. }));
    let largest = about.calibration.iter().map(|calibration| calibration.score).fold(0.0, f32::max);
    assert_eq!(about.threshold.value, largest);
    let text = about.threshold.promise.to_string();
    assert!(text.contains("95 % confidence, from 60 parts"), "{text}");
    let few = taught(&model, &options, &belt, 59).about.threshold.promise;
    assert!(matches!(few, Promise::Estimate { folds: 5, parts: 59, .. }));
    assert!(!few.to_string().contains("95 %"), "{few}");
}

#[test]
fn an_input_that_is_in_the_bank_scores_nearly_zero_and_loads_are_counted() {
    let model = Model::built_in();
    let belt = common::belt(64);
    let mut options = options(&model);
    options.recipe.input_px = [64, 64];
    options.bank_rows = 100_000;
    let loads = AtomicU64::new(0);
    let load = |part| {
        loads.fetch_add(1, Ordering::Relaxed);
        Ok(belt.good_part(part as u64))
    };
    let profile = teach(&model, &options, &GoodParts::read(names(12), load).unwrap(), &|_, _, _| ()).unwrap();
    assert_eq!(profile.bank.len(), 12 * 64, "every patch of every part");
    let mut inspector = Inspector::new(&model, &profile).unwrap();
    assert!(score(&mut inspector, &belt.good_part(5)) < 1e-4);
    assert!(score(&mut inspector, &belt.good_part(50)) > 1e-3);
    assert!(loads.into_inner() >= 12);
}

/// The same belt in another light: a new normal.
fn warm(frame: &Frame) -> Frame {
    let rgb: Vec<u8> =
        frame.rgb().chunks_exact(3).flat_map(|p| [p[0].saturating_add(60), p[1], p[2].saturating_sub(50)]).collect();
    Frame::new(frame.width(), frame.height(), rgb, frame.captured, 0).unwrap()
}

#[test]
fn added_parts_of_a_new_normal_are_accepted_afterwards_and_the_bound_is_declared_void() {
    let model = Model::built_in();
    let belt = common::belt(96);
    let mut options = options(&model);
    options.recipe.input_px = [96, 96];
    let profile = taught(&model, &options, &belt, 60);
    let parts = GoodParts::read(names(30), |part| Ok(warm(&belt.good_part(500 + part as u64)))).unwrap();
    let added = add(&model, &profile, &options, &parts, &|_, _, _| ()).unwrap();
    assert!(added.rejected_before.len() > 25, "{} of 30 were a new normal", added.rejected_before.len());
    assert!(matches!(added.profile.about.threshold.promise, Promise::Void { .. }));
    let mut inspector = Inspector::new(&model, &added.profile).unwrap();
    inspector.verify_probe(&added.profile).unwrap();
    let threshold = added.profile.about.threshold.value;
    let mut accepted =
        |of: &dyn Fn(u64) -> Frame| (600..620).filter(|part| score(&mut inspector, &of(*part)) <= threshold).count();
    let (new, old) = (accepted(&|part| warm(&belt.good_part(part))), accepted(&|part| belt.good_part(part)));
    assert!(new >= 15 && old >= 15, "{new} new and {old} old of 20 good parts are accepted");
    // What belongs to neither is still far off.
    let dark = Frame::new(96, 96, vec![10; 3 * 96 * 96], Default::default(), 0).unwrap();
    assert!(score(&mut inspector, &dark) > threshold);
    // The bank grew and kept its old rows.
    assert!(added.profile.bank.data().starts_with(profile.bank.data()) && added.new_rows > 0);
    assert_ne!(added.profile.fingerprint(), profile.fingerprint());
}

#[test]
fn added_parts_of_the_same_normal_restate_the_bound_from_all_calibration_parts() {
    let model = Model::built_in();
    let belt = common::belt(64);
    let mut options = options(&model);
    options.recipe.input_px = [64, 64];
    let profile = taught(&model, &options, &belt, 60);
    let parts = GoodParts::read(names(30), |part| Ok(belt.good_part(700 + part as u64))).unwrap();
    let added = add(&model, &profile, &options, &parts, &|_, _, _| ()).unwrap();
    assert!(
        matches!(added.profile.about.threshold.promise, Promise::Bound { parts: 70, .. }),
        "{:?}",
        added.profile.about.threshold
    );
    assert_eq!(added.profile.about.calibration.len(), 70);
    assert_eq!(added.profile.about.calibration[..60], profile.about.calibration[..]);
    assert_eq!(added.profile.about.bank_parts, 80);
}

#[test]
fn adding_to_all_banks_of_a_product_brings_no_part_farther_away() {
    let model = Model::built_in();
    let belt = common::belt(64);
    let mut options = options(&model);
    (options.recipe.input_px, options.recipe.local) = ([64, 64], true);
    (options.recipe.distance, options.recipe.normalise) = (Distance::Product, false);
    // Embeddings of 32 are not projected before rows are chosen.
    for (head, nested) in [(HeadKind::Identity, vec![]), (HeadKind::Identity, vec![40]), (HeadKind::Linear, vec![])] {
        (options.recipe.head, options.pca_width, options.recipe.nested) = (head, 32, nested);
        let profile = taught(&model, &options, &belt, 60);
        let parts = GoodParts::read(names(30), |part| Ok(belt.good_part(700 + part as u64))).unwrap();
        let added = add(&model, &profile, &options, &parts, &|_, _, _| ()).unwrap();
        assert_nothing_is_farther(&model, &belt, &profile, &added);
    }
}

fn assert_nothing_is_farther(model: &Model, belt: &Belt, profile: &Profile, added: &Added) {
    assert!(added.new_rows > 0);
    let count = profile.about.recipe.factors().len();
    for block in 0..count {
        let [before, after] = [profile, &added.profile].map(|profile| profile.bank.block(block, count));
        assert!(after.len() > before.len() && after.data().starts_with(before.data()));
        let [before, after] = [profile, &added.profile].map(|profile| {
            let spread = profile.metric.spread.as_ref().unwrap();
            &spread[block * spread.len() / count..][..spread.len() / count]
        });
        assert!(after.starts_with(before));
    }
    let [mut old, mut new] = [profile, &added.profile].map(|profile| Inspector::new(model, profile).unwrap());
    for part in 900..920 {
        let frame = belt.part(part).0;
        let (old, new) = (score(&mut old, &frame), score(&mut new, &frame));
        assert!(new <= old * 1.0001, "part {part}: {old} before, {new} after");
    }
}

#[test]
fn a_gaussian_cannot_be_added_to() {
    let model = Model::built_in();
    let belt = common::belt(64);
    let mut options = options(&model);
    options.recipe.input_px = [64, 64];
    (options.recipe.distance, options.recipe.normalise) = (Distance::Mahalanobis, false);
    let profile = taught(&model, &options, &belt, 12);
    let parts = GoodParts::read(names(5), |part| Ok(belt.good_part(part as u64))).unwrap();
    assert!(matches!(add(&model, &profile, &options, &parts, &|_, _, _| ()), Err(TeachError::NotAddable(_))));
}

#[test]
fn a_part_that_was_taught_before_is_not_added_again_and_one_given_twice_counts_once() {
    let model = Model::built_in();
    let belt = common::belt(64);
    let mut options = options(&model);
    options.recipe.input_px = [64, 64];
    let profile = taught(&model, &options, &belt, 60);
    // The folder has grown from 60 pictures to 75, one of the new ones twice.
    let load = |part: usize| Ok(belt.good_part([0..60, 700..715, 714..715].into_iter().flatten().nth(part).unwrap()));
    let grown = GoodParts::read(names(76), load).unwrap();
    assert_eq!((grown.len(), grown.duplicates()), (75, ["075".to_owned()].as_slice()));
    let new = grown.without(&profile.about.taught);
    assert_eq!((new.len(), new.duplicates().len()), (15, 61));
    assert_eq!(new.name(0), "060");
    let added = add(&model, &profile, &options, &new, &|_, _, _| ()).unwrap();
    assert!(matches!(added.profile.about.threshold.promise, Promise::Bound { parts: 65, .. }));
    assert!(added.profile.about.calibration.iter().all(|calibration| calibration.score > 1e-4));
    let nothing = GoodParts::read(names(60), |part| Ok(belt.good_part(part as u64))).unwrap();
    let nothing = nothing.without(&profile.about.taught);
    assert!(matches!(
        add(&model, &profile, &options, &nothing, &|_, _, _| ()),
        Err(TeachError::TooFewToAdd { found: 0 })
    ));
}

#[test]
fn a_bound_that_adding_cannot_give_is_refused() {
    let model = Model::built_in();
    let belt = common::belt(64);
    let mut options = options(&model);
    options.recipe.input_px = [64, 64];
    let estimate = taught(&model, &options, &belt, 20);
    options.max_false_rejects = Some(0.05);
    let parts = GoodParts::read(names(10), |part| Ok(belt.good_part(700 + part as u64))).unwrap();
    let error = add(&model, &estimate, &options, &parts, &|_, _, _| ()).unwrap_err().to_string();
    assert!(error.contains("teach it anew from 117"), "{error}");
    // Nor does an estimate outlive a new normal.
    options.max_false_rejects = None;
    let warm = GoodParts::read(names(12), |part| Ok(warm(&belt.good_part(800 + part as u64)))).unwrap();
    let added = add(&model, &estimate, &options, &warm, &|_, _, _| ()).unwrap();
    assert!(
        matches!(added.profile.about.threshold.promise, Promise::Void { .. }),
        "{:?}",
        added.profile.about.threshold
    );
}
