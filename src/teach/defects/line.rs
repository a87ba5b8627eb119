//! Straight lines: anywhere, on the object, on an edge.

use std::f32::consts::TAU;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::geometry::{Bounds, Point, edge, minus, norm, plus};
use super::layer::Layer;
use super::region::Region;
use super::{Kind, Severity};

/// The shortest and the thinnest line, in pixels.
const LEAST_LENGTH: f32 = 5.0;
const LEAST_WIDTH: f32 = 1.0;

/// A line with square ends, in pixels of the region.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub from: Point,
    pub to: Point,
    pub width: f32,
}

impl Line {
    /// How much of the pixel around `point` it covers, with soft edges.
    pub fn cover(&self, point: Point) -> f32 {
        let along = minus(self.to, self.from);
        let length = norm(along);
        let [dx, dy] = along.map(|axis| axis / length);
        let [x, y] = minus(point, [0, 1].map(|axis| (self.from[axis] + self.to[axis]) / 2.0));
        let beyond_end = (x * dx + y * dy).abs() - length / 2.0;
        let beyond_side = (y * dx - x * dy).abs() - self.width / 2.0;
        edge(beyond_end.max(beyond_side))
    }

    pub fn bounds(&self, region: &Region) -> Bounds {
        let middle = [0, 1].map(|axis| (self.from[axis] + self.to[axis]) / 2.0);
        let reach = [0, 1].map(|axis| (self.from[axis] - self.to[axis]).abs() / 2.0 + self.width / 2.0 + 1.0);
        region.bounds().around(middle, reach)
    }
}

pub(super) fn anywhere(region: &Region, severity: Severity, rng: &mut ChaCha8Rng) -> Layer {
    let from = region.place(1.0, rng);
    stroke(region, from, severity, rng)
}

/// Starts between the highest and the lowest structure of a column.
/// # Source  DefectOnBlobImageList of daisukelab/metric_learning. Differs: soft edges, contrast by severity.
pub(super) fn on_object(region: &Region, severity: Severity, rng: &mut ChaCha8Rng) -> Layer {
    let from = region.structure().place_on_object(region, rng);
    stroke(region, from, severity, rng)
}

/// Starts where the picture changes most.
/// # Source  DefectOnTheEdgeImageList of daisukelab/metric_learning. Differs: as [`on_object`], and edges of all
/// directions.
pub(super) fn on_edge(region: &Region, severity: Severity, rng: &mut ChaCha8Rng) -> Layer {
    let from = region.structure().place_on_edge(region, rng);
    stroke(region, from, severity, rng)
}

/// A line with soft edges from `from` in a direction that stays on the region.
fn stroke(region: &Region, from: Point, severity: Severity, rng: &mut ChaCha8Rng) -> Layer {
    let length = region.length(severity.line_length(), LEAST_LENGTH, rng);
    let width = (region.side() * rng.random_range(severity.line_width())).max(LEAST_WIDTH);
    let angle = rng.random_range(0.0..TAU);
    let by = staying(region, from, [length * angle.cos(), length * angle.sin()]);
    let line = Line { from, to: plus(from, by), width };
    let tint = tint(rng);
    Layer::added(region, line.bounds(region), tint, |point| line.cover(point), Severity::MOST_LEVELS, rng)
}

/// `by`, mirrored where it would leave the region.
fn staying(region: &Region, from: Point, by: Point) -> Point {
    let sides = [region.width() as f32, region.height() as f32];
    [0, 1].map(|axis| if (0.0..sides[axis]).contains(&(from[axis] + by[axis])) { by[axis] } else { -by[axis] })
}

/// Nearly grey: each channel between 0.8 and 1.
pub(super) fn tint(rng: &mut ChaCha8Rng) -> [f32; 3] {
    [(); 3].map(|()| rng.random_range(0.8..1.0))
}

/// Where the lines of the originals may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Anywhere,
    OnObject,
}

/// The lines of daisukelab/metric_learning, in pixels of a picture of 224 × 224.
#[derive(Clone, Copy, Debug)]
pub(super) struct Twin {
    pub start: Start,
    /// The largest width; the smallest is 1.
    pub most_width: f32,
    /// The largest length along each axis.
    pub most_length: f32,
    /// Each channel for itself, or one grey value.
    pub coloured: bool,
}

/// The side of the pictures that the ranges of the originals are made for.
pub(super) const ORIGINAL_SIDE: f32 = 224.0;

impl Twin {
    pub fn kind(&self) -> Kind {
        match self.start {
            Start::Anywhere => Kind::Line,
            Start::OnObject => Kind::LineOnObject,
        }
    }

