//! Embeddings -> distances: the learned metric and what the embeddings of a picture are compared with.
//!
//! Teaching chooses among comparisons by the same code that inspects, on taps that were computed once.

use super::InspectError;
use super::bank::Bank;
use super::distance::euclidean;
use super::embedding::{Embeddings, dot};
use super::metric::{Metric, Projection};
use super::recipe::{Distance, Factor, Recipe};

/// The smallest median that relative distances are divided by: below it a picture equals the bank.
const MIN_MEDIAN: f32 = 1e-6;

/// All that follows the backbone, up to the distances.
pub struct Comparison {
    recipe: Recipe,
    metric: Metric,
    reference: Reference,
}

/// What embeddings are compared with.
enum Reference {
    /// A bank for each factor of the distance.
    Banks(Vec<(Factor, Bank)>),
    /// One Gaussian, as the projection whose lengths are the distances.
    Gaussian(Projection),
    /// One Gaussian for each position of the grid.
    Gaussians(Vec<Projection>),
}

impl Comparison {
    /// * `bank` — (M, D), for the product a block of rows for each factor; for a Gaussian its mean alone, for one per
    ///   position the mean of each
    /// * `channels` — C, the width of the concatenated taps
    /// * `positions` — P, the number of embeddings of a picture
    ///
    /// # Errors  `InspectError::Width` or `InspectError::Positions` if the bank does not fit the embeddings.
    pub fn new(
        recipe: &Recipe,
        metric: Metric,
        bank: Embeddings,
        channels: usize,
        positions: usize,
    ) -> Result<Comparison, InspectError> {
        let heads = metric.head.iter().chain(metric.normality.iter().map(|normality| &normality.head));
        let fits = heads.into_iter().all(|head| head.inputs() == channels);
        if !fits || bank.width() != metric.width(channels) {
            return Err(InspectError::Width { found: metric.width(channels), expected: bank.width() });
        }
        if recipe.distance == Distance::MahalanobisPerPosition && bank.len() != positions {
            return Err(InspectError::Positions { found: positions, expected: bank.len() });
        }
        // ‖L⁻¹ (q − μ)‖: centred before it is whitened, for the difference of two whitened vectors would cancel.
        let reference = match &metric.whitening {
            None => {
                let factors = recipe.factors();
                let count = factors.len();
                let blocks = if count == 1 { vec![bank] } else { (0..count).map(|at| bank.block(at, count)).collect() };
                let bank_of = |(number, (factor, block)): (usize, (Factor, Embeddings))| {
                    let spread = metric.spread_of(number, count).map(<[f32]>::to_vec);
                    (factor, Bank::new(block.into_compared(factor), factor.distance, spread))
                };
                Reference::Banks(factors.into_iter().zip(blocks).enumerate().map(bank_of).collect())
            }
            Some(weight) => {
                let size = bank.width() * bank.width();
                let gaussian =
                    |(mean, weight): (&[f32], &[f32])| Projection { mean: mean.into(), weight: weight.into() };
                let mut gaussians: Vec<Projection> = bank.rows().zip(weight.chunks_exact(size)).map(gaussian).collect();
                match recipe.distance {
                    Distance::MahalanobisPerPosition => Reference::Gaussians(gaussians),
                    _ => Reference::Gaussian(gaussians.remove(0)),
                }
            }
        };
        Ok(Comparison { recipe: recipe.clone(), metric, reference })
    }

    /// The distance of each embedding, larger is more anomalous.
    /// * `raw` — (P, C), as [`super::Extractor::run`] gives it
    ///
    /// Returns (P,), in the same order.
    pub fn distances(&self, raw: Embeddings) -> Vec<f32> {
        let learned = self.metric.normality.as_ref().map(|normality| (normality.head.apply(&raw), normality.weight));
        let embeddings = self.metric.embed(&self.recipe, raw);
        let mut distances = self.reference.distances(&embeddings, self.recipe.neighbours);
        if let Some((logits, weight)) = learned {
            distances.iter_mut().zip(logits.data()).for_each(|(distance, logit)| *distance += weight * logit.max(0.0));
        }
        if self.recipe.relative {
            let median = median(&distances);
            distances.iter_mut().for_each(|distance| *distance /= median);
        }
        distances
    }

    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    pub fn metric(&self) -> &Metric {
        &self.metric
    }
}

