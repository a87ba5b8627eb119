//! Good parts -> Profile.
//!
//! A third of the parts, drawn by the seed, is kept from the bank and from every choice; their scores give the
//! threshold and its promise. With fewer than [`SPLIT_FROM`] parts that would leave too few to say anything, so k-fold
//! scores stand in, and the profile says that its promise is an estimate.

use std::time::{SystemTime, UNIX_EPOCH};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::frame::Frame;
use crate::inspect::card::Model;
use crate::inspect::embedding::{self, Embeddings};
use crate::inspect::recipe::{Distance, Granularity, Head, Recipe, ScoreRule};
use crate::inspect::{Extractor, InspectError, Inspector};
use crate::part::StageTimings;
use crate::profile::{About, CalibrationScore, ExpectedCatch, FORMAT_VERSION, Profile, Projection, Threshold};

pub mod add;
pub mod calibrate;
pub mod coreset;
pub mod defects;
pub mod gaussian;
mod parallel;
mod parts;

use calibrate::CalibrateError;
use defects::TRIED;
use parallel::in_parallel;
pub use parts::GoodParts;

/// The fewest good parts that anything can be taught from.
pub const MIN_PARTS: usize = 10;
/// From this many parts on, a third is set aside for the threshold; below, k-fold scores stand in.
pub const SPLIT_FROM: usize = 60;
const FOLDS: usize = 5;
/// On so many calibration parts each synthetic defect is tried.
const TRIED_PARTS: usize = 20;

/// How to teach.
#[derive(Clone, Debug)]
pub struct Options {
    pub recipe: Recipe,
    /// The width of the PCA head, if the recipe has one.
    pub pca_width: usize,
    /// The bank's bounds; the tighter one holds.
    pub bank_rows: usize,
    pub bank_bytes: usize,
    /// The largest fraction of good parts to be rejected; the smallest that the parts allow if absent.
    pub max_false_rejects: Option<f64>,
    /// The most memory for the embeddings from which the bank is chosen; with more parts, fewer of each are looked at,
    /// but all of each below [`SPLIT_FROM`] parts. Teaching as a whole takes about twice as much.
    pub candidate_bytes: usize,
    pub threads: usize,
    pub seed: u64,
}

impl Options {
    /// The defaults for a model: its default size, the two deeper taps, patches, cosine, mean of the top 1 %.
    pub fn for_model(model: &Model) -> Options {
        let card = &model.card;
        let deepest = card.taps.len().saturating_sub(2)..;
        let recipe = Recipe {
            roi_px: None,
            input_px: [card.default_size_px; 2],
            taps: card.taps[deepest.clone()].iter().map(|tap| tap.name.clone()).collect(),
            pool: 3,
            grid_stride: card.taps[deepest].iter().map(|tap| tap.stride).min().unwrap_or(8),
            granularity: Granularity::Patch,
            head: Head::Identity,
            normalise: true,
            distance: Distance::Cosine,
            neighbours: 1,
            score: ScoreRule::TopFraction(0.01),
        };
        Options {
            recipe,
            pca_width: 64,
            bank_rows: 2000,
            bank_bytes: 8 << 20,
            max_false_rejects: None,
            candidate_bytes: 512 << 20,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            seed: 0,
        }
    }
}

/// What teaching is doing, for the progress bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Embed,
    Bank,
    Calibrate,
    Defects,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Stage::Embed => "embedding good parts",
            Stage::Bank => "choosing the bank",
            Stage::Calibrate => "calibrating the threshold",
            Stage::Defects => "trying synthetic defects",
        })
    }
}

/// Called with the stage, how much of it is done and how much there is; from any thread.
pub type Progress<'a> = &'a (dyn Fn(Stage, usize, usize) + Sync);

