//! `--metric auto`: chooses the metric of a product from good parts and synthetic defects alone.
//!
//! No distance fits all products: where parts differ in brightness the length of an embedding misleads, where the
//! defect is a change of contrast it is the signal. The product of both distances, by all taps and by the deepest alone, is
//! seldom far below the best of them, and synthetic defects need not tell which that is. Still, every recipe of a small grid
//! is tried on the [`Evidence`], at one input size after another; the best are tried with a larger bank too. The plain recipe
//! (by cosine, unless another is given) is left only for one that beats it by more than chance, and an inspection that takes
//! twice as long must be worth it.
//!
//! What the choice knows: the scores of the parts that the evidence judges, and of real defects where the user gave some.
//! The parts that give the threshold are in its banks, but it never knows how they score.
//!
//! Rejected: scores relative to the picture's median (synthetic defects are always in one place and speak for them,
//! but they hide what is wrong with the whole picture: on a woven fabric the real AUROC fell from 0.95 to 0.72),
//! gradient descent over everything (it fits the synthetic defects and forgets the rest), the choice by the false
//! rejects of good parts alone (every distance can be made to hold them), one size for all (a defect of three
//! pixels needs the resolution, a board does not have it to give away), the cheapest of those that the best does
//! not beat surely (on screws lying at every angle that are the wrong ones), a bank of some of the parts (it
//! measures how well it covers the others, not the metric), the product of pooled embeddings (the evidence is level
//! between it and that without pooling; on screws it takes the real AUROC from 0.98 to 0.93, on magnetic tile from
//! 0.92 to 0.95), and judging what was learned by new parts with kinds of defects that it had learned (on screws a
//! head won that took the real AUROC from 0.95 to 0.86: what judges is of a family that is new to it).

use half::f16;

use super::augment::{Augment, Augmentation};
use super::auto::AutoOptions;
use super::evidence::{self, Evidence, Gathering, Material, Scores};
use super::learn;
use super::study::Scoring;
use super::{BOUND_FROM, Options, Progress, Stage, TeachError, bank};
use crate::inspect::card::{Model, ModelCard};
use crate::inspect::embedding::Embeddings;
use crate::inspect::metric::Metric;
use crate::inspect::recipe::{Granularity, HeadKind, Recipe};
use crate::inspect::{Extractor, InspectError};
use crate::memory;
use crate::profile::{Chosen, Rival, steps};
use crate::teach::defects::{Preset, Severity};

mod grid;
mod learned;
mod quality;

use grid::{all_taps, finalists, first_of_each, scorings_beside, sizes};
pub(crate) use grid::{bases, metric, metrics, rules, scorings};
pub use learned::judged;
use learned::with_learned;
pub(crate) use quality::Weights;
use quality::{draws, sure_gain, weigh};

/// The taps of the evidence's pictures may take so much memory; then it is gathered from some of the parts, but not from
/// less than can be judged.
const EVIDENCE_BYTES: usize = 400 << 20;
/// A part with a defect takes about so much less than a whole one.
const CHANGED: usize = 4;
/// With fewer judged parts of a product no head is tried, nor where they would have to give the threshold too.
const LEAST_JUDGED: usize = 45;
/// With more parts of a product augmentation is not tried: then those that came show how parts may look.
const FEW_PARTS: usize = BOUND_FROM;
/// So many of each input size are tried with the larger bank.
const FINALISTS: usize = 2;
/// Multiply–adds of the backbone for a pixel of its input: those of the built-in one, rounded down.
const BACKBONE_MACS_A_PIXEL: f64 = 4000.0;
/// Twice the time of an inspection must be worth so much in quality.
const PRICE: f64 = 0.001;
/// A recipe is better by more than chance if it is in all but one of so many draws,
const CHOSEN: usize = 4;
/// and what is learned from synthetic defects, or added to the bank, if it is in all but one of so many.
const LEARNED: usize = 10;

/// A recipe that was tried, and how it did.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    pub recipe: Recipe,
    /// The bound of its bank.
    pub rows: usize,
    /// [`cost`]
    cost: f64,
    /// The weighted share of good parts that defects lie above.
    pub quality: f64,
    /// That of its relatives too: the mean of its own, of all ways to the score from its distances, and of those with
    /// another pooling as well. One quality is a draw; what is good is good in its neighbourhood.
    pub standing: f64,
    scores: Scores,
}

