use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::{Parameter, at, root, squared_distances, unit_rows, values};
use crate::teach::miners::Miner;

/// Contrastive loss: pairs of one class are pulled together, pairs of two classes pushed apart up to a margin.
///
/// L = ½ D² for a pair of one class, ½ [m − D]₊² for a pair of two; D = ‖a − b‖. One term per pair.
/// * The batch must hold two rows. Without any pair that the miner chooses there is no loss.
/// * Embeddings are made unit inside, unless `normalise` is false.
/// # Source  Hadsell et al. 2006, doi:10.1109/CVPR.2006.100.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Contrastive {
    /// m > 0; between unit rows D ≤ 2. The paper tunes it; 1 as in pytorch-metric-learning.
    pub margin: f64,
    /// Whether rows are compared as unit vectors.
    pub normalise: bool,
}

impl Default for Contrastive {
    fn default() -> Contrastive {
        Contrastive { margin: 1.0, normalise: true }
    }
}

impl Contrastive {
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter("margin", self.margin, 1e-6..=1e6)]
    }

    /// The loss of each pair, (T,): first the pairs of one class, then those of two.
    /// * `embeddings` — (N, D)
    /// * `labels` — (N,)
    pub fn terms(&self, embeddings: &Tensor, labels: &[u32], miner: Miner) -> Result<Option<Tensor>> {
        let rows = if self.normalise { unit_rows(embeddings)? } else { embeddings.clone() };
        let squared = squared_distances(&rows, &rows)?;
        let pairs = miner.pairs(&values(&squared)?, labels);
        let mut terms = Vec::new();
        if !pairs.positive.is_empty() {
            terms.push((at(&squared, &pairs.positive)? * 0.5)?);
        }
        if !pairs.negative.is_empty() {
            let distance = root(&at(&squared, &pairs.negative)?)?;
            terms.push((distance.affine(-1.0, self.margin)?.relu()?.sqr()? * 0.5)?);
        }
        if terms.is_empty() { Ok(None) } else { Tensor::cat(&terms, 0).map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::teach::losses::check::{close, matrix, numbers};

    #[test]
    fn pairs_that_a_person_can_check() {
        // Not normalised: D = 1 for the pair of one class, 0.5 and √1.25 for those of two.
        let loss = Contrastive { margin: 1.0, normalise: false };
        let rows = matrix(&[[0.0, 0.0], [1.0, 0.0], [0.0, 0.5]]);
        let terms = loss.terms(&rows, &[0, 0, 1], Miner::All).unwrap().unwrap();
        close(&numbers(&terms), &[0.5, 0.125, 0.0]);
    }

    #[test]
    fn rows_are_compared_as_unit_vectors() {
        let loss = Contrastive { margin: 2.0, ..Default::default() };
        let terms = loss.terms(&matrix(&[[3.0, 0.0], [0.0, 0.1]]), &[0, 1], Miner::All).unwrap().unwrap();
        close(&numbers(&terms), &[0.5 * (2.0 - 2f64.sqrt()).powi(2)]);
    }

    #[test]
    fn a_batch_without_pairs_has_no_loss() {
        let loss = Contrastive::default();
        assert!(loss.terms(&matrix(&[[1.0, 0.0]]), &[0], Miner::All).unwrap().is_none());
        let two = matrix(&[[1.0, 0.0], [0.0, 1.0]]);
        assert!(loss.terms(&two, &[0, 1], Miner::Hard).unwrap().is_none(), "no anchor has a positive");
    }
}