impl Reference {
    fn distances(&self, queries: &Embeddings, neighbours: usize) -> Vec<f32> {
        let length = |row: &[f32]| dot(row, row).sqrt();
        match self {
            Reference::Banks(banks) => {
                let by = |(factor, bank): &(Factor, Bank)| bank.distances(&queries.as_compared(*factor), neighbours);
                geometric_mean(banks.iter().map(by))
            }
            Reference::Gaussian(gaussian) => gaussian.apply(queries).rows().map(length).collect(),
            Reference::Gaussians(gaussians) => queries.rows().zip(gaussians).map(whitened_length).collect(),
        }
    }
}

/// That of the first values of all lists, of the second ones, and so on.
fn geometric_mean(mut lists: impl ExactSizeIterator<Item = Vec<f32>>) -> Vec<f32> {
    let count = lists.len();
    let mut products = lists.next().expect("a distance has a factor");
    for list in lists {
        products.iter_mut().zip(&list).for_each(|(product, value)| *product *= value);
    }
    match count {
        1 => {}
        2 => products.iter_mut().for_each(|product| *product = product.sqrt()),
        _ => products.iter_mut().for_each(|product| *product = product.powf(1.0 / count as f32)),
    }
    products
}

/// ‖W (q − μ)‖ for one row.
fn whitened_length((row, gaussian): (&[f32], &Projection)) -> f32 {
    let centred: Vec<f32> = row.iter().zip(&gaussian.mean).map(|(value, mean)| value - mean).collect();
    let whitened: Vec<f32> = gaussian.weight.chunks_exact(row.len()).map(|axis| dot(axis, &centred)).collect();
    euclidean(&whitened, &vec![0.0; whitened.len()])
}

/// The lower median, at least a little above 0; no number if one of the values is none.
pub fn median(values: &[f32]) -> f32 {
    if values.iter().any(|value| value.is_nan()) {
        return f32::NAN;
    }
    let mut values = values.to_vec();
    let middle = (values.len() - 1) / 2;
    values.select_nth_unstable_by(middle, f32::total_cmp).1.max(MIN_MEDIAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::teach::Options;

    #[test]
    fn the_product_is_the_geometric_mean_of_two_distances_each_to_its_own_row() {
        let plain = Options::for_model(&crate::inspect::card::Model::built_in()).recipe;
        let recipe = Recipe { distance: Distance::Product, normalise: false, ..plain };
        let distances = |recipe: &Recipe, metric: Metric| {
            // Two positions; two directions.
            let bank = Embeddings::new(2, vec![3.0, 0.0, 0.0, 9.0, 0.0, 1.0, 0.8, 0.6], false);
            let queries = Embeddings::new(2, vec![3.0, 4.0, 0.0, 5.0], false);
            Comparison::new(recipe, metric, bank, 2, 2).unwrap().distances(queries)
        };
        // (3, 4) is 4 from the first position, and of cosine 0.96 with the second direction; (0, 5) has the first.
        let expected = (4.0f32 * 0.04).sqrt();
        let found = distances(&recipe, Metric::default());
        assert!((found[0] - expected).abs() < 1e-4 && found[1] < 1e-3, "{found:?}");
        // Relative to what is usual there: (3, 4) is 1.6 times as far as usual from the second position.
        let local = Recipe { local: true, ..recipe };
        let spread = Some(vec![2.0, 34f32.sqrt() / 1.6, 0.1, 0.02]);
        let found = distances(&local, Metric { spread, ..Metric::default() });
        assert!((found[0] - (1.6f32 * 2.0).sqrt()).abs() < 1e-3, "{found:?}");
    }

    #[test]
    fn a_nested_product_measures_once_more_without_the_first_columns() {
        let plain = Options::for_model(&crate::inspect::card::Model::built_in()).recipe;
        let recipe = Recipe { distance: Distance::Product, normalise: false, nested: vec![1], ..plain };
        // A row each: of all columns and of the last two, by position and by direction.
        let bank = Embeddings::new(3, vec![0., 0., 0., 0., 3., 0., 1., 0., 0., 0., 0., 1.], false);
        let query = Embeddings::new(3, vec![12.0, 3.0, 4.0], false);
        let found = Comparison::new(&recipe, Metric::default(), bank, 3, 1).unwrap().distances(query)[0];
        // ‖(12, 3, 4)‖ = 13, ‖(3, 4) − (3, 0)‖ = 4, 1 − 12 / 13, 1 − 4 / 5.
        let expected = (13.0f32 * 4.0 * (1.0 / 13.0) * 0.2).powf(0.25);
        assert!((found - expected).abs() < 1e-5, "{found}, expected {expected}");
    }
}
