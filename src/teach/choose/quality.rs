//! How good a metric is on the evidence: what each defect counts, and whether a difference is more than chance.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::Tried;
use crate::evaluate::metrics::{auroc, median};
use crate::inspect::recipe::Recipe;
use crate::teach::defects::Severity;
use crate::teach::evidence::Scores;
use crate::teach::stream;
use crate::teach::study::Scoring;

/// So many known defects count as much as all synthetic ones.
const KNOWN_EVEN: f64 = 10.0;
/// How many draws tell the chance from the difference.
const RESAMPLES: usize = 300;

/// What each defect of the evidence counts in the quality of a metric.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Weights {
    /// Of each fold.
    drawn: Vec<Vec<f64>>,
    /// The share of the known defects, all alike.
    known: f64,
}

impl Weights {
    /// (p − ½)² · (1 − p) for a synthetic defect that by the median of all that was tried lies above the share p of the
    /// good parts, and 0 below a half. One that no metric tells from the noise is chance and would only add noise to the
    /// choice, and so is a copy of texture on texture, however plain; one that all tell decides nothing. The product is
    /// largest at p = 0.83. Of n known defects that judge the share is n / (n + 10).
    /// * `tried` — on the same evidence
    pub(crate) fn of(tried: &[Tried]) -> Weights {
        let told: Vec<Vec<Vec<f64>>> = tried.iter().map(|tried| tried.scores.told()).collect();
        let mut drawn = told.first().cloned().unwrap_or_default();
        for (fold, weights) in drawn.iter_mut().enumerate() {
            for (defect, weight) in weights.iter_mut().enumerate() {
                let mut shares: Vec<f64> = told.iter().map(|of| of[fold][defect]).collect();
                shares.sort_by(f64::total_cmp);
                let median = median(&shares);
                *weight = (median - 0.5).max(0.0).powi(2) * (1.0 - median);
            }
        }
        if drawn.iter().flatten().sum::<f64>() <= 0.0 {
            drawn.iter_mut().flatten().for_each(|weight| *weight = 1.0);
        }
        let judges = tried.first().map_or(0, |tried| tried.scores.judges()) as f64;
        Weights { drawn, known: judges / (judges + KNOWN_EVEN) }
    }

    /// The weighted share of good parts that defects lie above.
    pub(crate) fn quality(&self, tried: &Tried) -> f64 {
        let all = |fold: &[f32]| (0..fold.len()).collect::<Vec<_>>();
        let scores = &tried.scores;
        let folds = (0..scores.good.len()).map(|fold| {
            let defects = (0..scores.defects[fold].len()).collect();
            Draw { good: all(&scores.good[fold]), defects, known: all(&scores.known[fold]) }
        });
        self.quality_of(scores, &folds.collect::<Vec<_>>())
    }

    /// * `draws` — which parts and defects of each fold
    fn quality_of(&self, scores: &Scores, draws: &[Draw]) -> f64 {
        let (mut sum, mut weight, mut known, mut judges) = (0.0, 0.0, 0.0, 0.0);
        for (fold, draw) in draws.iter().enumerate() {
            let mut good: Vec<f32> = draw.good.iter().map(|part| scores.good[fold][*part]).collect();
            good.sort_by(f32::total_cmp);
            for &defect in &draw.defects {
                sum += self.drawn[fold][defect] * share_below(&good, scores.defects[fold][defect].1);
                weight += self.drawn[fold][defect];
            }
            // A known defect is judged by every fold of its product and still counts once.
            let once = 1.0 / scores.products.iter().filter(|product| **product == scores.products[fold]).count() as f64;
            let told = draw.known.iter().map(|defect| share_below(&good, scores.known[fold][*defect]));
            known += once * told.sum::<f64>();
            judges += once * draw.known.len() as f64;
        }
        (1.0 - self.known) * sum / weight.max(f64::MIN_POSITIVE) + self.known * known / judges.max(f64::MIN_POSITIVE)
    }
}

/// Parts and defects of a fold, by their places; some may be there twice.
struct Draw {
    good: Vec<usize>,
    defects: Vec<usize>,
    known: Vec<usize>,
}

impl Draw {
    /// Of each fold as many as there are, drawn with replacement; of a product the same known defects in all folds.
    fn of_folds(scores: &Scores, rng: &mut ChaCha8Rng) -> Vec<Draw> {
        let mut some = |count: usize| (0..count).map(|_| rng.random_range(0..count)).collect::<Vec<_>>();
        let mut folds: Vec<Draw> = Vec::new();
        for fold in 0..scores.good.len() {
            let (good, defects) = (some(scores.good[fold].len()), some(scores.defects[fold].len()));
            let same = scores.products[..fold].iter().position(|product| *product == scores.products[fold]);
            let known = match same {
                Some(same) => folds[same].known.clone(),
                None => some(scores.known[fold].len()),
            };
            folds.push(Draw { good, defects, known });
        }
        folds
    }
}

