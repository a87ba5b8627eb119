//! The third grid: the article's way. One embedding a picture, a head that tells good parts from their twins with drawn
//! defects, and the distance to the good parts.

use super::bench::Bench;
use super::heads::{self, LINEAR, losses, shape_name};
use super::{Figure, Place, What};
use crate::evaluate::metrics::permutation_p_value;
use crate::inspect::InspectError;
use crate::inspect::compare::Comparison;
use crate::inspect::embedding::Embeddings;
use crate::inspect::metric::Head;
use crate::inspect::recipe::{Distance, Granularity, Recipe, ScoreRule};
use crate::teach::bank::{self, Candidates};
use crate::teach::defects::Preset;
use crate::teach::evidence::Evidence;
use crate::teach::learn::LearnOptions;
use crate::teach::losses::Loss;
use crate::teach::train::{HeadShape, Trained};
use crate::teach::{Stage, TeachError};

/// How often the labels are shuffled for a p-value.
const PERMUTATIONS: usize = 999;
/// α of the mixup of the original experiments, for the two losses that they mixed.
const MIXUP: f32 = 0.4;
pub const LEAK: &str = "raw, LEAK: test pictures in the bank";

/// A column: its label, the distance and to how many neighbours.
const BANKS: [(&str, Distance, usize); 4] = [
    ("cosine, nearest", Distance::Cosine, 1),
    ("cosine, mean of 5", Distance::Cosine, 5),
    ("Euclidean, nearest", Distance::Euclidean, 1),
    ("Mahalanobis", Distance::Mahalanobis, 1),
];
const PROTOTYPE: &str = "prototype";

/// The pictures of a set, an embedding each.
struct Pictures<'a> {
    bench: &'a Bench<'a>,
    recipe: Recipe,
    /// (N, C)
    good: Embeddings,
    /// (T, C)
    test: Embeddings,
    seed: u64,
}

/// The grid by one seed.
pub fn run(bench: &Bench, seed: u64) -> Result<Vec<Figure>, TeachError> {
    let pictures = Pictures::of(bench, seed);
    let mut figures = pictures.raw()?;
    figures.extend(pictures.leak()?);
    let total = Preset::ALL.len() * Loss::NAMES.len();
    for (at, preset) in Preset::ALL.into_iter().enumerate() {
        let evidence = bench.evidence(preset, Granularity::Image, seed)?;
        for (done, (name, how)) in pictures.losses(preset).into_iter().enumerate() {
            figures.extend(pictures.of_loss(&evidence, &name, how)?);
            (bench.progress)(Stage::Train, at * Loss::NAMES.len() + done + 1, total);
        }
    }
    Ok(figures)
}

