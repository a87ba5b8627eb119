use std::f64::consts::PI;

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::{Parameter, label_mask, lengths, values};

/// SphereFace (A-Softmax): the angle to the own class weight is multiplied by m.
///
/// L = −log softmax(g)_y, g_y = ‖z‖ (λ cos θ_y + ψ(θ_y))/(1 + λ), g_j = ‖z‖ cos θ_j; ψ(θ) = (−1)ᵏ cos mθ − 2k for
/// θ ∈ [kπ/m, (k+1)π/m]; λ = max(λ_min, base (1 + γ t)^(−power)) falls with the step t, so that training starts as
/// plain softmax. One term per row.
/// * The batch may hold any rows; each has a loss. At least two classes must exist.
/// * Angles between unit vectors; the length of the embedding stays as the scale. W (C, D) is trained with the head.
/// # Source  Liu et al. 2017, arXiv:1704.08063; the annealing as in its authors' code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SphereFace {
    /// m ∈ {1 … 8}. Paper: 4.
    pub margin: u32,
    /// λ at step 0, ≥ 0. Authors' code: 1000.
    pub base: f64,
    /// γ ≥ 0. Authors' code: 0.12.
    pub gamma: f64,
    /// ≥ 0. Authors' code: 1.
    pub power: f64,
    /// λ_min ≥ 0. Authors' code: 5.
    pub lowest: f64,
}

impl Default for SphereFace {
    fn default() -> SphereFace {
        SphereFace { margin: 4, base: 1000.0, gamma: 0.12, power: 1.0, lowest: 5.0 }
    }
}

impl SphereFace {
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        vec![
            Parameter("margin", f64::from(self.margin), 1.0..=8.0),
            Parameter("base", self.base, 0.0..=1e9),
            Parameter("gamma", self.gamma, 0.0..=1e9),
            Parameter("power", self.power, 0.0..=1e3),
            Parameter("lowest", self.lowest, 0.0..=1e9),
        ]
    }

    /// λ at a step, counted from 0.
    pub fn lambda(&self, step: usize) -> f64 {
        (self.base * (1.0 + self.gamma * step as f64).powf(-self.power)).max(self.lowest)
    }

    /// ‖z‖ cos θ, (N, C), without margin.
    ///
    /// * `embeddings` — (N, D)
    /// * `cosines` — (N, C)
    pub fn logits(&self, embeddings: &Tensor, cosines: &Tensor) -> Result<Tensor> {
        cosines.broadcast_mul(&lengths(embeddings)?)
    }

    /// The logits with the margin on each row's own class, (N, C).
    ///
    /// * `embeddings` — (N, D)
    /// * `cosines` — (N, C)
    /// * `labels` — (N,)
    /// * `step` — training steps so far
    pub fn margin_logits(&self, embeddings: &Tensor, cosines: &Tensor, labels: &[u32], step: usize) -> Result<Tensor> {
        let lambda = self.lambda(step);
        let own = ((self.psi(cosines)? + (cosines * lambda)?)? / (1.0 + lambda))?;
        self.logits(embeddings, &label_mask(labels, cosines)?.where_cond(&own, cosines)?)
    }

    /// ψ(θ) from cos θ, (N, C): cos mθ by the Chebyshev recurrence, so that nothing divides by sin θ.
    fn psi(&self, cosines: &Tensor) -> Result<Tensor> {
        let (mut before, mut multiple) = (cosines.ones_like()?, cosines.clone());
        for _ in 1..self.margin {
            let next = ((cosines * &multiple)?.affine(2.0, 0.0)? - &before)?;
            before = std::mem::replace(&mut multiple, next);
        }
        let m = f64::from(self.margin);
        let k = |cosine: &f64| (m * cosine.clamp(-1.0, 1.0).acos() / PI).floor().min(m - 1.0);
        let k: Vec<f64> = values(cosines)?.iter().flatten().map(k).collect();
        let k = Tensor::from_vec(k, cosines.shape(), cosines.device())?.to_dtype(cosines.dtype())?;
        let sign = (&k * PI)?.cos()?.round()?;
        (sign * multiple)? - (k * 2.0)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::teach::losses::check::{close, matrix};

    #[test]
    fn psi_at_angles_that_a_person_can_check() {
        // m = 4: ψ is 1, cos 60° = 0.5, −1, −3, −5, −7 at 0°, 15°, 45°, 90°, 135°, 180°.
        let angles = [0.0_f64, 15.0, 45.0, 90.0, 135.0, 180.0].map(|degrees| degrees.to_radians().cos());
        let psi = SphereFace::default().psi(&matrix(&[angles])).unwrap().to_vec2::<f64>().unwrap();
        close(&psi[0], &[1.0, 0.5, -1.0, -3.0, -5.0, -7.0]);
    }

    #[test]
    fn the_length_of_the_embedding_stays_as_the_scale() {
        // Without annealing: own class at 90°, ψ = −3; the other at 0°; length 2.
        let loss = SphereFace { base: 0.0, lowest: 0.0, ..Default::default() };
        let logits = loss.margin_logits(&matrix(&[[0.0, 2.0]]), &matrix(&[[0.0, 1.0]]), &[0], 0).unwrap();
        close(&logits.to_vec2::<f64>().unwrap()[0], &[-6.0, 2.0]);
    }

    #[test]
    fn lambda_falls_to_its_lowest() {
        let loss = SphereFace::default();
        assert_eq!(loss.lambda(0), 1000.0);
        assert!((loss.lambda(100) - 1000.0 / 13.0).abs() < 1e-9);
        assert_eq!(loss.lambda(1_000_000), 5.0);
    }
}
