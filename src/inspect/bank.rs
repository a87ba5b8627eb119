//! The memory bank: embeddings of good parts, and the exact distance to the nearest of them.
//!
//! No approximate index: a recall error would be a defect that escapes. The bank is bounded in rows and bytes
//! instead, and the search goes block by block, so that the matrix of all distances never exists.

use ndarray::{Array2, linalg::general_mat_mul, s};

use super::distance;
use super::embedding::{Embeddings, dot};
use super::recipe::Distance;

/// The sizes of the block of inner products that is held at a time: it fits a level-2 cache.
const QUERY_BLOCK: usize = 64;
const BANK_BLOCK: usize = 512;

/// Embeddings of good parts with what the search needs of each.
pub struct Bank {
    rows: Embeddings,
    distance: Distance,
    /// What orders the rows for a query by `bias − 2⟨q, m⟩`: ‖m‖², or 0 for rows of equal length.
    bias: Vec<f32>,
}

impl Bank {
    /// * `rows` — (M, D), M ≥ 1
    /// * `distance` — cosine or Euclidean
    pub fn new(rows: Embeddings, distance: Distance) -> Bank {
        let bias = match distance {
            Distance::Cosine => vec![0.0; rows.len()],
            _ => rows.rows().map(|row| dot(row, row)).collect(),
        };
        Bank { rows, distance, bias }
    }

    /// M, the number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Distance from each query to the bank: the mean over its `neighbours` nearest rows.
    ///
    /// * `queries` — (P, D) f32, row-major, of unit length for cosine
    /// * `neighbours` — at least 1; more than the bank has rows counts as all of them
    ///
    /// Returns (P,), in the same order; larger is more anomalous. The rows are found by ‖m‖² − 2⟨q, m⟩ and their
    /// distances then taken by direct subtraction, because that difference cancels where q is close to m.
    /// # Panics  If the bank is empty or D differs; both are checked with the profile.
    /// # Source  Roth et al. 2022, arXiv:2106.08265. Differs: cosine or Euclidean, a mean over k, no re-weighting.
    pub fn distances(&self, queries: &Embeddings, neighbours: usize) -> Vec<f32> {
        assert_eq!(queries.width(), self.rows.width(), "queries and bank differ in width");
        let neighbours = neighbours.clamp(1, self.rows.len());
        let (queries_view, rows_view) = (queries.view(), self.rows.view());
        let mut products = Array2::<f32>::zeros((QUERY_BLOCK, BANK_BLOCK));
        let mut distances = Vec::with_capacity(queries.len());
        let mut nearest = vec![Nearest::new(neighbours); QUERY_BLOCK];
        for first_query in (0..queries.len()).step_by(QUERY_BLOCK) {
            let query_block = queries_view.slice(s![first_query..queries.len().min(first_query + QUERY_BLOCK), ..]);
            nearest.iter_mut().for_each(Nearest::clear);
            for first_row in (0..self.rows.len()).step_by(BANK_BLOCK) {
                let row_block = rows_view.slice(s![first_row..self.rows.len().min(first_row + BANK_BLOCK), ..]);
                let mut block = products.slice_mut(s![..query_block.nrows(), ..row_block.nrows()]);
                general_mat_mul(-2.0, &query_block, &row_block.t(), 0.0, &mut block);
                let bias = &self.bias[first_row..first_row + row_block.nrows()];
                for (row, nearest) in block.rows().into_iter().zip(&mut nearest) {
                    let row = row.to_slice().expect("a row of the block is contiguous");
                    nearest.offer(row, bias, first_row);
                }
            }
            for (nearest, query) in nearest.iter().zip(queries.rows().skip(first_query).take(query_block.nrows())) {
                let sum: f32 = nearest.rows().map(|row| self.exact(query, self.rows.row(row))).sum();
                distances.push(sum / neighbours as f32);
            }
        }
        distances
    }

    fn exact(&self, query: &[f32], row: &[f32]) -> f32 {
        match self.distance {
            Distance::Cosine => distance::cosine(query, row),
            _ => distance::euclidean(query, row),
        }
    }
}

/// The k rows of the smallest keys seen so far, smallest first.
#[derive(Clone)]
struct Nearest {
    found: Vec<(f32, usize)>,
}

impl Nearest {
    fn new(neighbours: usize) -> Nearest {
        Nearest { found: vec![(f32::INFINITY, 0); neighbours] }
    }

    fn clear(&mut self) {
        self.found.fill((f32::INFINITY, 0));
    }

    /// Offers the rows from `first_row` on, whose keys are `products + bias`.
    fn offer(&mut self, products: &[f32], bias: &[f32], first_row: usize) {
        let last = self.found.len() - 1;
        let mut limit = self.found[last].0;
        for (i, (product, bias)) in products.iter().zip(bias).enumerate() {
            let key = product + bias;
            if key < limit {
                let place = self.found.partition_point(|(other, _)| *other <= key);
                self.found[place..].rotate_right(1);
                self.found[place] = (key, first_row + i);
                limit = self.found[last].0;
            }
        }
    }

    fn rows(&self) -> impl Iterator<Item = usize> {
        self.found.iter().map(|(_, row)| *row)
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn random(rows: usize, width: usize, seed: u64) -> Embeddings {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        Embeddings::new(width, (0..rows * width).map(|_| rng.random_range(-1.0..1.0)).collect(), false)
    }

    #[test]
    fn unit_vectors_at_right_angles_are_at_cosine_distance_one() {
        let bank = Bank::new(Embeddings::new(2, vec![1.0, 0.0], true), Distance::Cosine);
        let queries = Embeddings::new(2, vec![1.0, 0.0, 0.0, 1.0, -1.0, 0.0], true);
        assert_eq!(bank.distances(&queries, 1), [0.0, 1.0, 2.0]);
    }

    #[test]
    fn several_neighbours_give_their_mean() {
        let bank = Bank::new(Embeddings::new(1, vec![0.0, 1.0, 5.0], false), Distance::Euclidean);
        assert_eq!(bank.distances(&Embeddings::new(1, vec![0.0], false), 2), [0.5]);
        assert_eq!(bank.distances(&Embeddings::new(1, vec![0.0], false), 9), [2.0]);
    }

    #[test]
    fn the_blocked_search_equals_the_plain_one_across_the_block_edges() {
        let (queries, rows) = (random(QUERY_BLOCK + 3, 19, 1), random(2 * BANK_BLOCK + 5, 19, 2));
        for distance in [Distance::Cosine, Distance::Euclidean] {
            let (queries, rows) = match distance {
                Distance::Cosine => (queries.clone().normalise(), rows.clone().normalise()),
                _ => (queries.clone(), rows.clone()),
            };
            let bank = Bank::new(rows.clone(), distance);
            for (query, found) in queries.rows().zip(bank.distances(&queries, 3)) {
                let mut all: Vec<f32> = rows.rows().map(|row| bank.exact(query, row)).collect();
                all.sort_by(f32::total_cmp);
                let expected = all[..3].iter().sum::<f32>() / 3.0;
                assert!((found - expected).abs() < 1e-5, "{distance:?}: {found}, expected {expected}");
            }
        }
    }

    #[test]
    fn a_query_that_is_in_the_bank_is_at_distance_zero_although_the_squares_cancel() {
        let rows = Embeddings::new(3, vec![1000.0, 2000.0, 3000.0], false);
        assert_eq!(Bank::new(rows.clone(), Distance::Euclidean).distances(&rows, 1), [0.0]);
    }
}
