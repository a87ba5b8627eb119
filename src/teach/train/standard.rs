use candle_core::{Device, Result, Tensor};

use super::Samples;
use crate::inspect::embedding::Embeddings;

/// No channel's deviation counts as less than this share of their mean, or the noise of channels that are almost
/// constant would rule.
const LEAST_SHARE: f64 = 0.01;

/// What makes each channel of the good samples have deviation 1: x ← (x − mean) · scale.
///
/// For a loss that compares directions the mean is left at 0: seen from their own mean the good samples would point
/// anywhere, and the direction of the mean tells them from the rest.
#[derive(Clone, Debug)]
pub struct Standard {
    /// (C,), that of the good samples or 0.
    pub mean: Vec<f32>,
    /// (C,), 1 / deviation.
    pub scale: Vec<f32>,
}

impl Standard {
    /// # Panics  If no sample is good.
    pub fn of_good(samples: &Samples, centred: bool) -> Standard {
        let good =
            || samples.embeddings.rows().zip(samples.labels).filter(|(_, label)| **label == 0).map(|(row, _)| row);
        let (count, channels) = (good().count() as f64, samples.embeddings.width());
        assert!(count > 0.0, "the samples are checked");
        let mut mean = vec![0.0_f64; channels];
        good().for_each(|row| mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += f64::from(*value) / count));
        let mut variance = vec![0.0_f64; channels];
        for row in good() {
            let away = row.iter().zip(&mean).map(|(value, mean)| f64::from(*value) - mean);
            variance.iter_mut().zip(away).for_each(|(variance, away)| *variance += away * away / count);
        }
        let deviation: Vec<f64> = variance.iter().map(|variance| variance.sqrt()).collect();
        let least = LEAST_SHARE * deviation.iter().sum::<f64>() / channels as f64;
        let scale = |deviation: &f64| if *deviation + least > 0.0 { 1.0 / deviation.max(least) } else { 1.0 };
        mean.iter_mut().filter(|_| !centred).for_each(|mean| *mean = 0.0);
        Standard {
            mean: mean.iter().map(|mean| *mean as f32).collect(),
            scale: deviation.iter().map(|deviation| scale(deviation) as f32).collect(),
        }
    }

    /// The rows named by `indices`, standardised, one after another.
    pub fn values(&self, rows: &Embeddings, indices: &[usize]) -> Vec<f32> {
        let channel = |((value, mean), scale): ((&f32, &f32), &f32)| (value - mean) * scale;
        indices.iter().flat_map(|row| rows.row(*row).iter().zip(&self.mean).zip(&self.scale).map(channel)).collect()
    }

    /// [`Standard::values`] as a tensor, (n, C).
    pub fn tensor(&self, rows: &Embeddings, indices: &[usize]) -> Result<Tensor> {
        Tensor::from_vec(self.values(rows, indices), (indices.len(), rows.width()), &Device::Cpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_standardised_by_the_good_rows_alone() {
        // Good: 1 and 5 with mean 3 and deviation 2, and a channel that never varies.
        let embeddings = Embeddings::new(2, vec![1.0, 7.0, 5.0, 7.0, 9.0, 8.0], false);
        let samples = Samples { embeddings: &embeddings, labels: &[0, 0, 1], kinds: &[0, 0, 1], products: &[0; 3] };
        let standard = Standard::of_good(&samples, true);
        assert_eq!(standard.mean, [3.0, 7.0]);
        // The mean deviation is 1, so the constant channel counts with 0.01.
        assert_eq!(standard.scale, [0.5, 100.0]);
        assert_eq!(standard.values(&embeddings, &[2, 0]), [3.0, 100.0, -1.0, 0.0]);
        assert_eq!(Standard::of_good(&samples, false).values(&embeddings, &[2, 0]), [4.5, 800.0, 0.5, 700.0]);
    }

    #[test]
    fn samples_that_do_not_vary_at_all_are_only_centred() {
        let embeddings = Embeddings::new(1, vec![2.0, 2.0], false);
        let samples = Samples { embeddings: &embeddings, labels: &[0, 0], kinds: &[0, 0], products: &[0, 0] };
        let standard = Standard::of_good(&samples, true);
        assert_eq!(standard.values(&embeddings, &[0]), [0.0]);
    }
}
