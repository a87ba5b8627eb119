//! Promise: the figures of an evaluation are those of scikit-learn, SciPy and NumPy, as stored by
//! tests/fixtures/make_metrics.py.

use std::sync::LazyLock;

use rejectd::evaluate::metrics::{
    PixelScores, auroc, average_precision, binomial_tail, caught_at, connected_components, f1_max, mean_and_spread,
    permutation_p_value, spearman,
};
use rejectd::part::AnomalyMap;
use serde_json::Value;

static STORED: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("fixtures/metrics.json")).expect("the fixture is JSON"));

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
}

/// Scores are stored as whole numbers.
fn scores(value: &Value) -> Vec<f32> {
    let divisor = STORED["divisor"].as_f64().expect("a number");
    numbers(value).into_iter().map(|number| (number / divisor) as f32).collect()
}

fn size(value: &Value, name: &str) -> usize {
    value[name].as_u64().expect("a whole number") as usize
}

fn mask(rows: &Value) -> Option<Vec<bool>> {
    let rows = rows.as_array()?;
    Some(rows.iter().flat_map(|row| row.as_str().expect("a row").chars()).map(|pixel| pixel == '#').collect())
}

fn cases(name: &str) -> &'static [Value] {
    STORED[name].as_array().expect("a list of cases")
}

fn assert_close(found: f64, stored: &Value, what: &str) {
    let stored = stored.as_f64().expect("a number");
    assert!((found - stored).abs() <= 1e-9, "{what}: {found}, stored {stored}");
}

#[test]
fn figures_of_parts_agree_with_scikit_learn() {
    for case in cases("parts") {
        let name = case["name"].as_str().unwrap();
        let scores = scores(&case["scores"]);
        let anomalous: Vec<bool> = numbers(&case["anomalous"]).into_iter().map(|label| label == 1.0).collect();
        let of = |wanted: bool| -> Vec<f32> {
            scores.iter().zip(&anomalous).filter(|(_, label)| **label == wanted).map(|(score, _)| *score).collect()
        };
        assert_close(auroc(&of(false), &of(true)), &case["auroc"], name);
        assert_close(average_precision(&scores, &anomalous).unwrap(), &case["average_precision"], name);
        let best = f1_max(&scores, &anomalous).unwrap();
        assert_close(best.f1, &case["f1_max"], name);
        assert_rejects(&scores, &anomalous, best.threshold, best.recall);
        for pair in case["caught_at"].as_array().unwrap() {
            let limit = pair[0].as_f64().unwrap();
            let caught = caught_at(&scores, &anomalous, limit).unwrap();
            assert_close(caught.caught, &pair[1], name);
            assert!(caught.false_rejects <= limit);
            assert_rejects(&scores, &anomalous, caught.threshold, caught.caught);
        }
    }
}

/// The verdict at `threshold` catches what the figure says.
fn assert_rejects(scores: &[f32], anomalous: &[bool], threshold: f32, caught: f64) {
    let all = anomalous.iter().filter(|label| **label).count();
    let rejected = scores.iter().zip(anomalous).filter(|(score, label)| **label && **score > threshold).count();
    assert_eq!(rejected as f64 / all as f64, caught);
}

#[test]
fn the_permutation_test_agrees_with_the_rank_sum_test() {
    for case in cases("parts") {
        let anomalous: Vec<bool> = numbers(&case["anomalous"]).into_iter().map(|label| label == 1.0).collect();
        let p = permutation_p_value(&scores(&case["scores"]), &anomalous, 20_000, 1);
        let stored = case["p_value"].as_f64().unwrap();
        // Three standard deviations of 20,000 permutations, and the normal approximation of the rank sum.
        assert!((p - stored).abs() < 0.01, "{}: {p}, stored {stored}", case["name"]);
        assert!(stored > 1e-4 || p < 1e-3);
    }
}

#[test]
fn figures_of_pixels_agree_with_scikit_learn_and_with_the_definition_of_aupro() {
    for case in cases("pixels") {
        let name = case["name"].as_str().unwrap();
        let mut pixels = PixelScores::default();
        for picture in case["pictures"].as_array().unwrap() {
            let mask = mask(&picture["mask"]);
            pixels.add(&scores(&picture["map"]), mask.as_deref(), size(picture, "width"), size(picture, "height"));
        }
        for pair in case["aupro"].as_array().unwrap() {
            let figures = pixels.figures(pair[0].as_f64().unwrap()).unwrap();
            assert_close(figures.auroc, &case["auroc"], name);
            assert_close(figures.average_precision, &case["average_precision"], name);
            assert_close(figures.aupro, &pair[1], name);
            assert_eq!((figures.regions, figures.error), (size(case, "regions"), 0.0));
        }
    }
}

#[test]
fn connected_components_agree_with_scipy() {
    for case in cases("components") {
        let mask = mask(&case["mask"]).unwrap();
        let labels = connected_components(&mask, size(case, "width"), size(case, "height"));
        let found: Vec<f64> = labels.into_iter().map(f64::from).collect();
        assert_eq!(found, numbers(&case["labels"]));
    }
}

#[test]
fn rank_correlation_mean_and_deviation_agree_with_scipy_and_numpy() {
    for case in cases("spearman") {
        assert_close(spearman(&numbers(&case["a"]), &numbers(&case["b"])).unwrap(), &case["rho"], "spearman");
    }
    let stored = &STORED["mean_and_spread"];
    let (mean, spread) = mean_and_spread(&numbers(&stored["values"]));
    assert_close(mean, &stored["mean"], "mean");
    assert_close(spread, &stored["spread"], "spread");
}

#[test]
fn binomial_tails_agree_with_exact_fractions_and_scipy() {
    for case in cases("binomial") {
        let [n, k, p, tail] = numbers(case)[..] else { panic!("{case}") };
        let found = binomial_tail(n as usize, k as usize, p);
        assert!((found / tail - 1.0).abs() < 1e-9, "{case}: {found}");
    }
}

#[test]
fn an_anomaly_map_is_resized_as_scipy_does() {
    for case in cases("resized") {
        let map =
            AnomalyMap { width: size(case, "width"), height: size(case, "height"), distances: scores(&case["map"]) };
        let resized = map.resized(size(case, "to_width") as u32, size(case, "to_height") as u32);
        let stored = numbers(&case["resized"]);
        assert_eq!(resized.len(), stored.len());
        assert!(resized.iter().zip(&stored).all(|(found, stored)| (f64::from(*found) - stored).abs() < 1e-6));
    }
}