#[derive(Debug, thiserror::Error)]
pub enum TeachError {
    #[error(
        "{found} good parts were given; at least {MIN_PARTS} are needed, and 177 or more for a bound of 5 % false rejects"
    )]
    TooFew { found: usize },
    #[error(
        "{found} new good parts were given; at least {MIN_PARTS} are needed to add to a profile, and pictures that it \
         was taught with do not count"
    )]
    TooFewToAdd { found: usize },
    #[error("{0}")]
    Load(String),
    #[error("{part}: {source}")]
    Inspect { part: String, source: Box<InspectError> },
    #[error(transparent)]
    Unusable(#[from] InspectError),
    #[error(transparent)]
    Calibrate(#[from] CalibrateError),
    #[error("{part}: the backbone gives numbers that are none for it; use another model")]
    NotFinite { part: String },
    #[error("the recipe cannot be taught: {0}")]
    Recipe(String),
    #[error(
        "this profile measures the Mahalanobis distance to one Gaussian, to which parts cannot be added; teach it anew \
         from all good parts, old and new"
    )]
    NotAddable,
}

/// What the good parts leave behind: head, whitening and bank.
struct Learned {
    head: Option<Projection>,
    whitening: Option<Vec<f32>>,
    bank: Embeddings,
}

/// Teaches a profile from good parts alone. The same parts, options and machine type give the same profile.
/// # Errors  `TeachError`: too few parts, a part that cannot be loaded or inspected, a recipe that does not fit the
/// model, or a bound that the parts do not allow.
pub fn teach(model: &Model, options: &Options, parts: &GoodParts, progress: Progress) -> Result<Profile, TeachError> {
    let count = parts.len();
    if count < MIN_PARTS {
        return Err(TeachError::TooFew { found: count });
    }
    check_bound(options, count)?;
    let lesson = Lesson::new(model, options, parts, progress)?;
    let (calibration, bank) = lesson.split();
    let (learned, scores, threshold) = if calibration.is_empty() {
        let raw = lesson.embed(&bank)?;
        let scores = lesson.fold_scores(&raw, &bank)?;
        let threshold = calibrate::estimated(&scores, FOLDS)?;
        (lesson.learn(raw, &lesson.bank_step()), scores, threshold)
    } else {
        let learned = lesson.learn(lesson.embed(&bank)?, &lesson.bank_step());
        let scores = lesson.scores(&lesson.inspector(&learned, f32::INFINITY)?, &calibration)?;
        let threshold = calibrate::bounded(&scores, options.max_false_rejects)?;
        (learned, scores, threshold)
    };
    let judges = if calibration.is_empty() { &bank } else { &calibration };
    let mut inspector = lesson.inspector(&learned, threshold.value)?;
    let expected_catch = lesson.expected_catch(&inspector, judges)?;
    let probe = lesson.probe(judges[0])?;
    let probe_score = inspector.inspect(&probe)?.score;
    let about = About {
        format_version: FORMAT_VERSION,
        made_by: made_by(),
        taught_at: now(),
        generation: 0,
        parent: None,
        backbone: model.id(),
        recipe: options.recipe.clone(),
        threshold,
        taught: parts.hashes().to_vec(),
        calibration: lesson.named_scores(judges, &scores),
        bank_parts: bank.len(),
        seed: options.seed,
        probe_score,
        expected_catch,
    };
    Ok(Profile { about, bank: learned.bank, head: learned.head, whitening: learned.whitening, probe })
}

/// The bank alone, from all parts: for comparisons on labelled sets, where the threshold is not asked for.
/// # Errors  `TeachError`, as [`teach`]; a recipe with a PCA head or the Mahalanobis distance has more than a bank.
pub fn teach_bank(
    model: &Model,
    options: &Options,
    parts: &GoodParts,
    progress: Progress,
) -> Result<Embeddings, TeachError> {
    if options.recipe.head != Head::Identity || options.recipe.distance == Distance::Mahalanobis {
        return Err(TeachError::Recipe("a bank alone is not enough for a PCA head or the Mahalanobis distance".into()));
    }
    let lesson = Lesson::new(model, options, parts, progress)?;
    let all: Vec<usize> = (0..parts.len()).collect();
    Ok(lesson.learn(lesson.embed(&all)?, &lesson.bank_step()).bank)
}

