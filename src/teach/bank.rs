//! Candidates -> bank: the rows that good parts are remembered by, and how far good patches usually lie from each.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Options, coreset, gaussian};
use crate::inspect::bank::Bank;
use crate::inspect::embedding::Embeddings;
use crate::inspect::metric::{Head, Metric};
use crate::inspect::recipe::{Distance, Factor, HeadKind, Recipe, Scaling};

/// How far a patch lies is asked of so many candidates at most.
const ASKED: usize = 1 << 16;
/// The mean over all patches counts as much as so many of a row's own.
const PRIOR: f32 = 3.0;
/// No spread is a smaller share of the mean over all patches: what never varied among the good parts is no proof that it
/// never will.
const LEAST_SHARE: f32 = 0.1;
/// Distances that are no larger on average are rounding, and tell nothing of how parts differ.
const ROUNDING: f32 = 1e-6;

/// What the good parts leave behind: the learned metric and the bank.
#[derive(Clone, Debug)]
pub struct Learned {
    pub metric: Metric,
    pub bank: Embeddings,
}

/// Embeddings that a bank is chosen from.
#[derive(Clone, Debug)]
pub struct Candidates {
    /// (N, C), the concatenated taps.
    pub raw: Embeddings,
    /// The part of each row, (N,).
    pub parts: Vec<u32>,
}

impl Candidates {
    /// * `rows` — how many rows each picture has, one picture after another
    /// * `each` — so many pictures one after another show the same part
    pub fn new(raw: Embeddings, rows: &[usize], each: usize) -> Candidates {
        let of = |(picture, rows): (usize, &usize)| std::iter::repeat_n((picture / each.max(1)) as u32, *rows);
        Candidates { raw, parts: rows.iter().enumerate().flat_map(of).collect() }
    }

    pub fn select(&self, rows: &[usize]) -> Candidates {
        Candidates { raw: self.raw.select(rows), parts: rows.iter().map(|row| self.parts[*row]).collect() }
    }

    /// Those of all parts but these.
    /// * `parts` — in ascending order
    pub fn without(&self, parts: &[usize]) -> Candidates {
        let is_left = |row: &usize| parts.binary_search(&(self.parts[*row] as usize)).is_err();
        self.select(&(0..self.parts.len()).filter(is_left).collect::<Vec<_>>())
    }

    pub fn extend(&mut self, other: &Candidates) {
        self.raw.extend(&other.raw);
        self.parts.extend(&other.parts);
    }
}

/// Fits what the recipe takes from the good parts alone: principal axes, deviations.
/// * `raw` — their concatenated taps, (N, C)
/// * `axes` — the width of a linear head
pub fn fit(recipe: &Recipe, raw: &Embeddings, axes: usize) -> Metric {
    let head = (recipe.head == HeadKind::Linear).then(|| Head::Linear(gaussian::principal_axes(raw, axes)));
    let deviation = (recipe.scaling == Scaling::Std).then(|| match &head {
        Some(head) => gaussian::deviations(&head.apply(raw)),
        None => gaussian::deviations(raw),
    });
    Metric { head, deviation, ..Metric::default() }
}

/// The bank of a recipe with the learned steps that are there already.
/// * `positions` — how many candidates each part has, if the recipe wants a Gaussian for each
/// * `options` — bounds and seed; its recipe is not used
/// * `step` — told how many bank rows are chosen
pub fn learn(
    recipe: &Recipe,
    metric: Metric,
    candidates: Candidates,
    positions: usize,
    options: &Options,
    step: &dyn Fn(usize),
) -> Learned {
    let embeddings = metric.embed(recipe, candidates.raw);
    let gaussian = match recipe.distance {
        Distance::Mahalanobis => gaussian::gaussian(&embeddings),
        Distance::MahalanobisPerPosition => gaussian::gaussians(&embeddings, positions),
        _ => {
            let most = most_rows(recipe, embeddings.width(), options.bank_rows, options);
            let choose = |_, view: &Embeddings| choose_rows(view, None, most, options, step);
            let (bank, spread) = assemble(recipe, embeddings, &candidates.parts, choose);
            return Learned { metric: Metric { spread, ..metric }, bank };
        }
    };
    Learned { metric: Metric { whitening: Some(gaussian.whitening), ..metric }, bank: gaussian.mean }
}

