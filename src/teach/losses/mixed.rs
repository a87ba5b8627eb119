use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::{Parameter, log_sum_exp_where, mask, unit_rows, values};

/// Mixed loss: several positives and several negatives of each anchor at once. The paper behind this name could not be
/// found; this is the multi-similarity loss.
///
/// L = (1/α) log(1 + Σ_(k∈P) exp(−α (S(i,k) − λ))) + (1/β) log(1 + Σ_(k∈N) exp(β (S(i,k) − λ))), S the cosine;
/// P: the positives with S < max of the negatives + ε; N: the negatives with S > min of the positives − ε. One term per
/// anchor.
/// * An anchor needs a positive and a negative in the batch; where no row has both, there is no loss. An anchor whose
///   pairs are all easier than ε asks counts with 0. Choosing pairs is part of the formula, the miner has no say.
/// * Embeddings are made unit inside.
/// # Source  Wang et al. 2019, arXiv:1904.06627 (and not arXiv:1904.06626, which lists give the survey by mistake).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mixed {
    /// α > 0. Paper: 2.
    pub positive_scale: f64,
    /// β > 0. Paper: 50.
    pub negative_scale: f64,
    /// λ ∈ [−1, 1]. Paper: 1; 0.5 in its authors' code and here.
    pub base: f64,
    /// ε ∈ [0, 2]; at 2 every pair counts. Paper: 0.1.
    pub epsilon: f64,
}

impl Default for Mixed {
    fn default() -> Mixed {
        Mixed { positive_scale: 2.0, negative_scale: 50.0, base: 0.5, epsilon: 0.1 }
    }
}

impl Mixed {
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        vec![
            Parameter("positive_scale", self.positive_scale, 1e-6..=1e3),
            Parameter("negative_scale", self.negative_scale, 1e-6..=1e3),
            Parameter("base", self.base, -1.0..=1.0),
            Parameter("epsilon", self.epsilon, 0.0..=2.0),
        ]
    }

    /// The loss of each anchor that has a positive and a negative, (T,).
    /// * `embeddings` — (N, D)
    /// * `labels` — (N,)
    pub fn terms(&self, embeddings: &Tensor, labels: &[u32]) -> Result<Option<Tensor>> {
        let anchors = anchors(labels);
        if anchors.is_empty() {
            return Ok(None);
        }
        let rows = unit_rows(embeddings)?;
        let cosines = rows.matmul(&rows.t()?)?;
        let (positive, negative) = self.chosen(&values(&cosines)?, labels);
        let device = embeddings.device();
        let part = |chosen: &[Vec<bool>], scale: f64| {
            let scaled = cosines.affine(scale, -scale * self.base)?;
            let chosen = mask([labels.len(); 2], device, |i, k| chosen[i][k])?;
            softened(&log_sum_exp_where(&chosen, &scaled)?)? / scale.abs()
        };
        let terms = (part(&positive, -self.positive_scale)? + part(&negative, self.negative_scale)?)?;
        terms.index_select(&Tensor::from_iter(anchors, device)?, 0).map(Some)
    }

    /// Which positives and which negatives of each anchor are hard enough, (N, N) each.
    fn chosen(&self, cosines: &[Vec<f64>], labels: &[u32]) -> (Vec<Vec<bool>>, Vec<Vec<bool>>) {
        let rows = 0..labels.len();
        let is_positive = |i: usize, k: usize| labels[i] == labels[k] && i != k;
        let is_negative = |i: usize, k: usize| labels[i] != labels[k];
        let of = |i: usize| {
            let positives = rows.clone().filter(|k| is_positive(i, *k)).map(|k| cosines[i][k]);
            let negatives = rows.clone().filter(|k| is_negative(i, *k)).map(|k| cosines[i][k]);
            let above = positives.fold(f64::INFINITY, f64::min) - self.epsilon;
            let below = negatives.fold(f64::NEG_INFINITY, f64::max) + self.epsilon;
            let positive = rows.clone().map(|k| is_positive(i, k) && cosines[i][k] < below).collect();
            let negative = rows.clone().map(|k| is_negative(i, k) && cosines[i][k] > above).collect();
            (positive, negative)
        };
        rows.clone().map(of).unzip()
    }
}

/// The rows that have a positive and a negative.
fn anchors(labels: &[u32]) -> Vec<u32> {
    let of_class = |label: u32| labels.iter().filter(|other| **other == label).count();
    let both = |row: &u32| (2..labels.len()).contains(&of_class(labels[*row as usize]));
    (0..labels.len() as u32).filter(both).collect()
}

/// log(1 + eˣ).
fn softened(x: &Tensor) -> Result<Tensor> {
    Tensor::stack(&[x, &x.zeros_like()?], 1)?.log_sum_exp(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::teach::losses::check::{close, matrix, numbers};

    #[test]
    fn anchors_that_a_person_can_check() {
        // Cosines: 0 between the rows of class 0, 0.6 and 0.8 from them to the row of class 1.
        let rows = matrix(&[[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]]);
        let loss = Mixed { positive_scale: 2.0, negative_scale: 10.0, base: 0.5, epsilon: 0.1 };
        let terms = loss.terms(&rows, &[0, 0, 1]).unwrap().unwrap();
        let positive = (1.0 + 1f64.exp()).ln() / 2.0;
        let negative = |cosine: f64| (1.0 + (10.0 * (cosine - 0.5)).exp()).ln() / 10.0;
        close(&numbers(&terms), &[positive + negative(0.6), positive + negative(0.8)]);
    }

    #[test]
    fn pairs_that_are_easy_by_more_than_epsilon_cost_nothing() {
        // The positive has cosine 1, the negative 0.
        let rows = matrix(&[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]);
        let terms = Mixed::default().terms(&rows, &[0, 0, 1]).unwrap().unwrap();
        close(&numbers(&terms), &[0.0, 0.0]);
    }

    #[test]
    fn a_batch_without_an_anchor_has_no_loss() {
        let rows = matrix(&[[1.0, 0.0], [0.0, 1.0]]);
        assert!(Mixed::default().terms(&rows, &[0, 0]).unwrap().is_none());
        assert!(Mixed::default().terms(&rows, &[0, 1]).unwrap().is_none());
    }
}
