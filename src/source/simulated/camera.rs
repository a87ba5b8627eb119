//! The camera: samples a scene, blurs it as a lens does, and turns light into noisy 8-bit levels.

use std::sync::LazyLock;

use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::defect::Flaw;
use super::scene::Scene;
use super::texture::{Point, mix};

/// The lens blurs with a Gaussian of this standard deviation, in nominal pixels.
const BLUR: f32 = 0.75;
/// Electrons that saturate a pixel, and the noise of reading one, in electrons.
const FULL_WELL: f32 = 5000.0;
const READ_NOISE: f32 = 9.0;
/// Weights of R, G and B in the luminance (Rec. 601).
const LUMINANCE: [f32; 3] = [0.299, 0.587, 0.114];

/// A camera that looks straight down; the shorter side of its picture shows 320 nominal pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Camera {
    pub width: u32,
    pub height: u32,
}

/// A rectangle of the picture: columns `left..right`, rows `top..bottom`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Region {
    pub left: i32,
    pub top: i32,
    pub right: i32,
    pub bottom: i32,
}

impl Region {
    pub(super) fn width(self) -> usize {
        (self.right - self.left).max(0) as usize
    }

    /// The pixels, row by row: column and row in the picture.
    pub(super) fn pixels(self) -> impl Iterator<Item = (i32, i32)> {
        (self.top..self.bottom).flat_map(move |row| (self.left..self.right).map(move |column| (column, row)))
    }
}

impl Camera {
    /// Pixels for each nominal pixel.
    pub(super) fn scale(self) -> f32 {
        self.width.min(self.height) as f32 / 320.0
    }

    pub(super) fn whole(self) -> Region {
        Region { left: 0, top: 0, right: self.width as i32, bottom: self.height as i32 }
    }

    /// The part of the picture within `radius` of `middle`, both in nominal pixels, and what the blur spreads from it.
    pub(super) fn around(self, middle: Point, radius: f32) -> Region {
        let scale = self.scale();
        let [x, y] = [middle[0] * scale + self.width as f32 / 2.0, middle[1] * scale + self.height as f32 / 2.0];
        let reach = radius * scale + 1.0 + (self.kernel().len() / 2) as f32;
        let within = |at: f32, side: u32| (at as i32).clamp(0, side as i32);
        Region {
            left: within(x - reach, self.width),
            top: within(y - reach, self.height),
            right: within(x + reach + 1.0, self.width),
            bottom: within(y + reach + 1.0, self.height),
        }
    }

    /// The nominal place of a point of the picture in pixels from its upper left corner.
    pub(super) fn place(self, column: f32, row: f32) -> Point {
        let scale = self.scale();
        [(column - self.width as f32 / 2.0) / scale, (row - self.height as f32 / 2.0) / scale]
    }

    /// The light that reaches the pixels of `region` through the lens, row by row, linear R, G, B; without noise.
    pub(super) fn expose(self, scene: &Scene, region: Region, flaw: Option<&Flaw>) -> Vec<[f32; 3]> {
        let kernel = self.kernel();
        let margin = (kernel.len() / 2) as i32;
        let (width, wide) = (region.width(), region.width() + 2 * margin as usize);
        let mut sharp = Vec::with_capacity(wide);
        let mut rows = Vec::with_capacity((region.bottom - region.top + 2 * margin).max(0) as usize * width);
        for row in region.top - margin..region.bottom + margin {
            sharp.clear();
            sharp.extend(
                (region.left - margin..region.right + margin).map(|column| self.sample(scene, column, row, flaw)),
            );
            rows.extend(sharp.windows(kernel.len()).map(|window| weighted(&kernel, window)));
        }
        let mut picture = vec![[0.0; 3]; rows.len() - 2 * margin as usize * width];
        for (tap, weight) in kernel.iter().enumerate() {
            for (pixel, row) in picture.iter_mut().zip(&rows[tap * width..]) {
                *pixel = std::array::from_fn(|channel| pixel[channel] + weight * row[channel]);
            }
        }
        picture
    }

    /// The mean radiance of one pixel, from as many samples as keep the finest features in a small picture.
    fn sample(self, scene: &Scene, column: i32, row: i32, flaw: Option<&Flaw>) -> [f32; 3] {
        let side = (0.5 / self.scale()).ceil().max(1.0) as usize;
        let pitch = 1.0 / (side as f32 * self.scale());
        let mut sum = [0.0; 3];
        for sub in 0..side * side {
            let [x, y] = [sub % side, sub / side].map(|step| (step as f32 + 0.5) / side as f32);
            let radiance = scene.radiance(self.place(column as f32 + x, row as f32 + y), pitch, flaw);
            sum = std::array::from_fn(|channel| sum[channel] + radiance[channel]);
        }
        sum.map(|channel| channel / (side * side) as f32)
    }

