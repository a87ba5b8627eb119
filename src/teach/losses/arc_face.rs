use std::f64::consts::PI;

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::{Parameter, label_mask, root};

/// ArcFace: the angle to the own class weight is enlarged by m.
///
/// L = −log softmax(g)_y, g_y = s cos(θ_y + m), g_j = s cos θ_j; where θ_y > π − m, g_y = s (cos θ_y − m sin m), so
/// that the logit keeps falling with the angle. One term per row.
/// * The batch may hold any rows; each has a loss. At least two classes must exist.
/// * Embeddings and class weights are made unit inside. W (C, D) is trained with the head.
/// # Source  Deng et al. 2019, arXiv:1801.07698. cos(θ + m) = cos θ cos m − sin θ sin m, without arc cosine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArcFace {
    /// s > 0. Paper: 64; 30 is usual with few classes.
    pub scale: f64,
    /// m ∈ [0, π/2] radians. Paper: 0.5.
    pub margin: f64,
}

impl Default for ArcFace {
    fn default() -> ArcFace {
        ArcFace { scale: 64.0, margin: 0.5 }
    }
}

impl ArcFace {
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter("scale", self.scale, 1e-3..=1e3), Parameter("margin", self.margin, 0.0..=PI / 2.0)]
    }

    /// The logits with the margin on each row's own class, (N, C).
    ///
    /// * `cosines` — (N, C)
    /// * `labels` — (N,)
    pub fn margin_logits(&self, cosines: &Tensor, labels: &[u32]) -> Result<Tensor> {
        let (sin_m, cos_m) = self.margin.sin_cos();
        let sines = root(&cosines.sqr()?.affine(-1.0, 1.0)?)?;
        let widened = ((cosines * cos_m)? - (sines * sin_m)?)?;
        let beyond = (cosines - self.margin * sin_m)?;
        let own = cosines.ge(-cos_m)?.where_cond(&widened, &beyond)?;
        label_mask(labels, cosines)?.where_cond(&own, cosines)? * self.scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::teach::losses::check::{close, matrix};

    fn own(degrees: f64) -> f64 {
        let loss = ArcFace { scale: 10.0, margin: 30f64.to_radians() };
        let logits = loss.margin_logits(&matrix(&[[degrees.to_radians().cos(), 0.25]]), &[0]).unwrap();
        let logits = logits.to_vec2::<f64>().unwrap();
        close(&logits[0][1..], &[2.5]);
        logits[0][0]
    }

    #[test]
    fn the_angle_to_the_own_class_grows_by_the_margin() {
        close(&[own(30.0), own(60.0), own(90.0)], &[5.0, 0.0, -5.0]);
    }

    #[test]
    fn beyond_pi_minus_the_margin_the_logit_keeps_falling() {
        close(&[own(180.0)], &[10.0 * (-1.0 - 30f64.to_radians() * 0.5)]);
        assert!(own(149.0) > own(151.0) && own(151.0) > own(179.0));
    }
}
