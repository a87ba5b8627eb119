//! `--metric NAME`: a head that is learned by one loss from good parts and synthetic defects, on a frozen backbone.
//!
//! Siamese and triplet training are this same head with shared weights; the loss alone differs. The head learns from
//! some of the judged parts, and the step is kept that serves best on others and, where a preset has enough, on kinds of
//! defects that it did not learn from. Whether it beats the raw embedding is measured on further parts and said in the
//! profile; by name it is shipped either way, by `auto` only if the same training without a family of kinds tells that
//! family better too.

use std::str::FromStr;

use super::auto::AutoOptions;
use super::choose::{Choice, gather_all, judged};
use super::defects::{Family, Kind, Preset};
use super::evidence::{DrawnDefect, Evidence, FOLDS, Gathering, Material};
use super::losses::Loss;
use super::parallel::in_parallel;
use super::samples::{Rows, Source, number};
use super::study::Candidate;
use super::train::{
    HeadShape, NormalityOptions, TrainError, TrainOptions, Trained, prototypes, train_head, train_normality,
};
use super::{Options, Progress, Stage, TeachError, bank};
use crate::inspect::card::Model;
use crate::inspect::embedding::Embeddings;
use crate::inspect::metric::{Head, Metric, Normality};
use crate::inspect::recipe::{Distance, HeadKind, Recipe, Scaling};
use crate::inspect::{Extractor, InspectError};

/// How to learn a head.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnOptions {
    pub train: TrainOptions,
    /// The synthetic defects that it learns from and is checked by.
    pub preset: Preset,
    /// Whether it learns from them at all, and not only from what is real: other products, known defects.
    pub synthetic: bool,
}

/// What is left out of learning, to judge by.
#[derive(Clone, Copy, Debug)]
pub struct LeftOut {
    /// The fold whose parts are.
    pub fold: usize,
    /// The family of kinds of synthetic defects that is.
    pub family: Option<Family>,
}

/// What is learned from all judged parts, and what would be if some of them and some kinds were left out: by those the one
/// that is shipped is judged.
pub struct InFolds<T = Learned> {
    pub shipped: T,
    pub folds: Vec<(LeftOut, T)>,
}

impl LeftOut {
    /// One fold and no family: what is learned by name is shipped as it is, and judged by that fold.
    pub const FOLD: LeftOut = LeftOut { fold: 0, family: None };

    /// Each fold with a family of its own.
    pub fn folds() -> impl Iterator<Item = LeftOut> {
        (0..FOLDS).zip(Family::ALL).map(|(fold, family)| LeftOut { fold, family: Some(family) })
    }

    /// Whether it judges by a kind of defects.
    pub fn judges(self, kind: Kind) -> bool {
        self.family.is_none_or(|family| family == kind.family())
    }

    fn may_teach(self, kind: Kind) -> bool {
        self.family != Some(kind.family())
    }
}

/// A learned score of 1 counts as such a share of a good part's distance.
const NORMALITY_SHARES: [f32; 2] = [0.05, 0.2];
/// Of each so many kinds of defects one says when to stop.
const STOPPING_KINDS: u16 = 3;
/// Of each so many parts one says when to stop.
const STOPPING: usize = 4;

impl LearnOptions {
    /// The defaults for a loss.
    pub fn for_loss(loss: Loss) -> LearnOptions {
        LearnOptions { train: TrainOptions::for_loss(loss), preset: Preset::Mixed, synthetic: true }
    }

