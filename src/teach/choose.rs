//! `--metric auto`: chooses the metric of a product from good parts and synthetic defects alone.
//!
//! No distance fits all products: where parts differ in brightness the length of an embedding misleads, where the
//! defect is a change of contrast it is the signal. So every recipe of a small grid is tried on the [`Evidence`], at one
//! input size after another, and the plain cosine recipe is left only for one that beats it by more than chance.
//!
//! What the choice sees: parts that the bank may hold. Calibration parts and real defects it never sees, so the
//! threshold's promise is as good as without it.
//!
//! Rejected: scores relative to the picture's median (synthetic defects are always in one place and speak for them, but
//! they hide what is wrong with the whole picture: on a woven fabric the real AUROC fell from 0.94 to 0.72), gradient
//! descent over everything (it fits the synthetic defects and forgets the rest), the choice by the false rejects of good
//! parts alone (every distance can be made to hold them), and one size for all (a defect of three pixels needs the
//! resolution, a board does not have it to give away).

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::evidence::{Evidence, Gathering, Scores};
use super::learn;
use super::study::Scoring;
use super::{GoodParts, Options, Progress, Stage, TeachError, stream};
use crate::evaluate::metrics::auroc;
use crate::inspect::card::{Model, ModelCard};
use crate::inspect::metric::Metric;
use crate::inspect::recipe::{Distance, HeadKind, Recipe, Scaling, ScoreRule};
use crate::inspect::{Extractor, InspectError};
use crate::profile::Chosen;
use crate::teach::defects::{Preset, Severity};

/// Evidence is gathered from at most so many parts.
pub(crate) const MOST_PARTS: usize = 160;
/// The input sides that are tried, where the pictures are as large.
const SIDES_PX: [usize; 3] = [256, 384, 448];
/// How many draws tell the chance from the difference.
const RESAMPLES: usize = 300;

/// A recipe that was tried, and how it did.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    pub recipe: Recipe,
    /// The weighted mean of `auroc`.
    pub quality: f64,
    /// Of each severity from faint to plain: the chance that such a defect scores above a good part.
    pub auroc: [f64; 4],
    scores: Scores,
}

/// What was chosen, and from what.
pub struct Choice {
    pub recipe: Recipe,
    /// The learned steps, where the bank alone does not give them.
    pub metric: Option<Metric>,
    /// By how much it is surely better than the plain one, on the scale of `quality`; not above 0 if it is not.
    pub gain: f64,
    /// What the profile remembers of it.
    pub chosen: Chosen,
    /// All that was tried, the best first.
    pub tried: Vec<Tried>,
}

/// Chooses the recipe for a product.
/// * `options` — its recipe is the plain one: where nothing is better by more than chance, it stays
/// * `parts` — numbers among `good_parts` that may be used; those of the calibration are not among them
///
/// # Errors  `TeachError`: a part that cannot be loaded or inspected, a recipe that does not fit the model.
pub fn choose(
    model: &Model,
    options: &Options,
    good_parts: &GoodParts,
    parts: &[usize],
    progress: Progress,
) -> Result<Choice, TeachError> {
    let plain = &options.recipe;
    let mut tried: Vec<Tried> = Vec::new();
    for input_px in sizes(model, options, good_parts, parts)? {
        let size =
            Recipe { input_px, taps: model.card.taps.iter().map(|tap| tap.name.clone()).collect(), ..plain.clone() };
        let extractor = Extractor::new(model, &size).map_err(InspectError::from)?;
        let step = |done, total| progress(Stage::Evidence, done, total);
        let how = Gathering { most_parts: MOST_PARTS, lessons: 0, preset: Preset::Mixed };
        let evidence = Evidence::gather(&extractor, good_parts, parts, how, options, step)?;
        let bases = bases(&model.card, &size, plain);
        for (done, base) in bases.iter().enumerate() {
            tried.extend(try_all(&evidence, &metrics(base), &scorings(), options)?);
            progress(Stage::Choose, done + 1, bases.len());
        }
        if input_px == plain.input_px && !tried.iter().any(|tried| tried.recipe == *plain) {
            tried.push(try_one(&evidence, plain, None, options, 0..evidence.folds().len())?);
        }
    }
    let choice = decide(tried, plain, options.seed);
    let options = Options { recipe: choice.recipe.clone(), ..options.clone() };
    let heads = learn::try_heads(model, &options, good_parts, parts, progress)?;
    Ok(with_head(choice, heads))
}

