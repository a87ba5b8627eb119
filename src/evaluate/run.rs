//! One labelled set to its figures: teach on its good parts, or take a profile, judge the test folder, and again with
//! other seeds.
//!
//! Nothing that is judged reaches the teaching: known defects for it are taken out of the test folder first. Only the
//! figures that say so choose a threshold on it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::dataset::{Dataset, DatasetError, LabelledImage, MaskError};
use super::figures::{Figures, rejected};
use super::findings::{self, Shift};
use super::known;
use crate::inspect::card::Model;
use crate::inspect::{InspectError, Inspector};
use crate::part::StageTimings;
use crate::profile::{self, Profile, Promise};
use crate::source::decode::{ImageError, read_frame};
use crate::teach::{self, GoodParts, Options, Product, Stage, TeachError};

mod judge;

pub use judge::{Checked, Judged, check, inspect};

/// So many inspections are timed.
const TIMED: usize = 100;

/// What evaluating is doing, for the progress bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Read,
    Teach(Stage),
    Judge,
    Time,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Step::Read => f.write_str("reading the pictures"),
            Step::Teach(stage) => stage.fmt(f),
            Step::Judge => f.write_str("judging the test folder"),
            Step::Time => f.write_str("timing, one at a time"),
        }
    }
}

/// Called with the step, how much of it is done and how much there is; from any thread.
pub type Progress<'a> = &'a (dyn Fn(Step, usize, usize) + Sync);

