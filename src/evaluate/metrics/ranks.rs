//! Ranks of numbers.

/// The rank of each of `values` from 1 for the smallest; equal ones share the mean of their ranks.
///
/// All are multiples of ½, so that sums of them are exact.
pub(super) fn average_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut below = 0;
    for tie in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = below as f64 + (tie.len() + 1) as f64 / 2.0;
        tie.iter().for_each(|&place| ranks[place] = rank);
        below += tie.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_the_mean_of_their_ranks() {
        assert_eq!(average_ranks(&[30.0, 10.0, 20.0, 20.0]), [4.0, 1.0, 2.5, 2.5]);
        assert_eq!(average_ranks(&[0.0, -0.0, f64::INFINITY]), [1.5, 1.5, 3.0]);
        assert_eq!(average_ranks(&[]), [0.0; 0]);
    }
}
