//! A few synthetic defects, to estimate what a threshold would catch: a line, and a pasted patch.
//!
//! They are no training data and no test set: they say whether the threshold is of any use, and where it ends.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::frame::{Frame, Roi};

/// A kind of synthetic defect with its size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SyntheticDefect {
    /// A straight line, lighter or darker than what it crosses by `contrast` grey levels.
    Line { contrast: f32 },
    /// A square of the picture pasted elsewhere; its side is `side` of the shorter side of the region.
    PastedPatch { side: f32 },
}

/// What teaching tries, from barely visible to plain.
pub const TRIED: [SyntheticDefect; 4] = [
    SyntheticDefect::Line { contrast: 20.0 },
    SyntheticDefect::Line { contrast: 80.0 },
    SyntheticDefect::PastedPatch { side: 0.05 },
    SyntheticDefect::PastedPatch { side: 0.15 },
];

impl std::fmt::Display for SyntheticDefect {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            SyntheticDefect::Line { contrast } => write!(f, "line, {contrast:.0} grey levels"),
            SyntheticDefect::PastedPatch { side } => write!(f, "pasted patch, {:.0} % of the side", 100.0 * side),
        }
    }
}

impl SyntheticDefect {
    /// The frame with one such defect, placed at random inside `roi` (the whole frame if absent).
    pub fn draw(self, frame: &Frame, roi: Option<Roi>, rng: &mut ChaCha8Rng) -> Frame {
        let roi = roi.unwrap_or(Roi { x: 0, y: 0, width: frame.width(), height: frame.height() });
        let mut rgb = frame.rgb().to_vec();
        match self {
            SyntheticDefect::Line { contrast } => draw_line(&mut rgb, frame.width(), roi, contrast, rng),
            SyntheticDefect::PastedPatch { side } => paste_patch(&mut rgb, frame.width(), roi, side, rng),
        }
        Frame::new(frame.width(), frame.height(), rgb, frame.captured, frame.sequence)
            .expect("the defect does not change the size")
    }
}

/// A line of a tenth to a third of the region's shorter side and about a hundredth of it wide, with soft edges.
fn draw_line(rgb: &mut [u8], frame_width: u32, roi: Roi, contrast: f32, rng: &mut ChaCha8Rng) {
    let side = roi.width.min(roi.height) as f32;
    let half_width = (side / 200.0).max(0.75);
    let length = side * rng.random_range(0.1..0.33);
    let angle = rng.random_range(0.0..std::f32::consts::TAU);
    let (dx, dy) = (angle.cos(), angle.sin());
    // The middle stays so far inside that the whole line is on the region.
    let reach = length / 2.0 + half_width + 1.0;
    let middle_x = rng.random_range(reach..roi.width as f32 - reach);
    let middle_y = rng.random_range(reach..roi.height as f32 - reach);
    let contrast = if rng.random_bool(0.5) { contrast } else { -contrast };
    for y in 0..roi.height {
        for x in 0..roi.width {
            let (from_x, from_y) = (x as f32 - middle_x, y as f32 - middle_y);
            let along = (from_x * dx + from_y * dy).abs() - length / 2.0;
            let across = (from_y * dx - from_x * dy).abs() - half_width;
            let cover = (0.5 - along.max(across)).clamp(0.0, 1.0);
            if cover > 0.0 {
                let at = 3 * ((roi.y + y) * frame_width + roi.x + x) as usize;
                for value in &mut rgb[at..at + 3] {
                    *value = (f32::from(*value) + cover * contrast).round().clamp(0.0, 255.0) as u8;
                }
            }
        }
    }
}

/// A square from elsewhere on the region, taken at least its own side away.
fn paste_patch(rgb: &mut [u8], frame_width: u32, roi: Roi, side: f32, rng: &mut ChaCha8Rng) {
    let side = ((roi.width.min(roi.height) as f32 * side) as u32).max(2);
    let mut place =
        || (roi.x + rng.random_range(0..=roi.width - side), roi.y + rng.random_range(0..=roi.height - side));
    let to = place();
    let from = std::iter::repeat_with(&mut place)
        .find(|from| from.0.abs_diff(to.0).max(from.1.abs_diff(to.1)) >= side)
        .expect("the places never end");
    let source = rgb.to_vec();
    for y in 0..side {
        let [from, to] = [from, to].map(|at| 3 * ((at.1 + y) * frame_width + at.0) as usize);
        let bytes = 3 * side as usize;
        rgb[to..to + bytes].copy_from_slice(&source[from..from + bytes]);
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::clock::Timestamp;

    fn gradient() -> Frame {
        let rgb: Vec<u8> = (0..64 * 48).flat_map(|i| [(i % 64) as u8 * 2 + 60; 3]).collect();
        Frame::new(64, 48, rgb, Timestamp(0), 0).unwrap()
    }

    #[test]
    fn every_defect_changes_the_region_and_nothing_outside_it() {
        let roi = Roi { x: 8, y: 4, width: 40, height: 32 };
        let good = gradient();
        for defect in TRIED {
            for seed in 0..50 {
                let drawn = defect.draw(&good, Some(roi), &mut ChaCha8Rng::seed_from_u64(seed));
                let changed: Vec<usize> = (0..64 * 48).filter(|i| good.rgb()[3 * i] != drawn.rgb()[3 * i]).collect();
                let inside = |i: &usize| (8..48).contains(&(i % 64)) && (4..36).contains(&(i / 64));
                assert!(changed.iter().all(inside), "{defect}, seed {seed}");
                // A patch from straight above is the same on this picture of columns.
                assert!(
                    !changed.is_empty() || matches!(defect, SyntheticDefect::PastedPatch { .. }),
                    "{defect}, seed {seed}"
                );
            }
        }
    }

    #[test]
    fn the_contrast_of_a_line_is_the_one_asked_for() {
        let drawn = SyntheticDefect::Line { contrast: 20.0 }.draw(&gradient(), None, &mut ChaCha8Rng::seed_from_u64(1));
        let difference = |i: usize| drawn.rgb()[i].abs_diff(gradient().rgb()[i]);
        assert_eq!((0..drawn.rgb().len()).map(difference).max(), Some(20));
    }
}
