//! How plain a defect is: its contrast against what good parts differ by, and the search for the strength that gives it.
//!
//! **Contrast** of a pixel = |Y with the defect − Y of the same part without it| / σ. Y is the luminance in levels,
//! without noise. σ is the standard deviation of Y, with noise, over good parts that lie in the nominal pose, at the
//! same place of the part: tool marks, lighting, belt and sensor together. A defect fits its severity when a given
//! fraction of the plate's area reaches a given contrast:
//!
//! | severity | contrast | area of the plate |
//! |---|---|---|
//! | plain | at least 4 σ | at least 0.5 % |
//! | medium | at least 2 σ | at least 0.12 % |
//! | faint | at least 0.7 σ, but 2 levels | at least 0.02 % |
//!
//! The search looks for the weakest defect that does, so that a faint one stays near the noise: some can't be caught.

use std::sync::LazyLock;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::camera::{self, Camera, Region};
use super::defect::Flaw;
use super::part::{self, HALF};
use super::scene::{NOMINAL_POSE, Scene, Stream};
use super::texture::Point;
use super::{DefectKind, Severity};

/// A pixel belongs to the mask where a colour channel differs by at least this many levels before noise.
pub(super) const VISIBLE_LEVELS: f32 = 2.0;
/// Beyond this strength a defect would not look like what its name says.
const STRONGEST: f32 = 2.0;

/// A contrast, in σ, and the fraction of the plate's area that reaches it.
#[derive(Clone, Copy, Debug)]
struct Target {
    sigmas: f32,
    area: f32,
}

impl Target {
    /// A target of its own for each part. That of a plain defect lies above its promise, because σ is only estimated.
    fn draw(severity: Severity, draws: &mut ChaCha8Rng) -> Target {
        let (sigmas, area) = match severity {
            Severity::Plain => (4.6..6.5, 0.0057..0.010),
            Severity::Medium => (2.2..3.0, 0.0013..0.0025),
            Severity::Faint => (0.8..1.2, 0.0002..0.0005),
        };
        Target { sigmas: draws.random_range(sigmas), area: draws.random_range(area) }
    }
}

/// A defect as the camera sees it.
pub(super) struct Seen {
    pub region: Region,
    /// The light on the pixels of the region, as [`Camera::expose`] gives it; outside the defect changes nothing.
    pub picture: Vec<[f32; 3]>,
}

/// Draws a defect for the part that `scene` shows and makes it as strong as its severity says.
///
/// * `good` — the whole picture of the part without the defect, as [`Camera::expose`] gives it
pub(super) fn defect(
    camera: Camera,
    scene: &Scene,
    good: &[[f32; 3]],
    kind: DefectKind,
    severity: Severity,
    draws: &mut ChaCha8Rng,
) -> Seen {
    let target = Target::draw(severity, draws);
    let mut flaw = Flaw::draw(kind, severity, draws);
    // Some places hide a defect, the shadow of the boss for instance: another place then.
    for _ in 0..30 {
        if let Some(seen) = fit(camera, scene, good, &flaw, target) {
            return seen;
        }
        flaw = Flaw::draw(kind, severity, draws);
    }
    // Only pictures too small to show the defect end here.
    show(camera, scene, &flaw)
}

/// The weakest form of `flaw`, to a fifth of its strength, that reaches `target`; `None` if not even the strongest does.
fn fit(camera: Camera, scene: &Scene, good: &[[f32; 3]], flaw: &Flaw, target: Target) -> Option<Seen> {
    let attempt = |strength: f32| {
        let seen = show(camera, scene, &flaw.with_strength(strength));
        (area(camera, scene, good, &seen, target.sigmas) >= target.area).then_some(seen)
    };
    let (mut low, mut high) = (flaw.least_strength(), 1.0);
    let mut best = attempt(high);
    while best.is_none() && high < STRONGEST {
        (low, high) = (high, 1.4 * high);
        best = attempt(high);
    }
    let mut best = best?;
    while high > 1.2 * low {
        let middle = (low * high).sqrt();
        match attempt(middle) {
            Some(weaker) => (best, high) = (weaker, middle),
            None => low = middle,
        }
    }
    Some(best)
}

fn show(camera: Camera, scene: &Scene, flaw: &Flaw) -> Seen {
    let (middle, radius) = flaw.reach();
    let region = camera.around(scene.pose.to_picture(middle), radius * scene.pose.zoom);
    Seen { region, picture: camera.expose(scene, region, Some(flaw)) }
}

/// The fraction of the plate's area on which the defect has a contrast of at least `sigmas`.
fn area(camera: Camera, scene: &Scene, good: &[[f32; 3]], seen: &Seen, sigmas: f32) -> f32 {
    let reaches = |&((column, row), &with): &((i32, i32), &[f32; 3])| {
        let without = good[row as usize * camera.width as usize + column as usize];
        let difference = (camera::luminance(with) - camera::luminance(without)).abs();
        // Most pixels end here, before their σ is looked up.
        difference >= VISIBLE_LEVELS && {
            let place = scene.pose.to_part(camera.place(column as f32 + 0.5, row as f32 + 0.5));
            difference >= sigmas * VARIATION.at(place).hypot(camera::noise_deviation(without))
        }
    };
    let pixels = seen.region.pixels().zip(&seen.picture).filter(reaches).count();
    pixels as f32 / (part::AREA * (camera.scale() * scene.pose.zoom).powi(2))
}

/// Standard deviation of the luminance of good parts without sensor noise, in levels, on a grid over the plate.
struct Variation {
    columns: usize,
    deviations: Vec<f32>,
}

/// Distance of the grid's points, in nominal pixels, how far it reaches beyond the plate, and the parts that it is
/// measured on.
const GRID_STEP: f32 = 3.0;
const GRID_MARGIN: f32 = 12.0;
const GRID_PARTS: u64 = 48;