#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error(transparent)]
    Mask(#[from] MaskError),
    #[error(transparent)]
    Picture(#[from] ImageError),
    #[error("{}: {source}", path.display())]
    Inspect { path: PathBuf, source: Box<InspectError> },
    #[error(transparent)]
    Unusable(#[from] InspectError),
    #[error(transparent)]
    Teach(#[from] TeachError),
}

/// What judges.
pub enum Judge<'a> {
    /// A profile taught from the set's own good parts, anew with each seed.
    /// * `known` — so many of the anomalous parts to test, drawn by the first seed, are known to the teaching and not judged
    Taught { options: &'a Options, seeds: &'a [u64], known: usize },
    /// One that is there already.
    Profile(&'a Profile),
}

/// One set, judged.
pub struct Evaluation {
    pub set: Dataset,
    /// One for each seed; at least one.
    pub trials: Vec<Trial>,
    /// The mean over the trials, and the sample standard deviation.
    pub mean: Figures,
    pub spread: Figures,
    /// By defect type: how many parts, and the mean over the trials.
    pub types: BTreeMap<String, (usize, Figures)>,
    /// Of parts of `set.test` by their place, by the first profile: one inspection at a time on one thread.
    pub timings: Vec<(usize, StageTimings)>,
    /// Sentences that a reader must know before trusting a figure.
    pub notes: Vec<String>,
    /// The first profile.
    pub profile: Profile,
}

/// One profile and what it says of the test folder.
#[derive(Clone, Debug)]
pub struct Trial {
    pub seed: u64,
    pub threshold: f32,
    pub promise: Promise,
    /// The steps of the profile's recipe.
    pub metric: String,
    /// The scores of the good parts that gave the threshold.
    pub calibration: Vec<f32>,
    pub judged: Judged,
    pub figures: Figures,
    /// How many good parts of the test folder were rejected.
    pub false_rejects: usize,
    /// Whether that agrees with the stated bound, if there is one.
    pub agrees: Option<bool>,
    pub shift: Option<Shift>,
}

/// Evaluates one set.
/// # Errors  `EvaluateError`: the set cannot be taught or judged.
pub fn evaluate(
    model: &Model,
    checked: Checked,
    judge: &Judge,
    threads: usize,
    progress: Progress,
) -> Result<Evaluation, EvaluateError> {
    let Checked { mut set, left_out } = checked;
    let mut notes: Vec<String> = left_out_note(&left_out).into_iter().collect();
    let mut first = None;
    let mut trials = Vec::new();
    let mut run = |profile: Profile, set: &Dataset| -> Result<(), EvaluateError> {
        let inspector = Inspector::new(model, &profile)?;
        trials.push(trial(&inspector, &profile, set, threads, progress)?);
        first.get_or_insert((profile, inspector));
        Ok(())
    };
    match judge {
        Judge::Profile(profile) => run((*profile).clone(), &set)?,
        Judge::Taught { options, seeds, known } => {
            let drawn = set.draw_anomalous(*known, seeds[0]);
            notes.extend(known_note(&drawn, seeds[0]));
            let names = set.train_good.iter().map(|path| path.display().to_string()).collect();
            let load = |part: usize| read_frame(&set.train_good[part]).map_err(|e| e.to_string());
            let parts = GoodParts::read(names, load)?;
            notes.extend(duplicates_note(&parts));
            let known = known::read(&drawn, &parts)?;
            let product = Product { good: &parts, known: &known };
            for &seed in *seeds {
                let options = Options { seed, ..(*options).clone() };
                let step = |stage, done, total| progress(Step::Teach(stage), done, total);
                let mut profiles = teach::teach_products(model, &options, &[product], &step)?;
                run(profiles.remove(0), &set)?;
            }
        }
    }
    let (profile, mut inspector) = first.expect("there is at least one seed");
    let timings = judge::time(&mut inspector, &set, TIMED, progress)?;
    notes.extend(figures_notes(&set, &trials, &profile)?);
    let figures: Vec<Figures> = trials.iter().map(|trial| trial.figures).collect();
    let (mean, spread) = Figures::mean_and_spread(&figures);
    Ok(Evaluation { types: by_type(&set, &trials), set, mean, spread, trials, timings, notes, profile })
}

fn trial(
    inspector: &Inspector,
    profile: &Profile,
    set: &Dataset,
    threads: usize,
    progress: Progress,
) -> Result<Trial, EvaluateError> {
    let about = &profile.about;
    let (threshold, promise) = (about.threshold.value, about.threshold.promise.clone());
    let judged = judge::judge(inspector, set, threads, progress)?;
    let good = scores_of(set, &judged, None);
    let anomalous: Vec<f32> = set.defect_types().into_iter().flat_map(|t| scores_of(set, &judged, Some(t))).collect();
    let calibration = findings::calibration_scores(profile);
    let bound = findings::stated_bound(&promise);
    let false_rejects = rejected(&good, threshold);
    Ok(Trial {
        seed: about.seed,
        figures: Figures::of(&good, &anomalous, threshold, bound, judged.pixels.as_ref()),
        agrees: findings::agrees(&promise, false_rejects, good.len()),
        shift: findings::shift(&calibration, &good, about.seed),
        metric: profile::steps(&about.recipe),
        threshold,
        promise,
        calibration,
        judged,
        false_rejects,
    })
}

/// The scores of the parts of one defect type, or of the good ones.
fn scores_of(set: &Dataset, judged: &Judged, defect_type: Option<&str>) -> Vec<f32> {
    let scored = set.test.iter().zip(&judged.scores);
    scored.filter(|(image, _)| image.defect_type.as_deref() == defect_type).map(|(_, score)| *score).collect()
}

fn by_type(set: &Dataset, trials: &[Trial]) -> BTreeMap<String, (usize, Figures)> {
    let of_type = |name: &str| {
        let figures: Vec<Figures> = trials
            .iter()
            .map(|trial| {
                let scores = |defect_type| scores_of(set, &trial.judged, defect_type);
                Figures::of(&scores(None), &scores(Some(name)), trial.threshold, None, None)
            })
            .collect();
        let count = set.test.iter().filter(|image| image.defect_type.as_deref() == Some(name)).count();
        (count, Figures::mean_and_spread(&figures).0)
    };
    set.defect_types().into_iter().map(|name| (name.to_owned(), of_type(name))).collect()
}

fn left_out_note(left_out: &[String]) -> Option<String> {
    let count = match left_out {
        [] => return None,
        [_] => "1 picture is".to_owned(),
        several => format!("{} pictures are", several.len()),
    };
    Some(format!("{count} left out, for they cannot be read: {}", left_out.join("; ")))
}

fn known_note(known: &[LabelledImage], seed: u64) -> Option<String> {
    let count = known.len();
    let sentence =
        format!("{count} anomalous parts, drawn by seed {seed}, were known to the teaching and are not judged");
    (count > 0).then_some(sentence)
}

fn duplicates_note(parts: &GoodParts) -> Option<String> {
    let first = parts.duplicates().first()?;
    let count = parts.duplicates().len();
    Some(format!("{count} pictures to teach from are there twice and count once: {first} …"))
}

/// What is to be said of the figures and of the parts that they come from.
fn figures_notes(set: &Dataset, trials: &[Trial], profile: &Profile) -> Result<Vec<String>, EvaluateError> {
    let good: Vec<&PathBuf> =
        set.test.iter().filter(|image| image.defect_type.is_none()).map(|image| &image.path).collect();
    let names = good.iter().map(|path| path.display().to_string()).collect();
    let known = GoodParts::read(names, |part| read_frame(good[part]).map_err(|e| e.to_string()))?;
    let known = known.without(&profile.about.taught);
    let disagree = trials.iter().find(|trial| trial.agrees == Some(false));
    let shifts: Vec<Shift> = trials.iter().filter_map(|trial| trial.shift).collect();
    let one_class = (!set.has_defects())
        .then(|| "there is no anomalous part to judge; of the figures only the false rejects are left".to_owned());
    let no_map = (profile.about.recipe.grid() == [1, 1])
        .then(|| "one embedding a picture gives no anomaly map; there are no pixel figures".to_owned());
    let notes = [
        one_class,
        set.without_masks(),
        no_map,
        findings::known_sentence(known.duplicates(), good.len()),
        findings::shift_sentence(&shifts),
        disagree.map(|trial| findings::agreement_sentence(&trial.promise, trial.false_rejects, good.len())),
        set.has_defects().then(|| findings::resolution_sentence(good.len())).flatten(),
    ];
    Ok(notes.into_iter().flatten().collect())
}
