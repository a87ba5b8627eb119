//! Promise: the metric is chosen from good parts and synthetic defects alone, ships only where it is better than the
//! plain one, and a head can be learned by every loss; the profile says what was chosen and why.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rejectd::clock::Timestamp;
use rejectd::evaluate::metrics::auroc;
use rejectd::frame::Frame;
use rejectd::inspect::Inspector;
use rejectd::inspect::card::Model;
use rejectd::inspect::recipe::HeadKind;
use rejectd::profile::{Profile, Promise};
use rejectd::source::simulated::{Belt, BeltSettings};
use rejectd::teach::auto::AutoOptions;
use rejectd::teach::evidence::not_judged;
use rejectd::teach::learn::LearnOptions;
use rejectd::teach::losses::Loss;
use rejectd::teach::{GoodParts, MetricChoice, Options, teach};

mod common;
use common::{assert_code, render_good, run, text};

fn taught(metric: MetricChoice, seed: u64) -> Profile {
    let belt = belt();
    taught_from(64, |part| belt.good_part(part), 96, metric, seed)
}

/// * `picture` — of each of so many `parts`
/// * `side_px` — of the input
fn taught_from(
    parts: usize,
    picture: impl Fn(u64) -> Frame + Sync,
    side_px: usize,
    metric: MetricChoice,
    seed: u64,
) -> Profile {
    let model = Model::built_in();
    let mut options = Options { metric, choose_size: false, bank_rows: 300, seed, ..Options::for_model(&model) };
    options.recipe.input_px = [side_px; 2];
    let names = (0..parts).map(|part| format!("{part:03}")).collect();
    let parts = GoodParts::read(names, |part| Ok(picture(part as u64))).unwrap();
    teach(&model, &options, &parts, &|_, _, _| ()).unwrap()
}

fn belt() -> Belt {
    Belt::new(BeltSettings { seed: 5, width: 128, height: 128, parts: None, defect_fraction: 1.0 })
}

/// Colours that change slowly over each part, another way on each: what differs most between good parts says nothing of
/// defects, which have edges.
fn drifting(part: u64) -> Frame {
    const SIDE: u32 = 96;
    let mut rng = ChaCha8Rng::seed_from_u64(part);
    let mut of_waves = |most: f32| [(); 6].map(|()| rng.random_range(-most..most));
    let channels = [(); 3].map(|()| [of_waves(4.0), of_waves(4.0), of_waves(3.0), of_waves(45.0)]);
    let mut noise = ChaCha8Rng::seed_from_u64(1000 + part);
    let mut rgb = Vec::new();
    for (y, x) in (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (y as f32, x as f32))) {
        let grain = noise.random_range(-3.5..3.5);
        rgb.extend(channels.map(|[down, across, phase, height]| {
            let turns = |at: usize| (down[at] * y + across[at] * x) / SIDE as f32 * std::f32::consts::TAU;
            let drift: f32 = (0..6).map(|at| height[at] * (turns(at) + phase[at]).sin()).sum();
            (128.0 + drift + grain) as u8
        }));
    }
    Frame::new(SIDE, SIDE, rgb, Timestamp(0), 0).unwrap()
}

/// Image AUROC on rendered parts that nobody was taught.
fn real_auroc(profile: &Profile) -> f64 {
    let belt = belt();
    let mut inspector = Inspector::new(&Model::built_in(), profile).unwrap();
    let mut scores =
        |frames: Vec<_>| -> Vec<f32> { frames.iter().map(|frame| inspector.inspect(frame).unwrap().score).collect() };
    let good = scores((1000..1040).map(|part| belt.good_part(part)).collect());
    let bad = scores((1000..1040).map(|part| belt.part(part).0).collect());
    auroc(&good, &bad)
}

