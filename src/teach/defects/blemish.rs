//! What lies on a part: stains, and other texture.

use std::f32::consts::TAU;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::Severity;
use super::geometry::{Point, minus, norm, plus, smooth_step, turned};
use super::layer::Layer;
use super::line::tint;
use super::perlin::Perlin;
use super::region::Region;

/// The most contrast of a stain, in grey levels: more would be a hole.
const MOST_STAIN_LEVELS: f32 = 50.0;
/// The smallest blemish, in pixels across.
const LEAST_EXTENT: f32 = 6.0;

/// A blot of one to three soft blobs with an uneven outline.
///
/// Each blob has the profile (1 − r²)², r = 1 at its outline.
pub(super) fn stain(region: &Region, severity: Severity, rng: &mut ChaCha8Rng) -> Layer {
    let extent = region.length(severity.extent(), LEAST_EXTENT, rng);
    let middle = middle(region, extent / 2.0, rng);
    let noise = Perlin::new(rng);
    let blobs: Vec<(Point, f32, f32, f32)> = (0..rng.random_range(1..=3))
        .map(|i| {
            let away = if i == 0 { 0.0 } else { extent * rng.random_range(0.15..0.35) };
            let at = plus(middle, turned([away, 0.0], rng.random_range(0.0..TAU)));
            let radius = extent / if i == 0 { 2.0 } else { rng.random_range(3.0..6.0) };
            (at, radius, rng.random_range(0.55..1.0), rng.random_range(0.0..TAU))
        })
        .collect();
    let cover = |point: Point| {
        let uneven = 1.0 + 0.5 * noise.rough(point.map(|axis| axis / extent * 3.0));
        let profile = |(at, radius, roundness, angle): &(Point, f32, f32, f32)| {
            let [x, y] = turned(minus(point, *at), -angle);
            let r = (x / radius).hypot(y / (radius * roundness)) * uneven;
            (1.0 - r * r).max(0.0).powi(2)
        };
        blobs.iter().map(profile).fold(0.0, f32::max)
    };
    let bounds = region.bounds().around(middle, [extent; 2]);
    let tint = tint(rng);
    Layer::added(region, bounds, tint, cover, MOST_STAIN_LEVELS, rng)
}

/// Another texture where Perlin noise is high, in a spot that ends softly.
///
/// The texture is that of another place of the part or of another part, turned and with its contrast changed, or made
/// of noise around the colour of the place.
/// # Source  DRAEM, Zavrtanik et al. 2021, arXiv:2108.07610. Differs: no textures but those of good parts.
pub(super) fn blend(region: &Region, other: Option<&Region>, severity: Severity, rng: &mut ChaCha8Rng) -> Layer {
    let extent = 1.3 * region.length(severity.extent(), LEAST_EXTENT, rng);
    let middle = middle(region, extent / 2.0, rng);
    let outline = Perlin::new(rng);
    let cover = |point: Point| {
        let r = norm(minus(point, middle)) / (extent / 2.0);
        let height = 0.45 + outline.rough(point.map(|axis| axis / extent * 4.0)) - 0.8 * r * r;
        if r < 1.0 { smooth_step(height * 4.0) * smooth_step((1.0 - r) * 4.0) } else { 0.0 }
    };
    let bounds = region.bounds().around(middle, [extent / 2.0; 2]);
    let opacity = rng.random_range(0.5..1.0);
    if rng.random_bool(0.3) {
        let grain = Perlin::new(rng);
        let under = region.mean_around(middle, extent);
        let cell = (extent / rng.random_range(6.0..20.0)).max(1.5);
        let swing = rng.random_range(20.0..80.0);
        let offset = rng.random_range(-50.0..50.0);
        let texture =
            |point: Point| under.map(|level| level + offset + swing * grain.rough(point.map(|axis| axis / cell)));
        return Layer::over(region, bounds, |point| (texture(point), opacity * cover(point)));
    }
    let source = source(region, other, rng);
    let from = source.place(extent / 2.0, rng);
    let angle = rng.random_range(0.0..TAU);
    let mean = source.mean_around(from, extent);
    let (gain, offset) = (rng.random_range(0.6..1.6), rng.random_range(-25.0..25.0));
    let texture = |point: Point| {
        let value = source.sample(plus(from, turned(minus(point, middle), angle)));
        std::array::from_fn(|c| mean[c] + gain * (value[c] - mean[c]) + offset)
    };
    Layer::over(region, bounds, |point| (texture(point), opacity * cover(point)))
}

/// Three times out of four on the object, otherwise anywhere; at least `margin` from the border.
pub(super) fn middle(region: &Region, margin: f32, rng: &mut ChaCha8Rng) -> Point {
    if rng.random_bool(0.75) {
        region.inward(region.structure().place_on_object(region, rng), margin)
    } else {
        region.place(margin, rng)
    }
}

/// The part itself or, as often, the other one.
pub(super) fn source<'a>(
    region: &'a Region<'a>,
    other: Option<&'a Region<'a>>,
    rng: &mut ChaCha8Rng,
) -> &'a Region<'a> {
    other.filter(|_| rng.random_bool(0.5)).unwrap_or(region)
}
