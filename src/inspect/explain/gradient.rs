//! How the score of a picture with one embedding changes with its pooled taps: a hand-written backward pass.
//!
//! The steps are those of [`crate::inspect::compare::Comparison`], taken from the score back: distance, unit length,
//! scaling, head, and beside them the normality head. Where a step has a kink its gradient there is 0.

use crate::inspect::distance::{cosine, euclidean};
use crate::inspect::embedding::{Embeddings, dot};
use crate::inspect::metric::{Head, Metric, Projection};
use crate::inspect::recipe::{Distance, Factor, Recipe, Scaling};

/// ∂ score / ∂ x for each channel x of the pooled taps, (C,): positive where more of a channel raises the score.
///
/// A picture has one embedding, so its score is that embedding's distance by either rule. If the recipe makes distances
/// relative, the score is always 1 and the gradient 0.
/// * `bank` — (M, D), for the product a block of rows for each factor; for a Gaussian its mean, (1, D)
/// * `pooled` — the global average of each channel of the concatenated taps, (C,)
///
/// # Panics  If the tensors do not fit one another; they are checked with the profile.
pub fn score_gradient(recipe: &Recipe, metric: &Metric, bank: &Embeddings, pooled: &[f32]) -> Vec<f32> {
    if recipe.relative {
        return vec![0.0; pooled.len()];
    }
    let raw = Embeddings::new(pooled.len(), pooled.to_vec(), false);
    let projected = metric.head.as_ref().map_or_else(|| raw.clone(), |head| head.apply(&raw));
    let scaled = metric.embed(&Recipe { normalise: false, ..recipe.clone() }, raw.clone());
    let embedding = metric.embed(recipe, raw);

    let mut gradient = of_distance(recipe, metric, bank, embedding.row(0));
    if recipe.normalise {
        gradient = through_unit_length(scaled.row(0), &gradient);
    }
    through_scaling(recipe.scaling, metric.deviation.as_deref(), projected.row(0), &mut gradient);
    if let Some(head) = &metric.head {
        gradient = through_head(head, pooled, &gradient);
    }
    if let Some(normality) = &metric.normality {
        let raw = Embeddings::new(pooled.len(), pooled.to_vec(), false);
        if normality.head.apply(&raw).row(0)[0] > 0.0 {
            let learned = through_head(&normality.head, pooled, &[normality.weight]);
            gradient.iter_mut().zip(learned).for_each(|(sum, learned)| *sum += learned);
        }
    }
    gradient
}

/// The gradient of the distance for the embedding q.
///
/// Cosine: −m, through the unit length of q. Euclidean: (q − m) / ‖q − m‖. Each as the mean over the nearest rows m.
/// Product of n, d = (Π dᵢ)^(1 / n): d / n · Σ ∇dᵢ / dᵢ. Mahalanobis: Wᵀ W (q − μ) / ‖W (q − μ)‖ with the whitening W.
fn of_distance(recipe: &Recipe, metric: &Metric, bank: &Embeddings, query: &[f32]) -> Vec<f32> {
    if let Some(whitening) = &metric.whitening {
        let centred = difference(query, bank.row(0));
        let whitened: Vec<f32> = whitening.chunks_exact(query.len()).map(|axis| dot(axis, &centred)).collect();
        return transposed(whitening, query.len(), &unit(whitened));
    }
    let factors = recipe.factors();
    let count = factors.len();
    let of_factor = |(number, factor): (usize, &Factor)| {
        let (block, spread) = (bank.block(number, count), metric.spread_of(number, count));
        to_nearest(*factor, recipe.neighbours, &block, spread, query)
    };
    let mut each: Vec<(f32, Vec<f32>)> = factors.iter().enumerate().map(of_factor).collect();
    if each.len() == 1 {
        return each.remove(0).1;
    }
    let share = 1.0 / each.len() as f32;
    let length = each.iter().map(|(distance, _)| distance).product::<f32>().powf(share);
    let mut gradient = vec![0.0; query.len()];
    // At 0 the product has a kink.
    if length > 0.0 {
        for (distance, of_factor) in each {
            let weight = share * length / distance;
            gradient.iter_mut().zip(of_factor).for_each(|(sum, value)| *sum += weight * value);
        }
    }
    gradient
}