/// The bank, and how far patches lie from its rows if the recipe wants that; a block for each factor of the distance.
/// * `embeddings` — of good parts
/// * `parts` — the part of each, (N,)
/// * `choose` — which of them join for a factor, by its view
pub fn assemble(
    recipe: &Recipe,
    mut embeddings: Embeddings,
    parts: &[u32],
    mut choose: impl FnMut(Factor, &Embeddings) -> Vec<usize>,
) -> (Embeddings, Option<Vec<f32>>) {
    let (width, normalised) = (embeddings.width(), embeddings.normalised);
    let mut blocks = Vec::new();
    for factor in recipe.factors() {
        // In place, for they are most of the memory that teaching takes; all Euclidean factors are before.
        embeddings = in_directions(factor, embeddings);
        let view = embeddings.as_compared(factor);
        let chosen = choose(factor, &view);
        let spread = recipe.local.then(|| spread(&view, parts, &chosen, factor.distance));
        blocks.push((view.select(&chosen).after_zeros(factor.from), spread));
    }
    // A copy of a row is never chosen, so one block may have fewer: then some of its rows stand twice.
    let most = blocks.iter().map(|(rows, _)| rows.len()).max().unwrap_or(0);
    let (mut bank, mut spreads) = (Embeddings::new(width, Vec::new(), normalised), Vec::new());
    for (rows, spread) in blocks {
        let all: Vec<usize> = (0..rows.len()).cycle().take(most).collect();
        bank.extend(&rows.select(&all).counted_as(normalised));
        spreads.extend(spread.iter().flat_map(|spread| all.iter().map(|row| spread[*row])));
    }
    (bank, recipe.local.then_some(spreads))
}

/// Embeddings brought to unit length in place, if the factor measures cosine: as it compares them they are the same.
pub fn in_directions(factor: Factor, embeddings: Embeddings) -> Embeddings {
    let is_to_be = factor.distance == Distance::Cosine && !embeddings.normalised;
    if is_to_be { embeddings.normalise() } else { embeddings }
}

/// The rows that join a block of the bank, far from those that are in it.
pub fn choose_rows(
    rows: &Embeddings,
    kept: Option<&Embeddings>,
    count: usize,
    options: &Options,
    step: &dyn Fn(usize),
) -> Vec<usize> {
    let count = count.min(rows.len());
    if count == 0 { Vec::new() } else { coreset::k_center(rows, kept, count, options.seed, step) }
}

/// How many rows may be in each block of the bank: at most so many, and as its bytes allow.
/// * `width` — of a row
pub fn most_rows(recipe: &Recipe, width: usize, rows: usize, options: &Options) -> usize {
    rows.min(options.bank_bytes / (recipe.factors().len() * width * size_of::<f32>())).max(1)
}

