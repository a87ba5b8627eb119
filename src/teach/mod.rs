//! Good parts -> Profile.
//!
//! `evidence` draws synthetic defects on held-out good parts, beside `known` ones; `choose` takes a recipe by it, and `learn`
//! a head or a score of patches where that is better still; `lesson` then embeds, `bank` takes rows by `coreset`, and
//! `calibrate` sets the threshold. Several products share the metric and nothing else.
//!
//! The bank has all parts. The threshold comes from the scores of those that nothing was chosen by or learned from, each by
//! a bank without it (`calibrate`). With fewer than [`BOUND_FROM`] parts no bound that is worth a word would follow; then
//! all are scored so, and the profile says that its promise is an estimate.

use std::time::{SystemTime, UNIX_EPOCH};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::inspect::card::Model;
use crate::inspect::recipe::{Distance, Granularity, HeadKind, Recipe, Scaling, ScoreRule};
use crate::inspect::threads::cores;
use crate::inspect::{InspectError, Inspector};
use crate::memory;
use crate::profile::{About, CalibrationScore, FORMAT_VERSION, Profile, Promise, Threshold};

pub mod add;
pub mod augment;
pub mod auto;
pub mod bank;
pub mod binomial;
pub mod calibrate;
pub mod choose;
pub mod coreset;
pub mod defects;
pub mod evidence;
pub mod gaussian;
pub mod known;
pub mod learn;
pub mod lesson;
pub mod losses;
pub mod miners;
pub(crate) mod parallel;
mod parts;
pub mod samples;
pub mod study;
pub mod train;

use augment::Augment;
use auto::AutoOptions;
pub use bank::Learned;
use calibrate::CalibrateError;
use choose::Choice;
use evidence::Material;
use known::KnownDefects;
use lesson::Lesson;
pub use parts::GoodParts;

/// The fewest good parts that anything can be taught from.
pub const MIN_PARTS: usize = 10;
/// From this many parts on the threshold has a bound; below, it is an estimate.
pub const BOUND_FROM: usize = 60;
/// The parts that give the threshold are dealt into so many folds.
const FOLDS: usize = 5;
/// On so many calibration parts each synthetic defect is tried.
const TRIED_PARTS: usize = 10;

/// How to teach.
#[derive(Clone, Debug)]
pub struct Options {
    pub recipe: Recipe,
    pub metric: MetricChoice,
    /// Whether variants of the good parts join the bank.
    pub augment: Augment,
    /// Which input sizes may be chosen: all that the pictures are large enough for, or the recipe's alone.
    pub choose_size: bool,
    /// The width of the linear head, if the recipe has one: principal axes.
    pub pca_width: usize,
    /// The bank's bounds; the tighter one holds. Each factor of the product has so many rows, but all of them are within the
    /// bytes.
    pub bank_rows: usize,
    pub bank_bytes: usize,
    /// The largest fraction of good parts to be rejected; if absent [`calibrate::USUAL_BOUND`], or what fewer parts allow.
    pub max_false_rejects: Option<f64>,
    /// The most memory for the embeddings from which the bank is chosen; with more parts, fewer of each are looked at.
    /// Teaching as a whole takes two to four times as much.
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
            tiling: None,
            input_px: [card.default_size_px; 2],
            taps: card.taps[deepest.clone()].iter().map(|tap| tap.name.clone()).collect(),
            pool: 3,
            grid_stride: card.taps[deepest].iter().map(|tap| tap.stride).min().unwrap_or(8),
            granularity: Granularity::Patch,
            head: HeadKind::Identity,
            scaling: Scaling::None,
            normalise: true,
            distance: Distance::Cosine,
            nested: Vec::new(),
            local: false,
            neighbours: 1,
            prototype: false,
            normality: false,
            relative: false,
            smooth: false,
            score: ScoreRule::TopFraction(0.01),
        };
        Options {
            recipe,
            metric: MetricChoice::Given,
            augment: Augment::Auto,
            choose_size: true,
            pca_width: 64,
            bank_rows: 2000,
            bank_bytes: 8 << 20,
            max_false_rejects: None,
            candidate_bytes: 256 << 20,
            threads: cores(),
            seed: 0,
        }
    }
}

