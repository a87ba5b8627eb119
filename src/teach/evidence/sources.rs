//! Where the pictures of the evidence come from: good parts, known defects, and what is drawn.

use std::sync::Mutex;

use super::{DrawnDefect, KnownPicture, Material};
use crate::frame::{Frame, Roi};
use crate::inspect::Extractor;
use crate::inspect::recipe::Recipe;
use crate::teach::defects::{self, Kind, Mask, Preset, Severity};
use crate::teach::known::KnownDefect;
use crate::teach::study::Study;
use crate::teach::{Options, TeachError, stream};

/// So many defects are drawn on the judged parts, but not less on each than one of each severity, and not more than two.
const DEFECTS: usize = 240;
/// The least common multiple of the folds and of the parts of which one says when a training stops.
const ALIKE: usize = 12;

/// What is drawn on so many judged parts: the part, and what on it.
pub(super) fn plan(judged: usize) -> Vec<(usize, Kind, Severity)> {
    let each = (DEFECTS / judged.max(1)).clamp(Severity::ALL.len(), 2 * Severity::ALL.len());
    let planned = |i: usize| (i / each, Kind::ALL[i % Kind::ALL.len()], Severity::ALL[i % Severity::ALL.len()]);
    (0..judged * each).map(planned).collect()
}

/// What evidence is gathered from.
pub(super) struct Sources<'a> {
    pub extractor: &'a Extractor,
    pub material: &'a Material<'a>,
    /// The good parts that are used, by their numbers in the material.
    pub parts: &'a [usize],
    pub options: &'a Options,
}

impl Sources<'_> {
    pub fn good(&self, part: usize) -> Result<Frame, TeachError> {
        self.material.good_parts.load(self.parts[part]).map_err(TeachError::Load)
    }

    fn cover(&self, mask: &Mask) -> Vec<f32> {
        cover(mask, self.options.recipe.roi_px, patch_grid(self.extractor.recipe()))
    }

    /// The good parts, then the known defects.
    /// * `halve` — whether half of these teach
    pub fn see(&self, halve: bool, step: impl Fn(usize) + Sync) -> Result<(Study, Vec<KnownPicture>), TeachError> {
        let (parts, known) = (self.parts.len(), self.material.known);
        let covers = Mutex::new(vec![None; known.len()]);
        let load = |picture: usize| {
            let Some(defect) = picture.checked_sub(parts) else { return self.good(picture) };
            let KnownDefect { frame, mask } = known.load(defect)?;
            let covered = mask.map(|mask| self.cover(&mask));
            covers.lock().expect("no picture panics while it holds the list")[defect] = covered;
            Ok(frame)
        };
        let study = Study::take(self.extractor, parts + known.len(), load, self.options.threads, step)?;
        let teaching = if halve { known.halves(self.options.seed).0 } else { Vec::new() };
        let covers = covers.into_inner().expect("no picture panicked").into_iter().enumerate();
        let known = covers.map(|(defect, cover)| {
            let teaches = teaching.contains(&defect);
            KnownPicture { picture: parts + defect, cover, teaches }
        });
        Ok((study, known.collect()))
    }

    /// Draws what is planned, and adds the pictures to the study.
    pub fn draw(
        &self,
        study: &mut Study,
        planned: &[(usize, Kind, Severity)],
        preset: Preset,
        step: impl Fn(usize) + Sync,
    ) -> Result<Vec<DrawnDefect>, TeachError> {
        let (first, judged) = (study.len(), planned.last().map_or(0, |(part, ..)| part + 1));
        let drawn = Mutex::new(vec![None; planned.len()]);
        let draw = |defect: usize| {
            let (part, kind, severity) = planned[defect];
            let mut rng = stream(self.options.seed, 8_000_000 + defect as u64);
            // Parts that are so many apart are judged, learned from, or asked when to stop, alike.
            let other = if part + ALIKE < judged { part + ALIKE } else { part };
            let (frame, other, roi) = (self.good(part)?, self.good(other)?, self.options.recipe.roi_px);
            let made = match preset {
                Preset::Mixed => defects::draw(kind, severity, &frame, Some(&other), roi, &mut rng),
                preset => preset.draw(&frame, Some(&other), roi, &mut rng),
            };
            let (kind, severity, cover) = (made.kind, made.severity, self.cover(&made.mask));
            let found = DrawnDefect { kind, severity, picture: first + defect, good: part, cover };
            drawn.lock().expect("no draw panics while it holds the list")[defect] = Some(found);
            Ok(made.frame)
        };
        let on: Vec<usize> = planned.iter().map(|(part, ..)| *part).collect();
        study.take_changed(self.extractor, &on, draw, self.options.threads, step)?;
        let drawn = drawn.into_inner().expect("no draw panicked").into_iter();
        Ok(drawn.map(|drawn| drawn.expect("every picture was loaded")).collect())
    }
}

/// Height and width of the grid of patches, whatever the granularity.
fn patch_grid(recipe: &Recipe) -> [usize; 2] {
    recipe.input_px.map(|side| side / recipe.grid_stride)
}

/// How much of each cell of a grid over the region a mask covers, row by row, in [0, 1].
/// * `grid` — height and width
pub fn cover(mask: &Mask, roi: Option<Roi>, grid: [usize; 2]) -> Vec<f32> {
    let roi = roi.unwrap_or(Roi { x: 0, y: 0, width: mask.width, height: mask.height });
    let (mut covered, mut pixels) = (vec![0.0; grid[0] * grid[1]], vec![0.0; grid[0] * grid[1]]);
    for y in 0..roi.height {
        for x in 0..roi.width {
            let [row, column] = [(y, roi.height, grid[0]), (x, roi.width, grid[1])]
                .map(|(at, size, cells)| at as usize * cells / size as usize);
            let changed = mask.data[((roi.y + y) * mask.width + roi.x + x) as usize];
            covered[row * grid[1] + column] += f32::from(u8::from(changed));
            pixels[row * grid[1] + column] += 1.0;
        }
    }
    covered.iter().zip(&pixels).map(|(covered, pixels): (&f32, &f32)| covered / pixels.max(1.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_covers_the_cells_that_its_pixels_lie_in() {
        let mut mask = Mask { width: 5, height: 4, data: vec![false; 20] };
        // A region of 4 × 4 from column 1 on, in cells of 2 × 2: one pixel in the first, all of the last.
        for at in [1, 13, 14, 18, 19] {
            mask.data[at] = true;
        }
        let roi = Some(Roi { x: 1, y: 0, width: 4, height: 4 });
        assert_eq!(cover(&mask, roi, [2, 2]), [0.25, 0.0, 0.0, 1.0]);
    }
}
