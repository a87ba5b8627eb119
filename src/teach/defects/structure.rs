//! Where a picture has structure: its object and its edges.

use std::cell::OnceCell;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::geometry::Point;
use super::line::ORIGINAL_SIDE;
use super::region::Region;

/// A difference between neighbours, summed over the channels, is structure above so many levels.
pub(super) const BLOB_LEVELS: f32 = 20.0;
/// So large a share of the differences, the largest, are edges.
const EDGES: f32 = 0.1;

/// A region made so small that its shorter side is 224 to 447 pixels, and smoothed: the size that the thresholds of the
/// originals are made for. A smaller region keeps its size.
pub(super) struct Structure {
    /// Pixels of the region for each pixel here.
    factor: usize,
    width: usize,
    height: usize,
    smooth: Vec<[f32; 3]>,
    on_object: OnceCell<Vec<usize>>,
    on_edges: OnceCell<Vec<usize>>,
}

impl Structure {
    pub fn of(region: &Region) -> Structure {
        let factor = ((region.side() / ORIGINAL_SIDE) as usize).max(1);
        let (width, height) = (region.width() / factor, region.height() / factor);
        let small = reduced(region, factor, width, height);
        let smooth = smoothed(&small, width, height);
        Structure { factor, width, height, smooth, on_object: OnceCell::new(), on_edges: OnceCell::new() }
    }

    /// A place between the highest and the lowest structure of a column; anywhere if there is none.
    ///
    /// The column is that of a random pixel which differs from the one below it, after smoothing, by more than
    /// [`BLOB_LEVELS`].
    pub fn place_on_object(&self, region: &Region, rng: &mut ChaCha8Rng) -> Point {
        let hits = self.on_object.get_or_init(|| self.hits(BLOB_LEVELS, |at| self.difference(at, at + self.width)));
        if hits.is_empty() {
            return region.place(1.0, rng);
        }
        let column = hits[rng.random_range(0..hits.len())] % self.width;
        let rows: Vec<usize> = hits.iter().filter(|at| *at % self.width == column).map(|at| at / self.width).collect();
        let row = rng.random_range(rows[0]..=rows[rows.len() - 1]);
        self.inside(region, column, row, rng)
    }

    /// A random one of the tenth of the places where neighbours differ most, if that is more than [`BLOB_LEVELS`];
    /// anywhere if there is none.
    pub fn place_on_edge(&self, region: &Region, rng: &mut ChaCha8Rng) -> Point {
        let hits = self.on_edges.get_or_init(|| self.edges());
        if hits.is_empty() {
            return region.place(1.0, rng);
        }
        let hit = hits[rng.random_range(0..hits.len())];
        self.inside(region, hit % self.width, hit / self.width, rng)
    }

    fn edges(&self) -> Vec<usize> {
        let steepness = |at: usize| self.difference(at, at + self.width).max(self.difference(at, at + 1));
        let mut all: Vec<f32> = self.inner().map(steepness).collect();
        let first = ((1.0 - EDGES) * (all.len() - 1) as f32) as usize;
        let (_, least, _) = all.select_nth_unstable_by(first, f32::total_cmp);
        self.hits(least.max(BLOB_LEVELS), steepness)
    }

    /// The pixels, in rising order, where `measure` is above `least`.
    fn hits(&self, least: f32, measure: impl Fn(usize) -> f32) -> Vec<usize> {
        self.inner().filter(|at| measure(*at) > least).collect()
    }

    /// All pixels with a neighbour to the right and one below.
    fn inner(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.height - 1).flat_map(move |y| (0..self.width - 1).map(move |x| y * self.width + x))
    }

    /// Sum over the channels of the absolute difference.
    fn difference(&self, a: usize, b: usize) -> f32 {
        let (a, b) = (self.smooth[a], self.smooth[b]);
        (a[0] - b[0]).abs() + (a[1] - b[1]).abs() + (a[2] - b[2]).abs()
    }

    /// A random point of the region that belongs to a pixel here.
    fn inside(&self, region: &Region, column: usize, row: usize, rng: &mut ChaCha8Rng) -> Point {
        let place = [column, row].map(|at| (at as f32 + rng.random_range(0.0..1.0)) * self.factor as f32);
        region.inward(place, 1.0)
    }
}

