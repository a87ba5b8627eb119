//! The steps of one teaching: embedding, learning, calibrating, trying defects.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::augment::{Augmentation, load_variant};
use super::bank::{self, Candidates, Learned};
use super::defects::{self, TRIALS, Trial};
use super::known::KnownDefects;
use super::parallel::in_parallel;
use super::{FOLDS, GoodParts, Options, Progress, SPLIT_FROM, Stage, TRIED_PARTS, TeachError, check};
use crate::frame::Frame;
use crate::inspect::card::Model;
use crate::inspect::embedding::Embeddings;
use crate::inspect::metric::Metric;
use crate::inspect::recipe::Distance;
use crate::inspect::{Extractor, InspectError, Inspector};
use crate::profile::{CalibrationScore, ExpectedCatch};

/// The steps of one teaching.
pub struct Lesson<'a> {
    pub extractor: Extractor,
    pub options: &'a Options,
    pub parts: &'a GoodParts<'a>,
    pub progress: Progress<'a>,
    /// Learned before, with a head that the bank alone cannot give.
    pub metric: Option<Metric>,
    /// What parts are compared with instead of a bank of good ones.
    pub prototype: Option<Embeddings>,
    /// Whose variants of the parts join the bank.
    pub augmentation: Option<Augmentation>,
}

