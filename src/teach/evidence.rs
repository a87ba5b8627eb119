//! The evidence on which a metric is chosen: good parts that its bank does not hold, against synthetic defects on them.
//!
//! Some of the parts are judged, dealt into folds, each fold by a bank of all the others, so that one odd part is one of
//! many. On every judged part a few defects are drawn, each of another kind and severity, from barely above the noise to
//! plain. Real defects are among them only where the user gave some ([`super::known`]). Parts that are not judged are in
//! banks and nowhere else: no choice knows their scores and no head learns from them. They give the threshold.

use std::ops::Range;

use rand::seq::SliceRandom;

use super::augment::{Augmentation, load_variant};
use super::defects::{Kind, Preset, Severity};
use super::known::KnownDefects;
use super::study::{Candidate, Changed, Scoring, Study};
use super::{BOUND_FROM, GoodParts, Options, TeachError, stream};
use crate::inspect::compare::Comparison;
use crate::inspect::recipe::Recipe;
use crate::inspect::{Extractor, InspectError};

mod sources;

use sources::{Sources, plan};

/// The judged parts are dealt into so many folds.
pub(crate) const FOLDS: usize = 3;
/// At most so many parts are judged, and of [`BOUND_FROM`] or more at most one half, for the others give the threshold.
const MOST_JUDGED: usize = 120;
/// The embeddings from which the bank of a fold is chosen may take so much memory.
const CANDIDATE_BYTES: usize = 112 << 20;

/// What may be seen of a product while its metric is chosen and learned.
#[derive(Clone, Copy)]
pub struct Material<'a> {
    pub good_parts: &'a GoodParts<'a>,
    pub known: &'a KnownDefects<'a>,
}

/// Pictures of good and of defective parts, their taps at one input size.
pub struct Evidence {
    study: Study,
    folds: Vec<Fold>,
    defects: Vec<DrawnDefect>,
    known: Vec<KnownPicture>,
    /// The good parts, the first pictures of the study, by their numbers in the material.
    parts: Vec<usize>,
    /// So many of them are judged, the first.
    judged: usize,
}

/// The pictures of a fold, by their numbers in the study.
pub struct Fold {
    /// The good parts that are not judged in it.
    pub bank: Vec<usize>,
    /// The variants of those, which are looked up and nothing else.
    pub variants: Vec<usize>,
    /// Those that are.
    pub good: Vec<usize>,
    /// The defects on them, by their numbers among all defects.
    pub defects: Vec<usize>,
}

/// How much evidence is gathered, and of what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gathering {
    /// At most so many parts are used.
    pub most_parts: usize,
    /// What is drawn; `Mixed` is every kind and severity in turn.
    pub preset: Preset,
    /// Whether half of the known defects are kept for a head to learn from, and do not judge.
    pub halve_known: bool,
}

/// A synthetic defect that was drawn.
#[derive(Clone, Debug)]
pub struct DrawnDefect {
    pub kind: Kind,
    pub severity: Severity,
    /// The number of its picture in the study, and that of the same part without it.
    pub picture: usize,
    pub good: usize,
    /// How much of each position of the patch grid it covers, (P,), in [0, 1].
    pub cover: Vec<f32>,
}

/// A known defect.
#[derive(Clone, Debug)]
pub struct KnownPicture {
    /// Its number in the study.
    pub picture: usize,
    /// How much of each position of the patch grid is known to be wrong, (P,), in [0, 1]; none without a mask.
    pub cover: Option<Vec<f32>>,
    /// Whether a head may learn from it; then it never judges.
    pub teaches: bool,
}

/// The scores of one metric on the evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Of each fold.
    pub good: Vec<Vec<f32>>,
    /// Of each fold: the severity and the score.
    pub defects: Vec<Vec<(Severity, f32)>>,
    /// Of each fold, all judged by its bank: the known defects that do not teach.
    pub known: Vec<Vec<f32>>,
    /// Of each fold: whose it is. All folds of a product have the same known defects.
    pub products: Vec<usize>,
}

