//! `--metric NAME`: a head that is learned by one loss from good parts and synthetic defects, on a frozen backbone.
//!
//! Siamese and triplet training are this same head with shared weights; the loss alone differs. The head learns from
//! some of the bank's parts, and the step is kept that serves best on others and on kinds of defects that it did not
//! learn from. Whether it beats the raw embedding is measured on further parts and said in the profile; by name it is
//! shipped either way, by `auto` only if it does.

use std::str::FromStr;

use super::auto::AutoOptions;
use super::choose::{Choice, gather_all, judged};
use super::defects::{Family, Kind, Preset};
use super::evidence::{DrawnDefect, Evidence, FOLDS, Gathering, Material};
use super::losses::Loss;
use super::samples::{Rows, Source};
use super::study::Candidate;
use super::train::{
    HeadShape, NormalityOptions, TrainError, TrainOptions, Trained, prototypes, train_head, train_normality,
};
use super::{Options, Progress, Stage, TeachError, lesson};
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

/// What is learned without the parts of each fold and without the kinds of defects that the fold keeps out, and so is
/// judged by what is new to it. One of them is shipped.
pub struct InFolds {
    /// With the number of the fold.
    learned: Vec<(usize, Learned)>,
    /// Whether a fold keeps kinds out.
    pub new_kinds: bool,
}

impl InFolds {
    /// What was learned, and without which fold.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Learned)> {
        self.learned.iter().map(|(fold, learned)| (*fold, learned))
    }

    pub fn shipped(self) -> Learned {
        let shipped = self.learned.into_iter().find(|(fold, _)| *fold == SHIPPED);
        shipped.expect("the shipped one is among them").1
    }
}

/// A learned score of 1 counts as such a share of a good part's distance.
const NORMALITY_SHARES: [f32; 2] = [0.05, 0.2];
/// The fold whose head is shipped: the one that has seen lines and blemishes, which real defects mostly are.
pub(crate) const SHIPPED: usize = 1;
/// Of each so many parts one says when to stop.
const STOPPING: usize = 4;

impl LearnOptions {
    /// The defaults for a loss.
    pub fn for_loss(loss: Loss) -> LearnOptions {
        LearnOptions { train: TrainOptions::for_loss(loss), preset: Preset::Mixed, synthetic: true }
    }

