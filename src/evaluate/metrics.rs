//! Figures of merit of scores, and of latencies. Scores: larger is worse, anomalous ones should lie above good ones.
//!
//! A score that is no number counts as the largest of all, as it does for the verdict: such a part is not good.
//! A threshold rejects what lies above it, as the verdict does; equal scores are accepted or rejected together.
//! Where one of two classes is missing nothing was told apart: there is no figure, `None` or not a number.

use std::time::Duration;

mod caught;
mod components;
mod f1;
mod permutation;
mod pixels;
mod precision;
mod ranks;
mod spearman;
mod spread;

pub use crate::teach::binomial::binomial_tail;
pub use caught::{Caught, caught_at};
pub use components::connected_components;
pub use f1::{F1Max, f1_max};
pub use permutation::permutation_p_value;
pub use pixels::{FPR_LIMIT, PixelFigures, PixelScores};
pub use precision::average_precision;
pub use spearman::spearman;
pub use spread::{mean_and_spread, median};

/// Area under the receiver operating characteristic: the chance that an anomalous part scores above a good one.
///
/// AUROC = (#{(g, a): a > g} + ½ · #{(g, a): a = g}) ÷ (|good| · |anomalous|), computed from ranks in O(n log n).
/// * `good`, `anomalous` — scores of parts (image AUROC) or of pixels (pixel AUROC), in any order
///
/// Returns a number in [0, 1]: 1 if every anomalous one lies above every good one, 0.5 for guessing; not a number if
/// either is empty, for then nothing was measured.
///
/// ```
/// use rejectd::evaluate::metrics::auroc;
/// // Of the four pairs three are in order and one is tied.
/// assert_eq!(auroc(&[0.1, 0.2], &[0.2, 0.3]), 0.875);
/// ```
/// # Source  Mann and Whitney 1947; equals `sklearn.metrics.roc_auc_score`.
pub fn auroc(good: &[f32], anomalous: &[f32]) -> f64 {
    let mut good_below = 0.0;
    let mut pairs_won = 0.0;
    for tie in ties(two_classes(good, anomalous)).iter().rev() {
        pairs_won += tie.anomalous as f64 * (good_below + 0.5 * tie.good as f64);
        good_below += tie.good as f64;
    }
    pairs_won / (good.len() as f64 * anomalous.len() as f64)
}

/// What a threshold would do: one point of the receiver operating characteristic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RocPoint {
    /// A part is rejected if its score lies above it.
    pub threshold: f32,
    /// The share of good parts that are rejected, the false positive rate.
    pub false_reject_rate: f64,
    /// The share of anomalous parts that are rejected, the true positive rate.
    pub caught_rate: f64,
}

/// The receiver operating characteristic, from the highest threshold, which rejects nothing, to −∞, which rejects all.
///
/// Returns one point for each distinct score as the threshold, and one for −∞; none if either input is empty.
/// # Source  The rates equal `sklearn.metrics.roc_curve(…, drop_intermediate=False)`; there a score at the threshold
/// is positive, here it is good, so the same rates stand at the next lower score.
pub fn roc(good: &[f32], anomalous: &[f32]) -> Vec<RocPoint> {
    if good.is_empty() || anomalous.is_empty() {
        return Vec::new();
    }
    let mut points = Vec::new();
    let (mut false_rejects, mut caught) = (0, 0);
    let mut point = |threshold, false_rejects: usize, caught: usize| {
        points.push(RocPoint {
            threshold,
            false_reject_rate: false_rejects as f64 / good.len() as f64,
            caught_rate: caught as f64 / anomalous.len() as f64,
        })
    };
    for tie in ties(two_classes(good, anomalous)) {
        point(tie.score, false_rejects, caught);
        false_rejects += tie.good;
        caught += tie.anomalous;
    }
    point(f32::NEG_INFINITY, false_rejects, caught);
    points
}

/// The smallest of `values` that at least `percent` % of them do not exceed (nearest rank).
///
/// It is always a value that occurred, never a mean of two: a latency that nobody measured proves nothing.
/// * `percent` — in [0, 100]; 0 is the smallest, 100 the largest value
///
/// Returns `None` if there are no values.
/// # Source  `numpy.percentile(…, method="inverted_cdf")`
pub fn percentile(values: &[Duration], percent: f64) -> Option<Duration> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// How many good and anomalous ones share one score.
struct Tie {
    score: f32,
    good: usize,
    anomalous: usize,
}

/// Scores, each with whether it is of an anomalous one.
type Labelled = (f32, bool);

fn two_classes(good: &[f32], anomalous: &[f32]) -> Vec<Labelled> {
    good.iter().map(|&score| (score, false)).chain(anomalous.iter().map(|&score| (score, true))).collect()
}

/// The distinct scores, from the largest to the smallest.
fn ties(mut scores: Vec<Labelled>) -> Vec<Tie> {
    scores.iter_mut().for_each(|(score, _)| *score = number(*score));
    scores.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    scores
        .chunk_by(|a, b| a.0 == b.0)
        .map(|tie| {
            let anomalous = tie.iter().filter(|(_, anomalous)| *anomalous).count();
            Tie { score: tie[0].0, good: tie.len() - anomalous, anomalous }
        })
        .collect()
}

/// What counts for a score that is no number: the largest of all.
fn number(score: f32) -> f32 {
    if score.is_nan() { f32::INFINITY } else { score }
}

