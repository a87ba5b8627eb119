//! What is caught where false rejects are limited.

use super::thresholds;

/// What a threshold catches, and what it costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Caught {
    /// The share of the anomalous ones that is rejected.
    pub caught: f64,
    /// The share of the good ones that is rejected, at most what was allowed.
    pub false_rejects: f64,
    /// The largest score that is accepted; −∞ if all are rejected.
    pub threshold: f32,
}

/// The largest share of anomalous parts that a threshold catches while it rejects at most `false_rejects` of the good
/// ones.
///
/// Equal scores are rejected together, so a tie of good ones that is one too many is not rejected at all, nor what lies
/// below it. Of thresholds that catch the same the highest is taken.
/// * `scores`, `anomalous` — of the same parts, in any order
/// * `false_rejects` — in [0, 1]; 0 asks for what lies above every good part
///
/// Returns `None` if there are no good or no anomalous parts. The threshold is chosen on the labelled scores themselves:
/// it says what the scores could do, never what a threshold set beforehand will do.
///
/// ```
/// use rejectd::evaluate::metrics::caught_at;
/// let (scores, anomalous) = ([0.9, 0.7, 0.5, 0.3], [true, false, true, false]);
/// assert_eq!(caught_at(&scores, &anomalous, 0.0).unwrap().caught, 0.5);
/// assert_eq!(caught_at(&scores, &anomalous, 0.5).unwrap().caught, 1.0);
/// ```
/// # Panics  if there is not one label for each score.
/// # Source  The largest true positive rate of `sklearn.metrics.roc_curve` at a false positive rate ≤ `false_rejects`.
pub fn caught_at(scores: &[f32], anomalous: &[bool], false_rejects: f64) -> Option<Caught> {
    let (choices, all_good, all_anomalous) = thresholds(scores, anomalous)?;
    let choices = choices.iter().map(|choice| Caught {
        caught: choice.anomalous as f64 / all_anomalous as f64,
        false_rejects: choice.good as f64 / all_good as f64,
        threshold: choice.threshold,
    });
    choices
        .take_while(|choice| choice.false_rejects <= false_rejects || choice.false_rejects == 0.0)
        .reduce(|best, choice| if choice.caught > best.caught { choice } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [f32; 8] = [9.0, 8.0, 7.0, 7.0, 6.0, 5.0, 4.0, 3.0];
    const ANOMALOUS: [bool; 8] = [true, true, false, true, false, true, false, false];

    fn at(false_rejects: f64) -> (f64, f64, f32) {
        let caught = caught_at(&SCORES, &ANOMALOUS, false_rejects).unwrap();
        (caught.caught, caught.false_rejects, caught.threshold)
    }

    #[test]
    fn more_is_caught_as_more_false_rejects_are_allowed() {
        assert_eq!(at(0.0), (0.5, 0.0, 7.0));
        assert_eq!(at(0.24), (0.5, 0.0, 7.0));
        assert_eq!(at(0.25), (0.75, 0.25, 6.0));
        assert_eq!(at(0.5), (1.0, 0.5, 4.0));
        assert_eq!(at(1.0), (1.0, 0.5, 4.0));
    }

    #[test]
    fn an_anomalous_part_that_ties_with_a_good_one_is_not_caught_for_nothing() {
        let caught = caught_at(&[2.0, 2.0, 1.0], &[true, false, false], 0.0).unwrap();
        assert_eq!(caught, Caught { caught: 0.0, false_rejects: 0.0, threshold: 2.0 });
    }

    #[test]
    fn a_share_that_is_a_whole_number_of_parts_is_allowed_in_full() {
        // Of 60 good parts, 3 are 0.05, whatever the rounding of 0.05 is.
        let mut scores: Vec<f32> = (0..60).map(|part| part as f32).collect();
        let mut anomalous = vec![false; 60];
        scores.push(56.5);
        anomalous.push(true);
        assert_eq!(caught_at(&scores, &anomalous, 0.05).unwrap().caught, 1.0);
        assert_eq!(caught_at(&scores, &anomalous, 0.0499).unwrap().caught, 0.0);
    }

    #[test]
    fn a_limit_that_is_no_share_allows_no_false_reject() {
        assert_eq!(at(-1.0), at(0.0));
        assert_eq!(at(f64::NAN), at(0.0));
    }

    #[test]
    fn one_class_or_nothing_catches_nothing() {
        assert_eq!(caught_at(&[], &[], 0.1), None);
        assert_eq!(caught_at(&[1.0], &[true], 0.1), None);
        assert_eq!(caught_at(&[1.0], &[false], 0.1), None);
    }
}
