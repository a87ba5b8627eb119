//! What is learned on a chosen recipe: how good it is on what is new to it, and whether it is taken.

use super::quality::{draws, sure_gain, weigh};
use super::{Choice, LEARNED, Tried, remembered, scorings, together};
use crate::inspect::InspectError;
use crate::inspect::compare::median;
use crate::inspect::recipe::Recipe;
use crate::profile::Chosen;
use crate::teach::evidence::{DrawnDefect, Evidence, Scores};
use crate::teach::learn::{self, InFolds, Learned};
use crate::teach::study::{Candidate, Scoring};
use crate::teach::{Options, TeachError};

/// The choice with the best of what was learned on it, if that is better by more than chance.
/// * `options` — with the chosen recipe
/// * `learned` — what each is called, and what it is
pub(super) fn with_learned(
    choice: Choice,
    evidence: &[Evidence],
    options: &Options,
    learned: Vec<(String, InFolds)>,
) -> Result<Choice, TeachError> {
    let Some((_, first)) = learned.first() else {
        return Ok(nothing_learned(choice, "nothing could be learned on top of it"));
    };
    let own = Scoring::of(&options.recipe);
    let others = scorings().into_iter().filter(|scoring| *scoring != own && !own.relative);
    let scorings: Vec<Scoring> = [own].into_iter().chain(others).collect();
    let mut tried = vec![unlearned(evidence, first, options)?];
    for (_, learned) in &learned {
        tried.extend(try_learned(evidence, learned, &scorings, options)?);
    }
    let weights = weigh(&mut tried);
    let draws = |at: usize| draws(&tried[at].scores, &weights, options.seed);
    let best = (1..tried.len()).max_by(|a, b| tried[*a].standing.total_cmp(&tried[*b].standing)).expect("some is");
    let gain = sure_gain(&draws(best), &draws(0), LEARNED);
    let tried_in_all = choice.chosen.tried + tried.len() - 1;
    let counted = |choice: Choice| Choice { chosen: Chosen { tried: tried_in_all, ..choice.chosen }, ..choice };
    if gain <= 0.0 {
        let mut names: Vec<String> = learned.into_iter().map(|(name, _)| name).collect();
        names.dedup();
        let why = format!("nothing learned ({}) is better by more than chance", names.join(", "));
        return Ok(counted(nothing_learned(choice, &why)));
    }
    let (name, learned) = learned.into_iter().nth((best - 1) / scorings.len()).expect("it was tried");
    let Learned { metric, prototypes, .. } = learned.shipped();
    let because =
        format!("{}; {name}, learned, adds at least {:.1} points to that", choice.chosen.because, 100.0 * gain);
    let chosen = Chosen { because, ..choice.chosen };
    Ok(counted(Choice { recipe: tried[best].recipe.clone(), metric: Some(metric), prototypes, chosen, ..choice }))
}

pub(super) fn nothing_learned(choice: Choice, why: &str) -> Choice {
    let because = format!("{}; {why}", choice.chosen.because);
    Choice { chosen: Chosen { because, ..choice.chosen }, ..choice }
}

/// How a recipe, or what was learned on it, does on some folds by each of `scorings`.
/// * `recipe` — with what was learned
/// * `folds` — the number of each, and what was learned without it
/// * `new_kinds` — whether only those kinds of defects judge that a fold keeps out of learning
fn try_in_folds(
    evidence: &[Evidence],
    recipe: &Recipe,
    folds: &[(usize, Option<&Learned>)],
    new_kinds: bool,
    scorings: &[Scoring],
    options: &Options,
) -> Result<Vec<Tried>, InspectError> {
    let of_product = |(product, evidence): (usize, &Evidence)| {
        let of_fold = |&(fold, learned): &(usize, Option<&Learned>)| {
            let bank = learned.and_then(|learned| learned.bank(product));
            let metric = learned.map(|learned| &learned.metric);
            let candidate = Candidate { recipe: recipe.clone(), metric, bank: bank.as_ref() };
            let judges = |defect: &DrawnDefect| !new_kinds || learn::keeps_out(fold, defect.kind);
            evidence.scores_of(candidate, scorings, options, fold, &judges)
        };
        let of_folds = folds.iter().map(of_fold).collect::<Result<Vec<_>, _>>()?;
        Ok(vec![of_folds.into_iter().reduce(joined).unwrap_or_default()])
    };
    let of_each = evidence.iter().enumerate().map(of_product).collect::<Result<Vec<_>, InspectError>>()?;
    let tried = scorings.iter().zip(together(of_each).remove(0)).map(|(scoring, scores)| {
        let recipe = Recipe { relative: scoring.relative, score: scoring.rule, ..recipe.clone() };
        Tried::new(evidence, recipe, scores, options)
    });
    Ok(tried.collect())
}

/// The scores by each scoring on more folds of the same product.
fn joined(mut all: Vec<Scores>, more: Vec<Scores>) -> Vec<Scores> {
    all.iter_mut().zip(more).for_each(|(all, more)| all.append(more));
    all
}

/// How what was learned does on the folds that it was learned without, by each of `scorings`.
fn try_learned(
    evidence: &[Evidence],
    learned: &InFolds,
    scorings: &[Scoring],
    options: &Options,
) -> Result<Vec<Tried>, InspectError> {
    let folds: Vec<_> = learned.iter().map(|(fold, learned)| (fold, Some(learned))).collect();
    let recipe = learned.iter().next().map_or(&options.recipe, |(_, learned)| &learned.recipe);
    try_in_folds(evidence, recipe, &folds, learned.new_kinds, scorings, options)
}

/// The recipe without anything learned, on the same folds and defects.
fn unlearned(evidence: &[Evidence], learned: &InFolds, options: &Options) -> Result<Tried, InspectError> {
    let (folds, own) = (learned.iter().map(|(fold, _)| (fold, None)).collect::<Vec<_>>(), Scoring::of(&options.recipe));
    Ok(try_in_folds(evidence, &options.recipe, &folds, learned.new_kinds, &[own], options)?.remove(0))
}

/// The median score of good parts by the chosen recipe.
pub(super) fn typical_score(evidence: &[Evidence], options: &Options) -> Result<f32, InspectError> {
    let own = Scoring::of(&options.recipe);
    let tried = try_in_folds(evidence, &options.recipe, &[(0, None)], true, &[own], options)?.remove(0);
    Ok(median(&tried.scores.good[0]))
}

/// What a learned metric is worth on what is new to it, beside the recipe without it.
/// # Errors  `TeachError::Unusable` if a recipe does not fit the taps.
pub fn judged(evidence: &[Evidence], options: &Options, learned: InFolds) -> Result<Choice, TeachError> {
    let taken = try_learned(evidence, &learned, &[Scoring::of(&options.recipe)], options)?.remove(0);
    let mut tried = vec![unlearned(evidence, &learned, options)?, taken];
    let weights = weigh(&mut tried);
    let (plain, taken) = (&tried[0], &tried[1]);
    let draws = |tried: &Tried| draws(&tried.scores, &weights, options.seed);
    let gain = sure_gain(&draws(taken), &draws(plain), LEARNED);
    let chosen = remembered(taken, plain, gain, tried.len());
    let Learned { recipe, metric, prototypes } = learned.shipped();
    Ok(Choice {
        recipe,
        rows: options.bank_rows,
        metric: Some(metric),
        prototypes,
        gain,
        augmentation: options.augment.given(),
        chosen,
        tried,
    })
}
