//! A layer: how a defect would change the pixels around it, before it is made as strong as asked for.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::geometry::{Bounds, Point};
use super::region::Region;
use super::{Mask, Severity, VISIBLE_LEVELS, noise};
use crate::frame::Frame;

/// A mask is at least so many pixels, and at least so large a share of what the layer covers.
const LEAST_AREA: usize = 6;
const LEAST_SHARE: f32 = 0.05;
/// How near the contrast must come to its target, and how often the opacity is corrected for that.
const TOLERANCE: f32 = 0.08;
const CORRECTIONS: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Laid {
    /// Put over the picture: can hide it, but no more.
    Over,
    /// Added to the picture: can have any contrast up to so many levels.
    Added { most_levels: f32 },
}

pub(super) struct Layer {
    bounds: Bounds,
    /// The change of each pixel of the bounds at opacity 1, in grey levels.
    change: Vec<[f32; 3]>,
    laid: Laid,
}

/// How strong a layer is to be laid on, and what it then comes to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit {
    pub opacity: f32,
    pub noise: f32,
    /// Root mean square of the change over mask and channels, in grey levels.
    levels: f32,
    /// The mask is large enough and, where a severity is asked for, the change at least the noise.
    pub seen: bool,
    /// The contrast is what was asked for.
    pub reached: bool,
}

impl Fit {
    /// In units of the noise.
    pub fn contrast(&self) -> f32 {
        self.levels / self.noise
    }
}

impl Layer {
    /// A layer that replaces: `painted` gives what is put over a point and how much of it covers.
    pub fn over(region: &Region, bounds: Bounds, painted: impl Fn(Point) -> ([f32; 3], f32)) -> Layer {
        let change = |x: usize, y: usize| {
            let (over, cover) = painted([x as f32 + 0.5, y as f32 + 0.5]);
            if cover <= 0.0 {
                return [0.0; 3];
            }
            let under = region.pixel(x, y);
            std::array::from_fn(|c| (over[c] - under[c]) * cover)
        };
        Layer { change: each(&bounds, change), bounds, laid: Laid::Over }
    }

    /// A layer that adds `tint` times `cover` of a point; lighter or darker, whichever there is more room for, or as the
    /// seed says where there is room for both.
    /// * `most_levels` — the most contrast, in grey levels
    pub fn added(
        region: &Region,
        bounds: Bounds,
        tint: [f32; 3],
        cover: impl Fn(Point) -> f32,
        most_levels: f32,
        rng: &mut ChaCha8Rng,
    ) -> Layer {
        let cover = each(&bounds, |x, y| cover([x as f32 + 0.5, y as f32 + 0.5]));
        let pixels = bounds.y.clone().flat_map(|y| bounds.x.clone().map(move |x| (x, y)));
        let (sum, weight) = pixels
            .zip(&cover)
            .filter(|(_, cover)| **cover > 0.0)
            .fold((0.0, 0.0), |(sum, weight), ((x, y), cover)| (sum + region.grey(x, y) * cover, weight + cover));
        let under = sum / f32::max(weight, f32::MIN_POSITIVE);
        let lighter = if (64.0..192.0).contains(&under) { rng.random_bool(0.5) } else { under < 128.0 };
        let sign = if lighter { 1.0 } else { -1.0 };
        let change = cover.into_iter().map(|cover| tint.map(|tint| sign * tint * cover)).collect();
        Layer { bounds, change, laid: Laid::Added { most_levels } }
    }

    /// The opacity that gives the contrast of `severity`, as near as the layer allows; full opacity without one.
    pub fn fit(&self, region: &Region, severity: Option<Severity>, rng: &mut ChaCha8Rng) -> Fit {
        let noise = noise::around(region, &self.bounds);
        let opaque = |least: f32| {
            let (area, levels) = self.measure(region, 1.0);
            Fit { opacity: 1.0, noise, levels, seen: self.is_enough(area), reached: levels >= least }
        };
        let Some(severity) = severity else { return opaque(0.0) };
        let fit = match severity.opaque().filter(|_| self.laid == Laid::Over) {
            Some((contrast, levels)) => opaque((contrast * noise).max(levels)),
            None => self.fit_to(region, severity, noise, rng),
        };
        let least = noise.max((1.0 - TOLERANCE) * Severity::Faint.least_levels());
        Fit { seen: fit.seen && fit.levels >= least, ..fit }
    }