/// The choice with the best of the heads that were tried on it, if that is better by more than chance.
fn with_head(choice: Choice, heads: Vec<(&'static str, Choice)>) -> Choice {
    let names: Vec<&str> = heads.iter().map(|(name, _)| *name).collect();
    let tried = choice.chosen.tried + heads.len();
    let best = heads.into_iter().max_by(|a, b| a.1.gain.total_cmp(&b.1.gain)).filter(|(_, head)| head.gain > 0.0);
    let (taken, because) = match best {
        Some((name, head)) => {
            let because = format!("; a head learned by {name} adds at least {:.1} points to that", 100.0 * head.gain);
            (Choice { recipe: head.recipe, metric: head.metric, ..choice }, because)
        }
        None if names.is_empty() => (choice, "; there are too few parts to learn a head from".to_owned()),
        None => (choice, format!("; a learned head ({}) is not better by more than chance", names.join(", "))),
    };
    let chosen = Chosen { tried, because: taken.chosen.because.clone() + &because, ..taken.chosen };
    Choice { chosen, ..taken }
}

/// Takes the best of what was tried, or the plain recipe where that is not beaten by more than chance.
/// * `tried` — the plain recipe among them; their quality is found here
pub(crate) fn decide(mut tried: Vec<Tried>, plain: &Recipe, seed: u64) -> Choice {
    let weights = weigh(&mut tried);
    tried.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    let plain = tried.iter().find(|tried| tried.recipe == *plain).expect("the plain recipe is in the grid").clone();
    let best = &tried[0];
    let gain = sure_gain(&best.scores, &plain.scores, &weights, seed);
    let taken = if gain > 0.0 { best } else { &plain };
    let chosen = remembered(taken, &plain, gain, tried.len());
    Choice { recipe: taken.recipe.clone(), metric: None, gain, chosen, tried }
}

/// The input sizes to try, the plain recipe's first: those of [`SIDES_PX`] at its aspect that are multiples of the
/// card's `size_multiple` and not larger than the region that they show.
fn sizes(
    model: &Model,
    options: &Options,
    good_parts: &GoodParts,
    parts: &[usize],
) -> Result<Vec<[usize; 2]>, TeachError> {
    let plain = options.recipe.input_px;
    let first = good_parts.load(parts[0]).map_err(TeachError::Load)?;
    let shown = options.recipe.roi_px.map_or((first.width(), first.height()), |roi| (roi.width, roi.height));
    let shorter = shown.0.min(shown.1) as usize;
    let multiple = model.card.size_multiple;
    let mut sizes = vec![plain];
    for side in SIDES_PX {
        let size = plain.map(|px| (px * side / plain[0].min(plain[1])).next_multiple_of(multiple));
        if options.choose_size && side <= shorter && !sizes.contains(&size) {
            sizes.push(size);
        }
    }
    Ok(sizes)
}

/// The choices of taps and pooling: the deepest tap alone, the two deepest, all, and the plain recipe's own.
pub(crate) fn bases(card: &ModelCard, size: &Recipe, plain: &Recipe) -> Vec<Recipe> {
    let names: Vec<String> = card.taps.iter().map(|tap| tap.name.clone()).collect();
    let mut choices: Vec<Vec<String>> = (0..names.len()).rev().map(|from| names[from..].to_vec()).collect();
    if !choices.contains(&plain.taps) {
        choices.push(plain.taps.clone());
    }
    let with = |taps: &Vec<String>, pool| Recipe { taps: taps.clone(), pool, ..size.clone() };
    choices.iter().flat_map(|taps| [1, 3].map(|pool| with(taps, pool))).collect()
}

/// The distances that are tried on one choice of taps.
pub(crate) fn metrics(base: &Recipe) -> Vec<Recipe> {
    let metric = |scaling, distance| Recipe {
        head: HeadKind::Identity,
        relative: false,
        scaling,
        distance,
        normalise: distance == Distance::Cosine,
        ..base.clone()
    };
    vec![
        metric(Scaling::None, Distance::Cosine),
        metric(Scaling::SignedSqrt, Distance::Cosine),
        metric(Scaling::None, Distance::Euclidean),
        metric(Scaling::Std, Distance::Euclidean),
        metric(Scaling::SignedSqrt, Distance::Euclidean),
    ]
}

/// The ways from distances to a score; `relative` is for those who ask for it.
pub(crate) fn scorings() -> [Scoring; 3] {
    let rules = [ScoreRule::Max, ScoreRule::TopFraction(0.01), ScoreRule::TopFraction(0.03)];
    rules.map(|rule| Scoring { relative: false, rule })
}

pub(crate) fn try_all(
    evidence: &Evidence,
    recipes: &[Recipe],
    scorings: &[Scoring],
    options: &Options,
) -> Result<Vec<Tried>, InspectError> {
    let scores = evidence.scores(recipes, scorings, options)?;
    let tried = recipes.iter().zip(scores).flat_map(|(recipe, scores)| {
        scorings.iter().zip(scores).map(|(scoring, scores)| {
            let recipe = Recipe { relative: scoring.relative, score: scoring.rule, ..recipe.clone() };
            Tried { recipe, quality: f64::NAN, auroc: scores.auroc(), scores }
        })
    });
    Ok(tried.collect())
}

/// What each severity counts: (m − ½)³ · (1 − m) for the median AUROC m of all that was tried, as shares of 1.
///
/// Where no metric tells a severity from the noise, its AUROC is chance and would only add noise to the choice; where
/// all tell it, it decides nothing. The product is largest at m = 0.875, so the faintest defects that can be told
/// reliably decide.
pub(crate) fn weights(tried: &[Tried]) -> [f64; 4] {
    let weights = std::array::from_fn(|severity| {
        let mut auroc: Vec<f64> = tried.iter().map(|tried| tried.auroc[severity]).filter(|a| !a.is_nan()).collect();
        auroc.sort_by(f64::total_cmp);
        auroc.get(auroc.len() / 2).map_or(0.0, |median| (median - 0.5).max(0.0).powi(3) * (1.0 - median))
    });
    let total: f64 = weights.iter().sum();
    if total > 0.0 { weights.map(|weight| weight / total) } else { [0.25; 4] }
}

/// Finds the quality of all that was tried, by the weights that are returned.
fn weigh(tried: &mut [Tried]) -> [f64; 4] {
    let weights = weights(tried);
    tried.iter_mut().for_each(|tried| tried.quality = weighted(&tried.auroc, &weights));
    weights
}

/// The weighted mean, over the severities that there are.
pub(crate) fn weighted(auroc: &[f64; 4], weights: &[f64; 4]) -> f64 {
    let seen = || auroc.iter().zip(weights).filter(|(auroc, _)| !auroc.is_nan());
    seen().map(|(auroc, weight)| auroc * weight).sum::<f64>() / seen().map(|(_, weight)| weight).sum::<f64>().max(1e-9)
}

impl Scores {
    /// The AUROC of each severity, from faint to plain, as a mean over the folds that have it; no number without any.
    pub fn auroc(&self) -> [f64; 4] {
        Severity::ALL.map(|severity| {
            let of_fold = |(good, defects): (&Vec<f32>, &Vec<(Severity, f32)>)| {
                let drawn: Vec<f32> = defects.iter().filter(|d| d.0 == severity).map(|d| d.1).collect();
                (!drawn.is_empty()).then(|| auroc(good, &drawn))
            };
            let folds: Vec<f64> = self.good.iter().zip(&self.defects).filter_map(of_fold).collect();
            if folds.is_empty() { f64::NAN } else { folds.iter().sum::<f64>() / folds.len() as f64 }
        })
    }

    /// The scores of the parts and defects that were drawn with replacement, the same ones for every metric.
    fn resampled(&self, rng: &mut ChaCha8Rng) -> Scores {
        let good = self.good.iter().map(|fold| fold.iter().map(|_| fold[rng.random_range(0..fold.len())]).collect());
        let good = good.collect();
        let defects =
            self.defects.iter().map(|fold| fold.iter().map(|_| fold[rng.random_range(0..fold.len())]).collect());
        Scores { good, defects: defects.collect() }
    }
}

/// By how much `scores` are better than `others` in all but one of ten resamples of the same parts; below 0 if they
/// are not.
/// # Source  The percentile bootstrap, Efron 1979.
fn sure_gain(scores: &Scores, others: &Scores, weights: &[f64; 4], seed: u64) -> f64 {
    let gain = |resample: u64| {
        let rng = || stream(seed, 9_000_000 + resample);
        let quality = |scores: &Scores| weighted(&scores.resampled(&mut rng()).auroc(), weights);
        quality(scores) - quality(others)
    };
    let mut gains: Vec<f64> = (0..RESAMPLES as u64).map(gain).collect();
    gains.sort_by(f64::total_cmp);
    gains[RESAMPLES / 10]
}

/// What a profile remembers of a choice among `tried` metrics.
fn remembered(taken: &Tried, plain: &Tried, gain: f64, tried: usize) -> Chosen {
    Chosen {
        tried,
        quality: taken.quality,
        plain_quality: plain.quality,
        faint: taken.auroc[0],
        because: because(taken, plain, gain),
    }
}

fn because(taken: &Tried, plain: &Tried, gain: f64) -> String {
    let percent = |quality: f64| 100.0 * quality;
    if taken.recipe == plain.recipe {
        return format!(
            "no other beats the plain cosine distance by more than chance ({:.1} % of synthetic defects above good parts)",
            percent(plain.quality)
        );
    }
    if gain <= 0.0 {
        return format!(
            "{:.1} % of synthetic defects score above good parts, {:.1} % by the plain metric, which it does not beat by more \
             than chance; it was asked for",
            percent(taken.quality),
            percent(plain.quality)
        );
    }
    format!(
        "{:.1} % of synthetic defects score above good parts, {:.1} % by the plain cosine distance; at least {:.1} points \
         of that are no chance",
        percent(taken.quality),
        percent(plain.quality),
        percent(gain)
    )
}

/// How one recipe does on some folds, with the learned steps that are there already or with those of the good parts.
fn try_one(
    evidence: &Evidence,
    recipe: &Recipe,
    metric: Option<&Metric>,
    options: &Options,
    folds: std::ops::Range<usize>,
) -> Result<Tried, InspectError> {
    let scoring = Scoring { relative: recipe.relative, rule: recipe.score };
    let scores = evidence.scores_of(recipe, metric, &[scoring], options, folds)?.remove(0);
    Ok(Tried { recipe: recipe.clone(), quality: f64::NAN, auroc: scores.auroc(), scores })
}

/// What a metric that was learned on all folds but the first is worth on that, beside the plain recipe.
/// # Errors  `TeachError::Unusable` if a recipe does not fit the taps.
pub fn judged(evidence: &Evidence, options: &Options, recipe: Recipe, metric: Metric) -> Result<Choice, TeachError> {
    let mut tried = vec![
        try_one(evidence, &options.recipe, None, options, 0..1)?,
        try_one(evidence, &recipe, Some(&metric), options, 0..1)?,
    ];
    let weights = weigh(&mut tried);
    let (plain, taken) = (&tried[0], &tried[1]);
    let gain = sure_gain(&taken.scores, &plain.scores, &weights, options.seed);
    let chosen = remembered(taken, plain, gain, tried.len());
    Ok(Choice { recipe, metric: Some(metric), gain, chosen, tried })
}
