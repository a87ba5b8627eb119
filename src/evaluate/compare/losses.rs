//! The second grid: heads of patches, each learned by another loss from all kinds of synthetic defects.

use super::bench::Bench;
use super::distances::rule;
use super::heads::{self, LINEAR, losses, shape_name};
use super::{Figure, Place, What};
use crate::inspect::InspectError;
use crate::inspect::compare::Comparison;
use crate::inspect::recipe::Distance;
use crate::teach::choose::rules;
use crate::teach::evidence::Evidence;
use crate::teach::learn::LearnOptions;
use crate::teach::study::Candidate;
use crate::teach::train::{HeadShape, Trained};
use crate::teach::{Stage, TeachError};

const PROTOTYPE: &str = "prototype";
const NEAREST: [(&str, Distance); 2] = [("cosine", Distance::Cosine), ("Euclidean", Distance::Euclidean)];

/// The grid by one seed.
pub fn run(bench: &Bench, evidence: &Evidence, seed: u64) -> Result<Vec<Figure>, TeachError> {
    let width = LINEAR.min(bench.study.channels(&bench.options.recipe));
    let shapes = [HeadShape::Residual, HeadShape::Linear { width }];
    let all: Vec<_> = shapes.into_iter().flat_map(|shape| losses(shape, seed)).collect();
    let mut figures = raw(bench, seed)?;
    for (done, (name, how)) in all.iter().enumerate() {
        let place = place(bench, name, &shape_name(how.train.shape));
        figures.extend(match heads::train(evidence, &bench.options.recipe, how.clone(), &bench.options)? {
            Ok(trained) => trained_figures(bench, &place, how, &trained, seed)?,
            Err(reason) => missing(&place, how, &reason),
        });
        (bench.progress)(Stage::Train, done + 1, all.len());
    }
    Ok(figures)
}

fn raw(bench: &Bench, seed: u64) -> Result<Vec<Figure>, TeachError> {
    let plain = |(_, distance)| Candidate::untrained(heads::with_head(&bench.options.recipe, None, distance));
    let recipes = NEAREST.map(plain);
    let place = Place { preset: None, ..place(bench, "raw", "none") };
    Ok(measured(bench, &place, &bench.banks(&recipes, seed)?, None))
}

fn trained_figures(
    bench: &Bench,
    place: &Place,
    how: &LearnOptions,
    trained: &Trained,
    seed: u64,
) -> Result<Vec<Figure>, InspectError> {
    let plain = &bench.options.recipe;
    let (head, metric) = (Some(&trained.head), heads::metric(Some(&trained.head)));
    let with_head = |(_, distance)| Candidate {
        recipe: heads::with_head(plain, head, distance),
        metric: Some(&metric),
        bank: None,
    };
    let recipes = NEAREST.map(with_head);
    let mut comparisons = bench.banks(&recipes, seed)?;
    let mut unlearned = Vec::new();
    match heads::prototype(&how.train.loss, trained) {
        None => {}
        Some(Err(reason)) => unlearned = unmeasured(place, PROTOTYPE, false, &reason),
        Some(Ok((good, distance))) => {
            let recipe = heads::with_head(plain, head, distance);
            let (channels, [height, width]) = (bench.study.channels(plain), plain.grid());
            comparisons.push(Comparison::new(&recipe, metric.clone(), good, channels, height * width)?);
        }
    }
    Ok([measured(bench, place, &comparisons, Some(trained.distance())), unlearned].concat())
}

/// The figures of the nearest patch by each distance and, if there is a third comparison, of the prototype.
fn measured(bench: &Bench, place: &Place, comparisons: &[Comparison], own: Option<Distance>) -> Vec<Figure> {
    let aurocs = bench.aurocs(comparisons, &rules());
    let figures = columns(own).zip(aurocs).flat_map(|((distance, own), aurocs)| {
        rules().into_iter().zip(aurocs).map(move |(scoring, auroc)| Figure {
            place: Place { distance: distance.into(), score_rule: rule(scoring), own, ..place.clone() },
            auroc,
            quality: None,
            p_value: None,
            note: None,
        })
    });
    figures.collect()
}

/// The distances, and whether they are the one that the loss compares by.
fn columns(own: Option<Distance>) -> impl Iterator<Item = (&'static str, bool)> {
    NEAREST.into_iter().map(move |(name, distance)| (name, own == Some(distance))).chain([(PROTOTYPE, false)])
}

/// The cells of a head that could not be trained.
fn missing(place: &Place, how: &LearnOptions, reason: &str) -> Vec<Figure> {
    let distances = if how.train.loss.is_classification() { 3 } else { 2 };
    let columns = columns(Some(heads::own_distance(&how.train.loss))).take(distances);
    columns.flat_map(|(distance, own)| unmeasured(place, distance, own, reason)).collect()
}

/// The cells of one distance, by each way to a score.
fn unmeasured(place: &Place, distance: &str, own: bool, reason: &str) -> Vec<Figure> {
    let place = |scoring| Place { distance: distance.into(), score_rule: rule(scoring), own, ..place.clone() };
    rules().map(|scoring| Figure::unmeasured(place(scoring), reason)).into()
}

fn place(bench: &Bench, loss: &str, head: &str) -> Place {
    let recipe = &bench.options.recipe;
    Place {
        what: What::Losses,
        loss: loss.into(),
        head: head.into(),
        preset: Some(crate::teach::defects::Preset::Mixed.name()),
        taps: recipe.taps.clone(),
        pool: recipe.pool,
        distance: String::new(),
        score_rule: String::new(),
        own: false,
    }
}
