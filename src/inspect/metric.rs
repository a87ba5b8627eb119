//! The learned part of the metric: what teaching leaves behind beside the bank, and how it turns the concatenated taps
//! into the embeddings that are compared.
//!
//! The order is fixed: head, scaling, unit length. Each step is the identity unless the recipe names another.

use ndarray::{Array2, ArrayView1, ArrayView2, Axis, linalg::general_mat_mul};

use super::embedding::Embeddings;
use super::recipe::{HeadKind, Recipe, Scaling};

/// Rows that are projected together.
const BLOCK: usize = 256;

/// The tensors of a recipe's learned steps; each is there exactly if its step is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metric {
    pub head: Option<Head>,
    /// The standard deviation of each channel over the good parts, (D,), for `Scaling::Std`.
    pub deviation: Option<Vec<f32>>,
    /// For the Mahalanobis distances the inverse Cholesky factor of the shrunk covariance, (D, D) row by row; for each
    /// position of the grid one, (P, D, D), if the Gaussian is per position.
    pub whitening: Option<Vec<f32>>,
    /// How far good patches usually lie from each bank row, (M,), above 0, for `Recipe::local`.
    pub spread: Option<Vec<f32>>,
    /// A learned score of each patch that is added to its distance.
    pub normality: Option<Normality>,
}

/// A learned projection of the concatenated taps.
#[derive(Clone, Debug, PartialEq)]
pub enum Head {
    /// y = W (x − mean).
    Linear(Projection),
    /// y = V max(0, W (x − mean)) + bias: one hidden layer of H.
    Mlp { hidden: Projection, weight: Vec<f32>, bias: Vec<f32> },
}

/// A linear projection of embeddings: y = W (x − mean).
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    /// (C,)
    pub mean: Vec<f32>,
    /// (D, C), row by row.
    pub weight: Vec<f32>,
}

/// How a learned score joins the distance of a patch: distance + `weight` · max(0, logit of the head).
#[derive(Clone, Debug, PartialEq)]
pub struct Normality {
    /// From the concatenated taps to one number, larger for anomalous patches.
    pub head: Head,
    /// In units of the distance.
    pub weight: f32,
}

impl Head {
    /// What a recipe calls it.
    pub fn kind(&self) -> HeadKind {
        match self {
            Head::Linear(_) => HeadKind::Linear,
            Head::Mlp { .. } => HeadKind::Mlp,
        }
    }

    /// The width of what goes in.
    pub fn inputs(&self) -> usize {
        self.first().mean.len()
    }

    /// The width of what comes out.
    pub fn width(&self) -> usize {
        match self {
            Head::Linear(projection) => projection.width(),
            Head::Mlp { bias, .. } => bias.len(),
        }
    }

    /// The projection that is applied first.
    pub fn first(&self) -> &Projection {
        match self {
            Head::Linear(projection) | Head::Mlp { hidden: projection, .. } => projection,
        }
    }

    /// The projected rows, (N, D), not normalised.
    pub fn apply(&self, rows: &Embeddings) -> Embeddings {
        match self {
            Head::Linear(projection) => projection.apply(rows),
            Head::Mlp { hidden, weight, bias } => {
                let mut active = hidden.apply(rows);
                active.values_mut().iter_mut().for_each(|value| *value = value.max(0.0));
                let weight = ArrayView2::from_shape((bias.len(), hidden.width()), weight).expect("checked");
                let mut projected = Array2::zeros((rows.len(), bias.len()));
                general_mat_mul(1.0, &active.view(), &weight.t(), 0.0, &mut projected);
                projected += &ArrayView1::from(bias);
                Embeddings::new(bias.len(), projected.into_raw_vec_and_offset().0, false)
            }
        }
    }
}

impl Projection {
    /// D, the width of what comes out.
    pub fn width(&self) -> usize {
        self.weight.len() / self.mean.len()
    }

