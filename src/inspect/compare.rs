//! Embeddings -> distances: the learned metric and what the embeddings of a picture are compared with.
//!
//! Teaching chooses among comparisons by the same code that inspects, on taps that were computed once.

use super::InspectError;
use super::bank::Bank;
use super::distance::euclidean;
use super::embedding::{Embeddings, dot};
use super::metric::{Metric, Projection};
use super::recipe::{Distance, Recipe};

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
    Bank(Bank),
    /// One Gaussian, as the projection whose lengths are the distances.
    Gaussian(Projection),
    /// One Gaussian for each position of the grid.
    Gaussians(Vec<Projection>),
}

impl Comparison {
    /// * `bank` — (M, D); for a Gaussian its mean alone, for one per position the mean of each
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
            None => Reference::Bank(Bank::new(bank, recipe.distance)),
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
            Reference::Bank(bank) => bank.distances(queries, neighbours),
            Reference::Gaussian(gaussian) => gaussian.apply(queries).rows().map(length).collect(),
            Reference::Gaussians(gaussians) => queries.rows().zip(gaussians).map(whitened_length).collect(),
        }
    }
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
