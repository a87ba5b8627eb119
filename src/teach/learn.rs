//! `--metric NAME`: a head that is learned by one loss from good parts and synthetic defects, on a frozen backbone.
//!
//! Siamese and triplet training are this same head with shared weights; the loss alone differs. The head learns from
//! some of the bank's parts, and the step is kept that serves best on others and on kinds of defects that it did not
//! learn from. Whether it beats the raw embedding is measured on further parts and said in the profile; by name it is
//! shipped either way, by `auto` only if it does.

use std::str::FromStr;

use super::choose::{Choice, MOST_PARTS, judged};
use super::defects::Preset;
use super::evidence::{DrawnDefect, Evidence, Gathering};
use super::losses::Loss;
use super::samples::{Rows, number};
use super::train::{HeadShape, TrainError, TrainOptions, Trained, train_head};
use super::{GoodParts, Options, Progress, Stage, TeachError};
use crate::inspect::card::Model;
use crate::inspect::metric::Metric;
use crate::inspect::recipe::{Distance, HeadKind, Recipe, Scaling};
use crate::inspect::{Extractor, InspectError};

/// How to learn a head.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnOptions {
    pub train: TrainOptions,
    /// What it learns from.
    pub preset: Preset,
}

/// On so many of those that are not judged defects are drawn, to learn from.
pub(crate) const LESSONS: usize = 60;
/// The losses that `auto` tries, one of each family: a classifier, one with a margin, and one of triplets.
const TRIED: [&str; 3] = ["softmax", "cos-face", "triplet"];
/// With fewer parts `auto` does not try to learn a head.
const LEAST_PARTS: usize = super::SPLIT_FROM;
/// Of each so many kinds of defects one is kept from learning.
const HELD_OUT: u16 = 3;
/// Of each so many parts one says when to stop.
const STOPPING: usize = 4;

impl LearnOptions {
    /// The defaults for a loss.
    pub fn for_loss(loss: Loss) -> LearnOptions {
        LearnOptions { train: TrainOptions::for_loss(loss), preset: Preset::Mixed }
    }

