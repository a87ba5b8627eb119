//! The memory bank: embeddings of good parts, and the exact distance to the nearest of them.
//!
//! No approximate index: a recall error would be a defect that escapes. The bank is bounded in rows and bytes
//! instead, and no inner product is ever in memory: a tile of them is summed in registers ([`super::kernels::tile`]) and looked
//! at there; only rows that are nearer than those found before leave it.

use std::array::from_fn;

use pulp::{Arch, Simd, WithSimd};

use super::distance;
use super::embedding::{Embeddings, dot};
use super::kernels::PANEL;
use super::kernels::packed::Packed;
use super::kernels::tile::{Column, Sums, accumulate, columns, columns_mut};
use super::recipe::Distance;
use super::threads;

/// Queries that are compared with a tile of the bank while it is in a level-1 cache; they fit a level-2 cache.
const QUERY_BLOCK: usize = 256;

/// Embeddings of good parts with what the search needs of each.
pub struct Bank {
    rows: Embeddings,
    distance: Distance,
    /// What the distance to each row is divided by, (M,).
    spread: Option<Vec<f32>>,
    packed: Packed,
    /// What orders the rows for a query by `bias − 2⟨q, m⟩`: ‖m‖², or 0 for rows of equal length; the rows that fill the
    /// last panel are infinitely far away. With a spread it is `(‖q‖² + ‖m‖² − 2⟨q, m⟩) / t` that orders them: rows are
    /// packed as `(m, −½) / t`, and ‖q‖² stands behind each query.
    bias: Vec<f32>,
}

impl Bank {
    /// * `rows` — (M, D), M ≥ 1
    /// * `distance` — cosine or Euclidean
    /// * `spread` — (M,), above 0: what the distance to each row is divided by, before the nearest is looked for
    pub fn new(rows: Embeddings, distance: Distance, spread: Option<Vec<f32>>) -> Bank {
        // t: a cosine distance is half a squared one.
        let divisor = |row: usize| match (&spread, distance) {
            (None, _) => 1.0,
            (Some(spread), Distance::Cosine) => spread[row],
            (Some(spread), _) => spread[row] * spread[row],
        };
        let mut bias: Vec<f32> = match (distance, &spread) {
            (Distance::Cosine, None) => vec![0.0; rows.len()],
            _ => rows.rows().enumerate().map(|(number, row)| dot(row, row) / divisor(number)).collect(),
        };
        bias.resize(rows.len().next_multiple_of(PANEL), f32::INFINITY);
        let inner = rows.width() + usize::from(spread.is_some());
        let value = |row: usize, k: usize| rows.row(row).get(k).copied().unwrap_or(-0.5) / divisor(row);
        let packed = Packed::new(rows.len(), inner, value);
        Bank { rows, distance, spread, packed, bias }
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
    /// Returns (P,), in the same order; larger is more anomalous. Each distance is divided by the spread of its row, if the
    /// bank has spreads. The rows are found by the differences that `Bank::bias` tells of and their distances then taken by
    /// direct subtraction, because those cancel where q is close to m. Inside a pool ([`threads::together`]) its threads divide the queries
    /// among them.
    /// # Panics  If the bank is empty or D differs; both are checked with the profile.
    /// # Source  Roth et al. 2022, arXiv:2106.08265. Differs: cosine or Euclidean, a mean over k, and no re-weighting but
    /// by spreads.
    pub fn distances(&self, queries: &Embeddings, neighbours: usize) -> Vec<f32> {
        assert_eq!(queries.width(), self.rows.width(), "queries and bank differ in width");
        let neighbours = neighbours.clamp(1, self.rows.len());
        let mut distances = vec![0.0; queries.len()];
        self.divide(queries.data(), neighbours, &mut distances, threads::here());
        distances
    }

    /// The `neighbours` nearest rows of each query, nearest first: their numbers and distances.
    ///
    /// Returns (P, N), a query after the other, N = `neighbours` but at most M.
    pub fn nearest(&self, queries: &Embeddings, neighbours: usize) -> Vec<(usize, f32)> {
        let (width, neighbours) = (self.rows.width(), neighbours.clamp(1, self.rows.len()));
        let mut found = Vec::with_capacity(queries.len() * neighbours);
        let mut nearest = Nearest::new(neighbours, queries.len().min(QUERY_BLOCK));
        for queries in queries.data().chunks(QUERY_BLOCK * width) {
            self.search(queries, &mut nearest);
            for (query, rows) in queries.chunks(width).zip(nearest.rows()) {
                found.extend(rows.iter().map(|(_, row)| (*row, self.exact(query, *row))));
            }
        }
        found
    }

    fn divide(&self, queries: &[f32], neighbours: usize, distances: &mut [f32], threads: usize) {
        if threads == 1 || distances.len() < 2 {
            let width = self.rows.width();
            let mut nearest = Nearest::new(neighbours, distances.len().min(QUERY_BLOCK));
            for (queries, distances) in queries.chunks(QUERY_BLOCK * width).zip(distances.chunks_mut(QUERY_BLOCK)) {
                self.search(queries, &mut nearest);
                for ((distance, query), found) in distances.iter_mut().zip(queries.chunks(width)).zip(nearest.rows()) {
                    let sum: f32 = found.iter().map(|(_, row)| self.exact(query, *row)).sum();
                    *distance = sum / found.len() as f32;
                }
            }
            return;
        }
        let middle = distances.len() * (threads / 2) / threads;
        let (upper, lower) = distances.split_at_mut(middle);
        let (first, second) = queries.split_at(middle * self.rows.width());
        threads::join(
            || self.divide(first, neighbours, upper, threads / 2),
            || self.divide(second, neighbours, lower, threads - threads / 2),
        );
    }

    fn search(&self, queries: &[f32], nearest: &mut Nearest) {
        nearest.clear();
        let mut with_squares = Vec::new();
        let queries = match self.spread {
            None => queries,
            Some(_) => {
                for query in queries.chunks(self.rows.width()) {
                    with_squares.extend_from_slice(query);
                    with_squares.push(dot(query, query));
                }
                &with_squares
            }
        };
        Arch::new().dispatch(Search { bank: self, queries, nearest });
    }

    fn exact(&self, query: &[f32], row: usize) -> f32 {
        let distance = match self.distance {
            Distance::Cosine => distance::cosine(query, self.rows.row(row)),
            _ => distance::euclidean(query, self.rows.row(row)),
        };
        self.spread.as_ref().map_or(distance, |spread| distance / spread[row])
    }
}

/// The search of a block of queries.
struct Search<'a> {
    bank: &'a Bank,
    /// (queries, D), each with its square behind it if the bank has spreads
    queries: &'a [f32],
    nearest: &'a mut Nearest,
}

