use std::collections::BTreeMap;

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::{Parameter, log_sum_exp_where, mask};

/// N-pair loss: each anchor must agree more with its positive than with the positives of all other classes at once.
///
/// L = log(1 + Σ_(j≠i) exp(⟨fᵢ, fⱼ⁺⟩ − ⟨fᵢ, fᵢ⁺⟩)) + ½ λ (‖fᵢ‖² + ‖fᵢ⁺‖²), so that the mean carries λ times the mean
/// squared length. One term per pair.
/// * The batch is read as rounds: the first two rows of each class that has two, then the next two, and so on. A round
///   needs two classes; where none has, there is no loss. An odd row of a class is left out.
/// * Embeddings are not made unit; λ keeps their length in bounds.
/// # Source  Sohn 2016, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NPair {
    /// λ ≥ 0. 0.002 as in TensorFlow and Paddle (TensorFlow counts half of our mean).
    pub length_weight: f64,
}

impl Default for NPair {
    fn default() -> NPair {
        NPair { length_weight: 0.002 }
    }
}

/// An anchor, its positive and the round in which their class meets others.
struct Pair {
    anchor: u32,
    positive: u32,
    round: usize,
}

impl NPair {
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter("length_weight", self.length_weight, 0.0..=1e6)]
    }

    /// The loss of each pair, (T,), round by round.
    /// * `embeddings` — (N, D)
    /// * `labels` — (N,)
    pub fn terms(&self, embeddings: &Tensor, labels: &[u32]) -> Result<Option<Tensor>> {
        let pairs = rounds(labels);
        if pairs.is_empty() {
            return Ok(None);
        }
        let device = embeddings.device();
        let rows = |of: fn(&Pair) -> u32| embeddings.index_select(&Tensor::from_iter(pairs.iter().map(of), device)?, 0);
        let (anchors, positives) = (rows(|pair| pair.anchor)?, rows(|pair| pair.positive)?);
        let products = anchors.matmul(&positives.t()?)?;
        let own = (&anchors * &positives)?.sum_keepdim(1)?;
        let same_round = mask([pairs.len(); 2], device, |i, j| pairs[i].round == pairs[j].round)?;
        let agreement = log_sum_exp_where(&same_round, &products.broadcast_sub(&own)?)?;
        let lengths = (anchors.sqr()?.sum(1)? + positives.sqr()?.sum(1)?)?;
        (agreement + (lengths * (0.5 * self.length_weight))?).map(Some)
    }
}

fn rounds(labels: &[u32]) -> Vec<Pair> {
    let mut classes: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (row, label) in labels.iter().enumerate() {
        classes.entry(*label).or_default().push(row as u32);
    }
    let mut pairs = Vec::new();
    for round in 0..labels.len() / 2 {
        let chunk = |rows: &Vec<u32>| rows.chunks_exact(2).nth(round).map(|pair| [pair[0], pair[1]]);
        let meeting: Vec<[u32; 2]> = classes.values().filter_map(chunk).collect();
        if meeting.len() < 2 {
            break;
        }
        pairs.extend(meeting.into_iter().map(|[anchor, positive]| Pair { anchor, positive, round }));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::teach::losses::check::{close, matrix, numbers};

    #[test]
    fn pairs_that_a_person_can_check() {
        // ⟨f₁, f₁⁺⟩ = 2, ⟨f₁, f₂⁺⟩ = 1; ⟨f₂, f₂⁺⟩ = 3, ⟨f₂, f₁⁺⟩ = 0; squared lengths 1 + 4 and 9 + 2.
        let rows = matrix(&[[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [1.0, 1.0]]);
        let terms = NPair { length_weight: 0.1 }.terms(&rows, &[0, 0, 1, 1]).unwrap().unwrap();
        let soft = |gap: f64| (1.0 + gap.exp()).ln();
        close(&numbers(&terms), &[soft(1.0 - 2.0) + 0.05 * 5.0, soft(0.0 - 3.0) + 0.05 * 11.0]);
    }

    #[test]
    fn a_round_does_not_see_another() {
        let once = [[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [1.0, 1.0]];
        let twice = [once, once].concat();
        let terms = |rows: &[[f64; 2]], labels: &[u32]| {
            numbers(&NPair::default().terms(&matrix(rows), labels).unwrap().unwrap())
        };
        let expected = terms(&once, &[0, 0, 1, 1]);
        close(&terms(&twice, &[0, 0, 1, 1, 0, 0, 1, 1]), &expected.repeat(2));
    }

    #[test]
    fn the_pairs_of_a_round_have_distinct_classes() {
        let rounds: Vec<_> =
            rounds(&[0, 0, 1, 0, 1, 0, 1, 1, 2]).iter().map(|p| (p.anchor, p.positive, p.round)).collect();
        assert_eq!(rounds, [(0, 1, 0), (2, 4, 0), (3, 5, 1), (6, 7, 1)]);
    }

    #[test]
    fn a_batch_without_two_classes_of_two_rows_has_no_loss() {
        let rows = matrix(&[[1.0], [2.0], [3.0]]);
        assert!(NPair::default().terms(&rows, &[0, 0, 1]).unwrap().is_none());
        assert!(NPair::default().terms(&rows, &[0, 1, 2]).unwrap().is_none());
    }
}
