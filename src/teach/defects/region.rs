//! The region of a picture on which a defect is drawn, in its own coordinates.

use std::cell::OnceCell;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::geometry::{Bounds, Point};
use super::structure::Structure;
use crate::frame::{Frame, MIN_SIDE_PX, Roi};

/// A region of a frame. Its points are in pixels from its own upper left corner; the centre of its first pixel lies at
/// (½, ½).
pub(super) struct Region<'a> {
    pub frame: &'a Frame,
    pub roi: Roi,
    structure: OnceCell<Structure>,
}

impl<'a> Region<'a> {
    /// # Panics  if `roi` is not inside the frame, or a side of it is below [`MIN_SIDE_PX`].
    pub fn new(frame: &'a Frame, roi: Option<Roi>) -> Region<'a> {
        let whole = Roi { x: 0, y: 0, width: frame.width(), height: frame.height() };
        let roi = roi.unwrap_or(whole);
        let inside = |start: u32, side: u32, all: u32| side >= MIN_SIDE_PX && start <= all && side <= all - start;
        assert!(
            inside(roi.x, roi.width, whole.width) && inside(roi.y, roi.height, whole.height),
            "the region {roi} must lie in the frame of {} × {} pixels, with sides of at least {MIN_SIDE_PX}",
            whole.width,
            whole.height,
        );
        Region { frame, roi, structure: OnceCell::new() }
    }

    /// The same region of another frame; the whole of it where the sizes differ.
    pub fn beside(&self, other: &'a Frame) -> Region<'a> {
        let same = (other.width(), other.height()) == (self.frame.width(), self.frame.height());
        Region::new(other, same.then_some(self.roi))
    }

    pub fn width(&self) -> usize {
        self.roi.width as usize
    }

    pub fn height(&self) -> usize {
        self.roi.height as usize
    }

    /// The shorter side, in pixels; every length is a share of it.
    pub fn side(&self) -> f32 {
        self.roi.width.min(self.roi.height) as f32
    }

    /// Where there is structure, looked for once.
    pub fn structure(&self) -> &Structure {
        self.structure.get_or_init(|| Structure::of(self))
    }

    pub fn bounds(&self) -> Bounds {
        Bounds { x: 0..self.width(), y: 0..self.height() }
    }

    /// The index of the first byte of a pixel in the frame.
    pub fn at(&self, x: usize, y: usize) -> usize {
        3 * ((self.roi.y as usize + y) * self.frame.width() as usize + self.roi.x as usize + x)
    }

    pub fn bytes(&self, x: usize, y: usize) -> [u8; 3] {
        let at = self.at(x, y);
        let rgb = self.frame.rgb();
        [rgb[at], rgb[at + 1], rgb[at + 2]]
    }

    pub fn pixel(&self, x: usize, y: usize) -> [f32; 3] {
        self.bytes(x, y).map(f32::from)
    }

    /// The mean of the three channels.
    pub fn grey(&self, x: usize, y: usize) -> f32 {
        self.pixel(x, y).iter().sum::<f32>() / 3.0
    }

    /// Bilinear; beyond the outermost centres the nearest one holds.
    pub fn sample(&self, point: Point) -> [f32; 3] {
        let along = |at: f32, side: usize| {
            let at = (at - 0.5).clamp(0.0, (side - 1) as f32);
            let first = at as usize;
            (first, (first + 1).min(side - 1), at - first as f32)
        };
        let (left, right, across) = along(point[0], self.width());
        let (upper, lower, down) = along(point[1], self.height());
        let corners =
            [self.pixel(left, upper), self.pixel(right, upper), self.pixel(left, lower), self.pixel(right, lower)];
        std::array::from_fn(|c| {
            let above = corners[0][c] + (corners[1][c] - corners[0][c]) * across;
            let below = corners[2][c] + (corners[3][c] - corners[2][c]) * across;
            above + (below - above) * down
        })
    }

    /// The mean over a square of about `side` pixels, from at most 5 × 5 places of it.
    pub fn mean_around(&self, point: Point, side: f32) -> [f32; 3] {
        let mut sum = [0.0; 3];
        for i in 0..25 {
            let place = [(i % 5) as f32, (i / 5) as f32].map(|step| (step - 2.0) / 5.0 * side);
            let value = self.sample([point[0] + place[0], point[1] + place[1]]);
            sum = std::array::from_fn(|c| sum[c] + value[c] / 25.0);
        }
        sum
    }

    /// A point at least `margin` from every border; the middle where the region is too small for that.
    pub fn place(&self, margin: f32, rng: &mut ChaCha8Rng) -> Point {
        [self.width(), self.height()].map(|side| {
            let side = side as f32;
            if side > 2.0 * margin { rng.random_range(margin..side - margin) } else { side / 2.0 }
        })
    }

    /// `point`, moved so that it is at least `margin` from every border.
    pub fn inward(&self, point: Point, margin: f32) -> Point {
        let inward = |at: f32, side: usize| {
            at.clamp(margin.min(side as f32 / 2.0), (side as f32 - margin).max(side as f32 / 2.0))
        };
        [inward(point[0], self.width()), inward(point[1], self.height())]
    }

    /// A length that is a share of the shorter side, at least `least` pixels and at most 45 % of the side.
    pub fn length(&self, share: std::ops::Range<f32>, least: f32, rng: &mut ChaCha8Rng) -> f32 {
        (self.side() * rng.random_range(share)).max(least).min(0.45 * self.side())
    }
}