impl Evidence {
    /// Draws the defects and computes the taps of all pictures.
    /// * `extractor` — at the input size in question, with all taps that may be chosen
    /// * `how` — how many of the parts are used, and what is drawn
    ///
    /// # Errors  `TeachError`: a part that cannot be loaded or inspected.
    pub fn gather(
        extractor: &Extractor,
        material: &Material,
        how: Gathering,
        options: &Options,
        step: impl Fn(usize, usize) + Sync,
    ) -> Result<Evidence, TeachError> {
        let (mut parts, judged) = (order(material.good_parts.len(), options.seed), judged(material.good_parts.len()));
        // The same parts are judged at every input size, however many fit into memory.
        parts.truncate(how.most_parts.max(MOST_JUDGED));
        let planned = plan(judged);
        let whole = parts.len() + material.known.len();
        let total = whole + planned.len();
        let sources = Sources { extractor, material, parts: &parts, options };
        let (mut study, known) = sources.see(how.halve_known, |done| step(done, total))?;
        let defects = sources.draw(&mut study, &planned, how.preset, |done| step(whole + done, total))?;
        let folds = deal(parts.len(), judged, &defects);
        Ok(Evidence { study, folds, defects, known, parts, judged })
    }

    /// Lets variants of the good parts join the banks, instead of those that did before.
    /// * `extractor`, `material` — those that the evidence was gathered with
    ///
    /// # Errors  `TeachError`: a part that cannot be loaded or inspected.
    pub fn look_up_variants(
        &mut self,
        extractor: &Extractor,
        material: &Material,
        augmentation: Augmentation,
        options: &Options,
        step: impl Fn(usize, usize) + Sync,
    ) -> Result<(), TeachError> {
        let first = self.first_variant();
        self.study.truncate(first);
        let each = augmentation.count();
        let count = each * self.parts.len();
        let sources = Sources { extractor, material, parts: &self.parts, options };
        let load = |variant| load_variant(augmentation, options.recipe.roi_px, variant, |part| sources.good(part));
        self.study.take_more(extractor, count, load, options.threads, |done| step(done, count))?;
        for fold in &mut self.folds {
            let of_part = |part: &usize| first + each * part..first + each * (part + 1);
            fold.variants = fold.bank.iter().flat_map(of_part).collect();
        }
        Ok(())
    }

    /// How many defects are drawn at most.
    pub fn most_drawn() -> usize {
        plan(MOST_JUDGED).len()
    }

    pub fn study(&self) -> &Study {
        &self.study
    }

    pub fn folds(&self) -> &[Fold] {
        &self.folds
    }

    /// The good parts of the study that are judged in a fold; only from such a head may learn.
    pub fn judged(&self) -> Range<usize> {
        0..self.judged
    }

    pub fn defects(&self) -> &[DrawnDefect] {
        &self.defects
    }

    pub fn known(&self) -> &[KnownPicture] {
        &self.known
    }

    /// The scores by each of `recipes`, which share taps and pooling, and by each of `scorings`.
    ///
    /// Returns for each recipe a list with one entry for each scoring.
    /// # Errors  `InspectError`, if a recipe does not fit the taps.
    pub fn scores(
        &self,
        recipes: &[Recipe],
        scorings: &[Scoring],
        options: &Options,
    ) -> Result<Vec<Vec<Scores>>, InspectError> {
        let candidates: Vec<_> = recipes.iter().cloned().map(Candidate::untrained).collect();
        self.scores_in_folds(&candidates, scorings, options, 0..self.folds.len(), &|_| true)
    }