/// Where the metric comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricChoice {
    /// The recipe as it is given.
    Given,
    /// Chosen from many, and left as given where none is better: see [`choose`].
    Auto(AutoOptions),
    /// The recipe as it is given, with a head learned by a loss: see [`learn`].
    Learned(learn::LearnOptions),
}

/// What teaching is doing, for the progress bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Embed,
    Folds,
    Calibrate,
    Bank,
    Defects,
    Evidence,
    Choose,
    Train,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Stage::Embed => "embedding good parts",
            Stage::Folds => "leaving parts out",
            Stage::Calibrate => "calibrating the threshold",
            Stage::Bank => "choosing the bank",
            Stage::Defects => "trying synthetic defects",
            Stage::Evidence => "gathering evidence",
            Stage::Choose => "comparing metrics",
            Stage::Train => "training the head",
        })
    }
}

/// Called with the stage, how much of it is done and how much there is; from any thread.
pub type Progress<'a> = &'a (dyn Fn(Stage, usize, usize) + Sync);

#[derive(Debug, thiserror::Error)]
pub enum TeachError {
    #[error(
        "{found} good parts were given; at least {MIN_PARTS} are needed, and 117 or more for a bound of 5 % false rejects \
         (60 with '--metric none')"
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
    #[error("the head was not learned: {0}")]
    Train(#[from] train::TrainError),
    #[error("{part}: is given as a known defect, but among the good parts too; take it out of one of them")]
    KnownIsGood { part: String },
    #[error("{part}: is given for two products, as a good part or as a known defect; take it out of one of them")]
    TwoProducts { part: String },
    #[error("{part}: the backbone gives numbers that are none for it; use another model")]
    NotFinite { part: String },
    #[error("the recipe cannot be taught: {0}")]
    Recipe(String),
    #[error("this profile {0}, and then parts cannot be added to it; teach it anew from all good parts, old and new")]
    NotAddable(&'static str),
}

/// A product to teach.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    pub good: &'a GoodParts<'a>,
    pub known: &'a KnownDefects<'a>,
}

/// Teaches a profile from good parts alone. The same parts, options and machine type give the same profile.
/// # Errors  As [`teach_products`].
pub fn teach(model: &Model, options: &Options, parts: &GoodParts, progress: Progress) -> Result<Profile, TeachError> {
    let product = Product { good: parts, known: &KnownDefects::none() };
    Ok(teach_products(model, options, &[product], progress)?.remove(0))
}

/// Teaches several products: one metric for all, learned from all, and for each a profile with a bank, a threshold and a
/// promise of its own. Returns the profiles in the order of the products, of which there must be some.
/// # Errors  `TeachError`: too few parts, a part that cannot be loaded or inspected, a recipe that does not fit the
/// model, or a bound that the parts do not allow.
pub fn teach_products(
    model: &Model,
    options: &Options,
    products: &[Product],
    progress: Progress,
) -> Result<Vec<Profile>, TeachError> {
    check_products(options, products)?;
    let given = Options { metric: MetricChoice::Given, ..options.clone() };
    Lesson::new(model, &given, products[0].good, progress)?;
    let materials: Vec<Material> =
        products.iter().map(|product| Material { good_parts: product.good, known: product.known }).collect();
    let choice = match &options.metric {
        MetricChoice::Given => None,
        MetricChoice::Auto(auto) => Some(choose::choose(model, options, auto, &materials, progress)?),
        MetricChoice::Learned(how) => Some(learn::learn(model, options, how, &materials, progress)?),
    };
    let finish = |(number, product)| finish(model, options, product, number, choice.as_ref(), progress);
    products.iter().enumerate().map(finish).collect()
}

/// Refuses what cannot be taught, before minutes are spent on it.
fn check_products(options: &Options, products: &[Product]) -> Result<(), TeachError> {
    let mut seen = std::collections::HashSet::new();
    for product in products {
        let good = product.good;
        if good.len() < MIN_PARTS {
            return Err(TeachError::TooFew { found: good.len() });
        }
        check_bound(options, good.len())?;
        let shared = (0..good.len()).find(|part| !seen.insert(&good.hashes()[*part]));
        if let Some(part) = shared {
            return Err(TeachError::TwoProducts { part: good.name(part).to_owned() });
        }
        product.known.check_roi(options.recipe.roi_px)?;
    }
    for Product { known, .. } in products {
        let shared = (0..known.len()).find(|defect| !seen.insert(&known.hashes()[*defect]));
        if let Some(defect) = shared {
            return Err(TeachError::TwoProducts { part: known.name(defect).to_owned() });
        }
    }
    if options.augment.given().is_some() && options.recipe.distance.is_gaussian() {
        let because = "variants of good parts join a bank, and Mahalanobis has none; leave out --augment";
        return Err(TeachError::Recipe(because.to_owned()));
    }
    if options.recipe.tiling.is_some() && options.metric != MetricChoice::Given {
        let because = "metrics are compared and learned on whole pictures, not on tiles; give '--metric none'";
        return Err(TeachError::Recipe(because.to_owned()));
    }
    Ok(())
}

/// The profile of one product.
/// * `number` — its place among the products of the choice
fn finish(
    model: &Model,
    options: &Options,
    product: &Product,
    number: usize,
    choice: Option<&Choice>,
    progress: Progress,
) -> Result<Profile, TeachError> {
    memory::give_back();
    let parts = product.good;
    let recipe = choice.map_or(&options.recipe, |choice| &choice.recipe).clone();
    let bank_rows = choice.map_or(options.bank_rows, |choice| choice.rows);
    let options = &Options { recipe, bank_rows, ..options.clone() };
    let mut lesson = Lesson::new(model, options, parts, progress)?;
    lesson.augmentation = choice.map_or(options.augment.given(), |choice| choice.augmentation);
    lesson.metric = choice.and_then(|choice| choice.metric.clone());
    lesson.prototype = choice.and_then(|choice| Some(choice.prototypes.as_ref()?.select(&[number])));
    if lesson.prototype.is_some() {
        lesson.augmentation = None;
    }
    let all: Vec<usize> = (0..parts.len()).collect();
    let bounded = parts.len() >= BOUND_FROM;
    let judges =
        if bounded && choice.is_some() { evidence::not_judged(parts.len(), options.seed) } else { all.clone() };
    let mut candidates = lesson.embed(&all)?;
    candidates.extend(&lesson.embed_variants(&all)?);
    let folds = lesson.folds(&candidates, &judges)?;
    let scores = lesson.scores(&folds)?;
    let threshold = threshold(options, &scores, bounded, lesson.metric.is_some())?;
    let mut expected_catch = lesson.expected_catch(&folds, threshold.value)?;
    drop(folds);
    let learned = lesson.learn(candidates, 0, &lesson.bank_step());
    let mut inspector = lesson.inspector(&learned, threshold.value)?;
    let (has_learned, chose) = (lesson.metric.is_some(), matches!(options.metric, MetricChoice::Auto(_)));
    expected_catch.extend(lesson.known_catch(&mut inspector, product.known, has_learned, chose)?);
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
        calibration: lesson.named_scores(&judges, &scores),
        bank_parts: parts.len(),
        seed: options.seed,
        probe_score,
        augmentation: lesson.augmentation.map(|augmentation| augmentation.name().to_owned()),
        chosen: choice.map(|choice| choice.chosen.clone()),
        expected_catch,
    };
    Ok(Profile { about, bank: learned.bank, metric: learned.metric, probe })
}