    /// W (x − mean) for each row x; (N, D), not normalised.
    pub fn apply(&self, rows: &Embeddings) -> Embeddings {
        let (width, inputs) = (self.width(), rows.width());
        let weight = ArrayView2::from_shape((width, inputs), &self.weight).expect("checked with the profile");
        let mut projected = Array2::zeros((rows.len(), width));
        // Centred block by block: a copy of all rows would double what teaching needs.
        for (rows, mut projected) in
            rows.view().axis_chunks_iter(Axis(0), BLOCK).zip(projected.axis_chunks_iter_mut(Axis(0), BLOCK))
        {
            let centred = &rows - &ArrayView1::from(&self.mean);
            general_mat_mul(1.0, &centred, &weight.t(), 0.0, &mut projected);
        }
        Embeddings::new(width, projected.into_raw_vec_and_offset().0, false)
    }
}

impl Metric {
    /// The concatenated taps as they are compared: head, scaling, unit length, as far as the recipe names them.
    /// * `raw` — (P, C), as [`super::embedding::concatenate`] gives it
    pub fn embed(&self, recipe: &Recipe, raw: Embeddings) -> Embeddings {
        let projected = match &self.head {
            Some(head) => head.apply(&raw),
            None => raw,
        };
        let scaled = scale(projected, recipe.scaling, self.deviation.as_deref());
        if recipe.normalise { scaled.normalise() } else { scaled }
    }

    /// The spread of the rows of block `number` of `count` of the bank: [`Embeddings::block`].
    pub fn spread_of(&self, number: usize, count: usize) -> Option<&[f32]> {
        let spread = self.spread.as_ref()?;
        let rows = spread.len() / count;
        Some(&spread[number * rows..][..rows])
    }

    /// The width of the embeddings.
    /// * `channels` — of the concatenated taps
    pub fn width(&self, channels: usize) -> usize {
        self.head.as_ref().map_or(channels, Head::width)
    }
}

/// Every value divided by its channel's standard deviation, or replaced by sign(v) · √|v|.
fn scale(mut rows: Embeddings, scaling: Scaling, deviation: Option<&[f32]>) -> Embeddings {
    match (scaling, deviation) {
        (Scaling::None, _) => {}
        (Scaling::Std, deviation) => {
            let deviation = deviation.expect("checked with the profile");
            for row in rows.values_mut().chunks_exact_mut(deviation.len()) {
                row.iter_mut().zip(deviation).for_each(|(value, deviation)| *value /= deviation);
            }
        }
        (Scaling::SignedSqrt, _) => {
            rows.values_mut().iter_mut().for_each(|value| *value = value.abs().sqrt().copysign(*value));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn projection() -> Projection {
        Projection { mean: vec![1.0, 0.0], weight: vec![1.0, 0.0, -1.0, 0.0, 0.0, 2.0] }
    }

    #[test]
    fn a_linear_head_centres_and_projects() {
        let head = Head::Linear(projection());
        assert_eq!((head.inputs(), head.width()), (2, 3));
        assert_eq!(head.apply(&Embeddings::new(2, vec![3.0, 5.0], false)).row(0), [2.0, -2.0, 10.0]);
    }

    #[test]
    fn an_mlp_forgets_what_is_negative_in_its_hidden_layer() {
        let head = Head::Mlp { hidden: projection(), weight: vec![1.0, 1.0, 0.1], bias: vec![0.5] };
        assert_eq!((head.inputs(), head.width()), (2, 1));
        assert_eq!(head.apply(&Embeddings::new(2, vec![3.0, 5.0], false)).row(0), [3.5]);
    }

    #[test]
    fn scaling_divides_by_the_deviation_or_takes_signed_roots() {
        let rows = || Embeddings::new(2, vec![4.0, -9.0], false);
        assert_eq!(scale(rows(), Scaling::Std, Some(&[2.0, 3.0])).row(0), [2.0, -3.0]);
        assert_eq!(scale(rows(), Scaling::SignedSqrt, None).row(0), [2.0, -3.0]);
    }
}
