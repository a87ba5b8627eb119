//! The best F1 that any threshold would reach.

use super::thresholds;

/// The best F1 and where it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct F1Max {
    pub f1: f64,
    /// The largest score that is accepted; −∞ if the best is to reject all.
    pub threshold: f32,
    /// The share of anomalous ones among the rejected.
    pub precision: f64,
    /// The share of the anomalous ones that is rejected.
    pub recall: f64,
}

/// The largest F1 over all thresholds, with the verdict "score > threshold is rejected".
///
/// F1 = 2 · P · R ÷ (P + R) = 2 · TP ÷ (TP + FP + |anomalous|). Equal scores are rejected together. Of thresholds with the
/// same F1 the highest is taken, which rejects the fewest.
/// * `scores`, `anomalous` — of the same parts or pixels, in any order
///
/// Returns `None` if there are no good or no anomalous ones. The threshold is chosen on the labelled scores themselves:
/// it says what the scores could do, never what a threshold set beforehand will do.
///
/// ```
/// use rejectd::evaluate::metrics::f1_max;
/// let best = f1_max(&[0.9, 0.7, 0.5, 0.3], &[true, false, true, false]).unwrap();
/// assert_eq!((best.threshold, best.recall, best.precision), (0.3, 1.0, 2.0 / 3.0));
/// ```
/// # Panics  if there is not one label for each score.
/// # Source  The maximum over `sklearn.metrics.precision_recall_curve`; there a score at the threshold is positive, here
/// it is good, so the same F1 stands at the next lower score.
pub fn f1_max(scores: &[f32], anomalous: &[bool]) -> Option<F1Max> {
    let (choices, _, all_anomalous) = thresholds(scores, anomalous)?;
    let f1 = |choice: &super::Rejected| {
        2.0 * choice.anomalous as f64 / (choice.anomalous + choice.good + all_anomalous) as f64
    };
    let best = choices.iter().rev().max_by(|a, b| f1(a).total_cmp(&f1(b)))?;
    Some(F1Max {
        f1: f1(best),
        threshold: best.threshold,
        precision: best.anomalous as f64 / (best.anomalous + best.good) as f64,
        recall: best.anomalous as f64 / all_anomalous as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separable_scores_reach_one_at_the_largest_good_score() {
        let best = f1_max(&[0.1, 0.8, 0.4, 0.9], &[false, true, false, true]).unwrap();
        assert_eq!(best, F1Max { f1: 1.0, threshold: 0.4, precision: 1.0, recall: 1.0 });
    }

    #[test]
    fn equal_scores_are_rejected_together_or_not_at_all() {
        // At −∞ all are rejected: 2 · 2 / (2 + 2 + 2). Half of the tie alone would reach more.
        let best = f1_max(&[0.5; 4], &[true, true, false, false]).unwrap();
        assert_eq!(best, F1Max { f1: 4.0 / 6.0, threshold: f32::NEG_INFINITY, precision: 0.5, recall: 1.0 });
    }

    #[test]
    fn of_equally_good_thresholds_the_highest_is_taken() {
        // Rejecting 5 alone has F1 = 2 / (1 + 0 + 2), rejecting 5 to 2, two of four anomalous, 4 / (2 + 2 + 2).
        let best = f1_max(&[5.0, 4.0, 3.0, 2.0], &[true, false, false, true]).unwrap();
        assert_eq!((best.f1, best.threshold), (2.0 / 3.0, 4.0));
    }

    #[test]
    fn what_cannot_be_told_apart_and_what_is_no_number_is_rejected() {
        let best = f1_max(&[f32::NAN, 1.0], &[true, false]).unwrap();
        assert_eq!((best.f1, best.threshold), (1.0, 1.0));
        // Reversed scores: nothing beats rejecting all.
        let best = f1_max(&[1.0, 2.0, 3.0], &[true, false, false]).unwrap();
        assert_eq!((best.f1, best.threshold), (0.5, f32::NEG_INFINITY));
    }

    #[test]
    fn one_class_or_nothing_has_no_f1() {
        assert_eq!(f1_max(&[], &[]), None);
        assert_eq!(f1_max(&[1.0], &[true]), None);
        assert_eq!(f1_max(&[1.0], &[false]), None);
    }
}
