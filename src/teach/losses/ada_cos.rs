use std::f64::consts::{FRAC_PI_4, SQRT_2};

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::{Parameter, values};
use crate::evaluate::metrics::median;

/// Above it an exponential of a logit leaves f32; the paper has no bound.
const HIGHEST_SCALE: f64 = 64.0;

/// AdaCos, dynamic: cosine softmax without margin, whose scale follows the training.
///
/// L = −log softmax(s cos θ)_y. s(0) = √2 ln(C − 1); then s(t) = ln B / cos(min(π/4, θ_med)) with
/// B = (1/N) Σᵢ Σ_(k≠yᵢ) exp(s(t−1) cos θᵢₖ), θ_med the median of θ to the own class in the batch; a constant in the
/// gradient. One term per row.
/// * The batch may hold any rows; each has a loss. At least two classes must exist.
/// * Embeddings and class weights are made unit inside. W (C, D) is trained with the head.
/// * With few classes the formula gives a scale too low to train with: 0 for two classes, 0.98 for three. So s has a
///   floor.
/// # Source  Zhang et al. 2019, arXiv:1905.00292. Differs: the floor, and a bound of 64.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaCos {
    /// The floor of s, in [1, 64]. None in the paper; 4 here, with which an embedding on its class weight and at a
    /// right angle to one other has probability 0.98. √2 ln(C − 1) exceeds it from 18 classes on.
    pub lowest_scale: f64,
}

/// AdaCos, fixed: cosine softmax with the scale s = √2 ln(C − 1) throughout; see [`AdaCos`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaCosFixed {
    /// As [`AdaCos::lowest_scale`].
    pub lowest_scale: f64,
}

impl Default for AdaCos {
    fn default() -> AdaCos {
        AdaCos { lowest_scale: 4.0 }
    }
}

impl Default for AdaCosFixed {
    fn default() -> AdaCosFixed {
        AdaCosFixed { lowest_scale: 4.0 }
    }
}

impl AdaCos {
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter("lowest_scale", self.lowest_scale, 1.0..=HIGHEST_SCALE)]
    }

    /// The next scale s(t).
    ///
    /// * `cosines` — (N, C), N ≥ 1
    /// * `labels` — (N,)
    /// * `scale` — s(t−1)
    pub fn next_scale(&self, cosines: &Tensor, labels: &[u32], scale: f64) -> Result<f64> {
        let cosines = values(cosines)?;
        let rows = || cosines.iter().zip(labels.iter().map(|label| *label as usize));
        let others = rows().flat_map(|(row, own)| row.iter().enumerate().filter(move |(class, _)| *class != own));
        let mean = others.map(|(_, cosine)| (scale * cosine).exp()).sum::<f64>() / labels.len() as f64;
        let mut angles: Vec<f64> = rows().map(|(row, own)| row[own].clamp(-1.0, 1.0).acos()).collect();
        angles.sort_by(f64::total_cmp);
        let next = mean.ln() / median(&angles).min(FRAC_PI_4).cos();
        Ok(bounded(next, self.lowest_scale))
    }
}

impl AdaCosFixed {
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter("lowest_scale", self.lowest_scale, 1.0..=HIGHEST_SCALE)]
    }
}

/// √2 ln(C − 1), but not below the floor.
pub fn fixed_scale(classes: usize, lowest: f64) -> f64 {
    bounded(SQRT_2 * (classes as f64 - 1.0).ln(), lowest)
}

fn bounded(scale: f64, lowest: f64) -> f64 {
    scale.max(lowest).min(HIGHEST_SCALE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::teach::losses::check::{close, matrix};

    #[test]
    fn the_fixed_scale_of_many_classes_is_the_formula() {
        close(&[fixed_scale(1001, 4.0)], &[SQRT_2 * 1000f64.ln()]);
    }

    #[test]
    fn trap_t14_with_few_classes_the_floor_holds() {
        for classes in 2..=17 {
            assert_eq!(fixed_scale(classes, 4.0), 4.0, "{classes} classes");
        }
        assert!(fixed_scale(18, 4.0) > 4.0);
        // Two classes, all at right angles: B = 1 and ln B = 0; separated ones: ln B < 0.
        let next = |row: [f64; 2]| AdaCos::default().next_scale(&matrix(&[row]), &[0], 4.0).unwrap();
        assert_eq!(next([0.0, 0.0]), 4.0);
        assert_eq!(next([1.0, -1.0]), 4.0);
    }

    #[test]
    fn the_dynamic_scale_that_a_person_can_check() {
        // Others at cosine 0: B = 100 of 101 classes. The own angles are 90°, so that π/4 holds.
        let mut row = [0.0; 101];
        let next = |row: [f64; 101]| AdaCos::default().next_scale(&matrix(&[row, row]), &[0, 0], 6.0).unwrap();
        close(&[next(row)], &[100f64.ln() * SQRT_2]);
        // Own angles of 0°: the divisor is cos 0 = 1.
        row[0] = 1.0;
        close(&[next(row)], &[100f64.ln()]);
    }

    #[test]
    fn a_collapsed_batch_does_not_let_the_scale_run_away() {
        let mut scale = 10.0;
        for _ in 0..100 {
            scale = AdaCos::default().next_scale(&matrix(&[[1.0; 101]]), &[0], scale).unwrap();
        }
        assert_eq!(scale, HIGHEST_SCALE);
    }

    #[test]
    fn the_median_of_even_and_odd_counts() {
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
    }
}
