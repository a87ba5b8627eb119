use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::{Parameter, unit_rows};

/// L2-constrained softmax: every embedding is put on a sphere of radius α, then classified as usual.
///
/// L = −log softmax(W (α z/‖z‖) + b)_y. One term per row.
/// * The batch may hold any rows; each has a loss. At least two classes must exist.
/// * Embeddings are made unit inside, each row by its own length. W (C, D) and b (C,) are trained with the head; the
///   embedding is z, before W, never the logits.
/// # Source  Ranjan et al. 2017, arXiv:1703.09507.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct L2Softmax {
    /// α > 0, above [`lowest_scale`]. Paper: fixed between 16 and 32, or learned; 16 here.
    pub scale: f64,
}

impl Default for L2Softmax {
    fn default() -> L2Softmax {
        L2Softmax { scale: 16.0 }
    }
}

impl L2Softmax {
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter("scale", self.scale, 1e-3..=1e3)]
    }

    /// α z/‖z‖ of each row, (N, D); what the class weights see.
    /// * `embeddings` — (N, D)
    pub fn constrain(&self, embeddings: &Tensor) -> Result<Tensor> {
        unit_rows(embeddings)? * self.scale
    }
}

/// The smallest α with which probability p can be reached: ln( p (C − 2)/(1 − p) ); −∞ with two classes, which says
/// that any α will do.
pub fn lowest_scale(classes: usize, probability: f64) -> f64 {
    (probability * (classes as f64 - 2.0) / (1.0 - probability)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::teach::losses::check::matrix;

    #[test]
    fn trap_t3_each_row_is_normalised_by_its_own_length() {
        let loss = L2Softmax { scale: 10.0 };
        let rows = [[3.0, 4.0], [0.0, 0.01], [-500.0, 0.0]];
        let together = loss.constrain(&matrix(&rows)).unwrap().to_vec2::<f64>().unwrap();
        assert_eq!(together, [[6.0, 8.0], [0.0, 10.0], [-10.0, 0.0]]);
        let alone = loss.constrain(&matrix(&rows[..1])).unwrap().to_vec2::<f64>().unwrap();
        assert_eq!(alone[0], together[0], "a row does not depend on the rest of its batch");
    }

    #[test]
    fn the_lowest_scale_of_three_classes() {
        assert!((lowest_scale(3, 0.9) - 2.197).abs() < 1e-3);
        assert_eq!(lowest_scale(2, 0.9), f64::NEG_INFINITY);
    }
}
