use std::collections::BTreeMap;

use rand::seq::index;
use rand_chacha::ChaCha8Rng;

use super::{Samples, TrainError};
use crate::evaluate::metrics::auroc;
use crate::inspect::embedding::Embeddings;

/// Held-out rows that a check looks at: so many good ones, and so many anomalous ones of all kinds together.
const HELD_OUT_ROWS: usize = 2000;

/// The held-out rows of each product.
#[derive(Debug)]
pub struct Judge {
    products: Vec<OfProduct>,
}

/// All rows or a sample: the good ones and those of each kind, each (n, C).
#[derive(Debug)]
struct OfProduct {
    product: u16,
    good: Embeddings,
    kinds: Vec<Embeddings>,
}

impl Judge {
    /// # Errors  [`TrainError::HeldOut`] if the good or the anomalous ones of a product are missing.
    pub fn new(held_out: &Samples, rng: &mut ChaCha8Rng) -> Result<Judge, TrainError> {
        let products = held_out.product_numbers();
        if products.is_empty() {
            return Err(TrainError::HeldOut { good: 0, anomalous: 0 });
        }
        let products =
            products.into_iter().map(|product| OfProduct::new(held_out, product, rng)).collect::<Result<_, _>>();
        Ok(Judge { products: products? })
    }

    /// The AUROC of good rows against the rows of one kind, a mean over the kinds and then over the products; none if a
    /// score is no number.
    /// * `scores` — gives the anomaly score of each row of a product
    pub fn auroc(&self, scores: impl Fn(u16, &Embeddings) -> Vec<f32>) -> Option<f64> {
        let all = self.products.iter().map(|of| of.auroc(|rows| scores(of.product, rows)));
        let sum: f64 = all.sum::<Option<f64>>()?;
        Some(sum / self.products.len() as f64)
    }
}

impl OfProduct {
    fn new(held_out: &Samples, product: u16, rng: &mut ChaCha8Rng) -> Result<OfProduct, TrainError> {
        let mut kinds: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (row, (label, kind)) in held_out.labels.iter().zip(held_out.kinds).enumerate() {
            if *label > 0 && held_out.products[row] == product {
                kinds.entry(*kind).or_default().push(row);
            }
        }
        let good = some(held_out.good(product).collect(), HELD_OUT_ROWS, rng);
        if good.is_empty() || kinds.is_empty() {
            let anomalous = kinds.values().map(Vec::len).sum();
            return Err(TrainError::HeldOut { good: good.len(), anomalous });
        }
        let each = HELD_OUT_ROWS.div_ceil(kinds.len());
        let kinds = kinds.into_values().map(|rows| held_out.embeddings.select(&some(rows, each, rng))).collect();
        Ok(OfProduct { product, good: held_out.embeddings.select(&good), kinds })
    }

    fn auroc(&self, scores: impl Fn(&Embeddings) -> Vec<f32>) -> Option<f64> {
        let finite = |scores: Vec<f32>| scores.iter().all(|score| score.is_finite()).then_some(scores);
        let good = finite(scores(&self.good))?;
        let of_kind = |rows: &Embeddings| finite(scores(rows)).map(|anomalous| auroc(&good, &anomalous));
        let sum: f64 = self.kinds.iter().map(of_kind).sum::<Option<f64>>()?;
        Some(sum / self.kinds.len() as f64)
    }
}

/// The rows of one class, in ascending order; a random `most` of them if there are more.
pub fn sample(labels: &[u32], class: u32, most: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    some((0..labels.len()).filter(|row| labels[*row] == class).collect(), most, rng)
}

/// All of `rows`, or a random `most` of them in their order if there are more.
pub fn some(rows: Vec<usize>, most: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    if rows.len() <= most {
        return rows;
    }
    let mut picked = index::sample(rng, rows.len(), most).into_vec();
    picked.sort_unstable();
    picked.into_iter().map(|i| rows[i]).collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn judge(values: Vec<f32>, labels: &[u32], kinds: &[u16]) -> Result<Judge, TrainError> {
        let embeddings = Embeddings::new(1, values, false);
        let samples = Samples { embeddings: &embeddings, labels, kinds, products: &vec![0; labels.len()] };
        Judge::new(&samples, &mut ChaCha8Rng::seed_from_u64(0))
    }

    #[test]
    fn kinds_count_alike_however_many_rows_they_have() {
        // Good at 1; kind 1 is above it three times, kind 2 below it once.
        let judge = judge(vec![1.0, 2.0, 3.0, 4.0, 0.0], &[0, 1, 1, 1, 2], &[0, 1, 1, 1, 2]).unwrap();
        assert_eq!(judge.auroc(|_, rows| rows.data().to_vec()), Some(0.5));
        assert_eq!(judge.auroc(|_, rows| vec![f32::NAN; rows.len()]), None);
    }

    #[test]
    fn each_product_is_judged_by_itself() {
        // Product 7 lies below product 4 altogether: in one heap its defect would lie below the other's good row.
        let embeddings = Embeddings::new(1, vec![10.0, 20.0, 1.0, 2.0], false);
        let samples =
            Samples { embeddings: &embeddings, labels: &[0, 1, 0, 1], kinds: &[0, 1, 0, 1], products: &[4, 4, 7, 7] };
        let judge = Judge::new(&samples, &mut ChaCha8Rng::seed_from_u64(0)).unwrap();
        assert_eq!(judge.auroc(|_, rows| rows.data().to_vec()), Some(1.0));
        // The bank of one of them is useless.
        let scores =
            |product, rows: &Embeddings| if product == 4 { vec![0.0; rows.len()] } else { rows.data().to_vec() };
        assert_eq!(judge.auroc(scores), Some(0.75));
    }

    #[test]
    fn a_judge_needs_good_and_anomalous_rows() {
        let error = judge(vec![1.0, 2.0], &[1, 2], &[1, 1]).unwrap_err().to_string();
        assert!(error.starts_with("the held-out samples are 0 good and 2 anomalous"), "{error}");
    }

    #[test]
    fn a_sample_keeps_to_its_class_and_size() {
        let labels = [0, 1, 0, 1, 0];
        assert_eq!(sample(&labels, 0, 3, &mut ChaCha8Rng::seed_from_u64(0)), [0, 2, 4]);
        assert_eq!(sample(&labels, 1, 1, &mut ChaCha8Rng::seed_from_u64(0)).len(), 1);
    }
}
