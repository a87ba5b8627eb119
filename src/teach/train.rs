//! Trains the head: what the losses make of embeddings of a frozen backbone.
//!
//! A head that is shown synthetic defects forgets what it is not shown, so three things hold it back. It starts where
//! it does no harm (the raw embedding, principal axes) and is pulled back there by `nearness`. It is judged on
//! held-out samples, which should show kinds of defects that it does not learn from: by how well the distance to the
//! nearest good embedding tells anomalous patches from good ones, computed as an inspection computes it, with the
//! exported head. And the best step is kept, step 0 among them, so that a head that only gets worse comes back as it
//! started. Whether it is better than no head at all is for the caller to find out.
//!
//! Threads: candle spreads a matrix product over rayon's global pool, and an element-wise operation on 65 536 numbers
//! or more over a pool of its own, whose threads wait by spinning; on a busy machine that costs more than it gains.
//! Both pools have one thread per core; `CANDLE_NUM_THREADS=1` and `RAYON_NUM_THREADS=1` in the environment turn them
//! off, the program itself cannot. The default batch stays below that size. All else runs on the calling thread.

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;

use super::losses::Loss;
use super::miners::{Miner, Reduction};
use crate::inspect::embedding::Embeddings;
use crate::inspect::metric::Head;
use crate::inspect::recipe::Distance;

mod batches;
mod body;
mod course;
mod error;
mod judge;
mod mixup;
mod normality;
mod standard;
#[cfg(test)]
mod tests;
mod training;

pub use course::Check;
use course::Course;
pub use error::TrainError;
use judge::Judge;
pub use normality::{NormalityOptions, train_normality};
use training::{Kept, Training};

/// Steps between two checks on the held-out samples.
pub const CHECK_EVERY: usize = 25;

/// The form of the head. All start from channels x that have deviation 1 over the good samples, and mean 0 too unless
/// the loss compares directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadShape {
    /// y = W x, `width` ≤ C; starts at the principal axes of the good samples.
    Linear { width: usize },
    /// y = x + A x; starts at A = 0, where it is the standardised embedding itself.
    Residual,
    /// y = V max(0, W (x − m)) + b; starts at random, and m and b at 0.
    Mlp { hidden: usize, width: usize },
}

/// How to train a head.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// Residual by default: nothing is lost, and nothing is worse before the first step.
    pub shape: HeadShape,
    /// Softmax by default, the conventional classifier.
    pub loss: Loss,
    /// `All` by default, the only one that every loss takes; for losses of pairs see [`TrainOptions::for_loss`].
    pub miner: Miner,
    pub reduction: Reduction,
    /// At most; 600 by default, when heads on synthetic defects had nothing left to learn.
    pub steps: usize,
    /// Rows of one step, at least two of each class; rounded down to equal parts. 240 by default, which has equal
    /// parts for up to six classes.
    pub batch: usize,
    /// Of AdamW; 0.001 by default.
    pub learning_rate: f64,
    /// Of AdamW; 0.01 by default. For a residual head a second pull to A = 0.
    pub weight_decay: f64,
    /// The weight of the pull to the raw embedding, 0 or more; 1 by default. For a residual head ‖A‖²/C; for the others
    /// the mean squared difference between the cosine of two rows after the head and before it.
    pub nearness: f32,
    /// Whether the head will be compared with the learned weight or centre of the good class; then a step is judged by the
    /// distance to that, not to good rows. Not by default.
    pub prototype: bool,
    /// α of mixup, for softmax and L2-softmax; none by default. The original experiments used 0.4.
    pub mixup: Option<f32>,
    /// After so many checks without a better one the training ends; 8 by default. A check is every [`CHECK_EVERY`]
    /// steps.
    pub patience: usize,
    /// Of the batches, of what starts at random and of which rows the checks look at.
    pub seed: u64,
}

impl Default for TrainOptions {
    fn default() -> TrainOptions {
        TrainOptions {
            shape: HeadShape::Residual,
            loss: Loss::Softmax(Default::default()),
            miner: Miner::All,
            reduction: Reduction::Mean,
            steps: 600,
            batch: 240,
            learning_rate: 1e-3,
            weight_decay: 0.01,
            nearness: 1.0,
            prototype: false,
            mixup: None,
            patience: 8,
            seed: 0,
        }
    }
}

impl TrainOptions {
    /// The defaults for a loss. One that takes a miner gets semi-hard tuples and their mean over those that are not
    /// satisfied: all tuples of a batch of 240 would be three million triplets a step.
    pub fn for_loss(loss: Loss) -> TrainOptions {
        match loss.takes_miner() {
            true => TrainOptions {
                loss,
                miner: Miner::SemiHard,
                reduction: Reduction::MeanOfNonZero,
                ..TrainOptions::default()
            },
            false => TrainOptions { loss, ..TrainOptions::default() },
        }
    }
}

/// Patches that are trained on or judged by.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    /// (N, C), the concatenated taps, not normalised.
    pub embeddings: &'a Embeddings,
    /// (N,), the class; 0 is good.
    pub labels: &'a [u32],
    /// (N,), the kind of defect; 0 for good rows.
    pub kinds: &'a [u16],
    /// (N,), the product whose parts they show. Each has a good class and classes of defects of its own.
    pub products: &'a [u16],
}

