//! The heat map: where on a part the distances are, painted over its picture on an absolute scale.
//!
//! A colour is a function of distance ÷ threshold and of nothing else, so the same colour means the same thing on
//! every part and on every day. Stretching each map from its own minimum to its own maximum, as is common, paints
//! the worst patch of a flawless part as red as a crack; nothing here ever looks at the extremes of a map.
//!
//! | distance ÷ threshold | colour                              | opacity |
//! |----------------------|-------------------------------------|---------|
//! | ≤ 0.5                | none, the picture in grey           | 0       |
//! | 0.71                 | violet                              | 0.15    |
//! | 1, the threshold     | pink, the exact middle of the ramp  | 0.60    |
//! | 1.41                 | orange                              | 0.70    |
//! | ≥ 2, or not a number | yellow                              | 0.80    |
//!
//! The ramp is logarithmic: half and twice the threshold are equally far from its middle. The picture under it is
//! turned to grey, so that whatever is coloured is distance and never paint on the part.
//!
//! The threshold was calibrated for the *score*, which may be a mean of the largest distances of a part. A few
//! patches of an accepted part can therefore lie beyond the middle of the ramp, and the score is still good.

use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};

use crate::frame::{Frame, Roi};
use crate::part::AnomalyMap;

/// Up to this ratio of distance to threshold there is no colour.
pub const RAMP_START: f32 = 0.5;
/// From this ratio on the colour no longer changes.
pub const RAMP_END: f32 = 2.0;

const OPACITY_AT_THRESHOLD: f32 = 0.6;
const OPACITY_AT_END: f32 = 0.8;
/// The brightness that is left to the picture outside the region of interest, which nobody inspected.
const OUTSIDE: f32 = 0.4;

#[derive(Debug, thiserror::Error)]
pub enum HeatMapError {
    #[error("{path}: the heat map could not be written: {source}", path = path.display())]
    Write { path: PathBuf, source: image::ImageError },
}

/// Paints `map` over the grey picture of `frame`.
///
/// * `roi` — the region of the frame that the map covers, px; `None` for the whole frame. A part of it outside the
///   frame is left out. The frame outside it is darkened.
/// * `map` — distances of `height` × `width` patches
/// * `threshold` — the profile's, on the same scale as the distances, > 0. At 0 or below, or not a number, every
///   patch that is not at distance 0 gets the colour of the end of the ramp.
///
/// The patches are enlarged to the region as by [`AnomalyMap::resized`].
///
/// Returns a picture of the size of the frame.
/// # Panics  if `map.distances` does not hold `width · height` numbers.
pub fn overlay(frame: &Frame, roi: Option<Roi>, map: &AnomalyMap, threshold: f32) -> RgbImage {
    assert_eq!(map.distances.len(), map.width * map.height, "a map holds one distance a patch");
    let whole = Roi { x: 0, y: 0, width: frame.width(), height: frame.height() };
    let roi = roi.unwrap_or(whole);
    let mut picture = RgbImage::from_fn(frame.width(), frame.height(), |x, y| {
        let at = 3 * (y as usize * frame.width() as usize + x as usize);
        let grey = luminance(&frame.rgb()[at..at + 3]);
        let inside = x.wrapping_sub(roi.x) < roi.width && y.wrapping_sub(roi.y) < roi.height;
        Rgb([if inside { grey } else { (grey as f32 * OUTSIDE) as u8 }; 3])
    });
    if map.distances.is_empty() {
        return picture;
    }
    let visible_width = roi.width.min(frame.width().saturating_sub(roi.x));
    let visible_height = roi.height.min(frame.height().saturating_sub(roi.y));
    let distances = map.resized_corner((roi.width, roi.height), (visible_width, visible_height));
    for (place, &distance) in distances.iter().enumerate() {
        let (x, y) = (place as u32 % visible_width, place as u32 / visible_width);
        let pixel = picture.get_pixel_mut(roi.x + x, roi.y + y);
        pixel.0 = blend(pixel.0, ratio(distance, threshold));
    }
    picture
}