/// What was chosen, and from what.
pub struct Choice {
    pub recipe: Recipe,
    /// The bound of the bank.
    pub rows: usize,
    /// The learned steps, where the bank alone does not give them.
    pub metric: Option<Metric>,
    /// What stands for the good class of each product, if parts are compared with that instead of a bank.
    pub prototypes: Option<Embeddings>,
    /// By how much it is surely better than the plain one, on the scale of `quality`; not above 0 if it is not.
    pub gain: f64,
    /// What of the good parts joins the bank beside them.
    pub augmentation: Option<Augmentation>,
    /// What the profile remembers of it.
    pub chosen: Chosen,
    /// All that was tried, the best first.
    pub tried: Vec<Tried>,
}

/// Chooses the recipe for a product, or one for several.
/// * `options` — its recipe is the plain one: where nothing is better by more than chance, it stays
///
/// # Errors  `TeachError`: a part that cannot be loaded or inspected, a recipe that does not fit the model.
pub fn choose(
    model: &Model,
    options: &Options,
    auto: &AutoOptions,
    materials: &[Material],
    progress: Progress,
) -> Result<Choice, TeachError> {
    let plain = &options.recipe;
    // What a head may learn from does not choose the recipe that it is learned on.
    let halve_known = can_learn(plain, auto, materials);
    let mut tried: Vec<Tried> = Vec::new();
    for input_px in sizes(model, options, auto, materials)? {
        let size = Recipe { input_px, taps: all_taps(&model.card, plain), ..plain.clone() };
        let extractor = Extractor::new(model, &size).map_err(InspectError::from)?;
        let how =
            Gathering { halve_known, ..Gathering::within_memory(&model.card, &size, materials.len(), Preset::Mixed) };
        let evidence = gather_all(&extractor, materials, how, options, progress)?;
        let bases = bases(&model.card, &size, plain);
        let (finals, mut of_size) = (if auto.largest_bank > options.bank_rows { FINALISTS } else { 0 }, Vec::new());
        let scorings = scorings_beside(plain);
        for (done, base) in bases.iter().enumerate() {
            of_size.extend(try_all(&evidence, &metrics(&model.card, base), &scorings, options)?);
            progress(Stage::Choose, done + 1, bases.len() + finals);
        }
        if input_px == plain.input_px && !of_size.iter().any(|tried| tried.recipe == *plain) {
            of_size.push(try_one(&evidence, plain, options)?);
        }
        let larger = Options { bank_rows: auto.largest_bank, ..options.clone() };
        for (done, recipe) in finalists(&mut of_size, finals).iter().enumerate() {
            of_size.extend(try_all(&evidence, std::slice::from_ref(recipe), &scorings, &larger)?);
            progress(Stage::Choose, bases.len() + done + 1, bases.len() + finals);
        }
        tried.extend(of_size);
    }
    let choice = decide(tried, plain, options.seed);
    let options = Options { recipe: choice.recipe.clone(), bank_rows: choice.rows, ..options.clone() };
    let choice = with_augmentation(choice, model, &options, materials, progress)?;
    if !can_learn(&options.recipe, auto, materials) {
        let because = format!("{}; nothing was learned on top of it", choice.chosen.because);
        return Ok(Choice { chosen: Chosen { because, ..choice.chosen }, ..choice });
    }
    let evidence = learn::gather(model, &options, Preset::Mixed, materials, progress)?;
    let unlearned = learned::unlearned(&evidence, &options)?;
    let heads = learn::heads(&evidence, &options, auto, progress)?;
    let mut learned: Vec<_> = heads.into_iter().map(|(loss, head)| (format!("a head by {loss}"), head)).collect();
    if auto.normality && options.recipe.granularity == Granularity::Patch && !options.recipe.relative {
        let scores = learn::scores_of_patches(&evidence, &options, unlearned.typical_score(), progress)?;
        let scores = if scores.is_empty() { vec![None] } else { scores.into_iter().map(Some).collect() };
        learned.extend(scores.into_iter().map(|score| ("a score of patches".to_owned(), score)));
    }
    with_learned(choice, &evidence, &options, unlearned, learned)
}