/// The mean distance to the nearest rows, each divided by its spread, and its gradient for the whole embedding.
fn to_nearest(
    factor: Factor,
    neighbours: usize,
    bank: &Embeddings,
    spread: Option<&[f32]>,
    embedding: &[f32],
) -> (f32, Vec<f32>) {
    let (bank, columns) = (bank.as_compared(factor), &embedding[factor.from..]);
    let query = match factor.distance {
        Distance::Cosine => unit(columns.to_vec()),
        _ => columns.to_vec(),
    };
    let query = query.as_slice();
    let divisor = |row: usize| spread.map_or(1.0, |spread| spread[row]);
    let to = |row: &[f32]| match factor.distance {
        Distance::Cosine => cosine(query, row),
        _ => euclidean(query, row),
    };
    let mut rows: Vec<(f32, usize)> = bank.rows().enumerate().map(|(at, row)| (to(row) / divisor(at), at)).collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    rows.truncate(neighbours.max(1));
    let share = 1.0 / rows.len() as f32;
    let (mut sum, mut gradient) = (0.0, vec![0.0; query.len()]);
    for (length, at) in rows {
        let row = bank.row(at);
        let direction = match factor.distance {
            Distance::Cosine => row.iter().map(|value| -value).collect(),
            _ => unit(difference(query, row)),
        };
        sum += share * length;
        gradient.iter_mut().zip(direction).for_each(|(sum, value)| *sum += share * value / divisor(at));
    }
    if factor.distance == Distance::Cosine {
        gradient = through_unit_length(columns, &gradient);
    }
    (sum, [vec![0.0; factor.from], gradient].concat())
}

/// Through u = v / ‖v‖: (g − ⟨g, u⟩ u) / ‖v‖, and 0 for a v of zeros, which has no direction.
fn through_unit_length(values: &[f32], gradient: &[f32]) -> Vec<f32> {
    let length = dot(values, values).sqrt();
    if length == 0.0 {
        return vec![0.0; values.len()];
    }
    let along = dot(gradient, values) / length;
    gradient.iter().zip(values).map(|(gradient, value)| (gradient - along * value / length) / length).collect()
}

/// Through the scaling of each channel v: divided by its deviation, or by 2 √|v| for signed roots.
fn through_scaling(scaling: Scaling, deviation: Option<&[f32]>, values: &[f32], gradient: &mut [f32]) {
    match scaling {
        Scaling::None => {}
        Scaling::Std => {
            let deviation = deviation.expect("checked with the profile");
            gradient.iter_mut().zip(deviation).for_each(|(gradient, deviation)| *gradient /= deviation);
        }
        Scaling::SignedSqrt => {
            let slope = |value: f32| if value == 0.0 { 0.0 } else { 0.5 / value.abs().sqrt() };
            gradient.iter_mut().zip(values).for_each(|(gradient, value)| *gradient *= slope(*value));
        }
    }
}

/// Wᵀ g for a linear head; Wᵀ (a ⊙ Vᵀ g) for an MLP, where a is 1 for the hidden units that are active and 0 for others.
fn through_head(head: &Head, inputs: &[f32], gradient: &[f32]) -> Vec<f32> {
    let back = |projection: &Projection, gradient: &[f32]| transposed(&projection.weight, inputs.len(), gradient);
    match head {
        Head::Linear(projection) => back(projection, gradient),
        Head::Mlp { hidden, weight, .. } => {
            let active = hidden.apply(&Embeddings::new(inputs.len(), inputs.to_vec(), false));
            let mut through = transposed(weight, hidden.width(), gradient);
            through.iter_mut().zip(active.row(0)).filter(|(_, active)| **active <= 0.0).for_each(|(g, _)| *g = 0.0);
            back(hidden, &through)
        }
    }
}

/// Wᵀ g.
/// * `weight` — W, row by row, each of `columns` values
fn transposed(weight: &[f32], columns: usize, gradient: &[f32]) -> Vec<f32> {
    let mut sums = vec![0.0; columns];
    for (row, gradient) in weight.chunks_exact(columns).zip(gradient) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += gradient * value);
    }
    sums
}

fn difference(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// Divided by its length; zeros stay.
fn unit(values: Vec<f32>) -> Vec<f32> {
    Embeddings::new(values.len(), values, false).normalise().data().to_vec()
}

#[cfg(test)]
mod tests;