    /// From a place on the region towards its farther sides, at least a pixel long.
    pub fn line(&self, region: &Region, rng: &mut ChaCha8Rng) -> Line {
        let scale = region.side() / ORIGINAL_SIDE;
        let from = match self.start {
            Start::Anywhere => region.place(0.0, rng),
            Start::OnObject => region.structure().place_on_object(region, rng),
        };
        let by = loop {
            let by = [(); 2].map(|()| rng.random_range(0.0..=self.most_length * scale));
            if norm(by) >= 1.0 {
                break by;
            }
        };
        let sides = [region.width() as f32, region.height() as f32];
        let to = [0, 1]
            .map(|axis| if from[axis] < sides[axis] / 2.0 { from[axis] + by[axis] } else { from[axis] - by[axis] });
        let width = (rng.random_range(1.0..=self.most_width) * scale).max(LEAST_WIDTH);
        Line { from, to, width }
    }

    pub fn colour(&self, rng: &mut ChaCha8Rng) -> [u8; 3] {
        let grey = rng.random_range(0..=255);
        if self.coloured { [grey, rng.random_range(0..=255), rng.random_range(0..=255)] } else { [grey; 3] }
    }

    /// Of one colour, with hard edges, as the originals draw them.
    pub fn layer(&self, region: &Region, rng: &mut ChaCha8Rng) -> Layer {
        let line = self.line(region, rng);
        let colour = self.colour(rng).map(f32::from);
        let cover = |point| if line.cover(point) >= 0.5 { 1.0 } else { 0.0 };
        Layer::over(region, line.bounds(region), |point| (colour, cover(point)))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::clock::Timestamp;
    use crate::frame::{Frame, Roi};

    const TWIN: Twin = Twin { start: Start::Anywhere, most_width: 16.0, most_length: 45.0, coloured: true };

    #[test]
    fn a_line_covers_half_of_a_pixel_at_its_edge() {
        let line = Line { from: [2.0, 5.0], to: [10.0, 5.0], width: 2.0 };
        assert_eq!(
            [[6.0, 5.0], [6.0, 6.0], [6.0, 6.5], [2.0, 5.0], [0.0, 5.0]].map(|p| line.cover(p)),
            [1.0, 0.5, 0.0, 0.5, 0.0]
        );
    }

    fn lines(twin: Twin, count: u64) -> Vec<(Line, [u8; 3])> {
        let frame = Frame::new(224, 300, vec![90; 3 * 224 * 300], Timestamp(0), 0).unwrap();
        let region = Region::new(&frame, Some(Roi { x: 0, y: 40, width: 224, height: 224 }));
        (0..count)
            .map(|seed| {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                (twin.line(&region, &mut rng), twin.colour(&mut rng))
            })
            .collect()
    }

    #[test]
    fn trap_t8_every_line_of_the_originals_starts_inside_and_has_a_length() {
        for (line, _) in lines(TWIN, 2000) {
            assert!(line.from.iter().all(|at| (0.0..224.0).contains(at)), "{line:?}");
            assert!(norm(minus(line.to, line.from)) >= 1.0, "{line:?}");
            assert!(line.to.iter().all(|at| (0.0..=224.0).contains(at)), "{line:?}");
        }
    }

    #[test]
    fn trap_t8_colours_are_bytes_up_to_255_and_grey_where_asked_for() {
        let colours: Vec<[u8; 3]> = lines(TWIN, 2000).into_iter().map(|(_, colour)| colour).collect();
        assert_eq!(colours.iter().flatten().max(), Some(&255));
        assert_eq!(colours.iter().flatten().min(), Some(&0));
        let grey = lines(Twin { coloured: false, ..TWIN }, 50);
        assert!(grey.iter().all(|(_, [r, g, b])| r == g && g == b));
    }

    #[test]
    fn widths_and_lengths_fill_the_ranges_of_the_originals() {
        let lines = lines(TWIN, 2000);
        let (widths, lengths): (Vec<f32>, Vec<f32>) =
            lines.iter().map(|(line, _)| (line.width, (line.to[0] - line.from[0]).abs())).unzip();
        let most = |values: &[f32]| values.iter().copied().fold(0.0, f32::max);
        assert!((1.0..=16.0).contains(&most(&widths)) && most(&widths) > 15.9);
        assert!((44.5..=45.001).contains(&most(&lengths)));
        assert!(widths.iter().all(|width| *width >= 1.0));
    }
}