/// The choice with the augmentation that makes it better by more than chance, if the parts are few and one does.
fn with_augmentation(
    choice: Choice,
    model: &Model,
    options: &Options,
    materials: &[Material],
    progress: Progress,
) -> Result<Choice, TeachError> {
    let few = materials.iter().all(|material| material.good_parts.len() < FEW_PARTS);
    if options.augment != Augment::Auto || !few || choice.recipe.distance.is_gaussian() {
        return Ok(Choice { augmentation: options.augment.given(), ..choice });
    }
    let extractor = Extractor::new(model, &options.recipe).map_err(InspectError::from)?;
    let how = Gathering::within_memory(&model.card, &options.recipe, materials.len(), Preset::Mixed);
    let mut evidence = gather_all(&extractor, materials, how, options, progress)?;
    let mut tried = vec![try_one(&evidence, &options.recipe, options)?];
    let step = |done, total| progress(Stage::Evidence, done, total);
    for augmentation in Augmentation::ALL {
        for (evidence, material) in evidence.iter_mut().zip(materials) {
            evidence.look_up_variants(&extractor, material, augmentation, options, step)?;
        }
        tried.push(try_one(&evidence, &options.recipe, options)?);
    }
    let weights = weigh(&mut tried);
    let draws: Vec<Vec<f64>> = tried.iter().map(|tried| draws(&tried.scores, &weights, options.seed)).collect();
    let gains =
        Augmentation::ALL.into_iter().zip(draws[1..].iter().map(|draws_of| sure_gain(draws_of, &draws[0], LEARNED)));
    let best = gains.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, gain)| *gain > 0.0);
    let because = match best {
        Some((augmentation, gain)) => {
            format!("; good parts {} as well add at least {:.1} points to that", augmentation.name(), 100.0 * gain)
        }
        None => "; no augmentation of the good parts is better by more than chance".to_owned(),
    };
    let chosen = Chosen { because: choice.chosen.because.clone() + &because, ..choice.chosen };
    Ok(Choice { augmentation: best.map(|(augmentation, _)| augmentation), chosen, ..choice })
}

/// The evidence of each product.
pub(super) fn gather_all(
    extractor: &Extractor,
    materials: &[Material],
    how: Gathering,
    options: &Options,
    progress: Progress,
) -> Result<Vec<Evidence>, TeachError> {
    let step = |done, total| progress(Stage::Evidence, done, total);
    memory::give_back();
    materials.iter().map(|material| Evidence::gather(extractor, material, how, options, step)).collect()
}

impl Gathering {
    /// As much evidence as fits into memory.
    /// * `recipe` — with all taps that are compared
    /// * `products` — how many share the memory
    pub(crate) fn within_memory(card: &ModelCard, recipe: &Recipe, products: usize, preset: Preset) -> Gathering {
        let pixels = recipe.input_px[0] * recipe.input_px[1];
        let taps = card.taps.iter().filter(|tap| recipe.taps.contains(&tap.name));
        let bytes: usize = taps.map(|tap| tap.channels * pixels / (tap.stride * tap.stride) * size_of::<f16>()).sum();
        let pictures = EVIDENCE_BYTES / (bytes.max(1) * products.max(1));
        let most_parts = pictures.saturating_sub(Evidence::most_drawn() / CHANGED);
        Gathering { most_parts, preset, halve_known: false }
    }
}

/// Whether anything is to be learned, there are parts enough to learn from, and the recipe takes a head.
fn can_learn(recipe: &Recipe, auto: &AutoOptions, materials: &[Material]) -> bool {
    let enough = |count| count >= BOUND_FROM && evidence::judged(count) >= LEAST_JUDGED;
    let enough = materials.iter().all(|material| enough(material.good_parts.len()));
    auto.learns() && enough && recipe.head == HeadKind::Identity && !recipe.distance.is_gaussian()
}

/// Takes the best of what was tried, or the plain recipe where that is not beaten by more than chance.
/// * `tried` — the plain recipe among them; their quality is found here
pub(crate) fn decide(mut tried: Vec<Tried>, plain: &Recipe, seed: u64) -> Choice {
    let weights = weigh(&mut tried);
    tried.sort_by(|a, b| b.standing.total_cmp(&a.standing));
    let is_plain = |tried: &&Tried| tried.recipe == *plain;
    let plain = tried.iter().filter(is_plain).min_by_key(|tried| tried.rows).expect("the plain recipe is in the grid");
    let plain = plain.clone();
    let best = tried.iter().max_by(|a, b| a.worth(&plain).total_cmp(&b.worth(&plain))).expect("the plain recipe is");
    let draws = |tried: &Tried| draws(&tried.scores, &weights, seed);
    let gain = sure_gain(&draws(best), &draws(&plain), CHOSEN);
    let taken = if gain > 0.0 { best } else { &plain };
    let chosen = remembered(taken, &plain, gain, &tried);
    Choice {
        recipe: taken.recipe.clone(),
        rows: taken.rows,
        metric: None,
        prototypes: None,
        gain,
        augmentation: None,
        chosen,
        tried,
    }
}

