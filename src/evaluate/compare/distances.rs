//! The first grid: distances between patches, nothing trained, and how far the automatic choice can be trusted.

use serde::Serialize;

use super::bench::Bench;
use super::{Figure, Place, What};
use crate::evaluate::metrics::spearman;
use crate::inspect::recipe::{Distance, Recipe, Scaling, ScoreRule};
use crate::teach::evidence::Evidence;
use crate::teach::study::{Candidate, Scoring};
use crate::teach::{Stage, TeachError, choose};

/// What the automatic choice sees of the recipes beside what they are worth, by one seed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    pub set: String,
    pub seed: u64,
    /// Spearman's ρ between the quality by synthetic defects and the AUROC on real ones, over all recipes; none where
    /// one of the two is the same for all.
    pub rank_correlation: Option<f64>,
    /// What the choice would take at this input size, of the taps and distances that it tries.
    pub taken: Tried,
    pub because: String,
    /// The best by the real test pictures, which nobody has at the line.
    pub best: Tried,
    /// The plain cosine recipe.
    pub plain: Tried,
}

/// A recipe with both its figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tried {
    pub recipe: String,
    pub quality: f64,
    pub auroc: f64,
}

/// The grid by one seed.
pub fn run(bench: &Bench, evidence: &Evidence, seed: u64) -> Result<(Vec<Figure>, Standing), TeachError> {
    let (plain, options) = (&bench.options.recipe, bench.seeded(seed));
    let of_choice = choose::bases(&bench.model.card, plain, plain);
    let all_taps: Vec<String> = bench.model.card.taps.iter().map(|tap| tap.name.clone()).collect();
    let of_all_taps = [1, 3].map(|pool| Recipe { taps: all_taps.clone(), pool, ..plain.clone() });
    let more = of_all_taps.into_iter().filter(|base| !of_choice.contains(base));
    let bases: Vec<Recipe> = of_choice.iter().cloned().chain(more).collect();
    let relative = choose::scorings().into_iter().map(|scoring| Scoring { relative: true, ..scoring });
    let scorings: Vec<Scoring> = choose::scorings().into_iter().chain(relative).collect();
    let (mut tried, mut aurocs) = (Vec::new(), Vec::new());
    for (done, base) in bases.iter().enumerate() {
        let recipes: Vec<Recipe> = choose::metrics(&bench.model.card, base).into_iter().chain(others(base)).collect();
        tried.extend(choose::try_all(std::slice::from_ref(evidence), &recipes, &scorings, &options)?);
        let untrained: Vec<_> = recipes.into_iter().map(Candidate::untrained).collect();
        aurocs.extend(bench.aurocs(&bench.banks(&untrained, seed)?, &scorings).into_iter().flatten());
        (bench.progress)(Stage::Choose, done + 1, bases.len());
    }
    let known: Vec<_> = {
        let on_its_taps = |recipe: &Recipe| of_choice.iter().any(|base| base.taps == recipe.taps);
        let in_its_grid = |recipe: &Recipe| {
            let rough = Recipe { smooth: false, ..recipe.clone() };
            choose::metrics(&bench.model.card, &rough).contains(&rough) && on_its_taps(recipe)
        };
        tried.iter().filter(|tried| in_its_grid(&tried.recipe)).cloned().collect()
    };
    let weights = choose::Weights::of(&known);
    let qualities: Vec<f64> = tried.iter().map(|tried| weights.quality(tried)).collect();
    let choice = choose::decide(known, plain, seed);
    let recipes: Vec<Recipe> = tried.into_iter().map(|tried| tried.recipe).collect();
    let named = |at: usize| Tried { recipe: name(&recipes[at]), quality: qualities[at], auroc: aurocs[at] };
    let find = |wanted: &Recipe| named(recipes.iter().position(|recipe| recipe == wanted).expect("it was tried"));
    let best = (0..aurocs.len()).rev().max_by(|a, b| aurocs[*a].total_cmp(&aurocs[*b])).expect("there are recipes");
    let standing = Standing {
        set: bench.name.clone(),
        seed,
        rank_correlation: spearman(&qualities, &aurocs),
        taken: find(&choice.recipe),
        because: choice.chosen.because,
        best: named(best),
        plain: find(plain),
    };
    let figure = |at: usize| Figure {
        place: place(&recipes[at]),
        auroc: aurocs[at],
        quality: Some(qualities[at]),
        p_value: None,
        note: None,
    };
    Ok(((0..recipes.len()).map(figure).collect(), standing))
}

/// The distances that the automatic choice does not try, for the nested product serves for them.
fn others(base: &Recipe) -> [Recipe; 9] {
    [
        choose::metric(base, Scaling::SignedSqrt, Distance::Cosine, false),
        choose::metric(base, Scaling::SignedSqrt, Distance::Euclidean, false),
        choose::metric(base, Scaling::None, Distance::Cosine, true),
        choose::metric(base, Scaling::None, Distance::Euclidean, false),
        choose::metric(base, Scaling::Std, Distance::Euclidean, false),
        choose::metric(base, Scaling::None, Distance::Euclidean, true),
        choose::metric(base, Scaling::None, Distance::Product, false),
        choose::metric(base, Scaling::None, Distance::Product, true),
        choose::metric(base, Scaling::None, Distance::Mahalanobis, false),
    ]
}

fn place(recipe: &Recipe) -> Place {
    Place {
        what: What::Distances,
        loss: "raw".into(),
        head: "none".into(),
        preset: None,
        taps: recipe.taps.clone(),
        pool: recipe.pool,
        distance: distance(recipe),
        score_rule: rule(Scoring::of(recipe)),
        own: false,
    }
}

fn name(recipe: &Recipe) -> String {
    let place = place(recipe);
    format!("{}, {}", place.row(), place.score_rule)
}

fn distance(recipe: &Recipe) -> String {
    let name = match (recipe.distance, recipe.scaling) {
        (Distance::Cosine, Scaling::None) => "cosine",
        (Distance::Cosine, Scaling::SignedSqrt) => "cosine of roots",
        (Distance::Cosine, Scaling::Std) => "cosine / std",
        (Distance::Euclidean, Scaling::None) => "Euclidean",
        (Distance::Euclidean, Scaling::SignedSqrt) => "Euclidean of roots",
        (Distance::Euclidean, Scaling::Std) => "Euclidean / std",
        (Distance::Product, _) if recipe.nested.is_empty() => "product",
        (Distance::Product, _) => "product, nested",
        (Distance::Mahalanobis, _) => "Mahalanobis",
        (Distance::MahalanobisPerPosition, _) => "Mahalanobis per position",
    };
    if recipe.local { format!("{name}, local") } else { name.to_owned() }
}

/// A way to the score, for people.
pub fn rule(Scoring { relative, smooth, rule }: Scoring) -> String {
    let rule = match rule {
        ScoreRule::Max => "max".to_owned(),
        ScoreRule::TopFraction(fraction) => format!("top {} %", (1000.0 * fraction).round() / 10.0),
    };
    let smooth = if smooth { ", smooth" } else { "" };
    let relative = if relative { ", relative" } else { "" };
    format!("{rule}{smooth}{relative}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_named_as_people_say_them() {
        let named = |relative, rule_| rule(Scoring { relative, smooth: relative, rule: rule_ });
        assert_eq!(named(false, ScoreRule::Max), "max");
        assert_eq!(named(true, ScoreRule::TopFraction(0.01)), "top 1 %, smooth, relative");
        assert_eq!(named(false, ScoreRule::TopFraction(0.005)), "top 0.5 %");
    }
}
