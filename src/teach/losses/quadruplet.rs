use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::triplet::relative;
use super::{Parameter, at, squared_distances, unit_rows, values};
use crate::teach::miners::{Miner, Triplet};

/// Quadruplet loss: a triplet, and besides its positive pair must be closer than two rows of two other classes.
///
/// L = [D(i,j)² − D(i,k)² + α₁]₊ + [D(i,j)² − D(k,l)² + α₂]₊ ; i, j of one class, k and l of two others. One term per
/// triplet (i, j, k) of the miner.
/// * The batch must hold two rows of one class and one of another; else there is no loss. With exactly two classes no l
///   exists, and the first part alone remains.
/// * Embeddings are made unit inside, unless `normalise` is false.
/// # Source  Chen et al. 2017, arXiv:1704.01719. Differs: squared Euclidean distance in place of a learned one; of all
/// l the nearest to k, so that a batch has no more terms than triplets; fixed margins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quadruplet {
    /// α₁ > 0. Paper: the gap between the mean negative and the mean positive distance; 1 stands for a gap of 1.
    pub margin: f64,
    /// α₂ > 0, below α₁. Paper: half of that gap.
    pub second_margin: f64,
    /// Whether rows are compared as unit vectors.
    pub normalise: bool,
}

impl Default for Quadruplet {
    fn default() -> Quadruplet {
        Quadruplet { margin: 1.0, second_margin: 0.5, normalise: true }
    }
}

impl Quadruplet {
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        vec![
            Parameter("margin", self.margin, 1e-6..=1e6),
            Parameter("second_margin", self.second_margin, 1e-6..=self.margin),
        ]
    }

    /// The loss of each triplet with its fourth row, (T,), in the miner's order.
    /// * `embeddings` — (N, D)
    /// * `labels` — (N,)
    pub fn terms(&self, embeddings: &Tensor, labels: &[u32], miner: Miner) -> Result<Option<Tensor>> {
        let rows = if self.normalise { unit_rows(embeddings)? } else { embeddings.clone() };
        let squared = squared_distances(&rows, &rows)?;
        let distances = values(&squared)?;
        let triplets = miner.triplets(&distances, labels);
        if triplets.is_empty() {
            return Ok(None);
        }
        let first = relative(&squared, &triplets, self.margin)?;
        let other = |rows: &Triplet| nearest_of_a_third_class(rows, &distances, labels).map(|l| [rows.negative, l]);
        let Some(others) = triplets.iter().map(other).collect::<Option<Vec<_>>>() else {
            return Ok(Some(first));
        };
        let positive: Vec<_> = triplets.iter().map(|rows| [rows.anchor, rows.positive]).collect();
        let second = ((at(&squared, &positive)? - at(&squared, &others)?)? + self.second_margin)?.relu()?;
        (first + second).map(Some)
    }
}

/// The row nearest to the negative that shares its class with no row of the triplet.
fn nearest_of_a_third_class(rows: &Triplet, distances: &[Vec<f64>], labels: &[u32]) -> Option<usize> {
    let third = |row: &usize| labels[*row] != labels[rows.anchor] && labels[*row] != labels[rows.negative];
    let from = &distances[rows.negative];
    (0..labels.len()).filter(third).min_by(|a, b| from[*a].total_cmp(&from[*b]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::teach::losses::check::{close, matrix, numbers};

    const LOSS: Quadruplet = Quadruplet { margin: 1.0, second_margin: 0.5, normalise: false };

    #[test]
    fn quadruplets_that_a_person_can_check() {
        // i, j at 0 and 1; k, l at 2 and 2.5. For k = 2: D(k,l)² = 0.25, so the second part is 1 − 0.25 + 0.5 = 1.25.
        // First part: i = 0: 1 − 4 + 1 → 0, 1 − 6.25 + 1 → 0; i = 1: 1 − 1 + 1 = 1, 1 − 2.25 + 1 → 0.
        let rows = matrix(&[[0.0], [1.0], [2.0], [2.5]]);
        let terms = LOSS.terms(&rows, &[0, 0, 1, 2], Miner::All).unwrap().unwrap();
        close(&numbers(&terms), &[1.25, 1.25, 2.25, 1.25]);
    }

    #[test]
    fn with_two_classes_the_first_part_remains() {
        let rows = matrix(&[[0.0], [1.0], [2.0]]);
        let terms = LOSS.terms(&rows, &[0, 0, 1], Miner::All).unwrap().unwrap();
        close(&numbers(&terms), &[0.0, 1.0]);
    }

    #[test]
    fn a_batch_without_triplets_has_no_loss() {
        let rows = matrix(&[[0.0], [1.0], [2.0]]);
        assert!(LOSS.terms(&rows, &[0, 1, 2], Miner::All).unwrap().is_none());
    }
}