/// Refuses a bound that so many parts cannot give, before minutes are spent on them.
fn check_bound(options: &Options, count: usize) -> Result<(), CalibrateError> {
    let Some(asked) = options.max_false_rejects else { return Ok(()) };
    if !(asked > 0.0 && asked < 1.0) {
        return Err(CalibrateError::Impossible(asked));
    }
    let needed = calibrate::parts_needed(asked);
    match SPLIT_FROM.max(needed.saturating_mul(3)).checked_sub(count) {
        None | Some(0) => Ok(()),
        Some(more) => Err(CalibrateError::TooFew { asked, needed, found: count / 3, more }),
    }
}

/// Refuses what could not be inspected by, before minutes are spent on teaching it.
/// * `channels` — of the concatenated taps
fn check(options: &Options, channels: usize) -> Result<(), TeachError> {
    let recipe = &options.recipe;
    let refuse = |because: &str| Err(TeachError::Recipe(because.to_owned()));
    if recipe.normalise != (recipe.distance == Distance::Cosine) {
        return refuse("cosine needs embeddings of unit length, Euclidean and Mahalanobis ones that keep their length");
    }
    if recipe.pool.is_multiple_of(2) || recipe.pool > recipe.input_px[0].min(recipe.input_px[1]) {
        return refuse("the pooling window must be odd, and not wider than the input");
    }
    if recipe.head == Head::Pca && !(1..=channels).contains(&options.pca_width) {
        return refuse(&format!("the taps have {channels} channels, so a PCA head can be 1 to {channels} wide"));
    }
    if recipe.distance != Distance::Mahalanobis && recipe.neighbours > options.bank_rows {
        return refuse("there cannot be more neighbours than bank rows");
    }
    if recipe.grid_stride == 0 || recipe.input_px.iter().any(|side| !side.is_multiple_of(recipe.grid_stride)) {
        return refuse("the input size must be a multiple of the grid's stride");
    }
    if let ScoreRule::TopFraction(fraction) = recipe.score
        && !(fraction > 0.0 && fraction <= 1.0)
    {
        return refuse("the top fraction must lie above 0 and at most at 1");
    }
    if recipe.neighbours == 0 || (recipe.distance == Distance::Mahalanobis && recipe.neighbours != 1) {
        return refuse("neighbours must be at least 1, and 1 for Mahalanobis, which has only the mean");
    }
    Ok(())
}

/// The steps of one teaching.
struct Lesson<'a> {
    extractor: Extractor,
    options: &'a Options,
    parts: &'a GoodParts<'a>,
    progress: Progress<'a>,
}

