//! Points, bounds, and the soft edges of shapes.

use std::ops::Range;

/// x, y in pixels.
pub(super) type Point = [f32; 2];

pub(super) fn minus(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1]]
}

pub(super) fn plus(a: Point, b: Point) -> Point {
    [a[0] + b[0], a[1] + b[1]]
}

pub(super) fn norm(a: Point) -> f32 {
    a[0].hypot(a[1])
}

/// `a`, turned by `angle` radians from the x axis towards the y axis.
pub(super) fn turned(a: Point, angle: f32) -> Point {
    let (sin, cos) = angle.sin_cos();
    [a[0] * cos - a[1] * sin, a[0] * sin + a[1] * cos]
}

/// 0 up to 0, 1 from 1 on, without a kink between.
pub(super) fn smooth_step(t: f32) -> f32 {
    let t = t.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// How much of a pixel a shape covers whose edge lies `outside` pixels inward of its centre (negative: inside).
pub(super) fn edge(outside: f32) -> f32 {
    (0.5 - outside).clamp(0.0, 1.0)
}

/// Pixels of a region: columns and rows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bounds {
    pub x: Range<usize>,
    pub y: Range<usize>,
}

impl Bounds {
    /// The pixels within `reach` of `middle` to all sides, so far as they are in `self`.
    pub fn around(&self, middle: Point, reach: Point) -> Bounds {
        let along = |middle: f32, reach: f32, range: &Range<usize>| {
            let start = ((middle - reach).floor().max(0.0) as usize).clamp(range.start, range.end);
            let end = ((middle + reach).ceil().max(0.0) as usize).clamp(start, range.end);
            start..end
        };
        Bounds { x: along(middle[0], reach[0], &self.x), y: along(middle[1], reach[1], &self.y) }
    }

    pub fn area(&self) -> usize {
        self.x.len() * self.y.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_clipped_to_the_region() {
        let region = Bounds { x: 0..20, y: 0..10 };
        assert_eq!(region.around([1.0, 5.5], [3.0, 2.0]), Bounds { x: 0..4, y: 3..8 });
        assert_eq!(region.around([40.0, 5.0], [3.0, 2.0]).area(), 0);
    }

    #[test]
    fn a_quarter_turn_takes_x_to_y() {
        let [x, y] = turned([1.0, 0.0], std::f32::consts::FRAC_PI_2);
        assert!(x.abs() < 1e-6 && (y - 1.0).abs() < 1e-6);
    }
}
