//! Which embeddings of the good parts stay in the bank: greedy k-center.

use std::collections::BinaryHeap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::inspect::embedding::{Embeddings, squared_distance};
use crate::inspect::metric::Projection;

/// The width of the random projection in which rows are compared while they are chosen.
const SKETCH_WIDTH: usize = 64;
/// Rows that are brought up to date together; with their sketches they fit a level-2 cache.
const BLOCK: usize = 512;

/// The indices of `count` rows that cover all rows: each next one is the farthest from those already chosen.
///
/// * `rows` — (N, D), N ≥ 1
/// * `kept` — rows that are in the bank already; the new ones are chosen far from these too
/// * `count` — how many to choose, at least 1; at most N are
///
/// Distances are Euclidean between seeded Gaussian projections to 64 dimensions where D is larger. For unit rows the
/// order by Euclidean distance is the order by cosine. Returns the indices in the order of choice; a row that is a
/// copy of a chosen one is never chosen.
/// # Source  Sener and Savarese 2018, arXiv:1708.00489; Roth et al. 2022, arXiv:2106.08265. Differs: lazy, with the
/// same result: a block of rows is brought up to date only when its old largest distance, an upper bound, leads.
pub fn k_center(
    rows: &Embeddings,
    kept: Option<&Embeddings>,
    count: usize,
    seed: u64,
    step: impl Fn(usize),
) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let projection = projection(rows.width(), &mut rng);
    let sketch = |rows: &Embeddings| projection.as_ref().map_or_else(|| rows.clone(), |by| by.apply(rows));
    let sketches = sketch(rows);
    let mut chosen = Vec::with_capacity(count);
    let mut centers = kept.map(sketch).unwrap_or_else(|| {
        chosen.push(rng.random_range(0..rows.len()));
        sketches.select(&chosen)
    });
    let mut nearest = vec![f32::INFINITY; rows.len()];
    let block = |start| Block { bound: f32::INFINITY, start, seen: 0 };
    let mut heap: BinaryHeap<Block> = (0..rows.len()).step_by(BLOCK).map(block).collect();
    while chosen.len() < count {
        let mut block = heap.pop().expect("there is at least one row");
        let end = (block.start + BLOCK).min(rows.len());
        let farthest = block.update(&sketches, &centers, &mut nearest[block.start..end]);
        let leads = heap.peek().is_none_or(|next| block.bound >= next.bound);
        if leads {
            if block.bound <= 0.0 {
                break;
            }
            chosen.push(farthest);
            centers.extend(&sketches.select(&[farthest]));
            step(chosen.len());
        }
        heap.push(block);
    }
    chosen
}

/// A run of rows with an upper bound of their distances to the centers: what it was after the first `seen` of them.
struct Block {
    bound: f32,
    start: usize,
    seen: usize,
}

impl Block {
    /// Takes in the centers that are new to this block; returns the row that is then the farthest.
    fn update(&mut self, sketches: &Embeddings, centers: &Embeddings, nearest: &mut [f32]) -> usize {
        let mut farthest = (0, f32::NEG_INFINITY);
        for (i, nearest) in nearest.iter_mut().enumerate() {
            let row = sketches.row(self.start + i);
            for center in self.seen..centers.len() {
                *nearest = nearest.min(squared_distance(row, centers.row(center)));
            }
            if *nearest > farthest.1 {
                farthest = (i, *nearest);
            }
        }
        self.bound = farthest.1;
        self.seen = centers.len();
        self.start + farthest.0
    }
}

impl Ord for Block {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bound.total_cmp(&other.bound).then(other.start.cmp(&self.start))
    }
}

impl PartialOrd for Block {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Block {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Block {}

/// A Gaussian projection to `SKETCH_WIDTH` dimensions, or none where the rows are not wider.
fn projection(width: usize, rng: &mut ChaCha8Rng) -> Option<Projection> {
    (width > SKETCH_WIDTH).then(|| Projection {
        mean: vec![0.0; width],
        weight: (0..SKETCH_WIDTH * width).map(|_| rng.sample(StandardNormal)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: &[f32]) -> Embeddings {
        Embeddings::new(1, values.to_vec(), false)
    }

    fn random(rows: usize, width: usize) -> Embeddings {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        Embeddings::new(width, (0..rows * width).map(|_| rng.random_range(-1.0..1.0)).collect(), false)
    }

    #[test]
    fn each_choice_is_the_farthest_from_those_before() {
        let chosen = k_center(&points(&[0.0, 1.0, 10.0, 4.0]), Some(&points(&[0.0])), 3, 0, |_| ());
        assert_eq!(chosen, [2, 3, 1]);
    }

    #[test]
    fn copies_of_a_chosen_row_are_not_chosen() {
        assert_eq!(k_center(&points(&[2.0; 5]), None, 3, 0, |_| ()).len(), 1);
    }

    #[test]
    fn the_lazy_choice_equals_the_plain_one_over_many_blocks() {
        let rows = random(4 * BLOCK + 77, 9);
        let chosen = k_center(&rows, None, 150, 3, |_| ());
        let mut nearest = vec![f32::INFINITY; rows.len()];
        for pair in chosen.windows(2) {
            for (i, nearest) in nearest.iter_mut().enumerate() {
                *nearest = nearest.min(squared_distance(rows.row(i), rows.row(pair[0])));
            }
            let farthest = nearest.iter().copied().fold(0.0, f32::max);
            assert_eq!(nearest[pair[1]], farthest);
        }
    }

    #[test]
    fn a_seed_gives_one_coreset() {
        let rows = random(1500, 80);
        assert_eq!(k_center(&rows, None, 40, 7, |_| ()), k_center(&rows, None, 40, 7, |_| ()));
        assert_ne!(k_center(&rows, None, 40, 7, |_| ()), k_center(&rows, None, 40, 8, |_| ()));
    }
}
