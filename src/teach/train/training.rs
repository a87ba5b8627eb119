use std::collections::BTreeMap;

use candle_core::{Result, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};

use super::batches::Batches;
use super::body::Body;
use super::judge::{self, Judge};
use super::mixup::{self, Mixup};
use super::standard::Standard;
use super::{Samples, Stream, TrainError, TrainOptions, distance_of, stream};
use crate::inspect::bank::Bank;
use crate::inspect::embedding::Embeddings;
use crate::inspect::metric::Head;
use crate::inspect::recipe::Distance;
use crate::teach::losses::{Criterion, Loss};

/// The good rows that a check measures distances to.
const BANK_ROWS: usize = 1000;
/// Steps between two refreshes of the magnet loss's clusters, and the most rows of each class that give them.
const REFRESH_EVERY: usize = 100;
const REFRESH_ROWS: usize = 1000;

/// All that changes from step to step, and what the steps learn from.
pub struct Training<'a> {
    learn: Samples<'a>,
    /// What each row is to be told as.
    classes: Vec<u32>,
    options: &'a TrainOptions,
    standard: Standard,
    body: Body,
    criterion: Criterion,
    optimiser: AdamW,
    batches: Batches,
    mixup: Option<Mixup>,
    /// Good rows of each product.
    banks: BTreeMap<u16, Embeddings>,
    /// Rows of all classes, for the clusters.
    some_rows: Vec<usize>,
}

/// What a step leaves behind if it is the best.
#[derive(Debug)]
pub struct Kept {
    pub head: Head,
    pub prototypes: Option<Embeddings>,
}

impl<'a> Training<'a> {
    /// * arguments as for [`train_head`](super::train_head), checked
    pub fn new(learn: Samples<'a>, options: &'a TrainOptions) -> std::result::Result<Self, TrainError> {
        let TrainOptions { learning_rate: lr, weight_decay, seed, .. } = *options;
        let (labels, classes) = learn.classes();
        let standard = Standard::of_good(&learn, !options.loss.compares_directions());
        let body = Body::new(options.shape, &learn, &standard, &mut stream(seed, Stream::Head))?;
        let TrainOptions { loss, miner, reduction, .. } = options;
        let criterion = Criterion::new(loss.clone(), *miner, *reduction, classes, body.width(), seed)?;
        // Centres are among these, but take no gradient, so the optimiser leaves them alone.
        let vars = [body.vars(), criterion.vars()].concat();
        let optimiser = AdamW::new(vars, ParamsAdamW { lr, weight_decay, ..ParamsAdamW::default() })?;
        let mixup = options.mixup.map(|alpha| Mixup::new(alpha, classes, stream(seed, Stream::Mixup))).transpose()?;
        let rng = &mut stream(seed, Stream::Clusters);
        let of_class = |class| judge::sample(&labels, class, REFRESH_ROWS, rng);
        let some_rows = (0..classes as u32).flat_map(of_class).collect();
        let rng = &mut stream(seed, Stream::Bank);
        let mut bank = |product| learn.embeddings.select(&judge::some(learn.good(product).collect(), BANK_ROWS, rng));
        let banks = learn.product_numbers().into_iter().map(|product| (product, bank(product))).collect();
        let batches = Batches::new(&labels, learn.kinds, classes, stream(seed, Stream::Batches));
        Ok(Training {
            learn,
            classes: labels,
            options,
            standard,
            body,
            criterion,
            optimiser,
            batches,
            mixup,
            banks,
            some_rows,
        })
    }

    /// Learns from one batch. Returns its loss; none if it has no tuple to learn from.
    pub fn step(&mut self, step: usize) -> Result<Option<f32>> {
        if step % REFRESH_EVERY == 1 && matches!(self.options.loss, Loss::Magnet(_)) {
            let (rows, labels) = self.rows(&self.some_rows)?;
            self.criterion.refresh(&self.body.forward(&rows)?.detach(), &labels)?;
        }
        let batch = self.batches.next(self.options.batch);
        let Some(loss) = self.loss(&batch)? else { return Ok(None) };
        self.optimiser.step(&loss.backward()?)?;
        loss.to_vec0().map(Some)
    }

    /// The AUROC of the present head, none if it gives no numbers, and the head.
    pub fn state(&self, judge: &Judge) -> Result<(Option<f64>, Kept)> {
        let head = self.body.export(&self.standard)?;
        let prototypes = self.criterion.prototypes().map(embeddings).transpose()?;
        let compared = prototypes.clone().filter(|_| self.options.prototype);
        let compared = compared.map(|learned| super::prototypes(&self.options.loss, learned));
        let distance = compared.as_ref().map_or(distance_of(&self.options.loss), |(_, distance)| *distance);
        let embed = |rows: &Embeddings| match distance {
            Distance::Cosine => head.apply(rows).normalise(),
            _ => head.apply(rows),
        };
        let bank = |(number, (product, rows)): (usize, (&u16, &Embeddings))| {
            let rows = compared.as_ref().map_or_else(|| embed(rows), |(learned, _)| learned.select(&[number]));
            (*product, Bank::new(rows, distance, None))
        };
        let banks: BTreeMap<u16, Bank> = self.banks.iter().enumerate().map(bank).collect();
        let auroc = judge.auroc(|product, rows| match banks.get(&product) {
            Some(bank) => bank.distances(&embed(rows), 1),
            None => vec![f32::NAN; rows.len()],
        });
        Ok((auroc, Kept { head, prototypes }))
    }

    /// Standardised rows, (n, C), and their labels.
    fn rows(&self, indices: &[usize]) -> Result<(Tensor, Vec<u32>)> {
        let labels = indices.iter().map(|row| self.classes[*row]).collect();
        Ok((self.standard.tensor(self.learn.embeddings, indices)?, labels))
    }

    /// The loss of a batch with the pull to the raw embedding.
    fn loss(&mut self, batch: &[usize]) -> Result<Option<Tensor>> {
        let (mut rows, labels) = self.rows(batch)?;
        let targets = match &mut self.mixup {
            Some(mixup) => {
                let (mixed, targets) = mixup.mix(&rows, &labels)?;
                rows = mixed;
                Some(targets)
            }
            None => None,
        };
        let embeddings = self.body.forward(&rows)?;
        let loss = match targets {
            Some(targets) => mixup::loss(&self.criterion, self.options.reduction, &embeddings, &targets)?,
            None => self.criterion.loss(&embeddings, &labels)?,
        };
        let pulled = |loss: Tensor| match self.options.nearness {
            0.0 => Ok(loss),
            weight => loss + (self.body.strain(&rows, &embeddings)? * f64::from(weight))?,
        };
        loss.map(pulled).transpose()
    }
}

fn embeddings(rows: Tensor) -> Result<Embeddings> {
    Ok(Embeddings::new(rows.dim(1)?, rows.flatten_all()?.to_vec1()?, false))
}