impl WithSimd for Search<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::F32_LANES {
            16 => self.panels::<S, 6, 4, 1>(simd),
            8 => self.panels::<S, 6, 1, 2>(simd),
            4 => self.panels::<S, 4, 1, 4>(simd),
            _ => self.panels::<S, 1, 1, PANEL>(simd),
        }
    }
}

impl Search<'_> {
    /// As many panels of the bank together as the machine's registers hold.
    #[inline(always)]
    fn panels<S: Simd, const QUERIES: usize, const PANELS: usize, const VECTORS: usize>(mut self, simd: S) {
        let panels = self.bank.packed.panels();
        let mut first = 0;
        while first + PANELS <= panels {
            self.queries::<S, QUERIES, PANELS, VECTORS>(simd, first);
            first += PANELS;
        }
        (first..panels).for_each(|panel| self.queries::<S, QUERIES, 1, VECTORS>(simd, panel));
    }

    #[inline(always)]
    fn queries<S: Simd, const QUERIES: usize, const PANELS: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
        first: usize,
    ) {
        let count = self.queries.len() / self.bank.packed.inner();
        let mut query = 0;
        while query + QUERIES <= count {
            self.tile::<S, QUERIES, PANELS, VECTORS>(simd, first, query);
            query += QUERIES;
        }
        (query..count).for_each(|query| self.tile::<S, 1, PANELS, VECTORS>(simd, first, query));
    }

    #[inline(always)]
    fn tile<S: Simd, const QUERIES: usize, const PANELS: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
        first: usize,
        query: usize,
    ) {
        let Bank { packed, bias, .. } = self.bank;
        let inner = packed.inner();
        let rows: [&[f32]; QUERIES] = from_fn(|m| &self.queries[(query + m) * inner..][..inner]);
        let panels = packed.columns::<S, PANELS, VECTORS>(first);
        let bias = &columns::<S, VECTORS>(bias)[first..first + PANELS];
        let mut sums: Sums<S, QUERIES, PANELS, VECTORS> = [[[simd.splat_f32s(0.0); VECTORS]; PANELS]; QUERIES];
        accumulate(simd, &mut sums, rows, panels, inner);
        let factor = simd.splat_f32s(-2.0);
        for (m, sums) in sums.iter().enumerate() {
            let limit = simd.splat_f32s(self.nearest.limit(query + m));
            for p in 0..PANELS {
                let keys: Column<S, VECTORS> = from_fn(|v| simd.mul_add_e_f32s(factor, sums[p][v], bias[p][v]));
                let least = keys[1..].iter().fold(keys[0], |least, key| simd.min_f32s(least, *key));
                if simd.first_true_m32s(simd.less_than_f32s(least, limit)) < S::F32_LANES {
                    let mut values = [0.0; PANEL];
                    columns_mut::<S, VECTORS>(&mut values)[0] = keys;
                    self.nearest.offer(query + m, &values, (first + p) * PANEL);
                }
            }
        }
    }
}

