//! Taps -> embeddings: pool, resize to one grid, concatenate.
//!
//! One matrix type serves patches, whole pictures and the bank.

use std::borrow::Cow;

use ndarray::ArrayView2;
use pulp::Arch;

use super::backbone::TapOutput;
use super::recipe::{Distance, Factor, Granularity};

/// N rows of width D, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    width: usize,
    data: Vec<f32>,
    /// Whether every row has unit length.
    pub normalised: bool,
}

impl Embeddings {
    /// # Panics  If `data` is not a whole number of rows, or `width` is 0.
    pub fn new(width: usize, data: Vec<f32>, normalised: bool) -> Embeddings {
        assert!(width > 0 && data.len().is_multiple_of(width), "{} values are not rows of {width}", data.len());
        Embeddings { width, data, normalised }
    }

    /// D, the width of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.data.len() / self.width
    }

    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    pub fn row(&self, index: usize) -> &[f32] {
        &self.data[index * self.width..(index + 1) * self.width]
    }

    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.data.chunks_exact(self.width)
    }

    /// All rows, one after another.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The rows named by `indices`, in that order.
    pub fn select(&self, indices: &[usize]) -> Embeddings {
        let data = indices.iter().flat_map(|&index| self.row(index)).copied().collect();
        Embeddings { width: self.width, data, normalised: self.normalised }
    }

    /// The same rows, said to be of unit length or not.
    pub fn counted_as(self, normalised: bool) -> Embeddings {
        Embeddings { normalised, ..self }
    }

    /// Block `number` of `count` of as many rows.
    pub fn block(&self, number: usize, count: usize) -> Embeddings {
        let size = self.len() / count * self.width;
        Embeddings::new(self.width, self.data[number * size..][..size].to_vec(), self.normalised)
    }

    /// The columns that a factor of the distance measures by, of unit length for cosine.
    pub fn as_compared(&self, factor: Factor) -> Cow<'_, Embeddings> {
        let columns = if factor.from == 0 { Cow::Borrowed(self) } else { Cow::Owned(self.columns(factor.from)) };
        match factor.distance {
            Distance::Cosine if !columns.normalised => Cow::Owned(columns.into_owned().normalise()),
            _ => columns,
        }
    }

    /// The same, without a copy where they stay as they are.
    pub fn into_compared(self, factor: Factor) -> Embeddings {
        let changed = match self.as_compared(factor) {
            Cow::Owned(changed) => Some(changed),
            Cow::Borrowed(_) => None,
        };
        changed.unwrap_or(self)
    }

    /// The columns from `first` on; of unit length only if they are all.
    pub fn columns(&self, first: usize) -> Embeddings {
        let data = self.rows().flat_map(|row| &row[first..]).copied().collect();
        Embeddings { width: self.width - first, data, normalised: self.normalised && first == 0 }
    }

    /// The rows with so many zeros before each: what [`Embeddings::columns`] takes away.
    pub fn after_zeros(self, zeros: usize) -> Embeddings {
        if zeros == 0 {
            return self;
        }
        let widened = self.rows().flat_map(|row| std::iter::repeat_n(&0.0, zeros).chain(row)).copied().collect();
        Embeddings { width: zeros + self.width, data: widened, normalised: self.normalised }
    }

    /// Appends the rows of `other`.
    /// # Panics  If the widths differ, or one is normalised and the other is not.
    pub fn extend(&mut self, other: &Embeddings) {
        assert_eq!((self.width, self.normalised), (other.width, other.normalised));
        self.data.extend_from_slice(&other.data);
    }

    /// A view for linear algebra, (N, D).
    pub fn view(&self) -> ArrayView2<'_, f32> {
        ArrayView2::from_shape((self.len(), self.width), &self.data).expect("the data is whole rows")
    }

    /// Each row divided by its length; a row of zeros stays.
    pub fn normalise(mut self) -> Embeddings {
        for row in self.data.chunks_exact_mut(self.width) {
            let length = dot(row, row).sqrt();
            if length > 0.0 {
                row.iter_mut().for_each(|value| *value /= length);
            }
        }
        self.normalised = true;
        self
    }

    /// All rows, to be changed in place; they count as not normalised from then on.
    pub fn values_mut(&mut self) -> &mut [f32] {
        self.normalised = false;
        &mut self.data
    }
}

