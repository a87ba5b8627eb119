//! What is learned on a chosen recipe: how good it is on what is new to it, and whether it is taken.

use super::quality::{draws, sure_gain, weigh};
use super::{Choice, LEARNED, Tried, remembered};
use crate::inspect::InspectError;
use crate::inspect::compare::median;
use crate::inspect::recipe::Recipe;
use crate::profile::Chosen;
use crate::teach::evidence::{DrawnDefect, Evidence, Scores};
use crate::teach::learn::{InFolds, Learned, LeftOut};
use crate::teach::study::{Candidate, Scoring};
use crate::teach::{Options, TeachError};

/// The choice with the best of what was learned on it, if that is better by more than chance.
/// * `options` — with the chosen recipe
/// * `unlearned` — how that does
/// * `learned` — what each is called, and what it is; nothing if it could not learn
pub(super) fn with_learned(
    choice: Choice,
    evidence: &[Evidence],
    options: &Options,
    unlearned: Tried,
    learned: Vec<(String, Option<InFolds>)>,
) -> Result<Choice, TeachError> {
    let mut names: Vec<String> = learned.iter().map(|(name, _)| name.clone()).collect();
    names.dedup();
    let (mut tried, mut of) = (vec![unlearned], Vec::new());
    for (name, in_folds) in learned.into_iter().filter_map(|(name, learned)| Some((name, learned?))) {
        let folds: Vec<_> = in_folds.folds.iter().map(|(left_out, learned)| (*left_out, Some(learned))).collect();
        tried.push(try_in_folds(evidence, &in_folds.shipped.recipe, &folds, options)?);
        of.push((name, in_folds.shipped));
    }
    let weights = weigh(&mut tried);
    let draws = |tried: &Tried| draws(&tried.scores, &weights, options.seed);
    let best = (0..of.len()).max_by(|a, b| tried[1 + a].quality.total_cmp(&tried[1 + b].quality));
    let gain = best.map_or(0.0, |best| sure_gain(&draws(&tried[1 + best]), &draws(&tried[0]), LEARNED));
    let count = choice.chosen.tried + of.len();
    let (taken, because) = match best.filter(|_| gain > 0.0).map(|best| of.swap_remove(best)) {
        Some((name, Learned { recipe, metric, prototypes })) => {
            let because = format!("{name}, learned, adds at least {:.1} points to that", 100.0 * gain);
            (Choice { recipe, metric: Some(metric), prototypes, ..choice }, because)
        }
        None => (choice, format!("nothing learned ({}) is better by more than chance", names.join(", "))),
    };
    let because = format!("{}; {because}", taken.chosen.because);
    Ok(Choice { chosen: Chosen { tried: count, because, ..taken.chosen }, ..taken })
}

/// The chosen recipe with nothing learned, by what judges what is learned.
pub(super) fn unlearned(evidence: &[Evidence], options: &Options) -> Result<Tried, InspectError> {
    let folds: Vec<_> = LeftOut::folds().map(|left_out| (left_out, None)).collect();
    try_in_folds(evidence, &options.recipe, &folds, options)
}

impl Tried {
    /// The median score of the good parts of the first fold.
    pub(super) fn typical_score(&self) -> f32 {
        median(&self.scores.good[0])
    }
}

/// How a recipe, or what was learned on it, does on what is left out of each fold.
/// * `recipe` — with what was learned
/// * `folds` — what is left out, and what was learned without it
fn try_in_folds(
    evidence: &[Evidence],
    recipe: &Recipe,
    folds: &[(LeftOut, Option<&Learned>)],
    options: &Options,
) -> Result<Tried, InspectError> {
    let of_product = |(product, evidence): (usize, &Evidence)| {
        let of_fold = |&(left_out, learned): &(LeftOut, Option<&Learned>)| {
            let bank = learned.and_then(|learned| learned.bank(product));
            let metric = learned.map(|learned| &learned.metric);
            let candidate = Candidate { recipe: recipe.clone(), metric, bank: bank.as_ref() };
            let judges = |defect: &DrawnDefect| left_out.judges(defect.kind);
            evidence.scores_of(candidate, Scoring::of(recipe), options, left_out.fold, &judges)
        };
        let more_folds = |mut all: Scores, more| {
            all.append(more);
            all
        };
        let of_folds = folds.iter().map(of_fold).collect::<Result<Vec<_>, _>>()?;
        Ok(of_folds.into_iter().reduce(more_folds).expect("there is a fold"))
    };
    let more_products = |mut all: Scores, more| {
        all.extend(more);
        all
    };
    let of_each = evidence.iter().enumerate().map(of_product).collect::<Result<Vec<_>, InspectError>>()?;
    let scores = of_each.into_iter().reduce(more_products).expect("there is a product");
    Ok(Tried::new(evidence, recipe.clone(), scores, options))
}

/// What a learned metric is worth on the parts that it did not learn from, beside the recipe without it.
/// # Errors  `TeachError::Unusable` if a recipe does not fit the taps.
pub fn judged(evidence: &[Evidence], options: &Options, learned: Learned) -> Result<Choice, TeachError> {
    let on_its_fold = |recipe, learned| try_in_folds(evidence, recipe, &[(LeftOut::FOLD, learned)], options);
    let mut tried = vec![on_its_fold(&options.recipe, None)?, on_its_fold(&learned.recipe, Some(&learned))?];
    let weights = weigh(&mut tried);
    let (plain, taken) = (&tried[0], &tried[1]);
    let draws = |tried: &Tried| draws(&tried.scores, &weights, options.seed);
    let gain = sure_gain(&draws(taken), &draws(plain), LEARNED);
    let chosen = remembered(taken, plain, gain, &tried);
    let Learned { recipe, metric, prototypes } = learned;
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
