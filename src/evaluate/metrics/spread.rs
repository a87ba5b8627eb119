//! Mean and standard deviation, and the median.

/// The mean and the sample standard deviation of `values`, for figures of several seeds or products.
///
/// x̄ = Σx ÷ n; s = √(Σ(x − x̄)² ÷ (n − 1))
///
/// Returns (x̄, s). The mean of none, and the deviation of fewer than two, is not a number: it was not measured.
///
/// ```
/// use rejectd::evaluate::metrics::mean_and_spread;
/// assert_eq!(mean_and_spread(&[1.0, 2.0, 3.0]), (2.0, 1.0));
/// ```
/// # Source  `numpy.mean` and `numpy.std(…, ddof=1)`
pub fn mean_and_spread(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    let spread = if values.len() < 2 { f64::NAN } else { (squares / (count - 1.0)).sqrt() };
    (mean, spread)
}

/// The median; of an even number of values the mean of the two in the middle.
/// * `sorted` — at least one, in ascending order
///
/// ```
/// use rejectd::evaluate::metrics::median;
/// assert_eq!((median(&[1.0, 2.0, 9.0]), median(&[1.0, 2.0, 4.0, 9.0])), (2.0, 3.0));
/// ```
pub fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { 0.5 * (sorted[middle - 1] + sorted[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_a_person_can_check() {
        // Deviations −3, −1, −1, −1, 0, 0, 2, 4 have squares that add up to 32.
        let (mean, spread) = mean_and_spread(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!(mean, 5.0);
        assert!((spread - (32.0f64 / 7.0).sqrt()).abs() < 1e-15);
        assert_eq!(mean_and_spread(&[0.5; 3]), (0.5, 0.0));
    }

    #[test]
    fn what_was_not_measured_is_no_number() {
        let (mean, spread) = mean_and_spread(&[]);
        assert!(mean.is_nan() && spread.is_nan());
        let (mean, spread) = mean_and_spread(&[3.0]);
        assert!(mean == 3.0 && spread.is_nan());
    }
}