/// ⟨a, b⟩, summed in eight lanes so that the compiler can keep them in one register.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_lanes, a_rest) = a.as_chunks::<8>();
    let (b_lanes, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// ‖a − b‖², summed in eight lanes.
pub fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    let (a_lanes, a_rest) = a.as_chunks::<8>();
    let (b_lanes, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..8 {
            sums[lane] += (a[lane] - b[lane]) * (a[lane] - b[lane]);
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum::<f32>()
}

/// The concatenated taps of one picture before head and length: (P, C) for patches in raster order, or (1, C).
///
/// * `taps` — each (channels, height, width)
/// * `pool` — side of the averaging window, odd; positions outside the tap do not count
/// * `grid` — height and width of the patch grid; each tap is resized to it bilinearly, corners not aligned
pub fn concatenate(taps: &[TapOutput], pool: usize, grid: [usize; 2], granularity: Granularity) -> Embeddings {
    let width = taps.iter().map(|tap| tap.channels).sum();
    match granularity {
        Granularity::Image => {
            let mean = |plane: &[f32]| plane.iter().sum::<f32>() / plane.len() as f32;
            let planes = taps.iter().flat_map(|tap| tap.data().chunks_exact(tap.height * tap.width));
            Embeddings { width, data: planes.map(mean).collect(), normalised: false }
        }
        Granularity::Patch => {
            let mut data = vec![0.0; grid[0] * grid[1] * width];
            // Inside, the loops over channels use the machine's vector unit.
            Arch::new().dispatch(|| {
                let mut column = 0;
                for tap in taps {
                    let size = [tap.height, tap.width];
                    let pixels = average_pool(&pixels(tap), size, tap.channels, pool);
                    Resize::new(size, grid).pixels(&pixels, tap.channels, &mut data[column..], width);
                    column += tap.channels;
                }
            });
            Embeddings { width, data, normalised: false }
        }
    }
}

/// The values of a tap pixel by pixel, (height, width, channels).
#[inline(always)]
fn pixels(tap: &TapOutput) -> Vec<f32> {
    let mut pixels = vec![0.0; tap.data().len()];
    for (channel, plane) in tap.data().chunks_exact(tap.height * tap.width).enumerate() {
        pixels[channel..].iter_mut().step_by(tap.channels).zip(plane).for_each(|(to, from)| *to = *from);
    }
    pixels
}

/// The mean of the window of `side` around each pixel, over the positions inside the map.
/// * `pixels` — (height, width, channels)
#[inline(always)]
fn average_pool(pixels: &[f32], [height, width]: [usize; 2], channels: usize, side: usize) -> Vec<f32> {
    let reach = side / 2;
    if reach == 0 {
        return pixels.to_vec();
    }
    let line = width * channels;
    let (mut pooled, mut sums) = (vec![0.0; pixels.len()], vec![0.0; line]);
    for (y, pooled) in pooled.chunks_exact_mut(line).enumerate() {
        let rows = y.saturating_sub(reach)..(y + reach + 1).min(height);
        sums.fill(0.0);
        for row in rows.clone() {
            sums.iter_mut().zip(&pixels[row * line..]).for_each(|(sum, value)| *sum += value);
        }
        for (x, pooled) in pooled.chunks_exact_mut(channels).enumerate() {
            let columns = x.saturating_sub(reach)..(x + reach + 1).min(width);
            let count = (rows.len() * columns.len()) as f32;
            for column in columns {
                pooled.iter_mut().zip(&sums[column * channels..]).for_each(|(mean, sum)| *mean += sum);
            }
            pooled.iter_mut().for_each(|mean| *mean /= count);
        }
    }
    pooled
}

/// Bilinear resizing from one size to another, corners not aligned, edges repeated.
pub struct Resize {
    from_width: usize,
    rows: Vec<Blend>,
    columns: Vec<Blend>,
    resized: Vec<f32>,
}

/// Between two neighbours: `low` · (1 − weight) + `high` · weight.
struct Blend {
    low: usize,
    high: usize,
    weight: f32,
}

impl Resize {
    /// Sizes are height and width.
    pub fn new(from: [usize; 2], to: [usize; 2]) -> Resize {
        let [rows, columns] = [0, 1].map(|axis| {
            let scale = from[axis] as f32 / to[axis] as f32;
            let blend = |i: usize| {
                let at = ((i as f32 + 0.5) * scale - 0.5).clamp(0.0, (from[axis] - 1) as f32);
                let low = at as usize;
                Blend { low, high: (low + 1).min(from[axis] - 1), weight: at - low as f32 }
            };
            (0..to[axis]).map(blend).collect::<Vec<_>>()
        });
        Resize { from_width: from[1], resized: vec![0.0; to[0] * to[1]], rows, columns }
    }

    /// The resized plane, row by row.
    pub fn run(&mut self, plane: &[f32]) -> &[f32] {
        let mut resized = std::mem::take(&mut self.resized);
        self.pixels(plane, 1, &mut resized, 1);
        self.resized = resized;
        &self.resized
    }

    /// Resizes several channels at once.
    /// * `from` — (height, width, channels)
    /// * `to` — for each pixel the channels, then what fills up `stride` values and is not touched
    #[inline(always)]
    pub fn pixels(&self, from: &[f32], channels: usize, to: &mut [f32], stride: usize) {
        let line = self.from_width * channels;
        for (y, to) in self.rows.iter().zip(to.chunks_mut(self.columns.len() * stride)) {
            let [low, high] = [y.low, y.high].map(|row| &from[row * line..][..line]);
            for (x, to) in self.columns.iter().zip(to.chunks_mut(stride)) {
                let [a, b] = [x.low, x.high].map(|column| &low[column * channels..][..channels]);
                let [c, d] = [x.low, x.high].map(|column| &high[column * channels..][..channels]);
                for (i, to) in to[..channels].iter_mut().enumerate() {
                    let (upper, lower) = (a[i] + (b[i] - a[i]) * x.weight, c[i] + (d[i] - c[i]) * x.weight);
                    *to = upper + (lower - upper) * y.weight;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_averages_over_the_neighbours_that_exist() {
        let plane = [9.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let expected = [2.25, 1.5, 0.0, 1.5, 1.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(average_pool(&plane, [3, 3], 1, 3), expected);
        let two_channels: Vec<f32> = plane.iter().flat_map(|value| [*value, 2.0 * value]).collect();
        let expected: Vec<f32> = expected.iter().flat_map(|value| [*value, 2.0 * value]).collect();
        assert_eq!(average_pool(&two_channels, [3, 3], 2, 3), expected);
    }

    #[test]
    fn halving_averages_and_doubling_interpolates() {
        assert_eq!(Resize::new([2, 2], [1, 1]).run(&[1.0, 2.0, 3.0, 6.0]), [3.0]);
        assert_eq!(Resize::new([1, 2], [1, 4]).run(&[0.0, 4.0]), [0.0, 1.0, 3.0, 4.0]);
    }

    #[test]
    fn normalised_rows_have_unit_length_and_zeros_stay_zeros() {
        let unit = Embeddings::new(2, vec![3.0, 4.0, 0.0, 0.0], false).normalise();
        assert_eq!(unit.data(), [0.6, 0.8, 0.0, 0.0]);
    }

    #[test]
    fn sums_in_lanes_take_in_the_rest() {
        let a: Vec<f32> = (1..=11).map(|i| i as f32).collect();
        assert_eq!(dot(&a, &a), 506.0);
        assert_eq!(squared_distance(&a, &[0.0; 11]), 506.0);
    }
}