impl<'a> Pictures<'a> {
    fn of(bench: &'a Bench, seed: u64) -> Pictures<'a> {
        let plain = bench.options.recipe.clone();
        let recipe = Recipe { granularity: Granularity::Image, pool: 1, score: ScoreRule::Max, ..plain };
        let all = |pictures: Vec<usize>| bench.study.sample(&pictures, 1, &recipe, seed);
        Pictures { good: all(bench.good_parts()), test: all(bench.test()), recipe, bench, seed }
    }

    fn losses(&self, preset: Preset) -> Vec<(String, LearnOptions)> {
        let width = LINEAR.min(self.good.width());
        let as_published = |(name, mut how): (&str, LearnOptions)| {
            how.preset = preset;
            if matches!(how.train.loss, Loss::Softmax(_) | Loss::L2Softmax(_)) {
                how.train.mixup = Some(MIXUP);
                return (format!("{name}, mixup {MIXUP}"), how);
            }
            (name.to_owned(), how)
        };
        losses(HeadShape::Linear { width }, self.seed).into_iter().map(as_published).collect()
    }

    fn raw(&self) -> Result<Vec<Figure>, InspectError> {
        self.nearest(&self.place("raw", None, None), None, &self.good, None)
    }

    /// The slip of published evaluations, on purpose: every test picture is among those that it is compared with.
    fn leak(&self) -> Result<Vec<Figure>, InspectError> {
        let mut bank = self.good.clone();
        bank.extend(&self.test);
        self.nearest(&self.place(LEAK, None, None), None, &bank, None)
    }

    fn of_loss(&self, evidence: &Evidence, name: &str, how: LearnOptions) -> Result<Vec<Figure>, TeachError> {
        let place = self.place(name, Some(how.preset), Some(how.train.shape));
        match heads::train(evidence, &self.recipe, how.clone(), &self.bench.options)? {
            Err(reason) => Ok(self.missing(&place, &how, &reason)),
            Ok(trained) => {
                let own = trained.distance();
                let mut figures = self.nearest(&place, Some(&trained.head), &self.good, Some(own))?;
                figures.extend(self.prototype(&place, &how.train.loss, &trained)?);
                Ok(figures)
            }
        }
    }

    /// The figures of the distances to a bank.
    /// * `bank` — concatenated taps, (M, C)
    fn nearest(
        &self,
        place: &Place,
        head: Option<&Head>,
        bank: &Embeddings,
        own: Option<Distance>,
    ) -> Result<Vec<Figure>, InspectError> {
        let figure = |(label, distance, neighbours): (&str, Distance, usize)| {
            let head = head.map(|head| heads::compared_by(distance, head));
            let recipe = Recipe { neighbours, ..heads::with_head(&self.recipe, head.as_ref(), distance) };
            let metric = heads::metric(head.as_ref());
            let (metric, bank) = match distance.is_gaussian() {
                true => {
                    let parts = Candidates::new(bank.clone(), &vec![1; bank.len()], 1);
                    let learned = bank::learn(&recipe, metric, parts, 1, &self.bench.options, &|_| ());
                    (learned.metric, learned.bank)
                }
                false => (metric.clone(), metric.embed(&recipe, bank.clone())),
            };
            let comparison = Comparison::new(&recipe, metric, bank, self.good.width(), 1)?;
            Ok(self.figure(place, label, own == Some(distance), &comparison))
        };
        BANKS.into_iter().map(figure).collect()
    }

    fn prototype(&self, place: &Place, loss: &Loss, trained: &Trained) -> Result<Option<Figure>, InspectError> {
        let (good, distance) = match heads::prototype(loss, trained) {
            None => return Ok(None),
            Some(Err(reason)) => return Ok(Some(unmeasured(place, PROTOTYPE, false, &reason))),
            Some(Ok(learned)) => learned,
        };
        let head = Some(&trained.head);
        let recipe = heads::with_head(&self.recipe, head, distance);
        let comparison = Comparison::new(&recipe, heads::metric(head), good, self.good.width(), 1)?;
        Ok(Some(self.figure(place, PROTOTYPE, false, &comparison)))
    }

    fn figure(&self, place: &Place, distance: &str, own: bool, comparison: &Comparison) -> Figure {
        let scores = comparison.distances(self.test.clone());
        Figure {
            place: Place { distance: distance.to_owned(), own, ..place.clone() },
            auroc: self.bench.auroc(&scores),
            quality: None,
            p_value: Some(permutation_p_value(&scores, &self.bench.anomalous, PERMUTATIONS, self.seed)),
            note: None,
        }
    }

    /// The cells of a head that could not be trained.
    fn missing(&self, place: &Place, how: &LearnOptions, reason: &str) -> Vec<Figure> {
        let own = heads::own_distance(&how.train.loss);
        let prototype = how.train.loss.is_classification().then_some((PROTOTYPE, false));
        let columns = BANKS.into_iter().map(|(label, distance, _)| (label, distance == own)).chain(prototype);
        columns.map(|(label, own)| unmeasured(place, label, own, reason)).collect()
    }

    fn place(&self, loss: &str, preset: Option<Preset>, shape: Option<HeadShape>) -> Place {
        Place {
            what: What::Image,
            loss: loss.to_owned(),
            head: shape.map_or("none".to_owned(), shape_name),
            preset: preset.map(Preset::name),
            taps: self.recipe.taps.clone(),
            pool: self.recipe.pool,
            distance: String::new(),
            score_rule: "whole picture".to_owned(),
            own: false,
        }
    }
}

fn unmeasured(place: &Place, distance: &str, own: bool, reason: &str) -> Figure {
    Figure::unmeasured(Place { distance: distance.to_owned(), own, ..place.clone() }, reason)
}
