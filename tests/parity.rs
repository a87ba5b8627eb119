//! Promise: the same pictures have the same scores on every machine, within 1e-4 · max(1, threshold).
//!
//! The pictures are made by integers alone, so that no machine's mathematics draws them, and the bank holds every embedding,
//! so that no close choice of the coreset tips over. The golden scores were computed on x86-64; this test also runs on ARM,
//! under emulation (`packaging/cross aarch64-unknown-linux-gnu test --release --test parity`). REJECTD_RECORD=1 writes them anew.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rejectd::clock::Timestamp;
use rejectd::frame::Frame;
use rejectd::inspect::Inspector;
use rejectd::inspect::card::Model;
use rejectd::inspect::recipe::Distance;
use rejectd::teach::{GoodParts, Options, teach};

/// The network's smallest input, so that an emulated board needs seconds.
const SIDE: u32 = 32;
const GOOD: usize = 12;
const GOLDEN: &str = "tests/fixtures/parity.json";

/// A part with a little noise; one with a defect has a bright square.
fn picture(number: u64, defect: bool) -> Frame {
    let mut rng = ChaCha8Rng::seed_from_u64(number);
    let square = 8..8 + 4 + number as u32 % 8;
    let mut rgb = Vec::new();
    for y in 0..SIDE {
        for x in 0..SIDE {
            let light = if defect && square.contains(&x) && square.contains(&y) { 90 } else { 0 };
            (0..3).for_each(|c| rgb.push((60 + (5 * x + 3 * y + 20 * c) % 90 + light + rng.random_range(0..12)) as u8));
        }
    }
    Frame::new(SIDE, SIDE, rgb, Timestamp(number), number).unwrap()
}

/// The threshold, and the scores of six good and six defective parts that were not taught.
fn scores(distance: Distance) -> (f32, Vec<f32>) {
    let model = Model::built_in();
    let mut options = Options::for_model(&model);
    options.recipe.input_px = [SIDE as usize; 2];
    options.recipe.distance = distance;
    options.recipe.normalise = distance == Distance::Cosine;
    options.bank_rows = 100_000;
    options.threads = 2;
    let names = (0..GOOD).map(|part| part.to_string()).collect();
    let parts = GoodParts::read(names, |part| Ok(picture(part as u64, false))).unwrap();
    let profile = teach(&model, &options, &parts, &|_, _, _| ()).unwrap();
    let mut inspector = Inspector::new(&model, &profile).unwrap();
    let scores = (100..112).map(|part| inspector.inspect(&picture(part, part >= 106)).unwrap().score).collect();
    (profile.about.threshold.value, scores)
}

#[test]
fn scores_on_this_machine_are_the_golden_ones() {
    let found: Vec<(String, f32, Vec<f32>)> = [Distance::Cosine, Distance::Euclidean, Distance::Mahalanobis]
        .map(|distance| (format!("{distance:?}"), scores(distance)))
        .map(|(name, (threshold, scores))| (name, threshold, scores))
        .into();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    if std::env::var_os("REJECTD_RECORD").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(&found).unwrap() + "\n").unwrap();
    }
    let golden: Vec<(String, f32, Vec<f32>)> = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(golden.len(), found.len());
    for ((name, threshold, scores), (_, found_threshold, found_scores)) in golden.iter().zip(&found) {
        let differences = scores.iter().zip(found_scores).map(|(golden, found)| (golden - found).abs());
        let worst = differences.fold((threshold - found_threshold).abs(), f32::max);
        let limit = 1e-4 * threshold.max(1.0);
        println!("{name}: threshold {threshold}, the scores differ by {worst:e} at most, {limit:e} is allowed");
        assert!(worst <= limit, "{name}: {found_threshold} {found_scores:?}");
        assert!(scores[6..].iter().all(|score| score > threshold), "{name}: the defects are seen: {scores:?}");
    }
}