static VARIATION: LazyLock<Variation> = LazyLock::new(Variation::measure);

impl Variation {
    /// Measures good parts of many belts. Without the blur of the lens, which makes σ a little too large: defects
    /// come out a little plainer than they must.
    fn measure() -> Variation {
        let side = |half: f32| (2.0 * (half + GRID_MARGIN) / GRID_STEP) as usize + 1;
        let (columns, rows) = (side(HALF[0]), side(HALF[1]));
        let mut sums = vec![(0.0, 0.0); columns * rows];
        for part in 0..GRID_PARTS {
            let scene = Scene::new(part, Stream::Taught, 97 * part).posed(NOMINAL_POSE);
            for (index, (sum, squares)) in sums.iter_mut().enumerate() {
                let start = [index % columns, index / columns];
                let at = [0, 1].map(|axis| start[axis] as f32 * GRID_STEP - HALF[axis] - GRID_MARGIN);
                let luminance = camera::luminance(scene.radiance(at, 1.0, None));
                *sum += luminance;
                *squares += luminance * luminance;
            }
        }
        let count = GRID_PARTS as f32;
        let deviation = |(sum, squares): (f32, f32)| ((squares - sum * sum / count) / (count - 1.0)).max(0.0).sqrt();
        Variation { columns, deviations: sums.into_iter().map(deviation).collect() }
    }

    /// The larger of the deviations around `place`.
    fn at(&self, place: Point) -> f32 {
        let rows = self.deviations.len() / self.columns;
        let corner = |axis: usize, side: usize| {
            let at = (place[axis] + HALF[axis] + GRID_MARGIN) / GRID_STEP;
            (at.max(0.0) as usize).min(side - 2)
        };
        let start = corner(1, rows) * self.columns + corner(0, self.columns);
        let around = [start, start + 1, start + self.columns, start + self.columns + 1];
        around.into_iter().map(|index| self.deviations[index]).fold(0.0, f32::max)
    }
}
#[cfg(test)]
mod tests {
    use super::super::scene::draws;
    use super::*;

    const CAMERA: Camera = Camera { width: 320, height: 320 };

    /// σ of every pixel over good parts in the nominal pose, as the sensor reads them.
    fn measured_deviations() -> Vec<f32> {
        let mut sums = vec![(0.0, 0.0); 320 * 320];
        let parts = 120;
        for part in 0..parts {
            let scene = Scene::new(1000 + part, Stream::Inspected, 31 * part).posed(NOMINAL_POSE);
            let picture = CAMERA.expose(&scene, CAMERA.whole(), None);
            let bytes = camera::read_out(&picture, &mut draws(part, Stream::InspectedSensor, part));
            for ((sum, squares), rgb) in sums.iter_mut().zip(bytes.chunks(3)) {
                let luminance = 0.299 * rgb[0] as f64 + 0.587 * rgb[1] as f64 + 0.114 * rgb[2] as f64;
                *sum += luminance;
                *squares += luminance * luminance;
            }
        }
        let count = parts as f64;
        sums.into_iter().map(|(sum, squares)| ((squares - sum * sum / count) / (count - 1.0)).sqrt() as f32).collect()
    }

    /// The fraction of the plate where a defect of part `seed` has a contrast of at least `sigmas`.
    fn measured_area(deviations: &[f32], kind: DefectKind, severity: Severity, seed: u64, sigmas: f32) -> f32 {
        let scene = Scene::new(seed, Stream::Inspected, 17 * seed);
        let good = CAMERA.expose(&scene, CAMERA.whole(), None);
        let seen = defect(CAMERA, &scene, &good, kind, severity, &mut draws(seed, Stream::Defect, 17 * seed));
        let reached = seen.region.pixels().zip(&seen.picture).filter(|&((column, row), &with)| {
            let without = good[row as usize * 320 + column as usize];
            let place = scene.pose.to_part(CAMERA.place(column as f32 + 0.5, row as f32 + 0.5));
            let [x, y] = place.map(|axis| (axis + 160.0).clamp(0.0, 319.0) as usize);
            (camera::luminance(with) - camera::luminance(without)).abs() >= sigmas * deviations[y * 320 + x]
        });
        reached.count() as f32 / (part::AREA * scene.pose.zoom * scene.pose.zoom)
    }

    #[test]
    fn plain_defects_reach_4_sigma_over_half_a_percent_of_the_plate_and_faint_ones_never() {
        let deviations = measured_deviations();
        let mut sorted = deviations.clone();
        sorted.sort_by(f32::total_cmp);
        println!("σ: median {:.2}, 90 % {:.2} levels", sorted[sorted.len() / 2], sorted[sorted.len() * 9 / 10]);
        for kind in DefectKind::ALL {
            let least = |severity: Severity, seeds: u64, sigmas: f32| {
                let areas = (0..seeds).map(|seed| measured_area(&deviations, kind, severity, seed, sigmas));
                areas.fold((f32::MAX, 0.0f32), |(least, most), area| (least.min(area), most.max(area)))
            };
            let (plain, _) = least(Severity::Plain, 60, 4.0);
            let (medium, _) = least(Severity::Medium, 10, 2.0);
            let (_, faint) = least(Severity::Faint, 10, 4.0);
            println!("{kind}: plain {plain:.5}, medium {medium:.5}, faint at most {faint:.5} of the plate");
            assert!(plain >= 0.005, "a plain {kind} covers only {plain} of the plate");
            assert!(medium >= 0.0012, "a medium {kind} covers only {medium} of the plate");
            assert!(faint < 0.0012, "a faint {kind} covers {faint} of the plate with 4 σ");
        }
    }
}