/// Means over squares of `factor` × `factor` pixels.
fn reduced(region: &Region, factor: usize, width: usize, height: usize) -> Vec<[f32; 3]> {
    let rgb = region.frame.rgb();
    let share = 1.0 / (factor * factor) as f32;
    let mut small = Vec::with_capacity(width * height);
    let mut sums = vec![[0u32; 3]; width];
    for y in 0..height {
        sums.fill([0; 3]);
        for row in y * factor..(y + 1) * factor {
            let start = region.at(0, row);
            let bytes = &rgb[start..start + 3 * width * factor];
            for (sum, square) in sums.iter_mut().zip(bytes.chunks_exact(3 * factor)) {
                for pixel in square.chunks_exact(3) {
                    *sum = [sum[0] + u32::from(pixel[0]), sum[1] + u32::from(pixel[1]), sum[2] + u32::from(pixel[2])];
                }
            }
        }
        small.extend(sums.iter().map(|sum| sum.map(|sum| sum as f32 * share)));
    }
    small
}

/// Weights 1 for the eight neighbours and 5 for the pixel itself, as the filter SMOOTH of the originals; at the border
/// the nearest pixel holds.
fn smoothed(picture: &[[f32; 3]], width: usize, height: usize) -> Vec<[f32; 3]> {
    let plus = |a: [f32; 3], b: [f32; 3]| [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
    let row = |y: usize| &picture[y * width..(y + 1) * width];
    let mut smooth = Vec::with_capacity(picture.len());
    let mut columns = vec![[0.0; 3]; width + 2];
    for y in 0..height {
        let (above, here, below) = (row(y.saturating_sub(1)), row(y), row((y + 1).min(height - 1)));
        for ((column, above), (here, below)) in columns[1..].iter_mut().zip(above).zip(here.iter().zip(below)) {
            *column = plus(plus(*above, *here), *below);
        }
        (columns[0], columns[width + 1]) = (columns[1], columns[width]);
        smooth.extend(columns.windows(3).zip(here).map(|(around, middle)| {
            let nine = plus(plus(around[0], around[1]), around[2]);
            plus(nine, middle.map(|level| 4.0 * level)).map(|sum| sum / 13.0)
        }));
    }
    smooth
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::clock::Timestamp;
    use crate::frame::Frame;

    /// A dark square from 20 to 39 on a light ground of 64 × 64 pixels.
    fn square() -> Frame {
        let dark = |i: usize| (20..40).contains(&(i % 64)) && (20..40).contains(&(i / 64));
        let rgb: Vec<u8> = (0..64 * 64).flat_map(|i| [if dark(i) { 40 } else { 200 }; 3]).collect();
        Frame::new(64, 64, rgb, Timestamp(0), 0).unwrap()
    }

    #[test]
    fn places_on_the_object_are_on_it_and_places_on_edges_on_its_border() {
        let frame = square();
        let region = Region::new(&frame, None);
        let structure = Structure::of(&region);
        for seed in 0..200 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let on = structure.place_on_object(&region, &mut rng);
            assert!(on.iter().all(|at| (18.0..=42.0).contains(at)), "{on:?}");
            let edge = structure.place_on_edge(&region, &mut rng);
            let from_border = edge.map(|at| (at - 20.0).abs().min((at - 40.0).abs()));
            assert!(from_border.iter().copied().fold(f32::MAX, f32::min) <= 2.5, "{edge:?}");
        }
    }

    #[test]
    fn a_large_picture_is_looked_at_in_the_size_of_the_originals() {
        let frame = Frame::new(1000, 900, vec![7; 2_700_000], Timestamp(0), 0).unwrap();
        let structure = Structure::of(&Region::new(&frame, None));
        assert_eq!((structure.factor, structure.width, structure.height), (4, 250, 225));
        assert!(structure.smooth.iter().flatten().all(|level| (*level - 7.0).abs() < 1e-4));
    }
}
