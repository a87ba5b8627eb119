//! Average precision.

use super::thresholds;

/// Average precision, the area under the curve of precision over recall (AUPR).
///
/// AP = Σᵢ (Rᵢ − Rᵢ₋₁) · Pᵢ over the distinct scores from the largest down, where Rᵢ is the share of the anomalous ones
/// that score at least as much and Pᵢ the share of anomalous ones among all that do. Equal scores are one step, and
/// nothing is interpolated.
/// * `scores`, `anomalous` — of the same parts or pixels, in any order
///
/// Returns a number in (0, 1]: the share of anomalous ones if the scores are all equal; `None` if there are no good or no
/// anomalous ones.
///
/// ```
/// use rejectd::evaluate::metrics::average_precision;
/// // The first anomalous one is found with precision 1, the second with 2 of 3.
/// let found = average_precision(&[0.9, 0.7, 0.5, 0.3], &[true, false, true, false]);
/// assert_eq!(found, Some(0.5 * 1.0 + 0.5 * 2.0 / 3.0));
/// ```
/// # Panics  if there is not one label for each score.
/// # Source  `sklearn.metrics.average_precision_score`
pub fn average_precision(scores: &[f32], anomalous: &[bool]) -> Option<f64> {
    let (choices, _, all_anomalous) = thresholds(scores, anomalous)?;
    let step = |pair: &[super::Rejected]| {
        let recalled = (pair[1].anomalous - pair[0].anomalous) as f64 / all_anomalous as f64;
        let precision = pair[1].anomalous as f64 / (pair[1].anomalous + pair[1].good) as f64;
        recalled * precision
    };
    Some(choices.windows(2).map(step).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perfect_reversed_and_tied_scores() {
        let labels = [true, true, false, false];
        assert_eq!(average_precision(&[4.0, 3.0, 2.0, 1.0], &labels), Some(1.0));
        // The anomalous ones come third and fourth: ½ · 1/3 + ½ · 2/4.
        let reversed = average_precision(&[1.0, 2.0, 3.0, 4.0], &labels).unwrap();
        assert!((reversed - 5.0 / 12.0).abs() < 1e-15);
        assert_eq!(average_precision(&[1.0; 4], &[true, false, false, false]), Some(0.25));
        // A good one that ties with the best anomalous one spoils its precision: ½ · 1/2 + ½ · 2/3.
        let tied = average_precision(&[4.0, 3.0, 4.0, 1.0], &labels).unwrap();
        assert!((tied - 7.0 / 12.0).abs() < 1e-15);
    }

    #[test]
    fn one_class_or_nothing_has_no_precision() {
        assert_eq!(average_precision(&[], &[]), None);
        assert_eq!(average_precision(&[1.0, 2.0], &[true, true]), None);
        assert_eq!(average_precision(&[1.0, 2.0], &[false, false]), None);
    }

    #[test]
    fn a_score_that_is_no_number_counts_as_the_worst() {
        assert_eq!(average_precision(&[f32::NAN, 0.5], &[true, false]), Some(1.0));
        assert_eq!(average_precision(&[f32::NAN, 0.5], &[false, true]), Some(0.5));
    }
}
