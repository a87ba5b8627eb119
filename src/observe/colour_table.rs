//! A table of figures as a picture: each cell in a colour, with its number.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use super::contact_sheet::font;

/// Height of a line, and what is left free around texts, in pixels before enlarging.
const LINE: u32 = 13;
const SPACE: u32 = 4;
/// Letters are small; so the whole picture is enlarged.
const ENLARGED: u32 = 2;

const PAPER: Rgb<u8> = Rgb([24, 24, 28]);
const LIGHT: Rgb<u8> = Rgb([230, 230, 230]);
const DARK: Rgb<u8> = Rgb([16, 16, 16]);
/// From the worst to the best, with even steps of lightness.
/// # Source  The colour map viridis of matplotlib (CC0) at 0, ¼, ½, ¾ and 1.
const COLOURS: [[f32; 3]; 5] =
    [[68.0, 1.0, 84.0], [59.0, 82.0, 139.0], [33.0, 145.0, 140.0], [94.0, 201.0, 98.0], [253.0, 231.0, 37.0]];

/// The picture: the title, the columns' labels, and in each row its label and a cell for each column.
/// * `values` — of each row; a cell without one stays empty
/// * `range` — the values of the darkest and of the brightest colour; what lies outside takes the nearer of them
pub fn colour_table(
    title: &str,
    rows: &[String],
    columns: &[String],
    values: &[Vec<Option<f64>>],
    range: [f64; 2],
) -> RgbImage {
    let letters = |labels: &[String]| labels.iter().map(|label| label.chars().count() as u32).max().unwrap_or(0);
    let wide = |letters: u32| letters * font::ADVANCE + 2 * SPACE;
    let (first, column) = (wide(letters(rows)), wide(letters(columns).max(5)));
    let width = (first + columns.len() as u32 * column).max(wide(title.chars().count() as u32));
    let mut sheet = RgbImage::from_pixel(width, (rows.len() as u32 + 2) * LINE + SPACE, PAPER);
    font::write(&mut sheet, SPACE, SPACE, title, LIGHT);
    for (label, left) in columns.iter().zip((first..).step_by(column as usize)) {
        font::write(&mut sheet, left + SPACE, LINE + SPACE, label, LIGHT);
    }
    for ((label, values), top) in rows.iter().zip(values).zip((2 * LINE..).step_by(LINE as usize)) {
        font::write(&mut sheet, SPACE, top + SPACE, label, LIGHT);
        for (value, left) in values.iter().zip((first..).step_by(column as usize)) {
            if let Some(value) = value {
                fill(&mut sheet, [left, top, column - 1, LINE - 1], *value, range);
            }
        }
    }
    let (width, height) = sheet.dimensions();
    imageops::resize(&sheet, ENLARGED * width, ENLARGED * height, FilterType::Nearest)
}

/// A coloured cell at `[left, top, width, height]` with its number.
fn fill(sheet: &mut RgbImage, [left, top, width, height]: [u32; 4], value: f64, range: [f64; 2]) {
    let share = ((value - range[0]) / (range[1] - range[0])).clamp(0.0, 1.0);
    let colour = colour(share as f32);
    (0..height).for_each(|y| (0..width).for_each(|x| sheet.put_pixel(left + x, top + y, colour)));
    let ink = if share < 0.5 { LIGHT } else { DARK };
    font::write(sheet, left + SPACE, top + SPACE - 1, &format!("{value:.3}"), ink);
}

/// * `share` — 0 for the darkest, 1 for the brightest
fn colour(share: f32) -> Rgb<u8> {
    let at = share * (COLOURS.len() - 1) as f32;
    let low = (at as usize).min(COLOURS.len() - 2);
    let blend = |channel: usize| {
        let [from, to] = [COLOURS[low][channel], COLOURS[low + 1][channel]];
        (from + (to - from) * (at - low as f32)).round() as u8
    };
    Rgb([blend(0), blend(1), blend(2)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_has_the_colour_of_its_value_and_a_missing_one_none() {
        let labels = |labels: &[&str]| labels.iter().map(|label| label.to_string()).collect::<Vec<_>>();
        let values = [vec![Some(0.5), Some(1.0)], vec![Some(0.2), None]];
        let picture = colour_table("t", &labels(&["a", "b"]), &labels(&["c", "d"]), &values, [0.5, 1.0]);
        // One letter of 6 and 2 · 4 around it; then cells for 5 letters, 38 wide.
        assert_eq!(picture.dimensions(), (2 * (14 + 2 * 38), 2 * (4 * 13 + 4)));
        let corner = |row: u32, column: u32| *picture.get_pixel(2 * (14 + column * 38), 2 * (2 + row) * 13);
        assert_eq!(corner(0, 0), Rgb([68, 1, 84]));
        assert_eq!(corner(0, 1), Rgb([253, 231, 37]));
        assert_eq!(corner(1, 0), Rgb([68, 1, 84]));
        assert_eq!(corner(1, 1), PAPER);
        assert_eq!(colour(0.5), Rgb([33, 145, 140]));
    }
}