#[test]
fn auto_says_what_it_chose_is_repeatable_and_is_not_worse_than_the_plain_metric() {
    let plain = taught(MetricChoice::Given, 0);
    let auto = taught(MetricChoice::Auto(AutoOptions::default()), 0);
    let chosen = auto.about.chosen.as_ref().expect("a choice was made");
    // Cosine on two choices of taps with and without pooling, and the product, by six ways to the score; two with a larger bank.
    assert_eq!(chosen.tried, (2 * 2 + 1) * 6 + 2 * 6, "{chosen:?}");
    assert!(chosen.quality >= chosen.plain_quality, "{chosen:?}");
    assert!(auto.summary().contains("chosen"), "{}", auto.summary());
    let (plain, found) = (real_auroc(&plain), real_auroc(&auto));
    println!("plain {plain:.3}, auto {found:.3}: {}", chosen.because);
    assert!(found >= plain - 0.05, "auto {found}, plain {plain}");
    assert_nothing_that_chose_gives_the_threshold(&auto, 64);
    let again = taught(MetricChoice::Auto(AutoOptions::default()), 0);
    assert_eq!((&again.about.recipe, &again.bank), (&auto.about.recipe, &auto.bank));
}

/// * `parts` — how many it was taught from, by seed 0
fn assert_nothing_that_chose_gives_the_threshold(profile: &Profile, parts: usize) {
    let expected: Vec<String> = not_judged(parts, 0).iter().map(|part| format!("{part:03}")).collect();
    let about = &profile.about;
    assert_eq!(about.calibration.iter().map(|scored| scored.part.clone()).collect::<Vec<_>>(), expected);
    let promise = &about.threshold.promise;
    assert!(matches!(promise, Promise::Bound { parts, .. } if *parts == expected.len()), "{promise:?}");
    assert_eq!(about.bank_parts, parts);
}

#[test]
fn auto_ships_what_it_learned_where_that_tells_more_and_leaves_it_where_it_does_not() {
    let belt = belt();
    let auto =
        || MetricChoice::Auto(AutoOptions { losses: vec!["triplet"], largest_bank: 0, ..AutoOptions::default() });
    let is_learned = |profile: &Profile| {
        let recipe = &profile.about.recipe;
        recipe.normality || recipe.head != HeadKind::Identity
    };
    let helped = taught_from(96, drifting, 64, auto(), 0);
    let because = &helped.about.chosen.as_ref().unwrap().because;
    assert!(because.contains(", learned, adds at least ") && is_learned(&helped), "{because}");
    assert_nothing_that_chose_gives_the_threshold(&helped, 96);
    let read = Profile::from_bytes(&helped.to_bytes(), "helped").unwrap();
    Inspector::new(&Model::built_in(), &read).unwrap().verify_probe(&read).unwrap();

    let not_helped = taught_from(96, |part| belt.good_part(part), 64, auto(), 0);
    let because = &not_helped.about.chosen.as_ref().unwrap().because;
    assert!(because.contains("nothing learned (a head by triplet, a score of patches)"), "{because}");
    assert!(!is_learned(&not_helped), "{because}");
    assert_nothing_that_chose_gives_the_threshold(&not_helped, 96);
}

#[test]
fn auto_stands_by_a_given_recipe_that_is_not_in_its_grid() {
    let folder = tempfile::tempdir().unwrap();
    render_good(&folder.path().join("good"), 12);
    for recipe in ["--pool 5 --neighbours 2", "--pca 16", "--granularity image", "--distance mahalanobis"] {
        let arguments = format!("teach --from {{}}/good --profile {{}}/p --input-px 64 --metric auto {recipe}");
        let output = run(&arguments, folder.path());
        assert_code(&output, 0, recipe);
        assert!(text(&output).contains("chosen from"), "{recipe}: {}", text(&output));
    }
}

#[test]
fn a_recipe_that_cannot_be_taught_is_refused_before_any_metric_is_tried() {
    let folder = tempfile::tempdir().unwrap();
    render_good(&folder.path().join("good"), 10);
    let output = run("teach --from {}/good --profile {}/p --input-px 64 --metric auto --pca 500", folder.path());
    assert_code(&output, 65, "too wide");
    assert!(text(&output).contains("channels") && !text(&output).contains("gathering"), "{}", text(&output));
}

