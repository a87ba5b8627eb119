use candle_core::{D, Result, Tensor};
use candle_nn::ops::log_softmax;
use serde::{Deserialize, Serialize};

use super::at;

/// Softmax cross entropy, the conventional classifier.
///
/// L = −log softmax(W z + b)_y. One term per row. It has no parameters.
/// * The batch may hold any rows; each has a loss. At least two classes must exist.
/// * Embeddings are not made unit. W (C, D) and b (C,) are trained with the head; the embedding is z, before W.
/// * For mixup, [`cross_entropy_soft`] takes the mixed labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Softmax {}

/// W z + b, (N, C).
///
/// * `embeddings` — (N, D)
/// * `weights` — (C, D)
/// * `bias` — (C,)
pub fn linear(embeddings: &Tensor, weights: &Tensor, bias: &Tensor) -> Result<Tensor> {
    embeddings.matmul(&weights.t()?)?.broadcast_add(bias)
}

/// −log softmax(logits)_y of each row, (N,).
///
/// * `logits` — (N, C)
/// * `labels` — (N,), below C
pub fn cross_entropy(logits: &Tensor, labels: &[u32]) -> Result<Tensor> {
    let cells: Vec<_> = labels.iter().enumerate().map(|(row, label)| [row, *label as usize]).collect();
    at(&log_softmax(logits, D::Minus1)?, &cells)?.neg()
}

/// −Σ_j p_j log softmax(logits)_j of each row, (N,): cross entropy against mixed labels.
///
/// * `logits` — (N, C)
/// * `target_probabilities` — (N, C), rows that add to 1; for mixup λ onehot(y) + (1 − λ) onehot(y')
/// # Source  Zhang et al. 2018 (mixup), arXiv:1710.09412.
pub fn cross_entropy_soft(logits: &Tensor, target_probabilities: &Tensor) -> Result<Tensor> {
    (log_softmax(logits, D::Minus1)? * target_probabilities)?.sum(D::Minus1)?.neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::teach::losses::check::{close, gradient_agrees, matrix, numbers};

    #[test]
    fn a_row_that_a_person_can_check() {
        // Logits 0 and ln 3: probabilities 1/4 and 3/4.
        let logits = matrix(&[[0.0, 3f64.ln()], [0.0, 3f64.ln()]]);
        close(&numbers(&cross_entropy(&logits, &[0, 1]).unwrap()), &[4f64.ln(), (4.0 / 3f64).ln()]);
    }

    #[test]
    fn logits_are_the_products_with_the_class_weights_and_the_bias() {
        let bias = matrix(&[[0.5, -0.5]]).squeeze(0).unwrap();
        let logits = linear(&matrix(&[[1.0, 2.0]]), &matrix(&[[3.0, 0.0], [0.0, 4.0]]), &bias).unwrap();
        close(&logits.to_vec2().unwrap()[0], &[3.5, 7.5]);
    }

    #[test]
    fn mixed_labels_cost_the_mixture_of_both_costs() {
        let logits = matrix(&[[0.0, 3f64.ln()]]);
        let mixed = cross_entropy_soft(&logits, &matrix(&[[0.3, 0.7]])).unwrap();
        close(&numbers(&mixed), &[0.3 * 4f64.ln() + 0.7 * (4.0 / 3f64).ln()]);
        let hard = cross_entropy_soft(&logits, &matrix(&[[1.0, 0.0]])).unwrap();
        close(&numbers(&hard), &numbers(&cross_entropy(&logits, &[0]).unwrap()));
    }

    #[test]
    fn the_gradient_of_mixed_labels_agrees_with_differences() {
        let targets = matrix(&[[0.3, 0.7, 0.0], [0.0, 0.1, 0.9]]);
        gradient_agrees(
            |logits| cross_entropy_soft(logits, &targets)?.mean_all(),
            &[[0.1, 2.0, -1.0], [0.4, 0.0, 0.3]],
        );
    }

    #[test]
    fn large_logits_stay_finite() {
        let logits = matrix(&[[1e4, -1e4]]);
        close(&numbers(&cross_entropy(&logits, &[1]).unwrap()), &[2e4]);
    }
}
