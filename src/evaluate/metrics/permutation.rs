//! Whether an AUROC could be luck.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::number;
use super::ranks::average_ranks;

/// The chance that scores which know nothing of the labels have an AUROC as large as these.
///
/// One-sided permutation test: the labels are shuffled over the same scores, and
/// p = (1 + #{AUROC of shuffled labels ≥ AUROC}) ÷ (1 + `permutations`). The comparison is exact, ties included.
/// * `scores`, `anomalous` — of the same parts, in any order
/// * `permutations` — how often labels are shuffled; p is never below 1 ÷ (1 + `permutations`)
///
/// Returns p in (0, 1]. It is 1 if there are no good or no anomalous parts: then every shuffle is the same.
///
/// # Panics  if there is not one label for each score.
/// # Source  Phipson and Smyth 2010, "Permutation p-values should never be zero"
pub fn permutation_p_value(scores: &[f32], anomalous: &[bool], permutations: usize, seed: u64) -> f64 {
    assert_eq!(scores.len(), anomalous.len(), "every score has a label");
    // The sum of the ranks of the anomalous parts rises with the AUROC, and is exact.
    let mut ranks = average_ranks(&scores.iter().map(|&score| f64::from(number(score))).collect::<Vec<_>>());
    let labelled = ranks.iter().zip(anomalous).filter(|(_, anomalous)| **anomalous);
    let (count, observed) = labelled.fold((0, 0.0), |(count, sum), (rank, _)| (count + 1, sum + rank));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let as_large = (0..permutations).filter(|_| {
        let (drawn, _) = ranks.partial_shuffle(&mut rng, count);
        drawn.iter().sum::<f64>() >= observed
    });
    (1 + as_large.count()) as f64 / (1 + permutations) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_on_top_of_three_are_luck_once_in_twenty_times() {
        // Of the 6 over 3 = 20 choices of three parts, one has the largest ranks.
        let anomalous = [false, false, false, true, true, true];
        let p = permutation_p_value(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &anomalous, 20_000, 1);
        assert!((p - 0.05).abs() < 0.006, "{p}");
        let p = permutation_p_value(&[6.0, 5.0, 4.0, 3.0, 2.0, 1.0], &anomalous, 500, 1);
        assert_eq!(p, 1.0);
    }

    #[test]
    fn equal_scores_and_one_class_prove_nothing() {
        assert_eq!(permutation_p_value(&[0.5; 4], &[true, false, true, false], 200, 1), 1.0);
        assert_eq!(permutation_p_value(&[1.0, 2.0], &[true, true], 200, 1), 1.0);
        assert_eq!(permutation_p_value(&[1.0, 2.0], &[false, false], 200, 1), 1.0);
        assert_eq!(permutation_p_value(&[], &[], 200, 1), 1.0);
    }

    #[test]
    fn the_smallest_p_value_is_bounded_by_the_permutations_and_a_seed_repeats_it() {
        let scores: Vec<f32> = (0..40).map(|part| part as f32).collect();
        let anomalous: Vec<bool> = (0..40).map(|part| part >= 20).collect();
        assert_eq!(permutation_p_value(&scores, &anomalous, 99, 7), 0.01);
        assert_eq!(permutation_p_value(&scores, &anomalous, 0, 7), 1.0);
        let weak: Vec<bool> = (0..40).map(|part| part % 3 == 2).collect();
        let [first, second] = [3, 3].map(|seed| permutation_p_value(&scores, &weak, 500, seed));
        assert_eq!(first, second);
    }
}