/// The colour of the ramp at `ratio` = distance ÷ threshold.
///
/// PLASMA at (log₂ ratio + 1) ÷ 2 of its length, held at both ends; not a number is the far end.
pub fn colour(ratio: f32) -> [u8; 3] {
    let index = (position(ratio) * 255.0).round() as usize;
    let [_, r, g, b] = PLASMA[index].to_be_bytes();
    [r, g, b]
}

/// How much of the picture the colour of `ratio` = distance ÷ threshold hides, from 0 to 0.8.
///
/// With t = (log₂ ratio + 1) ÷ 2: 0.6 · (2t)² below the threshold, 0.6 + 0.2 · (2t − 1) above it. It never falls, and
/// has no step, for the score may be a mean and one patch at the threshold is no event.
pub fn opacity(ratio: f32) -> f32 {
    let twice = 2.0 * position(ratio);
    if twice <= 1.0 {
        OPACITY_AT_THRESHOLD * twice * twice
    } else {
        OPACITY_AT_THRESHOLD + (OPACITY_AT_END - OPACITY_AT_THRESHOLD) * (twice - 1.0)
    }
}

/// `under` with the colour of `ratio` = distance ÷ threshold painted over it.
pub fn blend(under: [u8; 3], ratio: f32) -> [u8; 3] {
    let (over, opacity) = (colour(ratio), opacity(ratio));
    std::array::from_fn(|i| (under[i] as f32 * (1.0 - opacity) + over[i] as f32 * opacity).round() as u8)
}

/// Writes `picture` to `path` as a PNG, whatever the path's extension is.
/// # Errors  `HeatMapError::Write` if the file cannot be created or written.
pub fn save_png(path: &Path, picture: &RgbImage) -> Result<(), HeatMapError> {
    picture
        .save_with_format(path, image::ImageFormat::Png)
        .map_err(|source| HeatMapError::Write { path: path.to_owned(), source })
}

/// Distance ÷ threshold, where a threshold that cannot be one makes every distance but 0 endless.
fn ratio(distance: f32, threshold: f32) -> f32 {
    if threshold > 0.0 {
        distance / threshold
    } else if distance == 0.0 {
        0.0
    } else {
        f32::INFINITY
    }
}

/// Where on the ramp `ratio` lies, from 0 to 1; ½ is the threshold. Not a number is 1: nobody may take it for good.
fn position(ratio: f32) -> f32 {
    if ratio.is_nan() {
        return 1.0;
    }
    let octaves = (RAMP_END / RAMP_START).log2();
    (ratio.clamp(RAMP_START, RAMP_END) / RAMP_START).log2() / octaves
}

/// Rec. 709 luma of an R, G, B triple.
fn luminance(rgb: &[u8]) -> u8 {
    (0.2126 * rgb[0] as f32 + 0.7152 * rgb[1] as f32 + 0.0722 * rgb[2] as f32).round() as u8
}

