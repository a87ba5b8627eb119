//! One picture to look at: the part, the same with its map painted over it, and the legend of the colours.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use super::contact_sheet::font;
use super::heat_map::{RAMP_END, RAMP_START, blend, overlay};
use crate::frame::{Frame, Roi};
use crate::part::AnomalyMap;

/// Measures of a sheet for a picture of up to 320 pixels; larger pictures have them as many times as they are larger.
const BASE_SIDE: u32 = 320;
const CAPTION: u32 = 14;
const GAP: u32 = 4;
const LEGEND: u32 = 84;
const LEAST_HEIGHT: u32 = 56;
const BAR_LEFT: u32 = 6;
const BAR_WIDTH: u32 = 14;
const LETTER: u32 = 7;

const PAPER: Rgb<u8> = Rgb([24, 24, 28]);
const INK: Rgb<u8> = Rgb([230, 230, 230]);
/// The part that the legend's colours lie over.
const GREY: [u8; 3] = [110; 3];

/// `caption` above; below it from left to right the picture, the heat map by [`overlay`], and a strip of its colours
/// from half to twice the threshold with a line at the threshold.
/// * `roi`, `map`, `threshold` — as [`overlay`] takes them
///
/// # Panics  As [`overlay`].
pub fn side_by_side(frame: &Frame, roi: Option<Roi>, map: &AnomalyMap, threshold: f32, caption: &str) -> RgbImage {
    let (width, height) = (frame.width(), frame.height());
    let scale = (width.min(height) / BASE_SIDE).max(1);
    let (top, gap) = (scale * CAPTION, scale * GAP);
    let below = height.max(scale * LEAST_HEIGHT);
    let mut sheet = RgbImage::from_pixel(2 * (width + gap) + scale * LEGEND, top + below, PAPER);

    let mut line = RgbImage::from_pixel(sheet.width().div_ceil(scale), CAPTION, PAPER);
    font::write(&mut line, GAP, (CAPTION - LETTER) / 2, caption, INK);
    place(&mut sheet, 0, 0, &enlarged(&line, scale));
    let picture = RgbImage::from_raw(width, height, frame.rgb().to_vec()).expect("a frame has the bytes of its size");
    place(&mut sheet, 0, top, &picture);
    place(&mut sheet, width + gap, top, &overlay(frame, roi, map, threshold));
    place(&mut sheet, 2 * (width + gap), top, &enlarged(&legend(below / scale, threshold), scale));
    sheet
}

/// The colours from twice the threshold at the top to half of it at the bottom.
fn legend(height: u32, threshold: f32) -> RgbImage {
    let mut strip = RgbImage::from_pixel(LEGEND, height, PAPER);
    let (first, last) = (LETTER / 2, height - 1 - LETTER / 2);
    let middle = (first + last) / 2;
    for y in first..=last {
        // From 1 at twice the threshold to −1 at half of it.
        let octaves = 1.0 - 2.0 * (y - first) as f32 / (last - first) as f32;
        (BAR_LEFT..BAR_LEFT + BAR_WIDTH).for_each(|x| strip.put_pixel(x, y, Rgb(blend(GREY, octaves.exp2()))));
    }
    (BAR_LEFT - 3..BAR_LEFT + BAR_WIDTH + 3).for_each(|x| strip.put_pixel(x, middle, INK));
    let left = BAR_LEFT + BAR_WIDTH + 5;
    font::write(&mut strip, left, first - LETTER / 2, &format!("{RAMP_END} x"), INK);
    font::write(&mut strip, left, middle - LETTER - 1, "threshold", INK);
    font::write(&mut strip, left, middle + 2, &short(threshold), INK);
    font::write(&mut strip, left, last - LETTER / 2, &format!("{RAMP_START} x"), INK);
    strip
}

/// A number of at most nine letters, for people.
fn short(value: f32) -> String {
    if (1e-3..1e3).contains(&value.abs()) { format!("{value:.5}") } else { format!("{value:.2e}") }
}

fn enlarged(picture: &RgbImage, scale: u32) -> RgbImage {
    imageops::resize(picture, scale * picture.width(), scale * picture.height(), FilterType::Nearest)
}

fn place(sheet: &mut RgbImage, left: u32, top: u32, picture: &RgbImage) {
    imageops::replace(sheet, picture, left.into(), top.into());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::observe::heat_map::colour;

    fn sheet(side: u32, distance: f32) -> RgbImage {
        let frame = Frame::new(side, side, vec![90; 3 * (side * side) as usize], Timestamp(0), 0).unwrap();
        let map = AnomalyMap { width: 1, height: 1, distances: vec![distance] };
        side_by_side(&frame, None, &map, 0.5, "reject")
    }

    #[test]
    fn picture_heat_map_and_legend_stand_side_by_side_below_the_caption() {
        let sheet = sheet(100, 0.5);
        assert_eq!(sheet.dimensions(), (2 * (100 + 4) + 84, 14 + 100));
        assert_eq!(sheet.get_pixel(50, 14 + 50).0, [90; 3]);
        assert_eq!(sheet.get_pixel(104 + 50, 14 + 50).0, blend([90; 3], 1.0));
        assert!((0..14).any(|y| (0..60).any(|x| *sheet.get_pixel(x, y) == INK)));
    }

    #[test]
    fn the_legend_goes_from_twice_to_half_of_the_threshold_and_marks_it() {
        let strip = legend(101, 0.5);
        let bar = |y| strip.get_pixel(BAR_LEFT + 2, y).0;
        assert_eq!((bar(3), bar(50), bar(97)), (blend(GREY, 2.0), INK.0, GREY));
        let near = |a: [u8; 3], b: [u8; 3]| a.iter().zip(b).all(|(a, b)| a.abs_diff(b) < 8);
        assert!(near(bar(51), blend(GREY, 1.0)) && colour(1.0) == [0xcc, 0x47, 0x78]);
    }

    #[test]
    fn a_large_picture_has_a_larger_caption_and_a_tiny_one_room_for_the_legend() {
        assert_eq!(sheet(960, 0.1).dimensions(), (2 * (960 + 12) + 3 * 84, 3 * 14 + 960));
        assert_eq!(sheet(16, 0.1).dimensions(), (2 * (16 + 4) + 84, 14 + 56));
    }

    #[test]
    fn a_threshold_is_written_short_whatever_its_size() {
        assert_eq!([0.123456, 7.0, 1e-5, 123456.0].map(short), ["0.12346", "7.00000", "1.00e-5", "1.23e5"]);
    }
}