/// For each query of a block the k rows of the smallest keys seen so far, smallest first.
struct Nearest {
    neighbours: usize,
    found: Vec<(f32, usize)>,
}

impl Nearest {
    fn new(neighbours: usize, queries: usize) -> Nearest {
        Nearest { neighbours, found: vec![(f32::INFINITY, 0); neighbours * queries] }
    }

    fn clear(&mut self) {
        self.found.fill((f32::INFINITY, 0));
    }

    /// What a key must be smaller than.
    fn limit(&self, query: usize) -> f32 {
        self.found[(query + 1) * self.neighbours - 1].0
    }

    /// Offers the rows from `first_row` on, whose keys these are.
    fn offer(&mut self, query: usize, keys: &[f32; PANEL], first_row: usize) {
        let found = &mut self.found[query * self.neighbours..][..self.neighbours];
        for (row, &key) in (first_row..).zip(keys) {
            if key < found[found.len() - 1].0 {
                let place = found.partition_point(|(other, _)| *other <= key);
                found[place..].rotate_right(1);
                found[place] = (key, row);
            }
        }
    }

    fn rows(&self) -> impl Iterator<Item = &[(f32, usize)]> {
        self.found.chunks_exact(self.neighbours)
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
        let bank = Bank::new(Embeddings::new(2, vec![1.0, 0.0], true), Distance::Cosine, None);
        let queries = Embeddings::new(2, vec![1.0, 0.0, 0.0, 1.0, -1.0, 0.0], true);
        assert_eq!(bank.distances(&queries, 1), [0.0, 1.0, 2.0]);
    }

    #[test]
    fn several_neighbours_give_their_mean() {
        let bank = Bank::new(Embeddings::new(1, vec![0.0, 1.0, 5.0], false), Distance::Euclidean, None);
        assert_eq!(bank.distances(&Embeddings::new(1, vec![0.0], false), 2), [0.5]);
        assert_eq!(bank.distances(&Embeddings::new(1, vec![0.0], false), 9), [2.0]);
    }

    #[test]
    fn the_blocked_search_equals_the_plain_one_across_the_block_edges() {
        let (queries, rows) = (random(QUERY_BLOCK + 3, 19, 1), random(20 * PANEL + 5, 19, 2));
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        let spread: Vec<f32> = (0..rows.len()).map(|_| rng.random_range(0.1..2.0)).collect();
        for (distance, spread) in
            [Distance::Cosine, Distance::Euclidean].into_iter().flat_map(|d| [(d, None), (d, Some(spread.clone()))])
        {
            let (queries, rows) = match distance {
                Distance::Cosine => (queries.clone().normalise(), rows.clone().normalise()),
                _ => (queries.clone(), rows.clone()),
            };
            let bank = Bank::new(rows.clone(), distance, spread.clone());
            let (found, nearest) = (bank.distances(&queries, 3), bank.nearest(&queries, 3));
            for (number, query) in queries.rows().enumerate() {
                let of = |row: usize| bank.exact(query, row);
                let mut all: Vec<usize> = (0..rows.len()).collect();
                all.sort_by(|a, b| of(*a).total_cmp(&of(*b)));
                let expected = all[..3].iter().map(|row| of(*row)).sum::<f32>() / 3.0;
                let found = found[number];
                assert!((found - expected).abs() < 1e-5, "{distance:?} {}: {found}, {expected}", spread.is_some());
                let rows: Vec<usize> = nearest[3 * number..][..3].iter().map(|(row, _)| *row).collect();
                assert_eq!(rows, all[..3]);
            }
        }
    }

    #[test]
    fn a_row_that_good_patches_lie_far_from_counts_as_nearer() {
        let rows = Embeddings::new(1, vec![0.0, 10.0], false);
        let bank = Bank::new(rows, Distance::Euclidean, Some(vec![0.5, 3.0]));
        assert_eq!(bank.nearest(&Embeddings::new(1, vec![4.0], false), 1), [(1, 2.0)]);
        assert_eq!(bank.distances(&Embeddings::new(1, vec![1.0], false), 1), [2.0]);
    }

    #[test]
    fn a_query_that_is_in_the_bank_is_at_distance_zero_although_the_squares_cancel() {
        let rows = Embeddings::new(3, vec![1000.0, 2000.0, 3000.0], false);
        assert_eq!(Bank::new(rows.clone(), Distance::Euclidean, None).distances(&rows, 1), [0.0]);
    }
}