/// The threshold from scores in folds.
/// * `bounded` — whether the parts are enough for a bound; if not, it is an estimate
/// * `has_learned` — whether a head has; from few parts it has learned from those that give the threshold too
fn threshold(options: &Options, scores: &[f32], bounded: bool, has_learned: bool) -> Result<Threshold, CalibrateError> {
    if bounded {
        return calibrate::bounded(scores, options.max_false_rejects);
    }
    let threshold = calibrate::estimated(scores, FOLDS)?;
    if !has_learned {
        return Ok(threshold);
    }
    let because =
        "the head has learned from the very parts that gave the threshold, of which there are too few for both";
    Ok(Threshold { promise: Promise::Void { because: because.to_owned() }, ..threshold })
}

/// Metric and bank from all parts, without a threshold: for whoever brings one, or asks for scores alone.
/// # Errors  `TeachError`, as [`teach`].
pub fn teach_bank(
    model: &Model,
    options: &Options,
    parts: &GoodParts,
    progress: Progress,
) -> Result<Learned, TeachError> {
    let lesson = Lesson::new(model, options, parts, progress)?;
    let all: Vec<usize> = (0..parts.len()).collect();
    Ok(lesson.learn(lesson.embed(&all)?, 0, &lesson.bank_step()))
}

/// Refuses a bound that so many parts cannot give, before minutes are spent on them.
fn check_bound(options: &Options, count: usize) -> Result<(), CalibrateError> {
    let Some(asked) = options.max_false_rejects else { return Ok(()) };
    if !(asked > 0.0 && asked < 1.0) {
        return Err(CalibrateError::Impossible(asked));
    }
    let needed = calibrate::parts_needed(asked);
    let (needed, found, to_teach) = match options.metric {
        MetricChoice::Given if needed < BOUND_FROM && count < BOUND_FROM => {
            return Err(CalibrateError::NoBoundFromFew { least: BOUND_FROM, found: count });
        }
        MetricChoice::Given => (needed, count, needed),
        _ => (needed, count - evidence::judged(count), evidence::parts_for(needed)),
    };
    match to_teach.checked_sub(count) {
        None | Some(0) => Ok(()),
        Some(more) => Err(CalibrateError::TooFew { asked, needed, found, more }),
    }
}

