//! What is tried: input sizes, taps, pooling, distances and the ways to a score.

use super::Tried;
use super::quality::weigh;
use crate::inspect::card::{Model, ModelCard};
use crate::inspect::recipe::{Distance, Granularity, HeadKind, Recipe, Scaling, ScoreRule};
use crate::teach::auto::AutoOptions;
use crate::teach::evidence::Material;
use crate::teach::study::Scoring;
use crate::teach::{Options, TeachError};

/// The best of each choice of taps and pooling, whatever the way to the score.
pub(super) fn finalists(tried: &mut [Tried], count: usize) -> Vec<Recipe> {
    weigh(tried);
    tried.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    let same = |a: &Recipe, b: &Recipe| (&a.taps, a.pool) == (&b.taps, b.pool);
    let best = first_of_each(tried.iter(), |one, other| same(&one.recipe, &other.recipe));
    best.into_iter().take(count).map(|tried| tried.recipe.clone()).collect()
}

/// The first of all that are the same, in their order.
pub(super) fn first_of_each<'a>(
    tried: impl Iterator<Item = &'a Tried>,
    same: impl Fn(&Tried, &Tried) -> bool,
) -> Vec<&'a Tried> {
    let mut first: Vec<&Tried> = Vec::new();
    for one in tried {
        if !first.iter().any(|other| same(one, other)) {
            first.push(one);
        }
    }
    first
}

/// The input sizes to try, the plain recipe's first: those of `auto` at its aspect that are not larger than the region that
/// they show of every product, then rounded up to a multiple of the card's `size_multiple`.
pub(super) fn sizes(
    model: &Model,
    options: &Options,
    auto: &AutoOptions,
    materials: &[Material],
) -> Result<Vec<[usize; 2]>, TeachError> {
    let plain = options.recipe.input_px;
    let mut shorter = usize::MAX;
    for Material { good_parts, .. } in materials {
        let first = good_parts.load(0).map_err(TeachError::Load)?;
        let shown = options.recipe.roi_px.map_or((first.width(), first.height()), |roi| (roi.width, roi.height));
        shorter = shorter.min(shown.0.min(shown.1) as usize);
    }
    let multiple = model.card.size_multiple;
    let mut sizes = vec![plain];
    for &side in &auto.sides_px {
        let size = plain.map(|px| (px * side / plain[0].min(plain[1])).next_multiple_of(multiple));
        if options.choose_size && side <= shorter && !sizes.contains(&size) {
            sizes.push(size);
        }
    }
    Ok(sizes)
}

/// The choices of taps and pooling: the deepest tap alone, the two deepest, and the plain recipe's own.
pub(crate) fn bases(card: &ModelCard, size: &Recipe, plain: &Recipe) -> Vec<Recipe> {
    let names: Vec<String> = card.taps.iter().map(|tap| tap.name.clone()).collect();
    let mut choices: Vec<Vec<String>> = (0..names.len()).rev().take(2).map(|from| names[from..].to_vec()).collect();
    if !choices.contains(&plain.taps) {
        choices.push(plain.taps.clone());
    }
    let with = |taps: &Vec<String>, pool| Recipe { taps: taps.clone(), pool, ..size.clone() };
    choices.iter().flat_map(|taps| [1, 3].map(|pool| with(taps, pool))).collect()
}

/// The distances that are tried on one choice of taps and pooling: plain cosine; and the local product that takes in the deepest
/// tap's own, without pooling. Synthetic defects do not tell on which taps it is better, nor whether pooled: there the
/// wrong choice costs most where defects are small, and the smoothed map does in part what pooling does.
pub(crate) fn metrics(card: &ModelCard, base: &Recipe) -> Vec<Recipe> {
    let mut metrics = vec![metric(base, Scaling::None, Distance::Cosine, false)];
    if base.pool == 1 && (base.taps.len() > 1 || card.taps.len() == 1) {
        let product = metric(base, Scaling::None, Distance::Product, true);
        metrics.push(Recipe { nested: card.nested(&base.taps), ..product });
    }
    metrics
}

/// All taps that are tried, in the order of the card.
pub(super) fn all_taps(card: &ModelCard, plain: &Recipe) -> Vec<String> {
    let bases = bases(card, plain, plain);
    let is_tried = |name: &String| bases.iter().any(|base| base.taps.contains(name));
    card.taps.iter().map(|tap| tap.name.clone()).filter(is_tried).collect()
}

/// A distance on a choice of taps, with nothing learned.
pub(crate) fn metric(base: &Recipe, scaling: Scaling, distance: Distance, local: bool) -> Recipe {
    Recipe {
        head: HeadKind::Identity,
        relative: false,
        smooth: false,
        scaling,
        distance,
        nested: Vec::new(),
        local,
        normalise: distance == Distance::Cosine,
        ..base.clone()
    }
}

/// The ways from distances to a score; `relative` is for those who ask for it.
pub(crate) fn scorings() -> [Scoring; 6] {
    let [max, hundredth, some] = rules();
    let smooth = |scoring| Scoring { smooth: true, ..scoring };
    [max, hundredth, some, smooth(max), smooth(hundredth), smooth(some)]
}

/// Those that are tried beside the plain recipe. One embedding a picture is its own score, whatever the way.
pub(super) fn scorings_beside(plain: &Recipe) -> Vec<Scoring> {
    match plain.granularity {
        Granularity::Patch => scorings().into(),
        Granularity::Image => vec![Scoring::of(plain)],
    }
}

/// Those that take the distances as they are.
pub(crate) fn rules() -> [Scoring; 3] {
    let rules = [ScoreRule::Max, ScoreRule::TopFraction(0.01), ScoreRule::TopFraction(0.03)];
    rules.map(|rule| Scoring { relative: false, smooth: false, rule })
}
