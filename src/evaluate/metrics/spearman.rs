//! Rank correlation.

use super::ranks::average_ranks;

/// Spearman's rank correlation: Pearson's correlation of the ranks, where equal values share the mean of their ranks.
///
/// ρ = Σ(rₐ − r̄)(r_b − r̄) ÷ √(Σ(rₐ − r̄)² · Σ(r_b − r̄)²), r̄ = (n + 1) ÷ 2
/// * `a`, `b` — two figures of each of n things, in the same order
///
/// Returns a number in [−1, 1]: 1 if both rise together, 0 if neither says anything about the other. `None` where it is
/// not defined: all values of one side are equal, there are fewer than two, or one is not a number.
///
/// ```
/// use rejectd::evaluate::metrics::spearman;
/// assert_eq!(spearman(&[1.0, 2.0, 3.0], &[10.0, 20.0, 1000.0]), Some(1.0));
/// ```
/// # Panics  if `a` and `b` differ in length.
/// # Source  `scipy.stats.spearmanr`
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    assert_eq!(a.len(), b.len(), "both sides have a value for each thing");
    if a.iter().chain(b).any(|value| value.is_nan()) {
        return None;
    }
    let middle = (a.len() + 1) as f64 / 2.0;
    let [a, b] = [a, b].map(|side| average_ranks(side).into_iter().map(|rank| rank - middle).collect::<Vec<_>>());
    let products = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let spread = (products(&a, &a) * products(&b, &b)).sqrt();
    (spread > 0.0).then(|| (products(&a, &b) / spread).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_alone_counts() {
        assert_eq!(spearman(&[1.0, 2.0, 3.0, 4.0], &[0.1, 0.2, 0.9, 77.0]), Some(1.0));
        assert_eq!(spearman(&[1.0, 2.0, 3.0, 4.0], &[4.0, 3.0, 2.0, -9.0]), Some(-1.0));
        // Without ties ρ = 1 − 6 Σd² / (n (n² − 1)); here d = 1, 1, 0.
        assert!((spearman(&[1.0, 2.0, 3.0], &[2.0, 1.0, 3.0]).unwrap() - 0.5).abs() < 1e-15);
    }

    #[test]
    fn ties_share_their_rank() {
        // Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: 4.5 / √(4.5 · 5).
        let tied = spearman(&[1.0, 2.0, 2.0, 3.0], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert!((tied - 0.9f64.sqrt()).abs() < 1e-15);
    }

    #[test]
    fn what_does_not_vary_or_is_no_number_has_no_correlation() {
        assert_eq!(spearman(&[], &[]), None);
        assert_eq!(spearman(&[1.0], &[1.0]), None);
        assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(spearman(&[1.0, f64::NAN], &[1.0, 2.0]), None);
    }
}