    fn fit_to(&self, region: &Region, severity: Severity, noise: f32, rng: &mut ChaCha8Rng) -> Fit {
        let (most_opacity, most_levels) = match self.laid {
            Laid::Over => (1.0, Severity::MOST_LEVELS),
            Laid::Added { most_levels } => (f32::INFINITY, most_levels),
        };
        let levels_of = |contrast: f32| (noise * contrast).max(severity.least_levels()).min(most_levels);
        let least = (1.0 - TOLERANCE) * levels_of(severity.contrast().start);
        let target = levels_of(rng.random_range(severity.contrast()));
        let mut opacity = (target / self.own_levels()).min(most_opacity);
        let (mut area, mut levels) = self.measure(region, opacity);
        for _ in 0..CORRECTIONS {
            let ratio = target / levels.max(0.5);
            if (ratio - 1.0).abs() <= TOLERANCE || (ratio > 1.0 && opacity >= most_opacity) {
                break;
            }
            opacity = (opacity * ratio.clamp(0.25, 4.0)).min(most_opacity);
            (area, levels) = self.measure(region, opacity);
        }
        let reached = (least..=(1.0 + 2.0 * TOLERANCE) * target).contains(&levels);
        Fit { opacity, noise, levels, seen: self.is_enough(area), reached }
    }

    /// The picture and the mask of what changed.
    pub fn apply(&self, region: &Region, opacity: f32) -> (Frame, Mask) {
        let frame = region.frame;
        let mut rgb = frame.rgb().to_vec();
        let mut data = vec![false; rgb.len() / 3];
        self.each_changed(region, opacity, |at, after, _| {
            rgb[at..at + 3].copy_from_slice(&after);
            data[at / 3] = true;
        });
        let (width, height) = (frame.width(), frame.height());
        let frame = Frame::new(width, height, rgb, frame.captured, frame.sequence).expect("a defect keeps the size");
        (frame, Mask { width, height, data })
    }

    /// Calls `then` with the index of the first byte of every pixel that changes, its new bytes and the sum of the
    /// squares of its changes.
    fn each_changed(&self, region: &Region, opacity: f32, mut then: impl FnMut(usize, [u8; 3], f32)) {
        let mut changes = self.change.iter();
        for y in self.bounds.y.clone() {
            for x in self.bounds.x.clone() {
                let change = changes.next().expect("there is a change for each pixel of the bounds");
                if *change == [0.0; 3] {
                    continue;
                }
                let before = region.bytes(x, y);
                let after: [u8; 3] =
                    std::array::from_fn(|c| (f32::from(before[c]) + change[c] * opacity).round() as u8);
                let difference: [u8; 3] = std::array::from_fn(|c| before[c].abs_diff(after[c]));
                if difference.iter().any(|levels| *levels >= VISIBLE_LEVELS) {
                    then(region.at(x, y), after, difference.iter().map(|levels| f32::from(*levels).powi(2)).sum());
                }
            }
        }
    }

    /// The area of the mask, and the root mean square of the change over it and the channels.
    fn measure(&self, region: &Region, opacity: f32) -> (usize, f32) {
        let (mut area, mut squares) = (0, 0.0f64);
        self.each_changed(region, opacity, |_, _, square| {
            area += 1;
            squares += f64::from(square);
        });
        (area, (squares / (3 * area.max(1)) as f64).sqrt() as f32)
    }

    /// Root mean square of the change at opacity 1, over what the layer covers.
    fn own_levels(&self) -> f32 {
        let covered = self.change.iter().filter(|change| **change != [0.0; 3]);
        let (count, squares) = covered.fold((0, 0.0f64), |(count, squares), change| {
            (count + 3, squares + change.iter().map(|levels| f64::from(levels * levels)).sum::<f64>())
        });
        ((squares / f64::from(count.max(1))).sqrt() as f32).max(1e-3)
    }

    fn is_enough(&self, area: usize) -> bool {
        let covered = self.change.iter().filter(|change| **change != [0.0; 3]).count();
        area >= LEAST_AREA && area as f32 >= LEAST_SHARE * covered as f32
    }
}

/// One value for each pixel of the bounds, row by row.
fn each<T>(bounds: &Bounds, value: impl Fn(usize, usize) -> T) -> Vec<T> {
    let mut all = Vec::with_capacity(bounds.area());
    for y in bounds.y.clone() {
        all.extend(bounds.x.clone().map(|x| value(x, y)));
    }
    all
}