    /// Sets what `text` names: `shape=residual|linear|mlp`, `width`, `hidden`, `steps`, `batch`, `rate`, `decay`,
    /// `nearness`, `mixup`, `patience`, `preset` (or `preset=none` for no synthetic defects), `reference=bank|prototype`,
    /// separated by commas.
    /// # Errors  A sentence that names the first fault.
    pub fn set(&mut self, text: &str) -> Result<(), String> {
        let (mut shape, mut width, mut hidden) = (None, 64, 128);
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("'{pair}' is not of the form name=value"))?;
            let (key, value) = (key.trim(), value.trim());
            match key {
                "shape" => shape = Some(value),
                "width" => width = read(key, value)?,
                "hidden" => hidden = read(key, value)?,
                "steps" => self.train.steps = read(key, value)?,
                "batch" => self.train.batch = read(key, value)?,
                "rate" => self.train.learning_rate = read(key, value)?,
                "decay" => self.train.weight_decay = read(key, value)?,
                "nearness" => self.train.nearness = read(key, value)?,
                "mixup" => self.train.mixup = Some(read(key, value)?),
                "patience" => self.train.patience = read(key, value)?,
                "preset" if value == "none" => self.synthetic = false,
                "reference" => {
                    self.train.prototype = match value {
                        "bank" => false,
                        "prototype" => true,
                        _ => return Err(format!("the reference is '{value}'; there are bank and prototype")),
                    }
                }
                "preset" => self.preset = Preset::from_str(value).map_err(|e| e.to_string())?,
                _ => {
                    let known =
                        "shape, width, hidden, steps, batch, rate, decay, nearness, mixup, patience, preset, reference";
                    return Err(format!("'{key}' is no option of a learned metric; there are {known}"));
                }
            }
        }
        self.train.shape = match shape {
            None if text.contains("width") => HeadShape::Linear { width },
            None => self.train.shape,
            Some("residual") => HeadShape::Residual,
            Some("linear") => HeadShape::Linear { width },
            Some("mlp") => HeadShape::Mlp { hidden, width },
            Some(other) => return Err(format!("'{other}' is no shape of a head; there are residual, linear and mlp")),
        };
        self.train.check().map_err(|error| error.to_string())
    }
}

fn read<T: FromStr>(key: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("the option {key} is '{value}', which is not a number that it can be"))
}

/// Learns a head by one loss, at the recipe's own size and taps, from all products at once.
/// # Errors  `TeachError`: a part that cannot be loaded or inspected, or a head that cannot be trained.
pub fn learn(
    model: &Model,
    options: &Options,
    how: &LearnOptions,
    materials: &[Material],
    progress: Progress,
) -> Result<Choice, TeachError> {
    let evidence = gather(model, options, how.preset, materials, progress)?;
    let mut how = how.clone();
    how.train.seed = options.seed;
    let trained = train_on(&evidence, &options.recipe, &how, Some(LeftOut::FOLD), options, progress)?;
    if how.train.prototype && trained.prototypes_are_random(&how.train.loss) {
        return Err(TrainError::RandomPrototype { loss: how.train.loss.name() }.into());
    }
    judged(&evidence, options, Learned::of(&options.recipe, trained, &how))
}

/// The evidence at the recipe's own size and with its taps for each product.
pub(super) fn gather(
    model: &Model,
    options: &Options,
    preset: Preset,
    materials: &[Material],
    progress: Progress,
) -> Result<Vec<Evidence>, TeachError> {
    let extractor = Extractor::new(model, &options.recipe).map_err(InspectError::from)?;
    let how = Gathering {
        halve_known: true,
        ..Gathering::within_memory(&model.card, &options.recipe, materials.len(), preset)
    };
    gather_all(&extractor, materials, how, options, progress)
}

/// Heads by a few losses on a chosen recipe, with the names of the losses; none of a loss that cannot learn anything from
/// these parts.
/// * `options` — with the chosen recipe
///
/// # Errors  `TeachError::Unusable`
pub(super) fn heads(
    evidence: &[Evidence],
    options: &Options,
    auto: &AutoOptions,
    progress: Progress,
) -> Result<Vec<(&'static str, Option<InFolds>)>, TeachError> {
    let how = |name: &&str| -> Result<LearnOptions, TeachError> {
        let mut how = LearnOptions::for_loss(Loss::default_of(name).expect("it is the name of a loss"));
        how.set(&auto.training).map_err(TeachError::Recipe)?;
        how.train.seed = options.seed;
        Ok(how)
    };
    let how = auto.losses.iter().map(how).collect::<Result<Vec<_>, _>>()?;
    let train = |head: usize, left_out| {
        let trained = train_on(evidence, &options.recipe, &how[head], left_out, options, &|_, _, _| ());
        match trained {
            Ok(trained) if left_out.is_none() && trained.best_step == 0 => Ok(None),
            Ok(trained) => Ok(Some(Learned::of(&options.recipe, trained, &how[head]))),
            Err(TeachError::Train(error)) if error.is_of_the_samples() => Ok(None),
            Err(error) => Err(error),
        }
    };
    Ok(auto.losses.iter().copied().zip(in_folds(how.len(), train, options, progress)?).collect())
}