impl Samples<'_> {
    /// The classes to tell apart, (N,), counted from 0 without gaps: the good parts of each product, then the defects of
    /// each; and how many there are.
    pub fn classes(&self) -> (Vec<u32>, usize) {
        let key = |row: usize| (self.labels[row] > 0, self.products[row], self.labels[row]);
        let keys: BTreeSet<_> = (0..self.labels.len()).map(key).collect();
        let keys: Vec<_> = keys.into_iter().collect();
        let class = |row| keys.binary_search(&key(row)).expect("all keys are among them") as u32;
        ((0..self.labels.len()).map(class).collect(), keys.len())
    }

    /// The products, in ascending order.
    fn product_numbers(&self) -> Vec<u16> {
        self.products.iter().copied().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The good rows of a product.
    fn good(&self, product: u16) -> impl Iterator<Item = usize> {
        (0..self.labels.len()).filter(move |row| self.labels[*row] == 0 && self.products[*row] == product)
    }
}

/// A trained head and how it came to be.
#[derive(Clone, Debug)]
pub struct Trained {
    /// From the concatenated taps; that of the best step.
    pub head: Head,
    /// Class weights or centres in the space of the head's output, first those of the good parts of each product, of the
    /// same step; none for losses without.
    pub prototypes: Option<Embeddings>,
    /// How many were taken.
    pub steps: usize,
    /// The step whose head this is; 0 if no step was better than the start.
    pub best_step: usize,
    /// From step 0 on, in order.
    pub history: Vec<Check>,
    distance: Distance,
}

/// Learned weights or centres of classes as embeddings are compared with them, and by which distance: of weights only the
/// direction counts, a centre lies among the embeddings.
pub fn prototypes(loss: &Loss, learned: Embeddings) -> (Embeddings, Distance) {
    match loss {
        Loss::Center(_) => (learned, Distance::Euclidean),
        _ => (learned.normalise(), Distance::Cosine),
    }
}

impl Trained {
    /// Whether the class weights that a loss should have learned point where they did at the start: anywhere. Centres start
    /// at the mean of the good rows.
    pub fn prototypes_are_random(&self, loss: &Loss) -> bool {
        self.best_step == 0 && !matches!(loss, Loss::Center(_))
    }

    /// How its embeddings should be compared: by cosine if the loss compared directions, else Euclidean.
    pub fn distance(&self) -> Distance {
        self.distance
    }
}

/// Trains a head on `learn` and keeps the step that serves best on `held_out`.
///
/// A check takes up to 1000 good rows of `learn` as a bank and gives the AUROC of the distances to it, between the good
/// held-out rows and those of one kind, as a mean over the kinds (up to 2000 rows good, 2000 anomalous); with several
/// products each has a bank and an AUROC of its own, and their mean counts. Every batch
/// holds each class in equal parts, at least two rows of each, so that every loss has tuples: n-pair then meets all
/// classes in each round; quadruplet's second part needs a third class, without which it trains as triplet does. Of a
/// class of defects two rows are enough; they are dealt again and again. The same input gives the same bits on the same
/// machine.
///
/// * `held_out` — from other parts than `learn`, and of other kinds of defects: else the check only tells what the head
///   remembers
/// * `progress` — told after each step how many of how many are done
/// # Errors  [`TrainError`]
pub fn train_head(
    learn: &Samples,
    held_out: &Samples,
    options: &TrainOptions,
    progress: &dyn Fn(usize, usize),
) -> Result<Trained, TrainError> {
    error::check_samples(learn, held_out)?;
    error::check_options(options, learn)?;
    let judge = Judge::new(held_out, &mut stream(options.seed, Stream::Judge))?;
    let mut training = Training::new(*learn, options)?;
    let (auroc, start) = training.state(&judge)?;
    let mut course = Course::new(options.loss.name(), options.learning_rate, options.patience, auroc, start)?;
    for step in 1..=options.steps {
        if let Some(loss) = training.step(step)? {
            course.learn(step, loss)?;
        }
        progress(step, options.steps);
        if step % CHECK_EVERY == 0 || step == options.steps {
            let (auroc, state) = training.state(&judge)?;
            if course.check(step, auroc, state)?.is_break() {
                break;
            }
        }
    }
    let Course { best: Kept { head, prototypes }, best_step, history, .. } = course;
    let steps = history.last().map_or(0, |check| check.step);
    Ok(Trained { head, prototypes, steps, best_step, history, distance: distance_of(&options.loss) })
}

fn distance_of(loss: &Loss) -> Distance {
    if loss.compares_directions() { Distance::Cosine } else { Distance::Euclidean }
}

/// What the seed is used for.
#[derive(Clone, Copy)]
enum Stream {
    Head,
    Batches,
    Mixup,
    Judge,
    Bank,
    Clusters,
    Noise,
}

fn stream(seed: u64, of: Stream) -> ChaCha8Rng {
    super::stream(seed, of as u64)
}
