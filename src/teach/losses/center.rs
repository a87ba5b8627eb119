use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::{Parameter, mask};

/// Center loss: softmax cross entropy, and each embedding is pulled to the centre of its class.
///
/// L = −log softmax(W z + b)_y + (λ/2) ‖z − c_y‖². One term per row. After each step the centres follow the batch:
/// c_j ← c_j − a Σᵢ 1(yᵢ = j) (c_j − zᵢ) / (1 + Σᵢ 1(yᵢ = j)); they take no gradient.
/// * The batch may hold any rows; each has a loss. At least two classes must exist.
/// * Embeddings are not made unit. W (C, D) and b (C,) are trained with the head. The centres (C, D) are those of
///   embeddings, not of logits; they start at 0.
/// # Source  Wen et al. 2016 (ECCV), "A Discriminative Feature Learning Approach for Deep Face Recognition".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Center {
    /// λ ≥ 0. Paper: 0.003.
    pub weight: f64,
    /// a ∈ [0, 1]. Paper: 0.5.
    pub centre_rate: f64,
}

impl Default for Center {
    fn default() -> Center {
        Center { weight: 0.003, centre_rate: 0.5 }
    }
}

impl Center {
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter("weight", self.weight, 0.0..=1e6), Parameter("centre_rate", self.centre_rate, 0.0..=1.0)]
    }

    /// (λ/2) ‖z − c_y‖² of each row, (N,).
    ///
    /// * `embeddings` — (N, D)
    /// * `labels` — (N,), below C
    /// * `centres` — (C, D), outside the graph
    pub fn pull(&self, embeddings: &Tensor, labels: &[u32], centres: &Tensor) -> Result<Tensor> {
        let own = centres.index_select(&Tensor::new(labels, embeddings.device())?, 0)?;
        (embeddings - own)?.sqr()?.sum(1)? * (0.5 * self.weight)
    }

    /// The centres after a step, (C, D).
    /// * arguments as for [`Center::pull`]
    pub fn moved(&self, embeddings: &Tensor, labels: &[u32], centres: &Tensor) -> Result<Tensor> {
        let (classes, dtype) = (centres.dim(0)?, centres.dtype());
        let own = mask([classes, labels.len()], centres.device(), |class, row| labels[row] as usize == class)?;
        let own = own.to_dtype(dtype)?;
        let count = own.sum_keepdim(1)?;
        let away = (centres.broadcast_mul(&count)? - own.matmul(&embeddings.detach())?)?;
        centres - (away.broadcast_div(&(count + 1.0)?)? * self.centre_rate)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::teach::losses::check::{close, matrix, numbers};

    #[test]
    fn rows_are_pulled_by_half_their_squared_distance_to_their_own_centre() {
        let loss = Center { weight: 0.1, ..Default::default() };
        let centres = matrix(&[[0.0, 0.0], [1.0, 1.0]]);
        let pull = loss.pull(&matrix(&[[3.0, 4.0], [1.0, 3.0]]), &[0, 1], &centres).unwrap();
        close(&numbers(&pull), &[0.05 * 25.0, 0.05 * 4.0]);
    }

    #[test]
    fn centres_follow_their_rows_and_others_stay() {
        // Two rows of class 0 at 2 and 4: c ← 0 − 0.5 · (0 − 6)/(1 + 2) = 1.
        let centres = matrix(&[[0.0], [5.0]]);
        let moved = Center::default().moved(&matrix(&[[2.0], [4.0]]), &[0, 0], &centres).unwrap();
        assert_eq!(moved.to_vec2::<f64>().unwrap(), [[1.0], [5.0]]);
    }
}