impl Lesson<'_> {
    pub fn new<'a>(
        model: &Model,
        options: &'a Options,
        parts: &'a GoodParts<'a>,
        progress: Progress<'a>,
    ) -> Result<Lesson<'a>, TeachError> {
        let extractor = Extractor::new(model, &options.recipe).map_err(InspectError::from)?;
        check(options, extractor.channels())?;
        Ok(Lesson { extractor, options, parts, progress, metric: None, prototype: None, augmentation: None })
    }

    /// A generator that depends on the seed and on what it is for.
    pub fn rng(&self, stream: u64) -> ChaCha8Rng {
        super::stream(self.options.seed, stream)
    }

    pub fn load(&self, part: usize) -> Result<Frame, TeachError> {
        self.parts.load(part).map_err(TeachError::Load)
    }

    /// How many values are held for each candidate.
    fn held(&self) -> usize {
        self.options.recipe.held(self.extractor.channels())
    }

    /// Height and width of the grid of embeddings of a part. In tiles its picture says so, and only smoothing asks.
    fn map_size(&self, part: usize) -> Result<[usize; 2], TeachError> {
        let recipe = &self.options.recipe;
        if recipe.tiling.is_none() || !recipe.smooth {
            return Ok(self.extractor.grid());
        }
        self.extractor.map_size(&self.load(part)?).map_err(self.named(part))
    }

    pub fn named(&self, part: usize) -> impl Fn(InspectError) -> TeachError + '_ {
        move |source| TeachError::Inspect { part: self.parts.name(part).to_owned(), source: Box::new(source) }
    }

    pub fn named_scores(&self, parts: &[usize], scores: &[f32]) -> Vec<CalibrationScore> {
        let named =
            |(&part, &score): (&usize, &f32)| CalibrationScore { part: self.parts.name(part).to_owned(), score };
        parts.iter().zip(scores).map(named).collect()
    }

    /// How many embeddings of each of `parts` parts may be candidates, for their memory; without a limit where they are
    /// also what the parts are scored by.
    pub fn rows_per_part(&self, parts: usize) -> usize {
        if parts < SPLIT_FROM {
            return usize::MAX;
        }
        let bytes = parts * self.held() * size_of::<f32>();
        // Variants have the other half.
        let shares = if self.augmentation.is_some() { 2 } else { 1 };
        (self.options.candidate_bytes / shares / bytes).max(1)
    }

    /// The concatenated taps of `parts`, and how many rows each part has: all have the same number, unless their frames
    /// differ in size and so in their tiles.
    pub fn embed(&self, parts: &[usize]) -> Result<(Candidates, Vec<usize>), TeachError> {
        let most = self.rows_per_part(parts.len());
        let [height, width] = self.extractor.grid();
        if self.options.recipe.distance == Distance::MahalanobisPerPosition && most < height * width {
            let mib = (parts.len() * height * width * self.extractor.channels() * size_of::<f32>()).div_ceil(1 << 20);
            return Err(TeachError::Recipe(format!(
                "Gaussians for each position need all embeddings of every part, {mib} MiB here; allow as much with \
                 --candidates-mib, or give fewer parts or a smaller --input-px"
            )));
        }
        self.embed_all(parts, most, 1, |i| self.load(parts[i]))
    }

    /// The same of their variants, of all variants of the first part, then of the next; nothing without an augmentation.
    pub fn embed_variants(&self, parts: &[usize]) -> Result<(Candidates, Vec<usize>), TeachError> {
        let Some(augmentation) = self.augmentation else {
            let none = Embeddings::new(self.extractor.channels(), vec![], false);
            return Ok((Candidates::new(none, &[], 1), vec![]));
        };
        let all: Vec<usize> = parts.iter().flat_map(|part| std::iter::repeat_n(*part, augmentation.count())).collect();
        let most = self.options.candidate_bytes / 2 / (all.len() * self.held() * size_of::<f32>());
        let roi = self.options.recipe.roi_px;
        self.embed_all(&all, most.max(1), augmentation.count(), |i| {
            load_variant(augmentation, roi, i, |at| self.load(parts[at]))
        })
    }

    /// * `parts` — whose pictures they are, for messages
    /// * `most` — rows of each, drawn by the seed if there are more
    /// * `each` — so many pictures one after another show the same part
    /// * `load` — gives picture 0 … `parts.len()` − 1
    fn embed_all(
        &self,
        parts: &[usize],
        most: usize,
        each: usize,
        load: impl Fn(usize) -> Result<Frame, TeachError> + Sync,
    ) -> Result<(Candidates, Vec<usize>), TeachError> {
        let job = |extractor: &mut Extractor, i: usize| -> Result<Embeddings, TeachError> {
            let (embeddings, _) = extractor.run(&load(i)?).map_err(self.named(parts[i]))?;
            if embeddings.data().iter().any(|value| !value.is_finite()) {
                return Err(TeachError::NotFinite { part: self.parts.name(parts[i]).to_owned() });
            }
            if embeddings.len() <= most {
                return Ok(embeddings);
            }
            let mut picked = rand::seq::index::sample(&mut self.rng(1 + i as u64), embeddings.len(), most).into_vec();
            picked.sort_unstable();
            Ok(embeddings.select(&picked))
        };
        let step = |done| (self.progress)(Stage::Embed, done, parts.len());
        let embeddings = in_parallel(parts.len(), self.options.threads, || self.extractor.fork(), job, step)?;
        // Each part is freed as it is copied, so that both together take little more than one.
        let rows: Vec<usize> = embeddings.iter().map(Embeddings::len).collect();
        let mut all = Vec::with_capacity(rows.iter().sum::<usize>() * self.extractor.channels());
        embeddings.into_iter().for_each(|part| all.extend_from_slice(part.data()));
        let raw = Embeddings::new(self.extractor.channels(), all, false);
        Ok((Candidates::new(raw, &rows, each), rows))
    }

    /// The metric of the recipe and the bank, from the concatenated taps of some parts.
    /// * `step` — told how many bank rows are chosen
    pub fn learn(&self, candidates: Candidates, step: &dyn Fn(usize)) -> Learned {
        let ([height, width], recipe) = (self.extractor.grid(), &self.options.recipe);
        let metric = match &self.metric {
            Some(metric) if let Some(bank) = &self.prototype => {
                return Learned { metric: metric.clone(), bank: bank.clone() };
            }
            Some(metric) => metric.clone(),
            None => bank::fit(recipe, &candidates.raw, self.options.pca_width),
        };
        bank::learn(recipe, metric, candidates, height * width, self.options, step)
    }

    pub fn bank_step(&self) -> impl Fn(usize) + '_ {
        move |done| (self.progress)(Stage::Bank, done, self.options.bank_rows)
    }

    pub fn inspector(&self, learned: &Learned, threshold: f32) -> Result<Inspector, TeachError> {
        let Learned { metric, bank } = learned.clone();
        Ok(Inspector::assemble(self.extractor.fork(), metric, bank, threshold)?)
    }

    /// The score of each of `parts`.
    pub fn scores(&self, inspector: &Inspector, parts: &[usize]) -> Result<Vec<f32>, TeachError> {
        let job = |inspector: &mut Inspector, i: usize| {
            Ok(inspector.inspect(&self.load(parts[i])?).map_err(self.named(parts[i]))?.score)
        };
        let step = |done| (self.progress)(Stage::Calibrate, done, parts.len());
        in_parallel(parts.len(), self.options.threads, || inspector.fork(), job, step)
    }

    /// The score of each part by a bank that was taught without its fold, and without the variants of its fold.
    /// * the concatenated taps of the parts and how many rows each has, as [`Lesson::embed`] gives them; and those of
    ///   their variants
    pub fn fold_scores(
        &self,
        [(candidates, rows), (variants, variant_rows)]: [(&Candidates, &[usize]); 2],
    ) -> Result<Vec<f32>, TeachError> {
        let range = |rows: &[usize], at: usize| {
            let first = rows[..at].iter().sum::<usize>();
            first..first + rows[at]
        };
        let rows_of = |part: usize| range(rows, part);
        let each = variant_rows.len() / rows.len();
        let job = |(): &mut (), fold: usize| -> Result<Vec<f32>, TeachError> {
            let is_other = |part: &usize| part % FOLDS != fold;
            let others: Vec<usize> = (0..rows.len()).filter(is_other).flat_map(rows_of).collect();
            let of_others = (0..variant_rows.len()).filter(|variant| is_other(&(variant / each)));
            let of_others: Vec<usize> = of_others.flat_map(|variant| range(variant_rows, variant)).collect();
            let mut bank = candidates.select(&others);
            bank.extend(&variants.select(&of_others));
            let learned = self.learn(bank, &|_| ());
            let inspector = self.inspector(&learned, f32::INFINITY)?;
            let own = |part: usize| candidates.raw.select(&rows_of(part).collect::<Vec<_>>());
            (fold..rows.len()).step_by(FOLDS).map(|part| Ok(inspector.score(own(part), self.map_size(part)?))).collect()
        };
        let step = |done| (self.progress)(Stage::Calibrate, done, FOLDS);
        // Each fold holds its parts twice, as rows and as what the coreset compares.
        let bytes = (candidates.raw.len() + variants.raw.len()) * self.held() * size_of::<f32>();
        let at_once = self.options.candidate_bytes / (2 * bytes);
        let folds = in_parallel(FOLDS, at_once.clamp(1, self.options.threads.max(1)), || (), job, step)?;
        Ok((0..rows.len()).map(|part| folds[part % FOLDS][part / FOLDS]).collect())
    }

    /// How many synthetic defects, drawn on `parts`, the inspector's threshold catches.
    pub fn expected_catch(&self, inspector: &Inspector, parts: &[usize]) -> Result<Vec<ExpectedCatch>, TeachError> {
        let parts = &parts[..parts.len().min(TRIED_PARTS)];
        let job = |inspector: &mut Inspector, i: usize| -> Result<bool, TeachError> {
            let (defect, part) = (i / parts.len(), parts[i % parts.len()]);
            let roi = self.options.recipe.roi_px;
            let frame = TRIALS[defect].draw(&self.load(part)?, roi, &mut self.rng(1_000_000 + i as u64));
            let inspection = inspector.inspect(&frame).map_err(self.named(part))?;
            Ok(inspection.score > inspection.threshold)
        };
        let count = TRIALS.len() * parts.len();
        let step = |done| (self.progress)(Stage::Defects, done, count);
        let caught: Vec<bool> = in_parallel(count, self.options.threads, || inspector.fork(), job, step)?;
        let catch = |(defect, caught): (&Trial, &[bool])| ExpectedCatch {
            defect: defect.to_string(),
            caught: caught.iter().filter(|caught| **caught).count(),
            of: caught.len(),
        };
        Ok(TRIALS.iter().zip(caught.chunks(parts.len())).map(catch).collect())
    }

    /// How many known defects the inspector's threshold catches, of those that no head has learned from.
    /// * `learned` — whether half of them were learned from
    /// * `chose` — whether the metric was chosen by them
    pub fn known_catch(
        &self,
        inspector: &mut Inspector,
        known: &KnownDefects,
        learned: bool,
        chose: bool,
    ) -> Result<Option<ExpectedCatch>, TeachError> {
        let judges = if learned { known.halves(self.options.seed).1 } else { (0..known.len()).collect() };
        if judges.is_empty() {
            return Ok(None);
        }
        let mut caught = 0;
        for &defect in &judges {
            let named = |source| TeachError::Inspect { part: known.name(defect).to_owned(), source: Box::new(source) };
            let inspection = inspector.inspect(&known.load(defect)?.frame).map_err(named)?;
            caught += usize::from(inspection.score > inspection.threshold);
        }
        let defect = if chose { "known defects, which the metric was chosen by" } else { "known defects" };
        Ok(Some(ExpectedCatch { defect: defect.to_owned(), caught, of: judges.len() }))
    }

    /// A part with a plain line on it: its score is far from 0, so that it tells of any change in the computation.
    pub fn probe(&self, part: usize) -> Result<Frame, TeachError> {
        Ok(defects::plain_line(&self.load(part)?, self.options.recipe.roi_px, &mut self.rng(u64::MAX)))
    }
}

/// The parts for the calibration and those for the bank, each in ascending order; no calibration below [`SPLIT_FROM`].
pub fn split(count: usize, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..count).collect();
    if count < SPLIT_FROM {
        return (Vec::new(), order);
    }
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut bank = order.split_off(count / 3);
    order.sort_unstable();
    bank.sort_unstable();
    (order, bank)
}