/// The colour map "plasma" of matplotlib by Nathaniel Smith and Stéfan van der Walt, dedicated to the public (CC0):
/// evenly spaced to the eye, also to the colour-blind, and never grey. 0xRRGGBB.
#[rustfmt::skip]
const PLASMA: [u32; 256] = [
    0x0d0887, 0x100788, 0x130789, 0x16078a, 0x19068c, 0x1b068d, 0x1d068e, 0x20068f, 0x220690, 0x240691,
    0x260591, 0x280592, 0x2a0593, 0x2c0594, 0x2e0595, 0x2f0596, 0x310597, 0x330597, 0x350498, 0x370499,
    0x38049a, 0x3a049a, 0x3c049b, 0x3e049c, 0x3f049c, 0x41049d, 0x43039e, 0x44039e, 0x46039f, 0x48039f,
    0x4903a0, 0x4b03a1, 0x4c02a1, 0x4e02a2, 0x5002a2, 0x5102a3, 0x5302a3, 0x5502a4, 0x5601a4, 0x5801a4,
    0x5901a5, 0x5b01a5, 0x5c01a6, 0x5e01a6, 0x6001a6, 0x6100a7, 0x6300a7, 0x6400a7, 0x6600a7, 0x6700a8,
    0x6900a8, 0x6a00a8, 0x6c00a8, 0x6e00a8, 0x6f00a8, 0x7100a8, 0x7201a8, 0x7401a8, 0x7501a8, 0x7701a8,
    0x7801a8, 0x7a02a8, 0x7b02a8, 0x7d03a8, 0x7e03a8, 0x8004a8, 0x8104a7, 0x8305a7, 0x8405a7, 0x8606a6,
    0x8707a6, 0x8808a6, 0x8a09a5, 0x8b0aa5, 0x8d0ba5, 0x8e0ca4, 0x8f0da4, 0x910ea3, 0x920fa3, 0x9410a2,
    0x9511a1, 0x9613a1, 0x9814a0, 0x99159f, 0x9a169f, 0x9c179e, 0x9d189d, 0x9e199d, 0xa01a9c, 0xa11b9b,
    0xa21d9a, 0xa31e9a, 0xa51f99, 0xa62098, 0xa72197, 0xa82296, 0xaa2395, 0xab2494, 0xac2694, 0xad2793,
    0xae2892, 0xb02991, 0xb12a90, 0xb22b8f, 0xb32c8e, 0xb42e8d, 0xb52f8c, 0xb6308b, 0xb7318a, 0xb83289,
    0xba3388, 0xbb3488, 0xbc3587, 0xbd3786, 0xbe3885, 0xbf3984, 0xc03a83, 0xc13b82, 0xc23c81, 0xc33d80,
    0xc43e7f, 0xc5407e, 0xc6417d, 0xc7427c, 0xc8437b, 0xc9447a, 0xca457a, 0xcb4679, 0xcc4778, 0xcc4977,
    0xcd4a76, 0xce4b75, 0xcf4c74, 0xd04d73, 0xd14e72, 0xd24f71, 0xd35171, 0xd45270, 0xd5536f, 0xd5546e,
    0xd6556d, 0xd7566c, 0xd8576b, 0xd9586a, 0xda5a6a, 0xda5b69, 0xdb5c68, 0xdc5d67, 0xdd5e66, 0xde5f65,
    0xde6164, 0xdf6263, 0xe06363, 0xe16462, 0xe26561, 0xe26660, 0xe3685f, 0xe4695e, 0xe56a5d, 0xe56b5d,
    0xe66c5c, 0xe76e5b, 0xe76f5a, 0xe87059, 0xe97158, 0xe97257, 0xea7457, 0xeb7556, 0xeb7655, 0xec7754,
    0xed7953, 0xed7a52, 0xee7b51, 0xef7c51, 0xef7e50, 0xf07f4f, 0xf0804e, 0xf1814d, 0xf1834c, 0xf2844b,
    0xf3854b, 0xf3874a, 0xf48849, 0xf48948, 0xf58b47, 0xf58c46, 0xf68d45, 0xf68f44, 0xf79044, 0xf79143,
    0xf79342, 0xf89441, 0xf89540, 0xf9973f, 0xf9983e, 0xf99a3e, 0xfa9b3d, 0xfa9c3c, 0xfa9e3b, 0xfb9f3a,
    0xfba139, 0xfba238, 0xfca338, 0xfca537, 0xfca636, 0xfca835, 0xfca934, 0xfdab33, 0xfdac33, 0xfdae32,
    0xfdaf31, 0xfdb130, 0xfdb22f, 0xfdb42f, 0xfdb52e, 0xfeb72d, 0xfeb82c, 0xfeba2c, 0xfebb2b, 0xfebd2a,
    0xfebe2a, 0xfec029, 0xfdc229, 0xfdc328, 0xfdc527, 0xfdc627, 0xfdc827, 0xfdca26, 0xfdcb26, 0xfccd25,
    0xfcce25, 0xfcd025, 0xfcd225, 0xfbd324, 0xfbd524, 0xfbd724, 0xfad824, 0xfada24, 0xf9dc24, 0xf9dd25,
    0xf8df25, 0xf8e125, 0xf7e225, 0xf7e425, 0xf6e626, 0xf6e826, 0xf5e926, 0xf5eb27, 0xf4ed27, 0xf3ee27,
    0xf3f027, 0xf2f227, 0xf1f426, 0xf1f525, 0xf0f724, 0xf0f921,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn grey(side: u32, value: u8) -> Frame {
        Frame::new(side, side, vec![value; 3 * (side * side) as usize], Timestamp(0), 0).unwrap()
    }

    fn map(width: usize, height: usize, distances: &[f32]) -> AnomalyMap {
        AnomalyMap { width, height, distances: distances.to_vec() }
    }

    fn is_grey(pixel: &Rgb<u8>) -> bool {
        pixel.0[0] == pixel.0[1] && pixel.0[1] == pixel.0[2]
    }

    #[test]
    fn the_map_of_a_good_part_shows_no_colour_at_all() {
        let picture = overlay(&grey(16, 90), None, &map(2, 2, &[0.01, 0.05, 0.02, 0.03]), 0.1);
        assert!(picture.pixels().all(|p| p.0 == [90, 90, 90]));
    }

    #[test]
    fn the_same_distance_has_the_same_colour_whatever_else_is_on_the_part() {
        let mild = overlay(&grey(16, 90), None, &map(2, 1, &[0.08, 0.01]), 0.1);
        let wild = overlay(&grey(16, 90), None, &map(2, 1, &[0.08, 9.0]), 0.1);
        assert_eq!(mild.get_pixel(0, 8), wild.get_pixel(0, 8));
        assert_eq!(mild.get_pixel(0, 8).0, blend([90; 3], 0.8));
    }

    #[test]
    fn the_threshold_is_the_middle_of_the_ramp_and_twice_of_it_the_end() {
        assert_eq!(colour(1.0), [0xcc, 0x47, 0x78]);
        assert_eq!(colour(0.5), [0x0d, 0x08, 0x87]);
        for end in [2.0, 1e9, f32::INFINITY, f32::NAN] {
            assert_eq!(colour(end), [0xf0, 0xf9, 0x21]);
            assert_eq!(opacity(end), 0.8);
        }
        assert_eq!([0.0, 0.3, 0.5, 1.0].map(opacity), [0.0, 0.0, 0.0, 0.6]);
        assert!((opacity(0.5f32.sqrt()) - 0.15).abs() < 1e-6);
        assert!((opacity(2f32.sqrt()) - 0.7).abs() < 1e-6);
        assert_eq!(opacity(-1.0), 0.0);
    }

    #[test]
    fn the_map_lies_in_its_region_and_the_rest_is_dark_and_without_colour() {
        let roi = Roi { x: 4, y: 2, width: 8, height: 6 };
        let picture = overlay(&grey(16, 100), Some(roi), &map(1, 1, &[5.0]), 1.0);
        for (x, y, pixel) in picture.enumerate_pixels() {
            let inside = (4..12).contains(&x) && (2..8).contains(&y);
            assert_eq!(!is_grey(pixel), inside, "pixel {x}, {y}");
            assert!(inside || pixel.0 == [40; 3]);
        }
        let outside = Roi { x: 12, y: 20, width: u32::MAX, height: 3 };
        assert!(overlay(&grey(16, 100), Some(outside), &map(1, 1, &[5.0]), 1.0).pixels().all(is_grey));
    }

    #[test]
    fn a_coloured_part_becomes_grey_so_that_its_paint_is_not_taken_for_distance() {
        let red = Frame::new(16, 16, [200, 0, 0].repeat(256), Timestamp(0), 0).unwrap();
        assert!(overlay(&red, None, &map(1, 1, &[0.2]), 1.0).pixels().all(|p| p.0 == [43; 3]));
    }

    #[test]
    fn a_distance_or_threshold_that_is_no_number_is_never_painted_as_good() {
        let end = blend([90; 3], 2.0);
        for (distance, threshold) in [(f32::NAN, 1.0), (0.1, f32::NAN), (0.1, 0.0), (f32::INFINITY, 1.0)] {
            let picture = overlay(&grey(16, 90), None, &map(1, 1, &[distance]), threshold);
            assert!(picture.pixels().all(|p| p.0 == end), "{distance} at {threshold}");
        }
    }
}
