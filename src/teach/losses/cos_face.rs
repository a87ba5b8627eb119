use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::{Parameter, label_mask};

/// CosFace: the cosine to the own class weight must exceed the others by m.
///
/// L = −log softmax(g)_y, g_y = s (cos θ_y − m), g_j = s cos θ_j. One term per row.
/// * The batch may hold any rows; each has a loss. At least two classes must exist.
/// * Embeddings and class weights are made unit inside. W (C, D) is trained with the head.
/// # Source  Wang et al. 2018, arXiv:1801.09414.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CosFace {
    /// s > 0. Paper: 64, at least ((C−1)/C) ln((C−1) P/(1−P)) for probability P; 30 is usual with few classes.
    pub scale: f64,
    /// m ∈ [0, 2]; unreachable above C/(C−1). Paper: 0.35.
    pub margin: f64,
}

impl Default for CosFace {
    fn default() -> CosFace {
        CosFace { scale: 64.0, margin: 0.35 }
    }
}

impl CosFace {
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter("scale", self.scale, 1e-3..=1e3), Parameter("margin", self.margin, 0.0..=2.0)]
    }

    /// The logits with the margin on each row's own class, (N, C).
    ///
    /// * `cosines` — (N, C)
    /// * `labels` — (N,)
    pub fn margin_logits(&self, cosines: &Tensor, labels: &[u32]) -> Result<Tensor> {
        label_mask(labels, cosines)?.where_cond(&(cosines - self.margin)?, cosines)? * self.scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::teach::losses::check::{close, matrix};

    #[test]
    fn the_margin_is_taken_from_the_own_class_alone() {
        let loss = CosFace { scale: 10.0, margin: 0.4 };
        let logits = loss.margin_logits(&matrix(&[[0.6, 0.8], [0.6, 0.8]]), &[0, 1]).unwrap();
        let logits = logits.to_vec2::<f64>().unwrap();
        close(&logits[0], &[2.0, 8.0]);
        close(&logits[1], &[6.0, 4.0]);
    }
}
