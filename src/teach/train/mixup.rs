use candle_core::{Device, Result, Tensor};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Distribution};

use super::TrainError;
use crate::teach::losses::{Criterion, Loss, softmax};
use crate::teach::miners::Reduction;

/// Mixes each row of a batch, and its label, with another: λ x + (1 − λ) x', λ ~ Beta(α, α), one for each batch.
/// # Source  Zhang et al. 2018, arXiv:1710.09412. Differs: embeddings are mixed, not pictures.
#[derive(Debug)]
pub struct Mixup {
    share: Beta<f64>,
    classes: usize,
    rng: ChaCha8Rng,
}

impl Mixup {
    /// # Errors  [`TrainError::Option`] if α is not above 0.
    pub fn new(alpha: f32, classes: usize, rng: ChaCha8Rng) -> std::result::Result<Mixup, TrainError> {
        let alpha = f64::from(alpha);
        let refused = |_| TrainError::Option { option: "mixup", found: alpha, expected: "above 0" };
        Ok(Mixup { share: Beta::new(alpha, alpha).map_err(refused)?, classes, rng })
    }

    /// Whether labels can be mixed for a loss: its logits carry no margin, and nothing follows the labels.
    pub fn suits(loss: &Loss) -> bool {
        matches!(loss, Loss::Softmax(_) | Loss::L2Softmax(_))
    }

    /// The mixed rows (N, C) and the probability of each class, (N, classes).
    pub fn mix(&mut self, rows: &Tensor, labels: &[u32]) -> Result<(Tensor, Tensor)> {
        let share = self.share.sample(&mut self.rng);
        let mut others: Vec<u32> = (0..labels.len() as u32).collect();
        others.shuffle(&mut self.rng);
        let mut targets = vec![0.0_f32; labels.len() * self.classes];
        for (row, other) in others.iter().enumerate() {
            targets[row * self.classes + labels[row] as usize] += share as f32;
            targets[row * self.classes + labels[*other as usize] as usize] += 1.0 - share as f32;
        }
        let shape = (labels.len(), self.classes);
        let others = rows.index_select(&Tensor::from_vec(others, labels.len(), &Device::Cpu)?, 0)?;
        let mixed = ((rows * share)? + (others * (1.0 - share))?)?;
        Ok((mixed, Tensor::from_vec(targets, shape, &Device::Cpu)?))
    }
}

/// The loss of mixed rows; none for a loss that [`Mixup::suits`] not.
pub fn loss(
    criterion: &Criterion,
    reduction: Reduction,
    embeddings: &Tensor,
    targets: &Tensor,
) -> Result<Option<Tensor>> {
    let reduce = |logits| reduction.reduce(&softmax::cross_entropy_soft(&logits, targets)?);
    criterion.logits(embeddings)?.map(reduce).transpose()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_label_is_mixed_as_its_row_is() {
        // The only channel is the label itself, so a mixed row must equal the probability of class 1.
        let labels = [0, 1, 1, 0, 1];
        let rows = Tensor::new(&[[0.0_f32], [1.0], [1.0], [0.0], [1.0]], &Device::Cpu).unwrap();
        let mut mixup = Mixup::new(0.4, 2, ChaCha8Rng::seed_from_u64(3)).unwrap();
        for _ in 0..5 {
            let (mixed, targets) = mixup.mix(&rows, &labels).unwrap();
            let (mixed, targets): (Vec<Vec<f32>>, Vec<Vec<f32>>) =
                (mixed.to_vec2().unwrap(), targets.to_vec2().unwrap());
            for (mixed, target) in mixed.iter().zip(&targets) {
                assert!((mixed[0] - target[1]).abs() < 1e-6, "{mixed:?} for {target:?}");
                assert!((target[0] + target[1] - 1.0).abs() < 1e-6);
            }
        }
    }
}