/// What is learned in so many ways, each from all that may teach and, where that is anything, without each that is left out.
/// * `train` — in which way, and what to leave out; gives nothing if it cannot learn anything
///
/// # Errors  That of `train`
fn in_folds<T: Send>(
    ways: usize,
    train: impl Fn(usize, Option<LeftOut>) -> Result<Option<T>, TeachError> + Sync,
    options: &Options,
    progress: Progress,
) -> Result<Vec<Option<InFolds<T>>>, TeachError> {
    let folds: Vec<LeftOut> = LeftOut::folds().collect();
    let total = ways * (1 + folds.len());
    let step = |done| progress(Stage::Train, done, total);
    let shipped = in_parallel(ways, options.threads, || (), |(), way| train(way, None), step)?;
    let learns: Vec<usize> = (0..ways).filter(|way| shipped[*way].is_some()).collect();
    let fold = |(): &mut (), job: usize| train(learns[job / folds.len()], Some(folds[job % folds.len()]));
    let step = |done| progress(Stage::Train, total - learns.len() * folds.len() + done, total);
    let mut of_folds = in_parallel(learns.len() * folds.len(), options.threads, || (), fold, step)?.into_iter();
    let with_folds = |shipped: Option<T>| {
        let shipped = shipped?;
        let of_folds: Vec<Option<T>> = of_folds.by_ref().take(folds.len()).collect();
        let folds = folds.iter().zip(of_folds).map(|(left_out, learned)| Some((*left_out, learned?)));
        Some(InFolds { shipped, folds: folds.collect::<Option<_>>()? })
    };
    Ok(shipped.into_iter().map(with_folds).collect())
}

/// A learned score of patches, added to the distance of a chosen recipe with one weight or another; none if it cannot
/// learn anything from these parts.
/// * `options` — with the chosen recipe
/// * `unit` — the typical score of a good part by it
///
/// # Errors  `TeachError::Unusable`
pub(super) fn scores_of_patches(
    evidence: &[Evidence],
    options: &Options,
    unit: f32,
    progress: Progress,
) -> Result<Vec<InFolds>, TeachError> {
    let mut how = LearnOptions::for_loss(Loss::default_of("softmax").expect("it is the name of a loss"));
    how.train.seed = options.seed;
    let train = |_, left_out: Option<LeftOut>| -> Result<Option<(Head, Metric)>, TeachError> {
        let (learn, held_out) = rows(evidence, &options.recipe, &how, left_out, options)?;
        let training = NormalityOptions { seed: options.seed, ..NormalityOptions::default() };
        let Ok(head) = train_normality(&learn.samples(), &held_out.samples(), &training) else { return Ok(None) };
        if left_out.is_none() && is_silent(&head) {
            return Ok(None);
        }
        let good: Vec<usize> = (0..learn.labels.len()).filter(|row| learn.labels[*row] == 0).collect();
        Ok(Some((head, bank::fit(&options.recipe, &learn.embeddings.select(&good), options.pca_width))))
    };
    let learned = |(head, fitted): &(Head, Metric), share: f32| {
        let normality = Some(Normality { head: head.clone(), weight: share * unit });
        let recipe = Recipe { normality: true, ..options.recipe.clone() };
        Learned { recipe, metric: Metric { normality, ..fitted.clone() }, prototypes: None }
    };
    let Some(trained) = in_folds(1, train, options, progress)?.remove(0) else { return Ok(Vec::new()) };
    let with_weight = |share| InFolds {
        shipped: learned(&trained.shipped, share),
        folds: trained.folds.iter().map(|(left_out, trained)| (*left_out, learned(trained, share))).collect(),
    };
    Ok(NORMALITY_SHARES.map(with_weight).into())
}

/// Whether it gives every patch the same.
fn is_silent(head: &Head) -> bool {
    matches!(head, Head::Mlp { weight, .. } if weight.iter().all(|weight| *weight == 0.0))
}

/// Trains on what is not left out; a quarter of the parts and some of the kinds say when to stop.
/// * `evidence` — of each product
/// * `options` — bounds of the bank that known defects without a mask are compared with; its recipe is not used
///
/// # Errors  `TeachError::Train`
pub fn train_on(
    evidence: &[Evidence],
    recipe: &Recipe,
    how: &LearnOptions,
    left_out: Option<LeftOut>,
    options: &Options,
    progress: Progress,
) -> Result<Trained, TeachError> {
    let (learn, held_out) = rows(evidence, recipe, how, left_out, options)?;
    let step = |done, total| progress(Stage::Train, done, total);
    Ok(train_head(&learn.samples(), &held_out.samples(), &how.train, &step)?)
}

