use candle_core::{Device, Result as TensorResult, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use rand::RngExt;
use rand_distr::StandardNormal;

use super::batches::Batches;
use super::body::Body;
use super::course::Course;
use super::judge::Judge;
use super::standard::Standard;
use super::{CHECK_EVERY, Samples, Stream, TrainError, error, stream};
use crate::inspect::metric::Head;

/// How to train a learned score.
#[derive(Clone, Debug, PartialEq)]
pub struct NormalityOptions {
    /// Of the hidden layer; 128 by default.
    pub hidden: usize,
    /// The deviation of the noise that turns a good row into an anomalous one, in deviations of the good rows; 0.5 by
    /// default. 0 shows no such rows.
    pub noise: f32,
    /// At most; 600 by default.
    pub steps: usize,
    /// Rows of one step, at least 4: half good; a quarter anomalous and a quarter good with noise, or half of either
    /// where the other is missing. 240 by default.
    pub batch: usize,
    /// Of AdamW; 0.001 by default.
    pub learning_rate: f64,
    /// Of AdamW; 0.01 by default.
    pub weight_decay: f64,
    /// As for [`TrainOptions`](super::TrainOptions); 8 by default.
    pub patience: usize,
    pub seed: u64,
}

impl Default for NormalityOptions {
    fn default() -> NormalityOptions {
        NormalityOptions {
            hidden: 128,
            noise: 0.5,
            steps: 600,
            batch: 240,
            learning_rate: 1e-3,
            weight_decay: 0.01,
            patience: 8,
            seed: 0,
        }
    }
}

/// Trains a learned score: a logit from the concatenated taps, larger for anomalous patches.
///
/// Binary cross entropy, ln(1 + exp(∓z)), of good rows against anomalous ones and against good ones with Gaussian noise.
/// The step with the best AUROC on `held_out` is kept, a mean over its kinds; step 0 gives 0 for every row, so that a
/// score that is never better than chance adds nothing.
///
/// * `learn` — good rows, at least half a batch; anomalous ones of any class, or none
/// * `held_out` — as for [`train_head`](super::train_head)
///
/// Returns an MLP from C channels to one number.
/// # Errors  [`TrainError`]
/// # Source  Liu et al. 2023 (SimpleNet), arXiv:2303.15197. Differs: no adaptor; cross entropy, not a hinge; synthetic
/// defects beside the noise; channels standardised.
pub fn train_normality(learn: &Samples, held_out: &Samples, options: &NormalityOptions) -> Result<Head, TrainError> {
    error::check_samples(learn, held_out)?;
    let labels: Vec<u32> = learn.labels.iter().map(|label| (*label).min(1)).collect();
    let shares = Shares::new(options, labels.contains(&1))?;
    error::check_count(&labels, 0, shares.good, options.batch)?;
    let standard = Standard::of_good(learn, true);
    let body = Body::silent(learn.embeddings.width(), options.hidden, &mut stream(options.seed, Stream::Head))?;
    let mut batches = Batches::new(&labels, learn.kinds, 2, stream(options.seed, Stream::Batches));
    let mut noise = stream(options.seed, Stream::Noise);
    let judge = Judge::new(held_out, &mut stream(options.seed, Stream::Judge))?;
    let state = |body: &Body| -> TensorResult<_> {
        let head = body.export(&standard)?;
        Ok((judge.auroc(|_, rows| head.apply(rows).data().to_vec()), head))
    };

    let NormalityOptions { learning_rate: lr, weight_decay, .. } = *options;
    let mut optimiser = AdamW::new(body.vars(), ParamsAdamW { lr, weight_decay, ..ParamsAdamW::default() })?;
    let (auroc, start) = state(&body)?;
    let mut course = Course::new("binary cross entropy", lr, options.patience, auroc, start)?;
    for step in 1..=options.steps {
        let good = batches.of_class(0, shares.good);
        let rows = [good, batches.of_class(1, shares.anomalous), batches.of_class(0, shares.noisy)].concat();
        let mut values = standard.values(learn.embeddings, &rows);
        let first_noisy = (shares.good + shares.anomalous) * learn.embeddings.width();
        values[first_noisy..].iter_mut().for_each(|v| *v += options.noise * noise.sample::<f32, _>(StandardNormal));
        let rows = Tensor::from_vec(values, (rows.len(), learn.embeddings.width()), &Device::Cpu)?;
        let loss = cross_entropy(&body.forward(&rows)?, shares.good)?;
        course.learn(step, loss.to_vec0()?)?;
        optimiser.step(&loss.backward()?)?;
        if step % CHECK_EVERY == 0 || step == options.steps {
            let (auroc, head) = state(&body)?;
            if course.check(step, auroc, head)?.is_break() {
                break;
            }
        }
    }
    Ok(course.best)
}

/// How many rows of a batch are what.
struct Shares {
    good: usize,
    anomalous: usize,
    noisy: usize,
}

impl Shares {
    fn new(options: &NormalityOptions, has_anomalous: bool) -> Result<Shares, TrainError> {
        error::check_optimiser(options.learning_rate, options.weight_decay)?;
        error::check_number("hidden", options.hidden as f64, options.hidden > 0, "1 or more")?;
        error::check_number("noise", options.noise.into(), options.noise >= 0.0, "0 or more")?;
        error::check_number("batch", options.batch as f64, options.batch >= 4, "4 or more")?;
        let good = options.batch / 2;
        let anomalous = match (has_anomalous, options.noise > 0.0) {
            (true, true) => good / 2,
            (true, false) => good,
            (false, true) => 0,
            (false, false) => return Err(TrainError::OneClass { class: 0 }),
        };
        Ok(Shares { good, anomalous, noisy: good - anomalous })
    }
}

/// The mean of ln(1 + exp(z)) over the good rows and ln(1 + exp(−z)) over the others.
/// * `logits` — (N, 1), the first `good` of which are of good rows
fn cross_entropy(logits: &Tensor, good: usize) -> TensorResult<Tensor> {
    let sign: Vec<f32> = (0..logits.dim(0)?).map(|row| if row < good { 1.0 } else { -1.0 }).collect();
    let wrong = (logits * Tensor::from_vec(sign, logits.shape(), logits.device())?)?;
    Tensor::cat(&[&wrong.zeros_like()?, &wrong], 1)?.log_sum_exp(1)?.mean_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cross_entropy_of_logits_that_a_person_can_check() {
        // ln 3 says 3/4 anomalous: costs ln 4 if good, ln(4/3) if anomalous.
        let logits = Tensor::new(&[[3f32.ln()], [3f32.ln()]], &Device::Cpu).unwrap();
        let found: f32 = cross_entropy(&logits, 1).unwrap().to_vec0().unwrap();
        assert!((found - (4f32.ln() + (4.0 / 3f32).ln()) / 2.0).abs() < 1e-6);
        let far = Tensor::new(&[[-1000f32], [1000.0]], &Device::Cpu).unwrap();
        assert_eq!(cross_entropy(&far, 1).unwrap().to_vec0::<f32>().unwrap(), 0.0);
    }
}
