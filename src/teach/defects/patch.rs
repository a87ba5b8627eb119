//! Patches of the picture: turned, pasted elsewhere, gone, or there twice.

use std::f32::consts::TAU;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::Severity;
use super::blemish::{middle, source};
use super::colour::Jitter;
use super::geometry::{Point, edge, minus, norm, plus, smooth_step, turned};
use super::layer::Layer;
use super::perlin::Perlin;
use super::region::Region;

/// The smallest patch, in pixels across.
const LEAST_EXTENT: f32 = 6.0;
/// Places of the ring around a missing patch.
const RING: usize = 32;
/// How much lighter or darker a copy is made at most.
const MOST_SHIFT: f32 = 24.0;
/// How far the aspect of a pasted rectangle may lie from a square.
pub(super) const ASPECT: std::ops::RangeInclusive<f32> = 0.3..=3.3;

/// A disc of the picture, turned in place.
/// # Source  after the rotated patch of shinmura0, whose sizes and angles are not known.
pub(super) fn rotated_disc(region: &Region, severity: Severity, rng: &mut ChaCha8Rng) -> Layer {
    let radius = region.length(severity.extent(), LEAST_EXTENT, rng) / 2.0;
    let middle = edge_place(region, radius, rng);
    rotated(region, middle, radius, angle(severity, rng), |from| edge(norm(from) - radius))
}

/// A square of the picture, cut out, turned, and put back over its place.
/// # Source  as [`rotated_disc`]
pub(super) fn rotated_square(region: &Region, severity: Severity, rng: &mut ChaCha8Rng) -> Layer {
    let half = region.length(severity.extent(), LEAST_EXTENT, rng) / 2.0;
    let reach = half * std::f32::consts::SQRT_2;
    let middle = edge_place(region, reach, rng);
    let angle = angle(severity, rng);
    rotated(region, middle, reach, angle, |from| {
        let [x, y] = turned(from, -angle);
        edge(x.abs().max(y.abs()) - half)
    })
}

/// * `cover` — how much of a point is covered, by its distance from the middle
fn rotated(region: &Region, middle: Point, reach: f32, angle: f32, cover: impl Fn(Point) -> f32) -> Layer {
    let bounds = region.bounds().around(middle, [reach + 1.0; 2]);
    Layer::over(region, bounds, |point| {
        let from = minus(point, middle);
        match cover(from) {
            0.0 => ([0.0; 3], 0.0),
            cover => (region.sample(plus(middle, turned(from, -angle))), cover),
        }
    })
}

fn angle(severity: Severity, rng: &mut ChaCha8Rng) -> f32 {
    let angle = rng.random_range(severity.rotation()).to_radians();
    if rng.random_bool(0.5) { angle } else { -angle }
}

/// A rectangle, what it shows, and where it goes.
pub(super) struct Pasted {
    pub size: [f32; 2],
    pub from: Point,
    pub to: Point,
    pub angle: f32,
    pub jitter: Jitter,
}

impl Pasted {
    pub fn layer(&self, region: &Region, source: &Region) -> Layer {
        let [half_width, half_height] = self.size.map(|side| side / 2.0);
        let bounds = region.bounds().around(self.to, [half_width.hypot(half_height) + 1.0; 2]);
        let mean = source.mean_around(self.from, self.size[0].min(self.size[1]));
        Layer::over(region, bounds, |point| {
            let from = turned(minus(point, self.to), -self.angle);
            match edge((from[0].abs() - half_width).max(from[1].abs() - half_height)) {
                0.0 => ([0.0; 3], 0.0),
                cover => (self.jitter.of(source.sample(plus(self.from, from)), mean), cover),
            }
        })
    }

    /// Half of the diagonal.
    pub fn reach(size: [f32; 2]) -> f32 {
        size[0].hypot(size[1]) / 2.0
    }
}

/// # Source  CutPaste, Li et al. 2021, arXiv:2104.04015, with the aspects of Runinho/pytorch-cutpaste. Differs: area by
/// severity, faint ones see-through.
pub(super) fn cut_paste(region: &Region, other: Option<&Region>, severity: Severity, rng: &mut ChaCha8Rng) -> Layer {
    let extent = region.length(severity.extent(), LEAST_EXTENT, rng);
    let stretch = log_uniform(ASPECT, rng).sqrt();
    let size = [extent * stretch, extent / stretch].map(|side| side.max(3.0));
    let source = source(region, other, rng);
    let reach = Pasted::reach(size);
    let (from, to) = (source.place(reach, rng), middle(region, reach, rng));
    Pasted { size, from, to, angle: 0.0, jitter: Jitter::draw(rng) }.layer(region, source)
}

/// # Source  as [`cut_paste`]
pub(super) fn scar(region: &Region, other: Option<&Region>, severity: Severity, rng: &mut ChaCha8Rng) -> Layer {
    let length = region.length(severity.extent(), LEAST_EXTENT, rng) * 1.5;
    let size = [(length * rng.random_range(0.1..0.3)).max(2.0), length];
    let source = source(region, other, rng);
    let reach = Pasted::reach(size);
    let (from, to) = (source.place(reach, rng), middle(region, reach, rng));
    Pasted { size, from, to, angle: rng.random_range(0.0..TAU), jitter: Jitter::draw(rng) }.layer(region, source)
}