    /// Whether some kinds are kept from learning; the presets of the literature have too few.
    fn has_new_kinds(&self) -> bool {
        self.preset == Preset::Mixed && self.synthetic
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
        Ok(())
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
    let trained = train_on(&evidence, &options.recipe, &how, SHIPPED, options, progress)?;
    let learned = vec![(SHIPPED, Learned::of(&options.recipe, trained, &how))];
    judged(&evidence, options, InFolds { learned, new_kinds: how.has_new_kinds() })
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

/// Heads by a few losses on a chosen recipe, with the names of the losses; none where there are too few parts to learn from.
/// * `options` — with the chosen recipe
///
/// # Errors  `TeachError::Unusable`, or a head that cannot be trained.
pub(super) fn heads(
    evidence: &[Evidence],
    options: &Options,
    auto: &AutoOptions,
    progress: Progress,
) -> Result<Vec<(&'static str, InFolds)>, TeachError> {
    let mut heads = Vec::new();
    for &name in &auto.losses {
        let mut how = LearnOptions::for_loss(Loss::default_of(name).expect("it is the name of a loss"));
        how.set(&auto.training).map_err(TeachError::Recipe)?;
        how.train.seed = options.seed;
        let train = |fold| {
            let trained = train_on(evidence, &options.recipe, &how, fold, options, progress)?;
            let learned_nothing = fold == SHIPPED && trained.best_step == 0;
            Ok((!learned_nothing).then(|| (fold, Learned::of(&options.recipe, trained, &how))))
        };
        match (0..FOLDS).map(train).collect() {
            Ok(Some(learned)) => heads.push((name, InFolds { learned, new_kinds: how.has_new_kinds() })),
            // What cannot be learned from these parts is not taken.
            Ok(None) | Err(TeachError::Train(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(heads)
}

/// A learned score of patches, added to the distance of a chosen recipe with one weight or another.
/// * `options` — with the chosen recipe
/// * `unit` — the typical score of a good part by it
///
/// # Errors  `TeachError::Unusable`, or a score that cannot be trained.
pub(super) fn scores_of_patches(
    evidence: &[Evidence],
    options: &Options,
    unit: f32,
) -> Result<Vec<InFolds>, TeachError> {
    let mut how = LearnOptions::for_loss(Loss::default_of("softmax").expect("it is the name of a loss"));
    how.train.seed = options.seed;
    let mut of_weights = NORMALITY_SHARES.map(|_| InFolds { learned: Vec::new(), new_kinds: how.has_new_kinds() });
    for fold in 0..FOLDS {
        let (learn, held_out) = rows(evidence, &options.recipe, &how, fold, options)?;
        let training = NormalityOptions { seed: options.seed, ..NormalityOptions::default() };
        let head = match train_normality(&learn.samples(), &held_out.samples(), &training) {
            Ok(Head::Mlp { weight, .. }) if fold == SHIPPED && weight.iter().all(|weight| *weight == 0.0) => {
                return Ok(Vec::new());
            }
            Ok(head) => head,
            Err(TrainError::TooFew { .. } | TrainError::HeldOut { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let good: Vec<usize> = (0..learn.labels.len()).filter(|row| learn.labels[*row] == 0).collect();
        let fitted = lesson::fit(&options.recipe, &learn.embeddings.select(&good), options.pca_width);
        for (of_weight, share) in of_weights.iter_mut().zip(NORMALITY_SHARES) {
            let normality = Some(Normality { head: head.clone(), weight: share * unit });
            let recipe = Recipe { normality: true, ..options.recipe.clone() };
            let metric = Metric { normality, ..fitted.clone() };
            of_weight.learned.push((fold, Learned { recipe, metric, prototypes: None }));
        }
    }
    Ok(of_weights.into())
}

/// Trains on the parts that a fold does not judge; a quarter of them and the kinds that it keeps out say when to stop.
/// * `evidence` — of each product
/// * `options` — bounds of the bank that known defects without a mask are compared with; its recipe is not used
///
/// # Errors  `TeachError::Train`
pub fn train_on(
    evidence: &[Evidence],
    recipe: &Recipe,
    how: &LearnOptions,
    fold: usize,
    options: &Options,
    progress: Progress,
) -> Result<Trained, TeachError> {
    let (learn, held_out) = rows(evidence, recipe, how, fold, options)?;
    let step = |done, total| progress(Stage::Train, done, total);
    Ok(train_head(&learn.samples(), &held_out.samples(), &how.train, &step)?)
}

/// What is learned from, and what says when to stop: of neither the parts nor their kinds of defects are in the other.
pub(super) fn rows(
    evidence: &[Evidence],
    recipe: &Recipe,
    how: &LearnOptions,
    fold: usize,
    options: &Options,
) -> Result<(Rows, Rows), TeachError> {
    let raw = Recipe { head: HeadKind::Identity, ..recipe.clone() };
    let (preset, seed) = (how.preset, how.train.seed);
    let all_kinds = !how.has_new_kinds();
    let kept_out = |defect: &DrawnDefect| keeps_out(fold, defect.kind);
    let stops = |part: usize| part.is_multiple_of(STOPPING);
    let channels = evidence.first().map_or(0, |evidence| evidence.study().channels(&raw));
    let (mut learn, mut held_out) = (Rows::new(channels), Rows::new(channels));
    for (product, evidence) in (0..).zip(evidence) {
        let source = Source { evidence, product, preset, seed };
        let fold = &evidence.folds()[fold];
        let (stop_good, learn_good): (Vec<usize>, Vec<usize>) = fold.bank.iter().partition(|part| stops(**part));
        let lessons = fold.lessons.iter().map(|defect| &evidence.defects()[*defect]);
        let (stop, lessons): (Vec<_>, Vec<_>) = lessons.partition(|defect| stops(defect.good));
        let lessons = lessons.into_iter().filter(|defect| how.synthetic && (all_kinds || !kept_out(defect)));
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
        let stop = stop.into_iter().filter(|defect| all_kinds || kept_out(defect));
        held_out.collect(source, &raw, &stop_good, stop);
    }
    Ok((learn, held_out))
}

/// Whether a fold keeps a kind of defects from learning, to stop and to judge by it.
pub(super) fn keeps_out(fold: usize, kind: Kind) -> bool {
    kind.family() == Family::ALL[fold % Family::ALL.len()]
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
            normalise: distance == Distance::Cosine,
            prototype: prototypes.is_some(),
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
    use crate::teach::evidence::Fold;
    use crate::teach::known::KnownDefects;
    use crate::teach::samples::number;

    #[test]
    fn what_judges_a_fold_is_new_to_what_was_learned_without_it() {
        let (model, belt) = (Model::built_in(), Belt::new(BeltSettings::default()));
        let mut options = Options::for_model(&model);
        options.recipe.input_px = [64, 64];
        let names = (0..24).map(|part| part.to_string()).collect();
        let frames: Vec<_> = (0..24).map(|part| belt.good_part(part)).collect();
        let good_parts = GoodParts::read(names, |part| Ok(frames[part].clone())).unwrap();
        let (parts, known): (Vec<_>, _) = ((0..24).collect(), KnownDefects::none());
        let material = Material { good_parts: &good_parts, parts: &parts, known: &known };
        let evidence = gather(&model, &options, Preset::Mixed, &[material], &|_, _, _| ()).unwrap();
        let how = LearnOptions::for_loss(Loss::default_of("softmax").unwrap());
        for fold in 0..FOLDS {
            let (learn, held_out) = rows(&evidence, &options.recipe, &how, fold, &options).unwrap();
            let kinds = |rows: &Rows| rows.samples().kinds.iter().copied().filter(|kind| *kind > 0).collect();
            let (learned, stopping): (BTreeSet<u16>, BTreeSet<u16>) = (kinds(&learn), kinds(&held_out));
            let new: BTreeSet<u16> = Kind::ALL.into_iter().filter(|kind| keeps_out(fold, *kind)).map(number).collect();
            assert!(learned.is_disjoint(&new) && stopping.is_subset(&new), "fold {fold}: {learned:?} {stopping:?}");
            assert!(learned.len() >= 5 && !stopping.is_empty(), "fold {fold}: {learned:?} {stopping:?}");
            let judged: &Fold = &evidence[0].folds()[fold];
            assert!(judged.good.iter().all(|part| !judged.bank.contains(part)));
            let lessons = judged.lessons.iter().map(|defect| evidence[0].defects()[*defect].good);
            assert!(lessons.into_iter().all(|part| judged.bank.contains(&part)));
        }
        // Every part is judged once, and every kind is new to one fold.
        let all: BTreeSet<usize> = evidence[0].folds().iter().flat_map(|fold| fold.good.clone()).collect();
        assert_eq!(all.len(), 24);
        assert!(Kind::ALL.into_iter().all(|kind| (0..FOLDS).filter(|fold| keeps_out(*fold, kind)).count() == 1));
    }
}