/// How far good patches usually lie from each bank row: the mean distance of those that no row of another part is nearer
/// to, drawn towards the mean over all patches by [`PRIOR`].
///
/// * `rows` — what good patches are, (N, D)
/// * `parts` — the part of each, (N,)
/// * `chosen` — the bank rows among them, (M,)
///
/// Returns (M,), above 0; all alike if every row is of the same part, or no patch differs from a row of another part.
/// # Source  After local density-based normalisation, Wilkinghoff et al. 2025, arXiv:2509.10951. Differs: the density is that
/// of the patches which a row stands for, so it costs nothing at inspection, and the nearest row is found with it.
pub fn spread(rows: &Embeddings, parts: &[u32], chosen: &[usize], distance: Distance) -> Vec<f32> {
    let mut of_part: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    let mut rng = ChaCha8Rng::seed_from_u64(rows.len() as u64);
    let mut asked = rand::seq::index::sample(&mut rng, rows.len(), ASKED.min(rows.len())).into_vec();
    asked.sort_unstable();
    asked.into_iter().for_each(|row| of_part.entry(parts[row]).or_default().push(row));
    let (mut sums, mut counts) = (vec![0.0; chosen.len()], vec![0.0; chosen.len()]);
    for (part, asked) in of_part {
        let others: Vec<usize> = (0..chosen.len()).filter(|row| parts[chosen[*row]] != part).collect();
        if others.is_empty() {
            continue;
        }
        let of_others: Vec<usize> = others.iter().map(|row| chosen[*row]).collect();
        let bank = Bank::new(rows.select(&of_others), distance, None);
        for (near, distance) in bank.nearest(&rows.select(&asked), 1) {
            sums[others[near]] += distance;
            counts[others[near]] += 1.0;
        }
    }
    let (sum, count): (f32, f32) = (sums.iter().sum(), counts.iter().sum());
    let usual = if sum > ROUNDING * count { sum / count } else { 1.0 };
    let shrunk = |(sum, count): (&f32, &f32)| (sum + PRIOR * usual) / (count + PRIOR);
    sums.iter().zip(&counts).map(shrunk).map(|spread| spread.max(LEAST_SHARE * usual)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_of_a_row_is_how_far_patches_of_other_parts_lie_from_it() {
        // 41 parts, each with a patch near 0 and one near 100: there they differ by 1, here by 10.
        let values: Vec<f32> = (0..41).flat_map(|part| [part as f32 / 40.0, 100.0 + part as f32 / 4.0]).collect();
        let parts: Vec<u32> = (0..41).flat_map(|part| [part, part]).collect();
        let spread = spread(&Embeddings::new(1, values, false), &parts, &[40, 41], Distance::Euclidean);
        // The 40 others lie on average 21 steps from the middle of 0 … 40 on both sides, over two: 10.5 steps.
        let means = [10.5 / 40.0, 10.5 / 4.0];
        let usual = (means[0] + means[1]) / 2.0;
        for (found, mean) in spread.iter().zip(means) {
            let expected = (40.0 * mean + 3.0 * usual) / 43.0;
            assert!((found - expected).abs() < 1e-4, "{found}, expected {expected}");
        }
    }

    #[test]
    fn copies_of_one_picture_have_a_spread_that_can_divide() {
        let (rows, parts) = (Embeddings::new(3, [0.3, 0.7, 0.1].repeat(10), false), (0..10).collect::<Vec<u32>>());
        assert_eq!(spread(&rows, &parts, &[0], Distance::Euclidean), [3.0 / 12.0]);
        assert!((spread(&rows.normalise(), &parts, &[0], Distance::Cosine)[0] - 3.0 / 12.0).abs() < 1e-5);
    }

    #[test]
    fn patches_of_the_same_part_say_nothing_however_many_its_rows_are() {
        // 30 rows of part 0 lie between the patches of the others and the only row of part 1.
        let values: Vec<f32> = (0..30).map(|at| at as f32 / 10.0).chain([5.0, 0.0]).collect();
        let parts: Vec<u32> = [vec![0; 30], vec![1, 0]].concat();
        let chosen: Vec<usize> = (0..31).collect();
        let spread = spread(&Embeddings::new(1, values, false), &parts, &chosen, Distance::Euclidean);
        // The 31 patches of part 0 are all asked of the row at 5, that of part 1 of the row at 2.9.
        let sum = (0..30).map(|at| 5.0 - at as f32 / 10.0).sum::<f32>() + 5.0;
        let usual = (sum + 2.1) / 32.0;
        assert!((spread[30] - (sum + 3.0 * usual) / 34.0).abs() < 1e-4, "{}", spread[30]);
        assert!((spread[29] - (2.1 + 3.0 * usual) / 4.0).abs() < 1e-4, "{}", spread[29]);
        assert!((spread[0] - usual).abs() < 1e-4, "{}", spread[0]);
    }

    #[test]
    fn the_block_with_fewer_rows_is_filled_up_with_its_own() {
        let plain = Options::for_model(&crate::inspect::card::Model::built_in()).recipe;
        let recipe = Recipe { distance: Distance::Product, normalise: false, local: true, ..plain };
        // Three positions, two directions.
        let embeddings = Embeddings::new(2, vec![1.0, 0.0, 2.0, 0.0, 0.0, 3.0], false);
        let choose = |factor: Factor, _: &Embeddings| match factor.distance {
            Distance::Cosine => vec![0, 2],
            _ => vec![0, 1, 2],
        };
        let (bank, spread) = assemble(&recipe, embeddings, &[0, 1, 2], choose);
        assert_eq!(bank.data(), [1.0, 0.0, 2.0, 0.0, 0.0, 3.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0]);
        let spread = spread.unwrap();
        assert!(spread.len() == 6 && spread[3] == spread[5], "{spread:?}");
    }

    #[test]
    fn a_part_of_many_pictures_is_one_part() {
        let raw = Embeddings::new(1, vec![0.0; 6], false);
        assert_eq!(Candidates::new(raw, &[1, 2, 1, 2], 2).parts, [0, 0, 0, 1, 1, 1]);
    }
}
