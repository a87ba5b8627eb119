//! Promise: "at most x % false rejects with 95 % confidence, from n parts" holds for the whole chain, from the pixels on.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rejectd::inspect::Inspector;
use rejectd::inspect::card::Model;
use rejectd::teach::calibrate::bounded;
use rejectd::teach::{GoodParts, Options, teach};

mod common;

const POOL: u64 = 1000;
const DRAWS: usize = 200;
const CALIBRATION: usize = 59;
const BOUND: f64 = 0.05;

#[test]
fn of_200_thresholds_from_59_parts_at_least_95_in_100_keep_the_bound_of_5_percent() {
    let model = Model::built_in();
    let belt = common::belt(64);
    let mut options = Options::for_model(&model);
    options.recipe.input_px = [64, 64];
    options.bank_rows = 200;
    let names = (0..60).map(|part| part.to_string()).collect();
    let parts = GoodParts::read(names, |part| Ok(belt.good_part(part as u64))).unwrap();
    let profile = teach(&model, &options, &parts, &|_, _, _| ()).unwrap();
    let mut inspector = Inspector::new(&model, &profile).unwrap();
    // Parts that neither the bank nor any choice ever saw.
    let mut scores: Vec<f32> =
        (60..60 + POOL).map(|part| inspector.inspect(&belt.good_part(part)).unwrap().score).collect();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let kept = (0..DRAWS).filter(|_| {
        scores.shuffle(&mut rng);
        let (calibration, others) = scores.split_at(CALIBRATION);
        let threshold = bounded(calibration, Some(BOUND)).unwrap().value;
        let false_rejects = others.iter().filter(|score| **score > threshold).count();
        false_rejects as f64 <= BOUND * others.len() as f64
    });
    let kept = kept.count();
    println!("{kept} of {DRAWS} draws keep the bound");
    // 0.951 is expected; three standard deviations of 200 draws below it are 0.905.
    assert!(kept >= 181, "only {kept} of {DRAWS} draws keep the bound");
    // And the bound is not kept by being slack: with far fewer parts it would be broken often.
    let mut broken = 0;
    for _ in 0..DRAWS {
        scores.shuffle(&mut rng);
        let (calibration, others) = scores.split_at(10);
        let threshold = bounded(calibration, None).unwrap().value;
        broken +=
            usize::from(others.iter().filter(|score| **score > threshold).count() as f64 > BOUND * others.len() as f64);
    }
    assert!(broken > DRAWS / 4, "thresholds from 10 parts broke a bound of 5 % only {broken} times");
}