/// What a threshold rejects.
#[derive(Clone, Copy)]
struct Rejected {
    /// The largest score that is not rejected; −∞ if all are.
    threshold: f32,
    good: usize,
    anomalous: usize,
}

/// Every choice of a threshold, from the highest, which rejects nothing, to −∞, which rejects all; and how many good
/// and anomalous ones there are. `None` if there are none of either.
/// # Panics  if there is not one label for each score.
fn thresholds(scores: &[f32], anomalous: &[bool]) -> Option<(Vec<Rejected>, usize, usize)> {
    assert_eq!(scores.len(), anomalous.len(), "every score has a label");
    let mut rejected = Rejected { threshold: f32::NEG_INFINITY, good: 0, anomalous: 0 };
    let mut choices = Vec::new();
    for tie in ties(scores.iter().copied().zip(anomalous.iter().copied()).collect()) {
        choices.push(Rejected { threshold: tie.score, ..rejected });
        rejected.good += tie.good;
        rejected.anomalous += tie.anomalous;
    }
    choices.push(rejected);
    (rejected.good > 0 && rejected.anomalous > 0).then_some((choices, rejected.good, rejected.anomalous))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auroc_of_hand_made_cases() {
        assert_eq!(auroc(&[0.1, 0.2], &[0.3, 0.4, 0.5]), 1.0);
        assert_eq!(auroc(&[0.3, 0.4], &[0.1, 0.2]), 0.0);
        assert_eq!(auroc(&[0.7; 3], &[0.7; 5]), 0.5);
        // Of the four pairs, 3 > 1, 3 > 2 and 2 > 1 are won and 2 = 2 is half won.
        assert_eq!(auroc(&[1.0, 2.0], &[2.0, 3.0]), 0.875);
        assert_eq!(auroc(&[0.0], &[-0.0]), 0.5);
    }

    #[test]
    fn auroc_of_nothing_is_not_a_number() {
        assert!(auroc(&[], &[1.0]).is_nan());
        assert!(auroc(&[1.0], &[]).is_nan());
    }

    #[test]
    fn a_score_that_is_no_number_counts_as_the_worst() {
        assert_eq!(auroc(&[0.1, 0.9], &[f32::NAN]), 1.0);
        assert_eq!(auroc(&[-f32::NAN], &[0.5]), 0.0);
    }

    const GOOD: [f32; 24] = [
        0.40, 0.27, 0.30, 0.32, 0.25, 0.30, 0.30, 0.19, 0.36, 0.34, 0.26, 0.29, 0.33, 0.28, 0.29, 0.21, 0.33, 0.31,
        0.32, 0.21, 0.40, 0.31, 0.28, 0.42,
    ];
    const ANOMALOUS: [f32; 17] =
        [0.38, 0.25, 0.34, 0.17, 0.47, 0.34, 0.31, 0.48, 0.23, 0.43, 0.19, 0.32, 0.27, 0.51, 0.54, 0.35, 0.46];

    #[test]
    fn auroc_agrees_with_scikit_learn() {
        // roc_auc_score of scikit-learn 1.9.1 on the same scores.
        assert!((auroc(&GOOD, &ANOMALOUS) - 0.6531862745098039).abs() < 1e-15);
    }

    #[test]
    fn the_curve_agrees_with_scikit_learn_and_its_area_is_the_auroc() {
        let curve = roc(&GOOD, &ANOMALOUS);
        // roc_curve(…, drop_intermediate=False) of scikit-learn 1.9.1 on the same scores.
        assert_eq!(curve.len(), 26);
        let rates = |i: usize| (curve[i].false_reject_rate, curve[i].caught_rate);
        assert_eq!(rates(0), (0.0, 0.0));
        assert_eq!(rates(1), (0.0, 0.058823529411764705));
        assert_eq!(rates(5), (0.0, 0.29411764705882354));
        assert_eq!(rates(10), (0.16666666666666666, 0.4117647058823529));
        assert_eq!(rates(25), (1.0, 1.0));
        let area: f64 = curve
            .windows(2)
            .map(|w| (w[1].false_reject_rate - w[0].false_reject_rate) * (w[0].caught_rate + w[1].caught_rate) / 2.0)
            .sum();
        assert!((area - auroc(&GOOD, &ANOMALOUS)).abs() < 1e-12);
    }

    #[test]
    fn a_point_of_the_curve_rejects_what_the_verdict_rejects() {
        for point in roc(&GOOD, &ANOMALOUS) {
            let rejected = GOOD.iter().filter(|&&score| score > point.threshold).count();
            assert_eq!(point.false_reject_rate, rejected as f64 / 24.0);
        }
    }

    #[test]
    fn a_percentile_is_a_value_that_occurred() {
        let values = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3].map(Duration::from_millis);
        // numpy.percentile(…, method="inverted_cdf") of numpy 2.4.6.
        let expected = [(0.0, 1), (10.0, 1), (50.0, 3), (95.0, 9), (99.0, 9), (100.0, 9)];
        for (percent, ms) in expected {
            assert_eq!(percentile(&values, percent), Some(Duration::from_millis(ms)), "{percent} %");
        }
        assert_eq!(percentile(&[], 50.0), None);
        assert_eq!(percentile(&values[..1], 99.0), Some(Duration::from_millis(3)));
    }
}