/// How many of `sorted` lie below a score, as a share; those that equal it count half.
fn share_below(sorted: &[f32], score: f32) -> f64 {
    let below = sorted.partition_point(|good| *good < score);
    let not_above = sorted.partition_point(|good| *good <= score);
    (below + not_above) as f64 / (2 * sorted.len().max(1)) as f64
}

/// Finds the quality of all that was tried, by the weights that are returned.
pub(super) fn weigh(tried: &mut [Tried]) -> Weights {
    let weights = Weights::of(tried);
    tried.iter_mut().for_each(|tried| tried.quality = weights.quality(tried));
    let standings: Vec<f64> = tried.iter().map(|one| standing(one, tried)).collect();
    tried.iter_mut().zip(standings).for_each(|(tried, standing)| tried.standing = standing);
    weights
}

/// [`Tried::standing`] among `all`.
fn standing(one: &Tried, all: &[Tried]) -> f64 {
    let mean_of = |relative: &dyn Fn(&Tried) -> bool| {
        let related = || all.iter().filter(|other| other.rows == one.rows && relative(other));
        related().map(|other| other.quality).sum::<f64>() / related().count() as f64
    };
    let same = |other: &Tried, pool: usize| {
        Recipe { pool, ..Scoring::of(&one.recipe).on(&other.recipe) } == Recipe { pool, ..one.recipe.clone() }
    };
    let other_scores = mean_of(&|other| other.recipe.pool == one.recipe.pool && same(other, one.recipe.pool));
    (one.quality + other_scores + mean_of(&|other| same(other, one.recipe.pool))) / 3.0
}

impl Scores {
    /// The AUROC of the defects of a severity, a mean over the folds that have some; none without any.
    pub(super) fn auroc(&self, severity: Severity) -> Option<f64> {
        let of_fold = |(good, defects): (&Vec<f32>, &Vec<(Severity, f32)>)| {
            let drawn: Vec<f32> = defects.iter().filter(|d| d.0 == severity).map(|d| d.1).collect();
            (!drawn.is_empty()).then(|| auroc(good, &drawn))
        };
        let folds: Vec<f64> = self.good.iter().zip(&self.defects).filter_map(of_fold).collect();
        (!folds.is_empty()).then(|| folds.iter().sum::<f64>() / folds.len() as f64)
    }

    /// Takes in more folds of the same products.
    pub(super) fn append(&mut self, more: Scores) {
        self.good.extend(more.good);
        self.defects.extend(more.defects);
        self.known.extend(more.known);
        self.products.extend(more.products);
    }

    /// Takes in the folds of another product.
    pub(super) fn extend(&mut self, other: Scores) {
        let next = self.products.iter().max().map_or(0, |last| last + 1);
        let products = other.products.iter().map(|product| next + product).collect();
        self.append(Scores { products, ..other });
    }

    /// How many known defects judge, of all products.
    fn judges(&self) -> usize {
        let first = |fold: &usize| !self.products[..*fold].contains(&self.products[*fold]);
        (0..self.products.len()).filter(first).map(|fold| self.known[fold].len()).sum()
    }

    /// Of each fold and each of its defects, the share of good parts that it lies above.
    fn told(&self) -> Vec<Vec<f64>> {
        let of_fold = |(good, defects): (&Vec<f32>, &Vec<(Severity, f32)>)| {
            let mut good = good.clone();
            good.sort_by(f32::total_cmp);
            defects.iter().map(|(_, score)| share_below(&good, *score)).collect()
        };
        self.good.iter().zip(&self.defects).map(of_fold).collect()
    }
}

/// The quality by each of many draws of the same parts and defects, the same draws for every metric.
pub(super) fn draws(scores: &Scores, weights: &Weights, seed: u64) -> Vec<f64> {
    let quality = |draw: u64| weights.quality_of(scores, &Draw::of_folds(scores, &mut stream(seed, 9_000_000 + draw)));
    (0..RESAMPLES as u64).map(quality).collect()
}