pub(super) fn log_uniform(range: std::ops::RangeInclusive<f32>, rng: &mut ChaCha8Rng) -> f32 {
    rng.random_range(range.start().ln()..=range.end().ln()).exp()
}

/// A patch with an uneven outline, filled from the ring around it, or from half of the ring: then, on an outline, the
/// part lacks a piece, or has one too much.
///
/// The fill is the mean of places on the ring, weighed by 1/d² of the distance to each: smooth, and equal to the ring at
/// the ring.
pub(super) fn missing(region: &Region, severity: Severity, rng: &mut ChaCha8Rng) -> Layer {
    let radius = region.length(severity.extent(), LEAST_EXTENT, rng) / 2.0;
    let spot = Spot { middle: edge_place(region, 1.2 * radius, rng), radius, noise: Perlin::new(rng) };
    let share = if rng.random_bool(0.6) { 0.5 } else { 1.0 };
    let start = rng.random_range(0.0..TAU);
    let ring: Vec<(Point, [f32; 3])> = (0..RING)
        .map(|i| {
            let direction = turned([1.0, 0.0], start + share * i as f32 / RING as f32 * TAU);
            let at = plus(spot.middle, direction.map(|axis| axis * 1.15 * spot.outline(direction)));
            (at, region.mean_around(at, (radius * 0.15).max(2.0)))
        })
        .collect();
    let fill = |point: Point| {
        let (mut sum, mut weights) = ([0.0; 3], 0.0);
        for (at, value) in &ring {
            let [dx, dy] = minus(point, *at);
            let weight = 1.0 / (dx * dx + dy * dy + 1.0);
            weights += weight;
            sum = std::array::from_fn(|c| sum[c] + weight * value[c]);
        }
        sum.map(|sum| sum / weights)
    };
    spot.layer(region, fill)
}

/// A patch with structure, copied elsewhere with a soft outline, and brought nearer to the light of what lies around it
/// there, by at most 24 levels.
pub(super) fn duplicated(region: &Region, severity: Severity, rng: &mut ChaCha8Rng) -> Layer {
    let radius = region.length(severity.extent(), LEAST_EXTENT, rng) / 2.0;
    let from = edge_place(region, 1.2 * radius, rng);
    let places = std::iter::repeat_with(|| middle(region, 1.2 * radius, rng)).take(20);
    // Another place may be out of reach on a region that is all edge; then half of a patch lies over itself.
    let mut farthest = from;
    for place in places {
        if norm(minus(place, from)) > norm(minus(farthest, from)) {
            farthest = place;
        }
        if norm(minus(farthest, from)) >= 2.0 * radius {
            break;
        }
    }
    let spot = Spot { middle: farthest, radius, noise: Perlin::new(rng) };
    let rim = |middle: Point| {
        let mut sum = [0.0; 3];
        for i in 0..16 {
            let at = plus(middle, turned([1.1 * radius, 0.0], i as f32 / 16.0 * TAU));
            let value = region.mean_around(at, 2.0);
            sum = std::array::from_fn(|c| sum[c] + value[c] / 16.0);
        }
        sum
    };
    let (there, here) = (rim(spot.middle), rim(from));
    spot.layer(region, |point| {
        let value = region.sample(plus(from, minus(point, spot.middle)));
        std::array::from_fn(|c| value[c] + (there[c] - here[c]).clamp(-MOST_SHIFT, MOST_SHIFT))
    })
}

/// A round patch with an uneven, soft outline.
struct Spot {
    middle: Point,
    radius: f32,
    noise: Perlin,
}

impl Spot {
    /// Its radius in a direction of length 1: 0.8 to 1.2 of `radius`.
    fn outline(&self, direction: Point) -> f32 {
        self.radius * (1.0 + 0.2 * self.noise.at(direction.map(|axis| 1.5 * axis)))
    }

    fn layer(&self, region: &Region, painted: impl Fn(Point) -> [f32; 3]) -> Layer {
        let soft = (0.2 * self.radius).max(1.0);
        let bounds = region.bounds().around(self.middle, [1.2 * self.radius + 1.0; 2]);
        Layer::over(region, bounds, |point| {
            let from = minus(point, self.middle);
            let far = norm(from).max(1e-3);
            match smooth_step((self.outline(from.map(|axis| axis / far)) - far) / soft) {
                0.0 => ([0.0; 3], 0.0),
                cover => (painted(point), cover),
            }
        })
    }
}

/// On an edge, where there is something to move; at least `margin` from the border.
pub(super) fn edge_place(region: &Region, margin: f32, rng: &mut ChaCha8Rng) -> Point {
    region.inward(region.structure().place_on_edge(region, rng), margin)
}

/// A disc or, as often, a square of `side` pixels across, turned in place by `angle` radians.
pub(super) fn turned_in_place(region: &Region, round: bool, side: f32, angle: f32, rng: &mut ChaCha8Rng) -> Layer {
    let half = side / 2.0;
    let reach = if round { half } else { half * std::f32::consts::SQRT_2 };
    let middle = region.place(reach, rng);
    rotated(region, middle, reach, angle, |from| {
        let [x, y] = turned(from, -angle);
        edge(if round { norm(from) } else { x.abs().max(y.abs()) } - half)
    })
}