/// * `evidence` — of each product
pub(crate) fn try_all(
    evidence: &[Evidence],
    recipes: &[Recipe],
    scorings: &[Scoring],
    options: &Options,
) -> Result<Vec<Tried>, InspectError> {
    let of_each = evidence.iter().map(|evidence| evidence.scores(recipes, scorings, options));
    let scores = together(of_each.collect::<Result<Vec<_>, _>>()?);
    let tried = recipes.iter().zip(scores).flat_map(|(recipe, scores)| {
        scorings.iter().zip(scores).map(|(scoring, scores)| Tried::new(evidence, scoring.on(recipe), scores, options))
    });
    Ok(tried.collect())
}

/// The scores of several products as more folds of one; of each recipe and scoring.
fn together(of_each: Vec<Vec<Vec<Scores>>>) -> Vec<Vec<Scores>> {
    let join = |mut all: Vec<Vec<Scores>>, more: Vec<Vec<Scores>>| {
        all.iter_mut().flatten().zip(more.into_iter().flatten()).for_each(|(all, more)| all.extend(more));
        all
    };
    of_each.into_iter().reduce(join).unwrap_or_default()
}

impl Tried {
    /// Its quality is found beside that of others, by [`weigh`].
    fn new(evidence: &[Evidence], recipe: Recipe, scores: Scores, options: &Options) -> Tried {
        let (rows, cost) = (options.bank_rows, cost(evidence, &recipe, options));
        Tried { recipe, rows, cost, quality: f64::NAN, standing: f64::NAN, scores }
    }

    /// Its standing, less a little for each time that it doubles the cost of the plain recipe.
    fn worth(&self, plain: &Tried) -> f64 {
        self.standing - PRICE * (self.cost / plain.cost).log2()
    }
}

/// About how many multiply–adds a picture takes, network and search.
fn cost(evidence: &[Evidence], recipe: &Recipe, options: &Options) -> f64 {
    let [height, width] = recipe.grid();
    let channels = evidence.first().map_or(0, |evidence| evidence.study().channels(recipe));
    let product = |factors: &[usize]| factors.iter().map(|factor| *factor as f64).product::<f64>();
    let rows = bank::most_rows(recipe, channels, options.bank_rows, options);
    let columns: usize = recipe.factors().iter().map(|factor| channels - factor.from).sum();
    BACKBONE_MACS_A_PIXEL * product(&recipe.input_px) + product(&[height, width, rows, columns])
}

/// What a profile remembers of a choice among all that was `tried`.
fn remembered(taken: &Tried, plain: &Tried, gain: f64, tried: &[Tried]) -> Chosen {
    Chosen {
        tried: tried.len(),
        quality: taken.quality,
        plain_quality: plain.quality,
        faint: taken.scores.auroc(Severity::Faint).unwrap_or(0.0),
        because: because(taken, plain, gain),
        rivals: rivals(tried),
    }
}

/// All that was tried, each with its best way to the score; the best first.
fn rivals(tried: &[Tried]) -> Vec<Rival> {
    let mut sorted: Vec<&Tried> = tried.iter().collect();
    sorted.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    let same =
        |one: &Tried, other: &Tried| other.rows == one.rows && Scoring::of(&one.recipe).on(&other.recipe) == one.recipe;
    let rival = |tried: &Tried| Rival {
        metric: format!("{}; a bank of up to {} rows", steps(&tried.recipe), tried.rows),
        quality: tried.quality,
    };
    first_of_each(sorted.into_iter(), same).into_iter().map(rival).collect()
}