/// By how much one metric is better than another in all but one of so many [`draws`]; below 0 if it is not.
/// # Source  The percentile bootstrap, Efron 1979.
pub(super) fn sure_gain(draws: &[f64], others: &[f64], but_one_of: usize) -> f64 {
    let mut gains: Vec<f64> = draws.iter().zip(others).map(|(quality, other)| quality - other).collect();
    gains.sort_by(f64::total_cmp);
    gains[gains.len() / but_one_of]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::card::Model;
    use crate::inspect::recipe::ScoreRule;
    use crate::teach::Options;

    /// A metric by which good parts score 1 to 4, and defects what is said.
    fn tried(defects: &[f32], known: &[f32]) -> Tried {
        let drawn = defects.iter().map(|score| (Severity::Clear, *score)).collect();
        let scores = Scores {
            good: vec![vec![1.0, 2.0, 3.0, 4.0]],
            defects: vec![drawn],
            known: vec![known.to_vec()],
            products: vec![0],
        };
        let recipe = Options::for_model(&Model::built_in()).recipe;
        Tried { recipe, rows: 1, cost: 1.0, quality: f64::NAN, standing: f64::NAN, scores }
    }

    #[test]
    fn a_defect_counts_by_how_reliably_it_can_be_told() {
        // The first is below all good parts for both, the second above all for both; the third is above three quarters and
        // above all: by the median above seven of eight.
        let both = [tried(&[0.5, 9.0, 3.5], &[]), tried(&[0.5, 9.0, 4.5], &[])];
        let weights = Weights::of(&both);
        assert_eq!(weights.drawn, [[0.0, 0.0, 0.375 * 0.375 * 0.125]]);
        assert_eq!((weights.quality(&both[0]), weights.quality(&both[1])), (0.75, 1.0));
    }

    #[test]
    fn a_known_defect_counts_once_however_many_folds_judge_it() {
        let mut one = tried(&[3.5], &[4.5, 0.5]);
        let (same, other) = (one.scores.clone(), tried(&[3.5], &[4.5]).scores);
        one.scores.good.extend(same.good);
        one.scores.defects.extend(same.defects);
        one.scores.known.extend(same.known);
        one.scores.products.push(0);
        one.scores.extend(other);
        assert_eq!((one.scores.products.clone(), one.scores.judges()), (vec![0, 0, 1], 3));
        let weights = Weights::of(std::slice::from_ref(&one));
        let share = 3.0 / 13.0;
        assert!((weights.quality(&one) - ((1.0 - share) * 0.75 + share * 2.0 / 3.0)).abs() < 1e-12);
        let draws = Draw::of_folds(&one.scores, &mut stream(1, 2));
        assert_eq!(draws[0].known, draws[1].known);
    }

    #[test]
    fn where_no_defect_decides_all_count_alike() {
        let one = [tried(&[0.5, 9.0], &[])];
        assert_eq!(Weights::of(&one).quality(&one[0]), 0.5);
    }

    #[test]
    fn ten_known_defects_count_as_much_as_all_drawn_ones() {
        let one = [tried(&[3.5], &[4.5; 10])];
        assert_eq!(Weights::of(&one).quality(&one[0]), 0.5 * 0.75 + 0.5);
    }

    #[test]
    fn a_gain_is_sure_if_it_is_there_in_nearly_all_draws() {
        let zero = [0.0; 100];
        let gains: Vec<f64> = (0..100).map(|draw| if draw < 15 { -1.0 } else { 1.0 }).collect();
        assert_eq!((sure_gain(&gains, &zero, 10), sure_gain(&gains, &zero, 4)), (-1.0, 1.0));
    }

    #[test]
    fn what_is_good_is_good_in_its_neighbourhood() {
        let with = |pool, score, known: &[f32]| {
            let mut one = tried(&[], known);
            (one.recipe.pool, one.recipe.score) = (pool, score);
            one
        };
        let (max, top) = (ScoreRule::Max, ScoreRule::TopFraction(0.01));
        // Known defects alone, of which each has the share of good parts below it: 1, ½ and 0.
        let mut all = [with(1, max, &[9.0]), with(1, top, &[2.5]), with(3, top, &[0.5])];
        weigh(&mut all);
        let quality: Vec<f64> = all.iter().map(|one| one.quality).collect();
        let (own, others) = (quality[0], (quality[0] + quality[1]) / 2.0);
        let family = quality.iter().sum::<f64>() / 3.0;
        assert!((all[0].standing - (own + others + family) / 3.0).abs() < 1e-12);
        // Another bank is no relative.
        all[1].rows = 2;
        weigh(&mut all);
        assert!((all[1].standing - all[1].quality).abs() < 1e-12);
    }

    #[test]
    fn all_metrics_are_judged_by_the_same_draws() {
        let (good, better) = (tried(&[2.5, 3.5, 4.5], &[2.5]), tried(&[2.6, 3.6, 4.6], &[2.6]));
        let weights = Weights::of(&[good.clone(), better.clone()]);
        assert_eq!(draws(&good.scores, &weights, 1), draws(&better.scores, &weights, 1));
        assert_ne!(draws(&good.scores, &weights, 1), draws(&good.scores, &weights, 2));
    }
}
