//! What `rejectd evaluate --json` writes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::text::latency_ms;
use crate::evaluate::figures::{Figure, Figures};
use crate::evaluate::run::{Evaluation, Trial};

/// One object a set. Figures are shares in [0, 1], means over the seeds; null where there is none.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    set: String,
    #[serde(flatten)]
    figures: Figures,
    /// Whether the count on test/good agrees with the bound, with every seed.
    agrees_with_bound: Option<bool>,
    /// What the first threshold promises, as a sentence.
    promise: String,
    seeds: Vec<u64>,
    /// The sample standard deviation over the seeds.
    spread: Figures,
    per_type: BTreeMap<String, TypeRow>,
    /// The steps of the recipe; of several, where the seeds disagree.
    metric: String,
    /// Frame to score, one inspection at a time on one thread.
    latency_ms_median: Option<f64>,
    latency_ms_p99: Option<f64>,
    train_good: usize,
    test_good: usize,
    test_anomalous: usize,
    notes: Vec<String>,
    by_seed: Vec<SeedRow>,
}

#[derive(Clone, Debug, Serialize)]
struct TypeRow {
    parts: usize,
    image_auroc: Option<f64>,
    caught_at_threshold: Option<f64>,
    caught_at_0_false_rejects: Option<f64>,
    caught_at_1pct_false_rejects: Option<f64>,
    caught_at_5pct_false_rejects: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
struct SeedRow {
    seed: u64,
    threshold: f32,
    #[serde(flatten)]
    figures: Figures,
    agrees_with_bound: Option<bool>,
    metric: String,
}

/// The row of one set.
pub fn row(evaluation: &Evaluation) -> Row {
    let Evaluation { set, trials, mean, spread, types, notes, .. } = evaluation;
    let test_good = set.test.iter().filter(|image| image.defect_type.is_none()).count();
    let latency = |percent| latency_ms(evaluation, percent);
    Row {
        set: set.name.clone(),
        figures: *mean,
        agrees_with_bound: trials.iter().map(|trial| trial.agrees).reduce(|a, b| Some(a? && b?)).flatten(),
        promise: trials[0].promise.to_string(),
        seeds: trials.iter().map(|trial| trial.seed).collect(),
        spread: *spread,
        per_type: types.iter().map(|(name, (parts, figures))| (name.clone(), type_row(*parts, figures))).collect(),
        metric: metrics(trials),
        latency_ms_median: latency(50.0),
        latency_ms_p99: latency(99.0),
        train_good: set.train_good.len(),
        test_good,
        test_anomalous: set.test.len() - test_good,
        notes: notes.clone(),
        by_seed: trials.iter().map(seed_row).collect(),
    }
}

fn type_row(parts: usize, figures: &Figures) -> TypeRow {
    TypeRow {
        parts,
        image_auroc: figures.get(Figure::ImageAuroc),
        caught_at_threshold: figures.get(Figure::CaughtAtThreshold),
        caught_at_0_false_rejects: figures.get(Figure::CaughtAt0),
        caught_at_1pct_false_rejects: figures.get(Figure::CaughtAt1Pct),
        caught_at_5pct_false_rejects: figures.get(Figure::CaughtAt5Pct),
    }
}

fn seed_row(trial: &Trial) -> SeedRow {
    SeedRow {
        seed: trial.seed,
        threshold: trial.threshold,
        figures: trial.figures,
        agrees_with_bound: trial.agrees,
        metric: trial.metric.clone(),
    }
}

/// The steps of the recipes, each once.
pub fn metrics(trials: &[Trial]) -> String {
    let mut metrics: Vec<&str> = Vec::new();
    for trial in trials {
        if !metrics.contains(&trial.metric.as_str()) {
            metrics.push(&trial.metric);
        }
    }
    metrics.join(" | ")
}