#[test]
fn a_head_learned_by_name_is_in_the_profile_and_survives_its_file() {
    for name in ["triplet", "cos-face"] {
        let mut how = LearnOptions::for_loss(Loss::default_of(name).unwrap());
        how.set("steps=50,batch=64").unwrap();
        let profile = taught(MetricChoice::Learned(how), 0);
        assert_eq!(profile.about.recipe.head, HeadKind::Linear, "{name}");
        let profile = Profile::from_bytes(&profile.to_bytes(), name).unwrap();
        assert!(profile.about.chosen.is_some());
        assert_nothing_that_chose_gives_the_threshold(&profile, 64);
        Inspector::new(&Model::built_in(), &profile).unwrap().verify_probe(&profile).unwrap();
    }
}

#[test]
fn a_head_learns_from_every_preset_and_voids_the_estimate_that_its_own_parts_would_give() {
    let folder = tempfile::tempdir().unwrap();
    render_good(&folder.path().join("good"), 24);
    for preset in ["daisukelab", "daisukelab-blob", "shinmura0", "cutpaste", "mixed"] {
        let output = run(
            &format!(
                "teach --from {{}}/good --profile {{}}/p --input-px 96 --metric triplet --metric-options steps=10,batch=48,preset={preset}"
            ),
            folder.path(),
        );
        assert_code(&output, 0, preset);
        assert!(text(&output).contains("no bound, because the head has learned"), "{preset}: {}", text(&output));
        assert_code(&run("profile verify {}/p", folder.path()), 0, preset);
    }
}

#[test]
fn options_of_a_learned_metric_are_read_or_refused_with_what_there_is() {
    let mut how = LearnOptions::for_loss(Loss::default_of("softmax").unwrap());
    how.set("shape=mlp, hidden=32,width=16,mixup=0.4,preset=cutpaste").unwrap();
    assert_eq!(how.train.mixup, Some(0.4));
    for (wrong, said) in [
        ("colour=red", "there are shape"),
        ("steps", "name=value"),
        ("steps=many", "many"),
        ("shape=round", "residual"),
    ] {
        assert!(how.set(wrong).unwrap_err().contains(said), "{wrong}");
    }
}

#[test]
fn a_metric_that_does_not_exist_is_refused_with_the_names_that_do() {
    let folder = tempfile::tempdir().unwrap();
    let output = run("teach --from {} --profile {}/p --metric tripplet", folder.path());
    assert_code(&output, 2, "a wrong metric");
    assert!(text(&output).contains("triplet") && text(&output).contains("arc-face"), "{}", text(&output));
}

#[test]
fn too_few_good_parts_for_a_batch_are_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    render_good(&folder.path().join("good"), 10);
    let arguments = "teach --from {}/good --profile {}/p --input-px 64 --granularity image --metric softmax";
    let output = run(arguments, folder.path());
    assert_code(&output, 65, "too few parts");
    assert!(text(&output).contains("batch"), "{}", text(&output));
}

#[test]
fn synthetic_defects_are_drawn_with_their_masks_and_a_contact_sheet() {
    let folder = tempfile::tempdir().unwrap();
    render_good(&folder.path().join("good"), 3);
    for (preset, files) in [("mixed", 2 * 44 + 1), ("cutpaste", 2 * 3 + 1)] {
        let output = run(&format!("synth --from {{}}/good --out {{}}/{preset} --preset {preset}"), folder.path());
        assert_code(&output, 0, preset);
        assert_eq!(std::fs::read_dir(folder.path().join(preset)).unwrap().count(), files, "{preset}");
        let sheet = image::open(folder.path().join(preset).join("contact-sheet.png")).unwrap();
        assert!(sheet.width() > 300 && sheet.height() > 100);
    }
    let output = run("synth --from {}/nothing --out {}/none", folder.path());
    assert_code(&output, 66, "no pictures");
}
