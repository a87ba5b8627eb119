use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::{Parameter, at, distances, log_sum_exp_where, mask};
use crate::teach::miners::Miner;

/// Lifted structured loss: each positive pair against all negatives of both its rows, by a smooth maximum.
///
/// J(i,j) = log( Σₖ exp(α − D(i,k)) + Σₗ exp(α − D(j,l)) ) + D(i,j), k and l the negatives of i and j;
/// L = ½ [J(i,j)]₊². One term per positive pair, so that the mean is the paper's 1/(2#P) Σ.
/// * The batch must hold two rows of one class and one of another; else there is no loss.
/// * Embeddings are not made unit; D is Euclidean.
/// # Source  Oh Song et al. 2016, arXiv:1511.06452.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lifted {
    /// α > 0. Paper: 1.
    pub margin: f64,
}

impl Default for Lifted {
    fn default() -> Lifted {
        Lifted { margin: 1.0 }
    }
}

impl Lifted {
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter("margin", self.margin, 1e-6..=1e6)]
    }

    /// The loss of each positive pair i < j, (T,).
    /// * `embeddings` — (N, D)
    /// * `labels` — (N,)
    pub fn terms(&self, embeddings: &Tensor, labels: &[u32]) -> Result<Option<Tensor>> {
        let pairs = Miner::All.pairs(&[], labels);
        if pairs.positive.is_empty() || pairs.negative.is_empty() {
            return Ok(None);
        }
        let distances = distances(embeddings)?;
        let negative = mask([labels.len(); 2], embeddings.device(), |i, j| labels[i] != labels[j])?;
        let lifted = log_sum_exp_where(&negative, &distances.affine(-1.0, self.margin)?)?.unsqueeze(1)?;
        let [first, second] = [0, 1].map(|side| pairs.positive.iter().map(|pair| [pair[side], 0]).collect::<Vec<_>>());
        let both = Tensor::stack(&[at(&lifted, &first)?, at(&lifted, &second)?], 1)?.log_sum_exp(1)?;
        let smooth = (both + at(&distances, &pairs.positive)?)?;
        (smooth.relu()?.sqr()? * 0.5).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::teach::losses::check::{close, matrix, numbers};

    #[test]
    fn a_pair_that_a_person_can_check() {
        // D(i,j) = 1, the negative is 2 from i and 1 from j: J = ln(e⁻¹ + e⁰) + 1.
        let rows = matrix(&[[0.0], [1.0], [2.0]]);
        let terms = Lifted::default().terms(&rows, &[0, 0, 1]).unwrap().unwrap();
        let j = ((-1f64).exp() + 1.0).ln() + 1.0;
        close(&numbers(&terms), &[0.5 * j * j]);
    }

    #[test]
    fn a_negative_far_away_costs_nothing() {
        let terms = Lifted::default().terms(&matrix(&[[0.0], [1.0], [100.0]]), &[0, 0, 1]).unwrap().unwrap();
        close(&numbers(&terms), &[0.0]);
    }

    #[test]
    fn a_batch_without_a_positive_pair_or_a_negative_has_no_loss() {
        let rows = matrix(&[[0.0], [1.0]]);
        assert!(Lifted::default().terms(&rows, &[0, 1]).unwrap().is_none());
        assert!(Lifted::default().terms(&rows, &[0, 0]).unwrap().is_none());
    }
}
