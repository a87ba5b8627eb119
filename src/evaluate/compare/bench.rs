//! What all grids of a set share: the taps of its test pictures, computed once, and how good parts are sampled.

use std::path::{Path, PathBuf};

use super::CompareError;
use crate::evaluate::dataset::Dataset;
use crate::evaluate::metrics::auroc;
use crate::inspect::card::Model;
use crate::inspect::compare::Comparison;
use crate::inspect::recipe::{Granularity, Recipe};
use crate::inspect::{Extractor, InspectError};
use crate::source::decode::read_frame;
use crate::teach::defects::Preset;
use crate::teach::evidence::{Evidence, Gathering, Material};
use crate::teach::known::KnownDefects;
use crate::teach::study::{Candidate, Scoring, Study};
use crate::teach::{GoodParts, MIN_PARTS, Options, Progress, Stage, TeachError};

/// At most so many pictures of `train/good` are used, evenly spread over them.
pub const MOST_TRAIN: usize = 300;
/// The rows of a bank of patches.
pub const BANK_ROWS: usize = 2000;
/// The patches that it is chosen from.
const CANDIDATES: usize = 120_000;

/// A set, its pictures seen by the backbone.
pub struct Bench<'a> {
    pub name: String,
    pub model: &'a Model,
    /// With the plain recipe at the input size in question.
    pub options: Options,
    pub progress: Progress<'a>,
    pub notes: Vec<String>,
    all_taps: Recipe,
    parts: GoodParts<'static>,
    /// The good parts, then the test pictures.
    pub study: Study,
    /// Of each test picture.
    pub anomalous: Vec<bool>,
}

impl<'a> Bench<'a> {
    /// Reads the set and runs the backbone on its pictures.
    pub fn set_up(
        model: &'a Model,
        root: &Path,
        options: &Options,
        progress: Progress<'a>,
    ) -> Result<Bench<'a>, CompareError> {
        let mut set = Dataset::open(root)?;
        let mut notes = set.leave_out_unreadable(|path| read_frame(path).map(|_| ()).map_err(|e| e.to_string()))?;
        if !set.has_defects() {
            return Err(CompareError::NoDefects { set: set.name });
        }
        let taps = model.card.taps.iter().map(|tap| tap.name.clone()).collect();
        let all_taps = Recipe { taps, ..options.recipe.clone() };
        let extractor = Extractor::new(model, &all_taps).map_err(InspectError::from).map_err(TeachError::from)?;
        let (found, parts) = (set.train_good.len(), read_parts(thinned(&set.train_good))?);
        if parts.len() < MIN_PARTS {
            return Err(CompareError::TooFew { set: set.name, found: parts.len(), expected: MIN_PARTS });
        }
        if parts.len() < found {
            let (name, used) = (&set.name, parts.len());
            notes.push(format!("{name}: {used} of the {found} pictures in train/good are used, evenly spread"));
        }
        let anomalous = set.test.iter().map(|image| image.defect_type.is_some()).collect();
        let test: Vec<PathBuf> = set.test.into_iter().map(|image| image.path).collect();
        let study = see(&extractor, &parts, &test, options.threads, progress)?;
        let (name, options) = (set.name, options.clone());
        Ok(Bench { name, model, options, progress, notes, all_taps, parts, study, anomalous })
    }

    /// The good parts by their numbers in the study.
    pub fn good_parts(&self) -> Vec<usize> {
        (0..self.parts.len()).collect()
    }

    /// The test pictures by their numbers in the study, in the order of `anomalous`.
    pub fn test(&self) -> Vec<usize> {
        (self.parts.len()..self.study.len()).collect()
    }

    /// The options with another seed.
    pub fn seeded(&self, seed: u64) -> Options {
        Options { seed, ..self.options.clone() }
    }

    /// Good parts and synthetic defects on them, as a teaching by that seed would choose by.
    /// * `granularity` — of the recipes that they are for
    pub fn evidence(&self, preset: Preset, granularity: Granularity, seed: u64) -> Result<Evidence, TeachError> {
        let recipe = Recipe { granularity, ..self.all_taps.clone() };
        let extractor = Extractor::new(self.model, &recipe).map_err(InspectError::from)?;
        let how = Gathering::within_memory(&self.model.card, &recipe, 1, preset);
        let step = |done, total| (self.progress)(Stage::Evidence, done, total);
        let material = Material { good_parts: &self.parts, known: &KnownDefects::none() };
        Evidence::gather(&extractor, &material, how, &self.seeded(seed), step)
    }

    /// The AUROC of the scores of the test pictures.
    pub fn auroc(&self, scores: &[f32]) -> f64 {
        let of = |anomalous: bool| {
            let labelled = scores.iter().zip(&self.anomalous).filter(|(_, label)| **label == anomalous);
            labelled.map(|(score, _)| *score).collect::<Vec<_>>()
        };
        auroc(&of(false), &of(true))
    }

    /// Banks of patches of the good parts, for candidates that share taps and pooling.
    pub fn banks(&self, candidates: &[Candidate], seed: u64) -> Result<Vec<Comparison>, InspectError> {
        let (parts, options) = (self.good_parts(), Options { bank_rows: BANK_ROWS, ..self.seeded(seed) });
        self.study.comparisons(&parts, &|part| part, CANDIDATES / parts.len(), candidates, &options)
    }

    /// The AUROC of each comparison by each scoring, a list for each comparison.
    pub fn aurocs(&self, comparisons: &[Comparison], scorings: &[Scoring]) -> Vec<Vec<f64>> {
        let distances = self.study.distances(&self.test(), comparisons, self.options.threads);
        let auroc = |comparison: usize, scoring: &Scoring| {
            let grid = comparisons[comparison].recipe().grid();
            self.auroc(&distances.iter().map(|of| scoring.score(&of[comparison], grid)).collect::<Vec<_>>())
        };
        (0..comparisons.len()).map(|at| scorings.iter().map(|scoring| auroc(at, scoring)).collect()).collect()
    }
}

/// Runs the backbone on the parts, then on the test pictures.
fn see(
    extractor: &Extractor,
    parts: &GoodParts,
    test: &[PathBuf],
    threads: usize,
    progress: Progress,
) -> Result<Study, TeachError> {
    let load = |picture: usize| match picture.checked_sub(parts.len()) {
        None => parts.load(picture).map_err(TeachError::Load),
        Some(picture) => read_frame(&test[picture]).map_err(|e| TeachError::Load(e.to_string())),
    };
    let total = parts.len() + test.len();
    Study::take(extractor, total, load, threads, |done| progress(Stage::Embed, done, total))
}

fn read_parts(paths: Vec<PathBuf>) -> Result<GoodParts<'static>, TeachError> {
    let names = paths.iter().map(|path| path.display().to_string()).collect();
    GoodParts::read(names, move |part| read_frame(&paths[part]).map_err(|e| e.to_string()))
}

/// At most [`MOST_TRAIN`] of the paths, evenly spread.
fn thinned(paths: &[PathBuf]) -> Vec<PathBuf> {
    let count = paths.len().min(MOST_TRAIN);
    (0..count).map(|at| paths[at * paths.len() / count].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_training_set_is_thinned_evenly() {
        let paths = |count: usize| (0..count).map(|i| PathBuf::from(i.to_string())).collect::<Vec<_>>();
        let thin = thinned(&paths(750));
        assert_eq!(thin.len(), MOST_TRAIN);
        assert_eq!(thin[..4], ["0", "2", "5", "7"].map(PathBuf::from));
        assert_eq!(thinned(&paths(7)), paths(7));
    }
}