/// What is learned from, and what says when to stop: the parts of neither are in the other, nor are their kinds of defects,
/// but for the presets of the literature, which have too few.
pub(super) fn rows(
    evidence: &[Evidence],
    recipe: &Recipe,
    how: &LearnOptions,
    left_out: Option<LeftOut>,
    options: &Options,
) -> Result<(Rows, Rows), TeachError> {
    let raw = Recipe { head: HeadKind::Identity, ..recipe.clone() };
    let (preset, seed) = (how.preset, how.train.seed);
    let all_kinds = preset != Preset::Mixed || !how.synthetic;
    let stopping = |defect: &DrawnDefect| number(defect.kind).is_multiple_of(STOPPING_KINDS);
    let stops = |part: usize| part.is_multiple_of(STOPPING);
    let channels = evidence.first().map_or(0, |evidence| evidence.study().channels(&raw));
    let (mut learn, mut held_out) = (Rows::new(channels), Rows::new(channels));
    for (product, evidence) in (0..).zip(evidence) {
        let source = Source { evidence, product, preset, seed };
        let is_left =
            |part: usize| left_out.is_none_or(|left_out| !evidence.folds()[left_out.fold].good.contains(&part));
        let may_teach = |kind| left_out.is_none_or(|left_out| left_out.may_teach(kind));
        let (stop_good, learn_good): (Vec<usize>, Vec<usize>) =
            evidence.judged().filter(|part| is_left(*part)).partition(|part| stops(*part));
        let lessons = evidence.defects().iter().filter(|defect| is_left(defect.good) && may_teach(defect.kind));
        let (stop, lessons): (Vec<_>, Vec<_>) = lessons.partition(|defect| stops(defect.good));
        let lessons = lessons.into_iter().filter(|defect| how.synthetic && (all_kinds || !stopping(defect)));
        learn.collect(source, &raw, &learn_good, lessons);
        let known: Vec<_> = evidence.known().iter().filter(|known| known.teaches).collect();
        if !known.is_empty() {
            let plain = Candidate::untrained(raw.clone());
            let comparison = evidence.comparisons(&learn_good, &[plain], options)?.remove(0);
            let mut shown = Rows::new(channels);
            shown.collect_known(source, known.into_iter(), &comparison);
            // One row is no class.
            if shown.labels.len() > 1 {
                learn.extend(shown);
            }
        }
        let stop = stop.into_iter().filter(|defect| all_kinds || stopping(defect));
        held_out.collect(source, &raw, &stop_good, stop);
    }
    Ok((learn, held_out))
}

/// What a training adds to a recipe.
pub struct Learned {
    pub recipe: Recipe,
    pub metric: Metric,
    /// What stands for the good class of each product, if parts are compared with that.
    pub prototypes: Option<Embeddings>,
}

impl Learned {
    /// * `recipe` — without a head
    pub fn of(recipe: &Recipe, trained: Trained, how: &LearnOptions) -> Learned {
        let learned = trained.prototypes.clone().filter(|_| how.train.prototype);
        let (prototypes, distance) = match learned.map(|learned| prototypes(&how.train.loss, learned)) {
            Some((prototypes, distance)) => (Some(prototypes), distance),
            None => (None, trained.distance()),
        };
        let recipe = Recipe {
            head: trained.head.kind(),
            scaling: Scaling::None,
            distance,
            nested: Vec::new(),
            normalise: distance == Distance::Cosine,
            prototype: prototypes.is_some(),
            local: recipe.local && prototypes.is_none(),
            neighbours: if prototypes.is_some() { 1 } else { recipe.neighbours },
            ..recipe.clone()
        };
        Learned { recipe, metric: Metric { head: Some(trained.head), ..Metric::default() }, prototypes }
    }