    /// Sets what `text` names: `shape=residual|linear|mlp`, `width`, `hidden`, `steps`, `batch`, `rate`, `decay`,
    /// `nearness`, `mixup`, `patience`, `preset`, separated by commas.
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
                "preset" => self.preset = Preset::from_str(value).map_err(|e| e.to_string())?,
                _ => {
                    let known = "shape, width, hidden, steps, batch, rate, decay, nearness, mixup, patience, preset";
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

/// Learns a head by one loss, at the recipe's own size and taps.
/// * `parts` — numbers among `good_parts` that may be used; those of the calibration are not among them
///
/// # Errors  `TeachError`: a part that cannot be loaded or inspected, or a head that cannot be trained.
pub fn learn(
    model: &Model,
    options: &Options,
    how: &LearnOptions,
    good_parts: &GoodParts,
    parts: &[usize],
    progress: Progress,
) -> Result<Choice, TeachError> {
    let evidence = gather(model, options, how.preset, good_parts, parts, progress)?;
    let mut how = how.clone();
    how.train.seed = options.seed;
    let trained = train_on(&evidence, &options.recipe, &how, 0, progress)?;
    let (recipe, metric) = learned(&options.recipe, trained);
    judged(&evidence, options, recipe, metric)
}

/// The evidence at the recipe's own size, with parts to learn from.
fn gather(
    model: &Model,
    options: &Options,
    preset: Preset,
    good_parts: &GoodParts,
    parts: &[usize],
    progress: Progress,
) -> Result<Evidence, TeachError> {
    let extractor = Extractor::new(model, &options.recipe).map_err(InspectError::from)?;
    let step = |done, total| progress(Stage::Evidence, done, total);
    let how = Gathering { most_parts: MOST_PARTS, lessons: LESSONS, preset };
    Evidence::gather(&extractor, good_parts, parts, how, options, step)
}

/// Heads by a few losses on a chosen recipe, each judged beside that recipe without a head; none where there are too few
/// parts to learn from.
/// * `options` — with the chosen recipe
/// * `parts` — numbers among `good_parts` that may be used; those of the calibration are not among them
///
/// # Errors  `TeachError`: a part that cannot be loaded or inspected, or a head that cannot be trained.
pub fn try_heads(
    model: &Model,
    options: &Options,
    good_parts: &GoodParts,
    parts: &[usize],
    progress: Progress,
) -> Result<Vec<(&'static str, Choice)>, TeachError> {
    if parts.len() < LEAST_PARTS || options.recipe.head != HeadKind::Identity || options.recipe.distance.is_gaussian() {
        return Ok(Vec::new());
    }
    let evidence = gather(model, options, Preset::Mixed, good_parts, parts, progress)?;
    let mut heads = Vec::new();
    for name in TRIED {
        let mut how = LearnOptions::for_loss(Loss::default_of(name).expect("it is the name of a loss"));
        how.train.seed = options.seed;
        match train_on(&evidence, &options.recipe, &how, 0, progress) {
            Ok(trained) => {
                let learned_nothing = trained.best_step == 0;
                let (recipe, metric) = learned(&options.recipe, trained);
                let mut choice = judged(&evidence, options, recipe, metric)?;
                if learned_nothing {
                    choice.gain = 0.0;
                }
                heads.push((name, choice));
            }
            Err(TeachError::Train(TrainError::TooFew { .. } | TrainError::HeldOut { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(heads)
}

/// Trains on the parts that a fold does not judge; a quarter of them and a third of the kinds say when to stop.
/// # Errors  `TeachError::Train`
pub fn train_on(
    evidence: &Evidence,
    recipe: &Recipe,
    how: &LearnOptions,
    fold: usize,
    progress: Progress,
) -> Result<Trained, TeachError> {
    let fold = &evidence.folds()[fold];
    let named = |defects: &'_ [usize]| defects.iter().map(|defect| &evidence.defects()[*defect]).collect::<Vec<_>>();
    let kept_out = |defect: &DrawnDefect| number(defect.kind).is_multiple_of(HELD_OUT);
    // The presets of the literature have too few kinds to hold one out.
    let few_kinds = how.preset != Preset::Mixed;
    let raw = Recipe { head: HeadKind::Identity, ..recipe.clone() };
    let seed = how.train.seed;
    // The parts that say when to stop are neither learned from nor judged; nor are their kinds of defects learned from.
    let stops = |part: usize| part.is_multiple_of(STOPPING);
    let (stop_good, learn_good): (Vec<usize>, Vec<usize>) = fold.bank.iter().partition(|part| stops(**part));
    let (stop, learn): (Vec<_>, Vec<_>) = named(&fold.lessons).into_iter().partition(|defect| stops(defect.good));
    let learn = learn.into_iter().filter(|defect| few_kinds || !kept_out(defect));
    let learn = Rows::collect(evidence, &raw, how.preset, &learn_good, learn, seed);
    let stop = stop.into_iter().filter(|defect| few_kinds || kept_out(defect));
    let held_out = Rows::collect(evidence, &raw, how.preset, &stop_good, stop, seed);
    let classes = how.preset.classes().len();
    let step = |done, total| progress(Stage::Train, done, total);
    Ok(train_head(&learn.samples(), &held_out.samples(), classes, &how.train, &step)?)
}

/// The recipe and the metric of a trained head on a recipe without one.
pub fn learned(recipe: &Recipe, trained: Trained) -> (Recipe, Metric) {
    let distance = trained.distance();
    let recipe = Recipe {
        head: trained.head.kind(),
        scaling: Scaling::None,
        distance,
        normalise: distance == Distance::Cosine,
        ..recipe.clone()
    };
    (recipe, Metric { head: Some(trained.head), ..Metric::default() })
}