    /// The scores by one candidate.
    /// * `fold` — which to judge, by its number
    /// * `judges` — by which of its defects
    ///
    /// # Errors  `InspectError`, if the recipe does not fit the taps.
    pub fn scores_of(
        &self,
        candidate: Candidate,
        scoring: Scoring,
        options: &Options,
        fold: usize,
        judges: &dyn Fn(&DrawnDefect) -> bool,
    ) -> Result<Scores, InspectError> {
        Ok(self.scores_in_folds(&[candidate], &[scoring], options, fold..fold + 1, judges)?.remove(0).remove(0))
    }

    fn scores_in_folds(
        &self,
        candidates: &[Candidate],
        scorings: &[Scoring],
        options: &Options,
        folds: Range<usize>,
        judges: &dyn Fn(&DrawnDefect) -> bool,
    ) -> Result<Vec<Vec<Scores>>, InspectError> {
        let empty = Scores { good: Vec::new(), defects: Vec::new(), known: Vec::new(), products: Vec::new() };
        let mut scores = vec![vec![empty; scorings.len()]; candidates.len()];
        for fold in &self.folds[folds] {
            let defects: Vec<_> =
                fold.defects.iter().map(|defect| &self.defects[*defect]).filter(|defect| judges(defect)).collect();
            let comparisons = self.comparisons(&[&fold.bank[..], &fold.variants].concat(), candidates, options)?;
            let distances = self.distances(&fold.good, &defects, &comparisons, options.threads);
            for (recipe, scores) in scores.iter_mut().enumerate() {
                let grid = candidates[recipe].recipe.grid();
                for (scoring, scores) in scorings.iter().zip(scores) {
                    let mut all = distances.iter().map(|of| scoring.score(&of[recipe], grid));
                    scores.good.push(all.by_ref().take(fold.good.len()).collect());
                    scores.defects.push(defects.iter().map(|defect| defect.severity).zip(all.by_ref()).collect());
                    scores.known.push(all.collect());
                    scores.products.push(0);
                }
            }
        }
        Ok(scores)
    }

    /// The distances of the judged good parts, of the defects on them, and of the known ones; a list for each comparison.
    fn distances(
        &self,
        judged: &[usize],
        defects: &[&DrawnDefect],
        comparisons: &[Comparison],
        threads: usize,
    ) -> Vec<Vec<Vec<f32>>> {
        let good = self.study.distances(judged, comparisons, threads);
        let changed = |defect: &&DrawnDefect| {
            let place = judged.iter().position(|part| *part == defect.good).expect("its part is judged");
            Changed { picture: defect.picture, good: defect.good, distances: &good[place] }
        };
        let changed: Vec<_> = defects.iter().map(changed).collect();
        let drawn = self.study.distances_of_changed(&changed, comparisons, threads);
        let judges: Vec<usize> = self.known.iter().filter(|known| !known.teaches).map(|known| known.picture).collect();
        let known = self.study.distances(&judges, comparisons, threads);
        good.into_iter().chain(drawn).chain(known).collect()
    }

    /// What is compared with, from the good parts `bank` of the study.
    /// # Errors  `InspectError`, if a recipe does not fit the taps.
    pub fn comparisons(
        &self,
        bank: &[usize],
        candidates: &[Candidate],
        options: &Options,
    ) -> Result<Vec<Comparison>, InspectError> {
        let held = |Candidate { recipe, .. }: &Candidate| recipe.held(self.study.channels(recipe));
        let widest = candidates.iter().map(held).max().unwrap_or(1);
        let rows = CANDIDATE_BYTES / (widest * size_of::<f32>() * bank.len().max(1));
        // A scoring divides by the median of all distances of a picture; a comparison may see some of them only.
        let mut candidates = candidates.to_vec();
        candidates.iter_mut().for_each(|candidate| candidate.recipe.relative = false);
        self.study.comparisons(bank, &|picture| self.part_of(picture), rows, &candidates, options)
    }

    fn first_variant(&self) -> usize {
        self.parts.len() + self.known.len() + self.defects.len()
    }