impl Lesson<'_> {
    fn new<'a>(
        model: &Model,
        options: &'a Options,
        parts: &'a GoodParts<'a>,
        progress: Progress<'a>,
    ) -> Result<Lesson<'a>, TeachError> {
        let extractor = Extractor::new(model, &options.recipe, None).map_err(InspectError::from)?;
        check(options, extractor.width())?;
        Ok(Lesson { extractor, options, parts, progress })
    }

    /// The parts for the calibration and those for the bank, each in ascending order; no calibration below
    /// [`SPLIT_FROM`].
    fn split(&self) -> (Vec<usize>, Vec<usize>) {
        let count = self.parts.len();
        let mut order: Vec<usize> = (0..count).collect();
        if count < SPLIT_FROM {
            return (Vec::new(), order);
        }
        order.shuffle(&mut self.rng(0));
        let mut bank = order.split_off(count / 3);
        order.sort_unstable();
        bank.sort_unstable();
        (order, bank)
    }

    /// A generator that depends on the seed and on what it is for.
    fn rng(&self, stream: u64) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.options.seed);
        rng.set_stream(stream);
        rng
    }

    fn load(&self, part: usize) -> Result<Frame, TeachError> {
        self.parts.load(part).map_err(TeachError::Load)
    }

    fn named(&self, part: usize) -> impl Fn(InspectError) -> TeachError + '_ {
        move |source| TeachError::Inspect { part: self.parts.name(part).to_owned(), source: Box::new(source) }
    }

    fn named_scores(&self, parts: &[usize], scores: &[f32]) -> Vec<CalibrationScore> {
        let named =
            |(&part, &score): (&usize, &f32)| CalibrationScore { part: self.parts.name(part).to_owned(), score };
        parts.iter().zip(scores).map(named).collect()
    }

    /// How many embeddings of each of `parts` parts fit into the memory for candidates; all of each where they are also
    /// what the parts are scored by.
    fn rows_per_part(&self, parts: usize) -> usize {
        let [height, width] = self.extractor.grid();
        if parts < SPLIT_FROM {
            return height * width;
        }
        let bytes = parts * self.extractor.without_finish().width() * size_of::<f32>();
        (self.options.candidate_bytes / bytes).clamp(1, height * width)
    }

    /// The embeddings of `parts` without head and length, each part with the same number of rows.
    fn embed(&self, parts: &[usize]) -> Result<Embeddings, TeachError> {
        self.embed_by(&self.extractor.without_finish(), parts)
    }

    fn embed_by(&self, extractor: &Extractor, parts: &[usize]) -> Result<Embeddings, TeachError> {
        let rows = self.rows_per_part(parts.len());
        let job = |extractor: &mut Extractor, i: usize| -> Result<Embeddings, TeachError> {
            let (embeddings, _) = extractor.run(&self.load(parts[i])?).map_err(self.named(parts[i]))?;
            if embeddings.data().iter().any(|value| !value.is_finite()) {
                return Err(TeachError::NotFinite { part: self.parts.name(parts[i]).to_owned() });
            }
            if rows == embeddings.len() {
                return Ok(embeddings);
            }
            let mut picked = rand::seq::index::sample(&mut self.rng(1 + i as u64), embeddings.len(), rows).into_vec();
            picked.sort_unstable();
            Ok(embeddings.select(&picked))
        };
        let step = |done| (self.progress)(Stage::Embed, done, parts.len());
        let embeddings = in_parallel(parts.len(), self.options.threads, || extractor.fork(), job, step)?;
        // Each part is freed as it is copied, so that both together take little more than one.
        let mut all = Vec::with_capacity(parts.len() * rows * extractor.width());
        embeddings.into_iter().for_each(|part| all.extend_from_slice(part.data()));
        Ok(Embeddings::new(extractor.width(), all, extractor.recipe().normalise))
    }

    /// * `step` — told how many bank rows are chosen
    fn learn(&self, raw: Embeddings, step: &dyn Fn(usize)) -> Learned {
        let recipe = &self.options.recipe;
        let head = match recipe.head {
            Head::Identity => None,
            Head::Pca => Some(gaussian::principal_axes(&raw, self.options.pca_width)),
        };
        let embeddings = embedding::finish(raw, head.as_ref(), recipe.normalise);
        match recipe.distance {
            Distance::Mahalanobis => {
                let gaussian = gaussian::gaussian(&embeddings);
                Learned { head, whitening: Some(gaussian.whitening), bank: gaussian.mean }
            }
            Distance::Cosine | Distance::Euclidean => {
                let bank = embeddings.select(&self.coreset(&embeddings, None, self.options.bank_rows, step));
                Learned { head, whitening: None, bank }
            }
        }
    }

    fn bank_step(&self) -> impl Fn(usize) + '_ {
        move |done| (self.progress)(Stage::Bank, done, self.options.bank_rows)
    }

    /// The rows that join the bank, within its bounds, far from those that are in it.
    fn coreset(&self, rows: &Embeddings, kept: Option<&Embeddings>, count: usize, step: &dyn Fn(usize)) -> Vec<usize> {
        let fitting = (self.options.bank_bytes / (rows.width() * size_of::<f32>())).max(1);
        let count = count.min(rows.len()).min(fitting.saturating_sub(kept.map_or(0, Embeddings::len)));
        if count == 0 { Vec::new() } else { coreset::k_center(rows, kept, count, self.options.seed, step) }
    }

    fn inspector(&self, learned: &Learned, threshold: f32) -> Result<Inspector, TeachError> {
        let extractor = self.extractor.with_head(learned.head.clone());
        Ok(Inspector::assemble(extractor, learned.bank.clone(), learned.whitening.clone(), threshold)?)
    }

    /// The score of each of `parts`.
    fn scores(&self, inspector: &Inspector, parts: &[usize]) -> Result<Vec<f32>, TeachError> {
        let job = |inspector: &mut Inspector, i: usize| {
            Ok(inspector.inspect(&self.load(parts[i])?).map_err(self.named(parts[i]))?.score)
        };
        let step = |done| (self.progress)(Stage::Calibrate, done, parts.len());
        in_parallel(parts.len(), self.options.threads, || inspector.fork(), job, step)
    }

    /// The score of each part by a bank that was taught without its fold.
    /// * `raw` — the embeddings of `parts`, the same number of rows for each
    fn fold_scores(&self, raw: &Embeddings, parts: &[usize]) -> Result<Vec<f32>, TeachError> {
        let rows = raw.len() / parts.len();
        let rows_of = |part: usize| part * rows..(part + 1) * rows;
        let mut scores = vec![0.0; parts.len()];
        for fold in 0..FOLDS {
            let others: Vec<usize> = (0..parts.len()).filter(|part| part % FOLDS != fold).flat_map(rows_of).collect();
            let learned = self.learn(raw.select(&others), &|_| ());
            let inspector = self.inspector(&learned, f32::INFINITY)?;
            for part in (fold..parts.len()).step_by(FOLDS) {
                let own = raw.select(&rows_of(part).collect::<Vec<_>>());
                let own = embedding::finish(own, learned.head.as_ref(), self.options.recipe.normalise);
                scores[part] = inspector.judge(&own, StageTimings::default()).score;
            }
            (self.progress)(Stage::Calibrate, fold + 1, FOLDS);
        }
        Ok(scores)
    }

    /// How many synthetic defects, drawn on `parts`, the inspector's threshold catches.
    fn expected_catch(&self, inspector: &Inspector, parts: &[usize]) -> Result<Vec<ExpectedCatch>, TeachError> {
        let parts = &parts[..parts.len().min(TRIED_PARTS)];
        let job = |inspector: &mut Inspector, i: usize| -> Result<bool, TeachError> {
            let (defect, part) = (i / parts.len(), parts[i % parts.len()]);
            let roi = self.options.recipe.roi_px;
            let frame = TRIED[defect].draw(&self.load(part)?, roi, &mut self.rng(1_000_000 + i as u64));
            let inspection = inspector.inspect(&frame).map_err(self.named(part))?;
            Ok(inspection.score > inspection.threshold)
        };
        let count = TRIED.len() * parts.len();
        let step = |done| (self.progress)(Stage::Defects, done, count);
        let caught: Vec<bool> = in_parallel(count, self.options.threads, || inspector.fork(), job, step)?;
        let catch = |(defect, caught): (&defects::SyntheticDefect, &[bool])| ExpectedCatch {
            defect: defect.to_string(),
            caught: caught.iter().filter(|caught| **caught).count(),
            of: caught.len(),
        };
        Ok(TRIED.iter().zip(caught.chunks(parts.len())).map(catch).collect())
    }

    /// A part with a plain line on it: its score is far from 0, so that it tells of any change in the computation.
    fn probe(&self, part: usize) -> Result<Frame, TeachError> {
        let line = defects::SyntheticDefect::Line { contrast: 80.0 };
        Ok(line.draw(&self.load(part)?, self.options.recipe.roi_px, &mut self.rng(u64::MAX)))
    }
}

/// The program and version that writes a profile.
fn made_by() -> String {
    format!("rejectd {}", env!("CARGO_PKG_VERSION"))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