    /// The weights of the blur, an odd number of them, with the sum 1.
    fn kernel(self) -> Vec<f32> {
        let deviation = BLUR * self.scale();
        let reach = (2.5 * deviation).ceil() as i32;
        let weights: Vec<f32> = (-reach..=reach).map(|x| (-0.5 * (x as f32 / deviation).powi(2)).exp()).collect();
        let sum: f32 = weights.iter().sum();
        weights.iter().map(|weight| weight / sum).collect()
    }
}

fn weighted(weights: &[f32], pixels: &[[f32; 3]]) -> [f32; 3] {
    weights
        .iter()
        .zip(pixels)
        .fold([0.0; 3], |sum, (weight, pixel)| std::array::from_fn(|channel| sum[channel] + weight * pixel[channel]))
}

/// The levels that a sensor without noise would give: R, G, B in 0..=255, not rounded.
pub(super) fn levels(light: [f32; 3]) -> [f32; 3] {
    light.map(level)
}

/// The luminance of [`levels`], in levels.
pub(super) fn luminance(light: [f32; 3]) -> f32 {
    levels(light).iter().zip(LUMINANCE).map(|(level, weight)| level * weight).sum()
}

/// Standard deviation of the luminance that noise and rounding give to a pixel with this light, in levels.
pub(super) fn noise_deviation(light: [f32; 3]) -> f32 {
    let variance = |(light, weight): (&f32, f32)| {
        let rise = (level(light + 0.01) - level(light - 0.01)) / 0.02;
        weight * weight * ((rise * electrons_deviation(*light)).powi(2) + 1.0 / 12.0)
    };
    light.iter().zip(LUMINANCE).map(variance).sum::<f32>().sqrt()
}

/// Bytes R, G, B of each pixel as the sensor reads it, with shot and read noise.
pub(super) fn read_out(picture: &[[f32; 3]], draws: &mut ChaCha8Rng) -> Vec<u8> {
    let mut read = |light: f32| {
        let noise: f32 = StandardNormal.sample(draws);
        (level(light + noise * electrons_deviation(light)) + 0.5) as u8
    };
    picture.iter().flatten().map(|&light| read(light)).collect()
}

/// Shot noise, the square root of the electrons, and read noise, as a fraction of the full well.
fn electrons_deviation(light: f32) -> f32 {
    (light.max(0.0) * FULL_WELL + READ_NOISE * READ_NOISE).sqrt() / FULL_WELL
}

/// Steps of the tone curve's table.
const TONES: usize = 4096;

/// The 8-bit level of linear light: the sRGB curve, with a shoulder above 0.7 instead of a hard stop.
fn level(light: f32) -> f32 {
    static TABLE: LazyLock<Vec<f32>> = LazyLock::new(|| (0..=TONES + 1).map(tone).collect());
    // The table reaches up to twice the full well; brighter light is white.
    let at = (light * (TONES as f32 / 2.0)).clamp(0.0, TONES as f32);
    let step = at as usize;
    mix(TABLE[step], TABLE[step + 1], at - step as f32)
}

/// The level at a step of the table.
fn tone(step: usize) -> f32 {
    let light = 2.0 * step as f32 / TONES as f32;
    let held = if light > 0.7 { 1.0 - 0.3 * (-(light - 0.7) / 0.3).exp() } else { light };
    let srgb = if held <= 0.003_130_8 { 12.92 * held } else { 1.055 * held.powf(1.0 / 2.4) - 0.055 };
    255.0 * srgb
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tone_curve_is_that_of_srgb_and_ends_at_white() {
        assert_eq!(level(-1.0), 0.0);
        assert!((level(0.214) - 127.5).abs() < 0.5, "{}", level(0.214));
        assert!((253.0..=255.0).contains(&level(5.0)));
    }

    #[test]
    fn a_region_is_the_same_as_that_part_of_the_whole_picture() {
        let camera = Camera { width: 48, height: 40 };
        let scene = Scene::new(3, crate::source::simulated::scene::Stream::Inspected, 1);
        let whole = camera.expose(&scene, camera.whole(), None);
        let region = Region { left: 10, top: 0, right: 19, bottom: 25 };
        let part = camera.expose(&scene, region, None);
        for ((column, row), pixel) in region.pixels().zip(part) {
            assert_eq!(pixel, whole[row as usize * 48 + column as usize]);
        }
    }
}