    /// The good part that a picture of it or of one of its variants shows.
    fn part_of(&self, picture: usize) -> usize {
        let first = self.first_variant();
        let each = (self.study.len() - first) / self.parts.len().max(1);
        picture.checked_sub(first).map_or(picture, |variant| variant / each)
    }
}

/// The parts that no choice knows the scores of and no head learns from, in ascending order.
/// * `count` — of all good parts; below [`BOUND_FROM`] there are none such
pub fn not_judged(count: usize, seed: u64) -> Vec<usize> {
    let mut parts = order(count, seed).split_off(judged(count));
    parts.sort_unstable();
    parts
}

/// So many of `count` parts are judged.
pub fn judged(count: usize) -> usize {
    if count < BOUND_FROM { count } else { MOST_JUDGED.min(count / 2) }
}

/// How many good parts leave so many that are not judged.
pub fn parts_for(not_judged: usize) -> usize {
    not_judged.saturating_add(MOST_JUDGED.min(not_judged.saturating_sub(1))).max(BOUND_FROM)
}

/// The order of the parts: the first are judged.
fn order(count: usize, seed: u64) -> Vec<usize> {
    let mut parts: Vec<usize> = (0..count).collect();
    parts.shuffle(&mut stream(seed, 7_000_000));
    parts
}

/// Deals the first `judged` parts into folds.
fn deal(count: usize, judged: usize, defects: &[DrawnDefect]) -> Vec<Fold> {
    let fold = |fold: usize| {
        let is_judged = |part: usize| part < judged && part % FOLDS == fold;
        let defects = (0..defects.len()).filter(|at| is_judged(defects[*at].good)).collect();
        let (good, bank) = (0..count).partition(|part| is_judged(*part));
        Fold { bank, variants: Vec::new(), good, defects }
    };
    (0..FOLDS.min(count)).map(fold).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::card::Model;
    use crate::source::simulated::{Belt, BeltSettings};

    #[test]
    fn what_gives_the_threshold_is_in_every_bank_and_never_judged() {
        let (model, belt) = (Model::built_in(), Belt::new(BeltSettings::default()));
        let mut options = Options { seed: 3, ..Options::for_model(&model) };
        options.recipe.input_px = [64, 64];
        let names = (0..61).map(|part| part.to_string()).collect();
        let good_parts = GoodParts::read(names, |part| Ok(belt.good_part(part as u64))).unwrap();
        let extractor = Extractor::new(&model, &options.recipe).unwrap();
        let material = Material { good_parts: &good_parts, known: &KnownDefects::none() };
        let how = Gathering { most_parts: 100, preset: Preset::Mixed, halve_known: false };
        let evidence = Evidence::gather(&extractor, &material, how, &options, |_, _| ()).unwrap();
        let not_judged = not_judged(61, 3);
        assert_eq!((not_judged.len(), not_judged.is_sorted()), (31, true));
        for fold in evidence.folds() {
            let judged: Vec<usize> = fold.good.iter().map(|part| evidence.parts[*part]).collect();
            assert!(judged.len() == 10 && judged.iter().all(|part| !not_judged.contains(part)));
            let bank: Vec<usize> = fold.bank.iter().map(|part| evidence.parts[*part]).collect();
            assert!(not_judged.iter().all(|part| bank.contains(part)));
        }
        assert!(evidence.defects().iter().all(|defect| evidence.judged().contains(&defect.good)));
    }

    #[test]
    fn a_bound_needs_so_many_parts_as_leave_enough_that_are_not_judged() {
        for needed in [59, 60, 119, 120, 121, 299] {
            let parts = parts_for(needed);
            assert_eq!(not_judged(parts, 0).len(), needed);
            assert!(not_judged(parts - 1, 0).len() < needed);
        }
        assert_eq!((parts_for(59), parts_for(299), parts_for(1), not_judged(59, 0).len()), (117, 419, 60, 0));
    }
}
