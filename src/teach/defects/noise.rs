//! The noise of a good part at one place: what a defect there must stand out from.

use super::LEAST_NOISE;
use super::geometry::Bounds;
use super::region::Region;

/// Pixels that are looked at, at most.
const SAMPLES: usize = 900;
/// The window reaches so many pixels beyond the bounds.
const MARGIN: usize = 8;

/// σ = √(σ₁ · σ₂), in grey levels, at least [`LEAST_NOISE`], around `bounds`.
///
/// Both are 1.4826 · median |h| ÷ the norm of a high-pass h, and so the deviation of white noise, and neither sees a
/// slope or an edge. σ₁ is blind to texture: h is the second difference along both axes (norm 6). σ₂ sees texture finer
/// than five pixels: h is grey minus its mean over 5 × 5 (norm √(24/25)). Their mean is, on a weave, more than the
/// sensor's noise, which hides nothing there, and less than the weave, through which a stain is seen.
/// # Source  σ₁: Immerkær 1996, with the median in place of the mean.
pub(super) fn around(region: &Region, bounds: &Bounds) -> f32 {
    let grown = |range: &std::ops::Range<usize>, side: usize| {
        let start = range.start.saturating_sub(MARGIN).clamp(2, side - 3);
        let end = (range.end + MARGIN).clamp(start + 1, side - 2);
        start..end
    };
    let (columns, rows) = (grown(&bounds.x, region.width()), grown(&bounds.y, region.height()));
    // An odd step, so that a regular texture is not met at the same phase again and again.
    let step = (((columns.len() * rows.len()) as f32 / SAMPLES as f32).sqrt().ceil() as usize).max(1) | 1;
    let places: Vec<(usize, usize)> =
        rows.step_by(step).flat_map(|y| columns.clone().step_by(step).map(move |x| (x, y))).collect();
    let (fine, texture) =
        places.iter().map(|(x, y)| high_passes(region, *x, *y)).map(|[fine, texture]| (fine, texture)).unzip();
    (deviation(fine) * deviation(texture)).sqrt().max(LEAST_NOISE)
}

/// The absolute responses of the two high-passes, of which each has deviation 1 for white noise of deviation 1.
fn high_passes(region: &Region, x: usize, y: usize) -> [f32; 2] {
    const SECOND: [f32; 5] = [0.0, 1.0, -2.0, 1.0, 0.0];
    let (mut sum, mut second) = (0.0, 0.0);
    for (row, down) in SECOND.iter().enumerate() {
        for (column, across) in SECOND.iter().enumerate() {
            let grey = region.grey(x + column - 2, y + row - 2);
            sum += grey;
            second += down * across * grey;
        }
    }
    [second.abs() / 6.0, (region.grey(x, y) - sum / 25.0).abs() / (24f32 / 25.0).sqrt()]
}

/// 1.4826 · the median, at least 1.
fn deviation(mut high: Vec<f32>) -> f32 {
    let middle = high.len() / 2;
    let (_, median, _) = high.select_nth_unstable_by(middle, f32::total_cmp);
    (1.4826 * *median).max(1.0)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::clock::Timestamp;
    use crate::frame::Frame;

    fn noise_of(value: impl FnMut(usize) -> u8) -> f32 {
        let rgb: Vec<u8> = (0..64 * 64).map(value).flat_map(|grey| [grey; 3]).collect();
        let frame = Frame::new(64, 64, rgb, Timestamp(0), 0).unwrap();
        around(&Region::new(&frame, None), &Bounds { x: 0..64, y: 0..64 })
    }

    #[test]
    fn the_noise_of_white_noise_is_its_deviation() {
        // The deviation of a uniform number from 0 to 20 is 21 / √12 = 6.06; of the sum of three, 10.5.
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let found = noise_of(|_| 90 + (0..3).map(|_| rng.random_range(0..=20)).sum::<u8>());
        assert!((found - 10.5).abs() < 1.0, "{found}");
    }

    #[test]
    fn neither_a_slope_nor_an_edge_is_noise() {
        assert_eq!(noise_of(|i| (i % 64) as u8 * 3), LEAST_NOISE);
        assert_eq!(noise_of(|i| if i % 64 < 32 { 40 } else { 200 }), LEAST_NOISE);
    }

    #[test]
    fn a_weave_is_some_noise_but_less_than_its_own_deviation() {
        let weave = |i: usize| (100.0 + 40.0 * ((i % 64 + i / 64) as f32).sin()) as u8;
        let found = noise_of(weave);
        assert!((2.0..20.0).contains(&found), "{found}");
    }
}