/// Refuses what could not be inspected by, before minutes are spent on teaching it.
/// * `channels` — of the concatenated taps
fn check(options: &Options, channels: usize) -> Result<(), TeachError> {
    let recipe = &options.recipe;
    let refuse = |because: &str| Err(TeachError::Recipe(because.to_owned()));
    if recipe.normalise != (recipe.distance == Distance::Cosine) {
        return refuse("cosine needs embeddings of unit length, the other distances need ones that keep their length");
    }
    if recipe.pool.is_multiple_of(2) || recipe.pool > recipe.input_px[0].min(recipe.input_px[1]) {
        return refuse("the pooling window must be odd, and not wider than the input");
    }
    if options.metric == MetricChoice::Given
        && recipe.head == HeadKind::Linear
        && !(1..=channels).contains(&options.pca_width)
    {
        return refuse(&format!("the taps have {channels} channels, so a PCA head can be 1 to {channels} wide"));
    }
    if !recipe.nested.is_empty() && (recipe.distance != Distance::Product || recipe.head != HeadKind::Identity) {
        return refuse("only the product of distances is measured by later taps alone too, and without a PCA head");
    }
    let firsts = [&[0], &recipe.nested[..], &[channels]].concat();
    if !recipe.nested.is_empty() && firsts.windows(2).any(|pair| pair[0] >= pair[1]) {
        return refuse("the later taps do not begin one after another within the embedding");
    }
    if recipe.smooth && recipe.granularity == Granularity::Image {
        return refuse("distances are smoothed over the patches of a picture, and it has one embedding");
    }
    if recipe.relative && recipe.has_one_embedding() {
        return refuse(
            "a score relative to the picture's median needs more than one embedding a picture, or it is always 1",
        );
    }
    if recipe.normalise && options.metric == MetricChoice::Given && width(options, channels) == 1 {
        return refuse("a cosine needs embeddings of two numbers or more; one number has no direction but its sign");
    }
    if recipe.local && (recipe.distance.is_gaussian() || recipe.prototype) {
        return refuse("only distances to rows of a bank can be relative to what is usual there");
    }
    if !recipe.distance.is_gaussian() && recipe.neighbours > options.bank_rows {
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
    if let Some(Err(because)) = recipe.tiling.map(|tiling| tiling.check(recipe)) {
        return refuse(&because);
    }
    if recipe.neighbours == 0 || (recipe.distance.is_gaussian() && recipe.neighbours != 1) {
        return refuse("neighbours must be at least 1, and 1 for Mahalanobis, which has only the mean");
    }
    Ok(())
}

/// The width of what is compared, with a given metric.
fn width(options: &Options, channels: usize) -> usize {
    if options.recipe.head == HeadKind::Linear { options.pca_width } else { channels }
}

/// A generator that depends on the seed and on what it is for.
pub(crate) fn stream(seed: u64, of: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(of);
    rng
}

/// The program and version that writes a profile.
fn made_by() -> String {
    format!("rejectd {}", env!("CARGO_PKG_VERSION"))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
