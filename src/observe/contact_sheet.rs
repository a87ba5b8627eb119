//! A contact sheet: many small pictures side by side, to look over at once.
//!
//! Each row has a label above it and any number of samples; each sample shows the good picture, the same with a
//! defect, and the mask of what changed, all cropped to the surroundings of the defect.

use image::imageops::{self, FilterType};
use image::{GrayImage, Rgb, RgbImage};

pub(super) mod font;

/// Side of a cell, gap between cells and height of a label, in pixels.
const CELL: u32 = 120;
const GAP: u32 = 4;
const LABEL: u32 = 16;
/// The smallest crop, in pixels of the picture, and how much wider than the defect it is.
const LEAST_CROP: u32 = 48;
const SURROUNDINGS: f32 = 1.6;

const PAPER: Rgb<u8> = Rgb([24, 24, 28]);
const INK: Rgb<u8> = Rgb([230, 230, 230]);

/// Samples that belong together.
#[derive(Clone, Debug)]
pub struct SheetRow {
    pub label: String,
    pub samples: Vec<Sample>,
}

/// A good picture, the same with a defect, and what changed. All of one size.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Stands above the sample; empty for none.
    pub label: String,
    pub original: RgbImage,
    pub defect: RgbImage,
    /// 0 where nothing changed.
    pub mask: GrayImage,
}

impl Sample {
    /// Cropped to the surroundings of the mask: a square 1.6 times as wide as it, at least 48 pixels, inside the
    /// picture. The whole picture if the mask is empty.
    /// # Panics  if the three pictures differ in size.
    pub fn close_up(label: String, original: &RgbImage, defect: &RgbImage, mask: &GrayImage) -> Sample {
        let size = original.dimensions();
        assert!(defect.dimensions() == size && mask.dimensions() == size, "the pictures of a sample have one size");
        let [x, y, width, height] = surroundings(mask);
        Sample {
            label,
            original: imageops::crop_imm(original, x, y, width, height).to_image(),
            defect: imageops::crop_imm(defect, x, y, width, height).to_image(),
            mask: imageops::crop_imm(mask, x, y, width, height).to_image(),
        }
    }
}

/// A black and white picture of a mask.
/// * `changed` — `width · height` values, row by row
/// # Panics  if there are not so many.
pub fn mask_picture(width: u32, height: u32, changed: &[bool]) -> GrayImage {
    let bytes = changed.iter().map(|changed| if *changed { 255 } else { 0 }).collect();
    GrayImage::from_raw(width, height, bytes).expect("a mask has one value for each pixel")
}

/// The sheet: one row below the other, in each the samples from left to right, in each original, defect and mask.
///
/// Cells are 120 pixels wide and high; a picture is enlarged or reduced to fit and keeps its shape.
pub fn contact_sheet(rows: &[SheetRow]) -> RgbImage {
    let samples = rows.iter().map(|row| row.samples.len()).max().unwrap_or(0).max(1) as u32;
    let (width, row_height) = (GAP + samples * sample_width(), 2 * LABEL + CELL + GAP);
    let mut sheet = RgbImage::from_pixel(width, (rows.len() as u32 * row_height).max(1), PAPER);
    for (row, top) in rows.iter().zip((0..).step_by(row_height as usize)) {
        font::write(&mut sheet, GAP, top + 4, &row.label, INK);
        for (sample, left) in row.samples.iter().zip((GAP..).step_by(sample_width() as usize)) {
            font::write(&mut sheet, left, top + LABEL + 4, &sample.label, INK);
            place(&mut sheet, left, top + 2 * LABEL, sample);
        }
    }
    sheet
}

fn sample_width() -> u32 {
    3 * (CELL + 1) + 2 * GAP
}

fn place(sheet: &mut RgbImage, left: u32, top: u32, sample: &Sample) {
    let mask =
        RgbImage::from_fn(sample.mask.width(), sample.mask.height(), |x, y| Rgb([sample.mask.get_pixel(x, y)[0]; 3]));
    let cells = [
        (&sample.original, FilterType::Triangle),
        (&sample.defect, FilterType::Triangle),
        (&mask, FilterType::Nearest),
    ];
    for ((picture, filter), column) in cells.into_iter().zip(0..) {
        let (width, height) = fitting(picture.dimensions());
        let small = imageops::resize(picture, width, height, filter);
        imageops::replace(sheet, &small, (left + column * (CELL + 1)).into(), top.into());
    }
}

/// The largest size of that shape that fits into a cell.
fn fitting((width, height): (u32, u32)) -> (u32, u32) {
    let scale = CELL as f32 / width.max(height).max(1) as f32;
    let side = |side: u32| ((side as f32 * scale).round() as u32).clamp(1, CELL);
    (side(width), side(height))
}

/// x, y, width and height of the crop around what changed.
fn surroundings(mask: &GrayImage) -> [u32; 4] {
    let (width, height) = mask.dimensions();
    let changed = || mask.enumerate_pixels().filter(|(_, _, value)| value[0] > 0);
    let range = |place: fn(u32, u32) -> u32| {
        let places = || changed().map(|(x, y, _)| place(x, y));
        Some((places().min()?, places().max()?))
    };
    let (Some((left, right)), Some((upper, lower))) = (range(|x, _| x), range(|_, y| y)) else {
        return [0, 0, width, height];
    };
    let largest = (right - left + 1).max(lower - upper + 1);
    let side = ((largest as f32 * SURROUNDINGS) as u32).max(LEAST_CROP);
    let along = |first: u32, last: u32, whole: u32| {
        let side = side.min(whole);
        let start = ((first + last) / 2).saturating_sub(side / 2).min(whole - side);
        (start, side)
    };
    let ((x, width), (y, height)) = (along(left, right, width), along(upper, lower, height));
    [x, y, width, height]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Sample {
        let original = RgbImage::from_pixel(200, 100, Rgb([90; 3]));
        let mut defect = original.clone();
        let mut changed = vec![false; 200 * 100];
        for x in 150..160 {
            defect.put_pixel(x, 40, Rgb([250; 3]));
            changed[40 * 200 + x as usize] = true;
        }
        Sample::close_up("faint".into(), &original, &defect, &mask_picture(200, 100, &changed))
    }

    #[test]
    fn a_close_up_is_a_square_around_the_defect() {
        let sample = sample();
        assert_eq!(sample.original.dimensions(), (48, 48));
        // 154 − 24 = 130 is the first column, 40 − 24 = 16 the first row.
        assert_eq!(sample.mask.get_pixel(150 - 130, 40 - 16)[0], 255);
        assert_eq!(sample.mask.pixels().filter(|value| value[0] > 0).count(), 10);
    }

    #[test]
    fn the_sheet_has_a_cell_for_each_picture_and_labels() {
        let row = |samples| SheetRow { label: "line".into(), samples };
        let sheet = contact_sheet(&[row(vec![sample(), sample()]), row(vec![sample()])]);
        assert_eq!(sheet.dimensions(), (4 + 2 * (3 * 121 + 8), 2 * (2 * 16 + 120 + 4)));
        assert_eq!(*sheet.get_pixel(4 + 60, 32 + 5), Rgb([90; 3]));
        assert!((0..16).any(|y| (0..40).any(|x| *sheet.get_pixel(x, y) == INK)));
        assert_eq!(contact_sheet(&[]).height(), 1);
    }
}
