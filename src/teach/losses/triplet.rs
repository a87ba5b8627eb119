use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::{Parameter, at, squared_distances, unit_rows, values};
use crate::teach::miners::{Miner, Triplet as Rows};

/// Triplet loss: the positive must be nearer to the anchor than the negative, by a margin.
///
/// L = [D(a,p)² − D(a,n)² + α]₊. One term per triplet.
/// * The batch must hold two rows of one class and one of another; else there is no loss.
/// * Embeddings are made unit inside, unless `normalise` is false.
/// # Source  Schroff et al. 2015 (FaceNet), arXiv:1503.03832; there with the semi-hard miner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Triplet {
    /// α > 0; between unit rows D² ≤ 4. Paper: 0.2.
    pub margin: f64,
    /// Whether rows are compared as unit vectors, as in the paper.
    pub normalise: bool,
}

impl Default for Triplet {
    fn default() -> Triplet {
        Triplet { margin: 0.2, normalise: true }
    }
}

impl Triplet {
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter("margin", self.margin, 1e-6..=1e6)]
    }

    /// The loss of each triplet, (T,), in the miner's order.
    /// * `embeddings` — (N, D)
    /// * `labels` — (N,)
    pub fn terms(&self, embeddings: &Tensor, labels: &[u32], miner: Miner) -> Result<Option<Tensor>> {
        let rows = if self.normalise { unit_rows(embeddings)? } else { embeddings.clone() };
        let squared = squared_distances(&rows, &rows)?;
        let triplets = miner.triplets(&values(&squared)?, labels);
        if triplets.is_empty() { Ok(None) } else { relative(&squared, &triplets, self.margin).map(Some) }
    }
}

/// [D(a,p)² − D(a,n)² + α]₊ of each triplet, (T,).
/// * `squared` — (N, N), D²
pub(super) fn relative(squared: &Tensor, triplets: &[Rows], margin: f64) -> Result<Tensor> {
    let positive: Vec<_> = triplets.iter().map(|rows| [rows.anchor, rows.positive]).collect();
    let negative: Vec<_> = triplets.iter().map(|rows| [rows.anchor, rows.negative]).collect();
    ((at(squared, &positive)? - at(squared, &negative)?)? + margin)?.relu()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::teach::losses::check::{close, matrix, numbers};

    #[test]
    fn triplets_that_a_person_can_check() {
        // D² is 1 between the rows of class 0; 4 and 1 from them to the negative.
        let loss = Triplet { margin: 0.2, normalise: false };
        let rows = matrix(&[[0.0], [1.0], [2.0]]);
        let terms = loss.terms(&rows, &[0, 0, 1], Miner::All).unwrap().unwrap();
        close(&numbers(&terms), &[0.0, 0.2]);
    }

    #[test]
    fn unit_rows_at_right_angles() {
        // a = p up to length, n at 90°: 0 − 2 + α.
        let loss = Triplet { margin: 3.0, normalise: true };
        let rows = matrix(&[[1.0, 0.0], [5.0, 0.0], [0.0, 0.1]]);
        let terms = loss.terms(&rows, &[0, 0, 1], Miner::Hard).unwrap().unwrap();
        close(&numbers(&terms), &[1.0, 1.0]);
    }

    #[test]
    fn a_batch_without_triplets_has_no_loss() {
        let rows = matrix(&[[1.0, 0.0], [0.0, 1.0]]);
        for labels in [[0, 0], [0, 1]] {
            assert!(Triplet::default().terms(&rows, &labels, Miner::SemiHard).unwrap().is_none());
        }
    }
}
