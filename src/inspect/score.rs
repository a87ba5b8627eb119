//! The anomaly score of a picture: one number from the distances of its embeddings.

use super::recipe::ScoreRule;

/// The score by `rule`; larger is worse. A distance that is no number makes the score none, which no verdict accepts.
/// * `distances` — (P,), P ≥ 1
///
/// ```
/// use rejectd::inspect::{recipe::ScoreRule, score::score};
/// assert_eq!(score(&[0.5, 0.25, 1.0, 0.0], ScoreRule::TopFraction(0.5)), 0.75);
/// ```
pub fn score(distances: &[f32], rule: ScoreRule) -> f32 {
    if distances.iter().any(|distance| distance.is_nan()) {
        return f32::NAN;
    }
    match rule {
        ScoreRule::Max => distances.iter().copied().fold(f32::NEG_INFINITY, f32::max),
        ScoreRule::TopFraction(fraction) => {
            let count = ((distances.len() as f32 * fraction).round() as usize).clamp(1, distances.len());
            let mut distances = distances.to_vec();
            let (larger, smallest_of_top, _) = distances.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
            (larger.iter().sum::<f32>() + *smallest_of_top) / count as f32
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_on_ten_distances() {
        let distances = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
        assert_eq!(score(&distances, ScoreRule::Max), 1.0);
        assert!((score(&distances, ScoreRule::TopFraction(0.3)) - 0.9).abs() < 1e-6);
        assert!((score(&distances, ScoreRule::TopFraction(1.0)) - 0.55).abs() < 1e-6);
        assert_eq!(score(&distances, ScoreRule::TopFraction(0.001)), 1.0);
    }

    #[test]
    fn a_distance_that_is_no_number_is_never_hidden_by_the_others() {
        for rule in [ScoreRule::Max, ScoreRule::TopFraction(0.5)] {
            assert!(score(&[0.1, f32::NAN, 0.2], rule).is_nan());
        }
    }
}
