//! The steps of one teaching: embedding, learning, calibrating, trying defects.

use rand_chacha::ChaCha8Rng;

use super::augment::{Augmentation, load_variant};
use super::bank::{self, Candidates, Learned};
use super::defects::{self, TRIALS, Trial};
use super::known::KnownDefects;
use super::parallel::in_parallel;
use super::{FOLDS, GoodParts, Options, Progress, Stage, TRIED_PARTS, TeachError, check};
use crate::frame::Frame;
use crate::inspect::card::Model;
use crate::inspect::embedding::Embeddings;
use crate::inspect::metric::Metric;
use crate::inspect::recipe::Distance;
use crate::inspect::{Extractor, InspectError, Inspector};
use crate::profile::{CalibrationScore, ExpectedCatch};

/// Parts that are scored by what was taught from all others.
pub struct Fold {
    pub inspector: Inspector,
    pub parts: Vec<usize>,
}

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

    pub fn named(&self, part: usize) -> impl Fn(InspectError) -> TeachError + '_ {
        move |source| TeachError::Inspect { part: self.parts.name(part).to_owned(), source: Box::new(source) }
    }

    pub fn named_scores(&self, parts: &[usize], scores: &[f32]) -> Vec<CalibrationScore> {
        let named =
            |(&part, &score): (&usize, &f32)| CalibrationScore { part: self.parts.name(part).to_owned(), score };
        parts.iter().zip(scores).map(named).collect()
    }

    /// How many embeddings of each of `parts` parts may be candidates, for their memory.
    pub fn rows_per_part(&self, parts: usize) -> usize {
        let bytes = parts * self.held() * size_of::<f32>();
        // Variants have the other half.
        let shares = if self.augmentation.is_some() { 2 } else { 1 };
        (self.options.candidate_bytes / shares / bytes).max(1)
    }

    /// The concatenated taps of `parts`: the first of the candidates' parts is the first of these.
    pub fn embed(&self, parts: &[usize]) -> Result<Candidates, TeachError> {
        let most = self.rows_per_part(parts.len());
        let [height, width] = self.extractor.grid();
        if self.options.recipe.distance == Distance::MahalanobisPerPosition {
            let channels = self.extractor.channels();
            let values = (parts.len() * channels).max(super::width(self.options, channels).pow(2));
            let bytes = (height * width) as u64 * (values * size_of::<f32>()) as u64;
            if most < height * width || bytes > self.options.candidate_bytes as u64 {
                let mib = bytes.div_ceil(1 << 20);
                return Err(TeachError::Recipe(format!(
                    "Gaussians for each position need all embeddings of every part and a covariance for each position, \
                     {mib} MiB here; allow as much with --candidates-mib, or give fewer parts, a smaller --input-px or --pca"
                )));
            }
        }
        self.embed_all(parts, most, 1, |i| self.load(parts[i]))
    }

    /// The same of their variants; nothing without an augmentation.
    pub fn embed_variants(&self, parts: &[usize]) -> Result<Candidates, TeachError> {
        let Some(augmentation) = self.augmentation else {
            let none = Embeddings::new(self.extractor.channels(), vec![], false);
            return Ok(Candidates::new(none, &[], 1));
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
    ) -> Result<Candidates, TeachError> {
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
        Ok(Candidates::new(raw, &rows, each))
    }

    /// The metric of the recipe and the bank, from the concatenated taps of some parts.
    /// * `left_out` — how many of all parts are not among them: the bank has fewer rows to the same degree, or else it would
    ///   know what is left better than the whole bank knows the whole
    /// * `step` — told how many bank rows are chosen
    pub fn learn(&self, candidates: Candidates, left_out: usize, step: &dyn Fn(usize)) -> Learned {
        let ([height, width], recipe) = (self.extractor.grid(), &self.options.recipe);
        let metric = match &self.metric {
            Some(metric) if let Some(bank) = &self.prototype => {
                return Learned { metric: metric.clone(), bank: bank.clone() };
            }
            Some(metric) => metric.clone(),
            None => bank::fit(recipe, &candidates.raw, self.options.pca_width),
        };
        let (all, wide) = (self.parts.len(), metric.width(self.extractor.channels()));
        let most = bank::most_rows(recipe, wide, self.options.bank_rows, self.options);
        let bank_rows = (most * (all - left_out)).div_ceil(all);
        let options = Options { bank_rows, ..self.options.clone() };
        bank::learn(recipe, metric, candidates, height * width, &options, step)
    }

    pub fn bank_step(&self) -> impl Fn(usize) + '_ {
        move |done| (self.progress)(Stage::Bank, done, self.options.bank_rows)
    }

    pub fn inspector(&self, learned: &Learned, threshold: f32) -> Result<Inspector, TeachError> {
        let Learned { metric, bank } = learned.clone();
        Ok(Inspector::assemble(self.extractor.fork(), metric, bank, threshold)?)
    }

    /// The parts dealt into folds, with an inspector for each that was taught without them and without their variants.
    /// * `candidates` — the concatenated taps of all parts, and those of their variants
    /// * `parts` — at least [`FOLDS`], in ascending order
    pub fn folds(&self, candidates: &Candidates, parts: &[usize]) -> Result<Vec<Fold>, TeachError> {
        let job = |(): &mut (), fold: usize| -> Result<Fold, TeachError> {
            let own: Vec<usize> = parts.iter().copied().skip(fold).step_by(FOLDS).collect();
            let learned = self.learn(candidates.without(&own), own.len(), &|_| ());
            let (rows, neighbours) =
                (learned.bank.len() / self.options.recipe.factors().len(), self.options.recipe.neighbours);
            if rows < neighbours {
                return Err(TeachError::Recipe(format!(
                    "the score is asked for as a mean of {neighbours} neighbours, but the bank of four fifths of the parts has \
                     {rows} rows; ask for at most as many, or allow more rows"
                )));
            }
            Ok(Fold { inspector: self.inspector(&learned, f32::INFINITY)?, parts: own })
        };
        let step = |done| (self.progress)(Stage::Folds, done, FOLDS);
        // Each fold holds its parts twice, as rows and as what the coreset compares.
        let bytes = candidates.raw.len() * self.held() * size_of::<f32>();
        let at_once = self.options.candidate_bytes / (2 * bytes);
        in_parallel(FOLDS, at_once.clamp(1, self.options.threads.max(1)), || (), job, step)
    }

    /// The score of each part by the inspector of its fold, in the order in which the parts were dealt.
    pub fn scores(&self, folds: &[Fold]) -> Result<Vec<f32>, TeachError> {
        let job = |inspector: &mut Inspector, fold: &Fold, i: usize, _| {
            self.score(inspector, fold.parts[i], &self.load(fold.parts[i])?)
        };
        let scores = self.in_folds(Stage::Calibrate, folds, |fold| fold.parts.len(), job)?;
        let count: usize = scores.iter().map(Vec::len).sum();
        Ok((0..count).map(|at| scores[at % folds.len()][at / folds.len()]).collect())
    }

    /// How many synthetic defects, drawn on some parts of each fold, lie above the threshold.
    pub fn expected_catch(&self, folds: &[Fold], threshold: f32) -> Result<Vec<ExpectedCatch>, TeachError> {
        let most = TRIED_PARTS.div_ceil(folds.len());
        let tried = |fold: &Fold| fold.parts.len().min(most);
        let job = |inspector: &mut Inspector, fold: &Fold, i: usize, number: usize| {
            let (defect, part) = (i / tried(fold), fold.parts[i % tried(fold)]);
            let rng = &mut self.rng(1_000_000 + number as u64);
            let frame = TRIALS[defect].draw(&self.load(part)?, self.options.recipe.roi_px, rng);
            Ok(self.score(inspector, part, &frame)? > threshold)
        };
        let caught = self.in_folds(Stage::Defects, folds, |fold| TRIALS.len() * tried(fold), job)?;
        let catch = |(number, defect): (usize, &Trial)| {
            let of_fold = |(fold, caught): (_, &Vec<bool>)| caught[number * tried(fold)..][..tried(fold)].to_vec();
            let caught: Vec<bool> = folds.iter().zip(&caught).flat_map(of_fold).collect();
            let count = caught.iter().filter(|caught| **caught).count();
            ExpectedCatch { defect: defect.to_string(), caught: count, of: caught.len() }
        };
        Ok(TRIALS.iter().enumerate().map(catch).collect())
    }

    /// * `part` — whose picture it is, for messages
    fn score(&self, inspector: &mut Inspector, part: usize, frame: &Frame) -> Result<f32, TeachError> {
        Ok(inspector.inspect(frame).map_err(self.named(part))?.score)
    }

    /// The results of some jobs for each fold, by its inspector.
    /// * `jobs` — how many
    /// * `job` — by its number in the fold, and that among all
    fn in_folds<T: Send>(
        &self,
        stage: Stage,
        folds: &[Fold],
        jobs: impl Fn(&Fold) -> usize,
        job: impl Fn(&mut Inspector, &Fold, usize, usize) -> Result<T, TeachError> + Sync,
    ) -> Result<Vec<Vec<T>>, TeachError> {
        let total = folds.iter().map(&jobs).sum();
        let mut results: Vec<Vec<T>> = Vec::new();
        for fold in folds {
            let before: usize = results.iter().map(Vec::len).sum();
            let job = |inspector: &mut Inspector, i: usize| job(inspector, fold, i, before + i);
            let step = |done| (self.progress)(stage, before + done, total);
            results.push(in_parallel(jobs(fold), self.options.threads, || fold.inspector.fork(), job, step)?);
        }
        Ok(results)
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