    /// What parts of a product are measured by; the bank comes from the good parts if it is not learned.
    pub fn bank(&self, product: usize) -> Option<Embeddings> {
        self.prototypes.as_ref().map(|rows| rows.select(&[product]))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::source::simulated::{Belt, BeltSettings};
    use crate::teach::GoodParts;
    use crate::teach::evidence::{self, Fold};
    use crate::teach::known::KnownDefects;
    use crate::teach::samples::number;
    use crate::teach::study::Scoring;

    #[test]
    fn what_judges_a_fold_is_new_to_what_was_learned_without_it() {
        let (model, belt) = (Model::built_in(), Belt::new(BeltSettings::default()));
        let mut options = Options::for_model(&model);
        options.recipe.input_px = [64, 64];
        let names = (0..24).map(|part| part.to_string()).collect();
        let frames: Vec<_> = (0..24).map(|part| belt.good_part(part)).collect();
        let good_parts = GoodParts::read(names, |part| Ok(frames[part].clone())).unwrap();
        let material = Material { good_parts: &good_parts, known: &KnownDefects::none() };
        let evidence = gather(&model, &options, Preset::Mixed, &[material], &|_, _, _| ()).unwrap();
        let how = LearnOptions::for_loss(Loss::default_of("softmax").unwrap());
        for left_out in LeftOut::folds() {
            let (learn, held_out) = rows(&evidence, &options.recipe, &how, Some(left_out), &options).unwrap();
            let kinds = |rows: &Rows| rows.samples().kinds.iter().copied().filter(|kind| *kind > 0).collect();
            let (learned, stopping): (BTreeSet<u16>, BTreeSet<u16>) = (kinds(&learn), kinds(&held_out));
            let new: BTreeSet<u16> = Kind::ALL.into_iter().filter(|kind| left_out.judges(*kind)).map(number).collect();
            let all = [&learned, &stopping, &new];
            assert!(learned.len() >= 4 && !stopping.is_empty() && new.len() >= 3, "{left_out:?}: {all:?}");
            for (one, other) in [(0, 1), (0, 2), (1, 2)] {
                assert!(all[one].is_disjoint(all[other]), "{left_out:?}: {all:?}");
            }
            let fold: &Fold = &evidence[0].folds()[left_out.fold];
            assert!(fold.good.iter().all(|part| !fold.bank.contains(part)));
        }
        // What is shipped learns from every kind, on more parts.
        let [all, some] = [None, Some(LeftOut::FOLD)].map(|left_out| {
            let (learn, held_out) = rows(&evidence, &options.recipe, &how, left_out, &options).unwrap();
            [learn, held_out].map(|rows| rows.labels.len())
        });
        assert!(all.iter().zip(some).all(|(all, some)| *all > some), "{all:?} and {some:?}");
        // Every part is judged once, and every kind is new to one fold.
        let all: BTreeSet<usize> = evidence[0].folds().iter().flat_map(|fold| fold.good.clone()).collect();
        assert_eq!(all.len(), 24);
        let judging = |kind| LeftOut::folds().filter(|left_out| left_out.judges(kind)).count();
        assert!(Kind::ALL.into_iter().all(|kind| judging(kind) == 1 && LeftOut::FOLD.may_teach(kind)));
    }

    #[test]
    fn nothing_is_learned_from_parts_that_give_the_threshold() {
        let (model, belt) = (Model::built_in(), Belt::new(BeltSettings::default()));
        let mut options = Options::for_model(&model);
        options.recipe.input_px = [64, 64];
        let how = LearnOptions::for_loss(Loss::default_of("softmax").unwrap());
        let not_judged = evidence::not_judged(61, options.seed);
        let learned = |other: u64| {
            // Other pictures of the parts that are not judged.
            let picture = |part: usize| part as u64 + if not_judged.contains(&part) { other } else { 0 };
            let names = (0..61).map(|part| part.to_string()).collect();
            let good_parts = GoodParts::read(names, |part| Ok(belt.good_part(picture(part)))).unwrap();
            let material = Material { good_parts: &good_parts, known: &KnownDefects::none() };
            let evidence = gather(&model, &options, Preset::Mixed, &[material], &|_, _, _| ()).unwrap();
            let (learn, held_out) = rows(&evidence, &options.recipe, &how, None, &options).unwrap();
            let unlearned =
                evidence[0].scores(&[options.recipe.clone()], &[Scoring::of(&options.recipe)], &options).unwrap();
            ([learn.embeddings, held_out.embeddings].map(|rows| rows.data().to_vec()), unlearned)
        };
        let (rows, scores) = learned(0);
        let (same_rows, other_scores) = learned(500);
        assert!(rows == same_rows && !rows[0].is_empty());
        assert!(scores != other_scores, "they are in the banks");
    }
}
