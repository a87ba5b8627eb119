//! Which embeddings of the good parts stay in the bank: greedy k-center.

use std::array::from_fn;
use std::collections::BinaryHeap;

use pulp::{Arch, Simd, WithSimd};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::inspect::embedding::Embeddings;
use crate::inspect::kernels::PANEL;
use crate::inspect::kernels::packed::Packed;
use crate::inspect::kernels::tile::{Column, columns, columns_mut};
use crate::inspect::metric::Projection;

/// The width of the random projection in which rows are compared while they are chosen.
const SKETCH_WIDTH: usize = 64;
/// Rows that are brought up to date together, in whole panels; with their sketches they fit a level-2 cache.
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
    let packed = Packed::new(sketches.len(), sketches.width(), |row, k| sketches.row(row)[k]);
    let mut chosen = Vec::with_capacity(count);
    let mut centers = kept.map(sketch).unwrap_or_else(|| {
        chosen.push(rng.random_range(0..rows.len()));
        sketches.select(&chosen)
    });
    // What fills up the last panel is never far.
    let mut nearest = vec![f32::INFINITY; rows.len()];
    nearest.resize(packed.panels() * PANEL, f32::NEG_INFINITY);
    let block = |start| Block { bound: f32::INFINITY, start, seen: 0 };
    let mut heap: BinaryHeap<Block> = (0..rows.len()).step_by(BLOCK).map(block).collect();
    while chosen.len() < count {
        let mut block = heap.pop().expect("there is at least one row");
        let nearest = &mut nearest[block.start..(packed.panels() * PANEL).min(block.start + BLOCK)];
        block.update(&packed, &centers, nearest);
        let leads = heap.peek().is_none_or(|next| block.bound >= next.bound);
        if leads {
            if block.bound.is_nan() || block.bound <= 0.0 {
                break;
            }
            let place = nearest.iter().position(|distance| *distance == block.bound);
            let farthest = block.start + place.expect("the bound is one of them");
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
    /// Takes in the centers that are new to this block.
    /// * `nearest` — of its rows the squared distance to the nearest center, in whole panels
    fn update(&mut self, rows: &Packed, centers: &Embeddings, nearest: &mut [f32]) {
        let rows = &rows.data()[self.start * rows.inner()..][..nearest.len() * rows.inner()];
        let new = &centers.data()[self.seen * centers.width()..];
        self.bound = Arch::new().dispatch(Update { rows, centers: new, width: centers.width(), nearest });
        self.seen = centers.len();
    }
}

/// Lowers the squared distance of each row to its nearest center by new centers; gives the largest of them.
struct Update<'a> {
    /// In panels.
    rows: &'a [f32],
    /// Row by row.
    centers: &'a [f32],
    width: usize,
    nearest: &'a mut [f32],
}

impl WithSimd for Update<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        match S::F32_LANES {
            16 => self.panels::<S, 8, 1>(simd),
            8 => self.panels::<S, 4, 2>(simd),
            4 => self.panels::<S, 4, 4>(simd),
            _ => self.panels::<S, 1, PANEL>(simd),
        }
    }
}

impl Update<'_> {
    /// A panel of rows after another, with several centers at once.
    #[inline(always)]
    fn panels<S: Simd, const CENTERS: usize, const VECTORS: usize>(self, simd: S) -> f32 {
        let Update { rows, centers, width, nearest } = self;
        let together = centers.chunks_exact(CENTERS * width);
        let rest = together.remainder();
        let mut largest = simd.splat_f32s(f32::NEG_INFINITY);
        let panels = columns::<S, VECTORS>(rows).chunks_exact(width);
        for (rows, nearest) in panels.zip(columns_mut::<S, VECTORS>(nearest)) {
            for centers in together.clone() {
                lower::<S, CENTERS, VECTORS>(simd, rows, from_fn(|c| &centers[c * width..][..width]), nearest);
            }
            rest.chunks_exact(width).for_each(|center| lower::<S, 1, VECTORS>(simd, rows, [center], nearest));
            nearest.iter().for_each(|nearest| largest = simd.max_f32s(*nearest, largest));
        }
        simd.reduce_max_f32s(largest)
    }
}

/// nearest = min(nearest, ‖row − center‖²) for the rows of a panel.
#[inline(always)]
fn lower<S: Simd, const CENTERS: usize, const VECTORS: usize>(
    simd: S,
    rows: &[Column<S, VECTORS>],
    centers: [&[f32]; CENTERS],
    nearest: &mut Column<S, VECTORS>,
) {
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; CENTERS];
    for (k, row) in rows.iter().enumerate() {
        for c in 0..CENTERS {
            let center = simd.splat_f32s(centers[c][k]);
            for v in 0..VECTORS {
                let difference = simd.sub_f32s(row[v], center);
                sums[c][v] = simd.mul_add_e_f32s(difference, difference, sums[c][v]);
            }
        }
    }
    for sums in &sums {
        for v in 0..VECTORS {
            nearest[v] = simd.min_f32s(sums[v], nearest[v]);
        }
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
    use crate::inspect::embedding::squared_distance;

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