fn because(taken: &Tried, plain: &Tried, gain: f64) -> String {
    let percent = |quality: f64| 100.0 * quality;
    if (&taken.recipe, taken.rows) == (&plain.recipe, plain.rows) {
        return format!(
            "no other beats the plain metric by more than chance (of the defects that decide {:.1} % lie above good parts)",
            percent(plain.quality)
        );
    }
    if gain <= 0.0 {
        return format!(
            "of the defects that decide {:.1} % lie above good parts, {:.1} % by the plain metric, which it does not beat by \
             more than chance; it was asked for",
            percent(taken.quality),
            percent(plain.quality)
        );
    }
    format!(
        "of the defects that decide {:.1} % lie above good parts, with a bank of up to {} rows, {:.1} % by the plain \
         metric; at least {:.1} points of that are no chance",
        percent(taken.quality),
        taken.rows,
        percent(plain.quality),
        percent(gain)
    )
}

/// How one candidate does on all products.
fn try_one(evidence: &[Evidence], recipe: &Recipe, options: &Options) -> Result<Tried, InspectError> {
    Ok(try_all(evidence, std::slice::from_ref(recipe), &[Scoring::of(recipe)], options)?.remove(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: usize = 40;

    /// Good parts score 0 to 39, and as many defects what is said of their numbers.
    fn tried(recipe: &Recipe, cost: f64, defect: impl Fn(usize) -> f32) -> Tried {
        let scores = Scores {
            good: vec![(0..PARTS).map(|part| part as f32).collect()],
            defects: vec![(0..PARTS).map(|number| (Severity::Clear, defect(number))).collect()],
            known: vec![vec![]],
            products: vec![0],
        };
        Tried { recipe: recipe.clone(), rows: 2000, cost, quality: f64::NAN, standing: f64::NAN, scores }
    }

    fn plain() -> Recipe {
        Options::for_model(&Model::built_in()).recipe
    }

    #[test]
    fn only_what_beats_the_plain_metric_by_more_than_chance_is_taken() {
        let other = Recipe { pool: 5, ..plain() };
        let taken = |defect: fn(usize) -> f32| {
            let of_plain = |number: usize| 20.0 + number as f32 / 2.0;
            decide(vec![tried(&plain(), 1.0, of_plain), tried(&other, 1.0, defect)], &plain(), 0)
        };
        let better = taken(|number| 30.0 + number as f32 / 2.0);
        assert_eq!(better.recipe, other);
        let rivals: Vec<bool> =
            better.chosen.rivals.iter().map(|rival| rival.metric.contains("pooled 5 × 5; ")).collect();
        assert_eq!(rivals, [true, false], "{:?}", better.chosen.rivals);
        assert!(better.gain > 0.0 && better.chosen.because.contains("are no chance"), "{}", better.chosen.because);
        // As good on average, by other defects; and worse.
        for worse in [(|number| 20.1 + (39 - number) as f32 / 2.0) as fn(usize) -> f32, |number| number as f32 / 2.0] {
            let choice = taken(worse);
            assert_eq!(choice.recipe, plain());
            assert!(
                choice.gain <= 0.0 && choice.chosen.because.starts_with("no other beats"),
                "{}",
                choice.chosen.because
            );
            assert_eq!(choice.chosen.quality, choice.chosen.plain_quality);
        }
    }

    #[test]
    fn one_embedding_a_picture_is_scored_in_the_one_way_that_there_is() {
        let image = Recipe { granularity: Granularity::Image, ..plain() };
        assert_eq!((scorings_beside(&image).len(), scorings_beside(&plain()).len()), (1, 6));
        assert_eq!(scorings_beside(&image)[0].on(&image), image);
    }

    #[test]
    fn twice_the_time_must_be_worth_it() {
        let [cheap, dear] = [5, 7].map(|pool| Recipe { pool, ..plain() });
        let defect = |number: usize| 30.0 + number as f32 / 2.0;
        let of = |cost_of_dear: f64, more: f32| {
            let plain = tried(&plain(), 1.0, |number| 20.0 + number as f32 / 2.0);
            let dear = tried(&dear, cost_of_dear, |number| defect(number) + more);
            decide(vec![plain.clone(), tried(&cheap, 1.0, defect), dear], &plain.recipe, 0).recipe.pool
        };
        assert_eq!(of(1.0, 0.6), dear.pool, "the better one of the same cost");
        assert_eq!(of(f64::exp2(40.0), 0.6), cheap.pool);
        assert_eq!(of(2.0, 5.0), dear.pool, "much better at twice the cost");
    }
}
