//! The tail of the binomial distribution.

/// P(X ≥ k) for X ~ Bin(n, p): the chance of at least k successes in n trials.
///
/// = Σᵢ₌ₖⁿ tᵢ ÷ Σᵢ₌₀ⁿ tᵢ with tᵢ = P(X = i) ÷ P(X = mode), from the ratios tᵢ₊₁ ÷ tᵢ = (n − i) ÷ (i + 1) · p ÷ (1 − p).
/// All terms are positive, so nothing cancels: the relative error is below 1e-9 for n up to 10⁶. Tails below 1e-300 may
/// come out as 0. The time grows with √n, not n.
/// * `p` — the chance of one success, in [0, 1]
///
/// ```
/// use rejectd::evaluate::metrics::binomial_tail;
/// // At least two heads of three: 3 · 1/8 + 1/8.
/// assert_eq!(binomial_tail(3, 2, 0.5), 0.5);
/// ```
/// # Panics  if `p` is not in [0, 1].
/// # Source  `scipy.stats.binom.sf(k - 1, n, p)`
pub fn binomial_tail(n: usize, k: usize, p: f64) -> f64 {
    assert!((0.0..=1.0).contains(&p), "a chance lies between 0 and 1, not at {p}");
    if k == 0 || k > n || p == 0.0 || p == 1.0 {
        return if k == 0 || (k <= n && p == 1.0) { 1.0 } else { 0.0 };
    }
    let mode = (((n + 1) as f64 * p) as usize).min(n);
    let odds = p / (1.0 - p);
    let up = terms(mode..n, |i| (n - i) as f64 / (i + 1) as f64 * odds);
    let down = terms((1..mode + 1).rev(), |i| i as f64 / (n - i + 1) as f64 / odds);
    let (mut in_tail, mut below) = (0.0, 0.0);
    let at = [(mode, 1.0)].into_iter();
    for (i, term) in at.chain((mode + 1..).zip(up)).chain((0..mode).rev().zip(down)) {
        *(if i >= k { &mut in_tail } else { &mut below }) += term;
    }
    in_tail / (in_tail + below)
}

/// The terms that follow one of 1, each `ratio(i)` times the one before, until they vanish.
fn terms(steps: impl Iterator<Item = usize>, ratio: impl Fn(usize) -> f64) -> impl Iterator<Item = f64> {
    let next = move |term: &mut f64, i| {
        *term *= ratio(i);
        (*term > 0.0).then_some(*term)
    };
    steps.scan(1.0, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-12 * expected, "{found}, expected {expected}");
    }

    #[test]
    fn dice_and_coins() {
        close(binomial_tail(10, 10, 0.5), 1.0 / 1024.0);
        close(binomial_tail(10, 9, 0.5), 11.0 / 1024.0);
        close(binomial_tail(10, 1, 0.5), 1023.0 / 1024.0);
        // At least one six in four throws.
        close(binomial_tail(4, 1, 1.0 / 6.0), 1.0 - (5.0f64 / 6.0).powi(4));
        close(binomial_tail(2, 2, 0.1), 0.01);
    }

    #[test]
    fn the_ends_are_certain_or_impossible() {
        for p in [0.0, 0.3, 1.0] {
            assert_eq!(binomial_tail(5, 0, p), 1.0);
            assert_eq!(binomial_tail(5, 6, p), 0.0);
            assert_eq!(binomial_tail(0, 0, p), 1.0);
        }
        assert_eq!((binomial_tail(5, 1, 0.0), binomial_tail(5, 5, 1.0)), (0.0, 1.0));
    }

    #[test]
    fn far_tails_of_many_trials_keep_their_digits() {
        close(binomial_tail(1000, 1000, 0.5), 0.5f64.powi(1000));
        close(binomial_tail(1_000_000, 1, 1e-9), -(1e6 * (-1e-9f64).ln_1p()).exp_m1());
        // By symmetry, P(X ≥ n/2) = ½ + ½ · P(X = n/2), and P(X = n/2) ≈ √(2 / (π n)) · (1 − 1/(4n)).
        let middle = (2.0 / (std::f64::consts::PI * 1e6)).sqrt() * (1.0 - 0.25e-6);
        close(binomial_tail(1_000_000, 500_000, 0.5), 0.5 + 0.5 * middle);
        assert_eq!(binomial_tail(1_000_000, 999_999, 0.5), 0.0);
    }
}
