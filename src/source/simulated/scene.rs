//! One part under the camera: how it lies, what light falls on it, and the radiance of every place in view.

use std::f32::consts::TAU;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::defect::{Flaw, Touch};
use super::light::{Light, Surface};
use super::part::{self, Feature, Finish};
use super::texture::{Point, mix_colour, noise, turn, wave};

/// What a stream of random numbers is for; streams of one seed know nothing of one another.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stream {
    /// Which parts are defective, and how.
    Schedule = 1,
    /// The parts that [`super::Belt::part`] draws.
    Inspected,
    /// The good parts that [`super::Belt::good_part`] draws.
    Taught,
    /// The shape of a defect.
    Defect,
    /// Noise of the sensor on inspected and on taught parts.
    InspectedSensor,
    TaughtSensor,
}

/// The random numbers of part `index` in `stream` of the belt with `seed`.
pub(super) fn draws(seed: u64, stream: Stream, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&index.to_le_bytes());
    key[16] = stream as u8;
    ChaCha8Rng::from_seed(key)
}

/// A normal random number with standard deviation 1, cut off at ±2.5.
pub(super) fn normal(draws: &mut ChaCha8Rng) -> f32 {
    let value: f32 = StandardNormal.sample(draws);
    value.clamp(-2.5, 2.5)
}

/// How the part lies: turned, moved and enlarged against its nominal place in the middle of the picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pose {
    pub shift: Point,
    /// Sine and cosine of the angle.
    pub angle: (f32, f32),
    pub zoom: f32,
}

pub(super) const NOMINAL_POSE: Pose = Pose { shift: [0.0; 2], angle: (0.0, 1.0), zoom: 1.0 };

impl Pose {
    /// Within ±3°, ±4 nominal pixels and ±1 %.
    fn jittered(draws: &mut ChaCha8Rng) -> Pose {
        let angle = (1.2 * normal(draws)).to_radians();
        Pose {
            shift: [draws.random_range(-4.0..4.0), draws.random_range(-4.0..4.0)],
            angle: angle.sin_cos(),
            zoom: draws.random_range(0.99..1.01),
        }
    }

    /// From a place in the picture to the same place on the part.
    pub(super) fn to_part(self, [x, y]: Point) -> Point {
        let [x, y] = turn([x - self.shift[0], y - self.shift[1]], (-self.angle.0, self.angle.1));
        [x / self.zoom, y / self.zoom]
    }

    /// From a place on the part to the same place in the picture.
    pub(super) fn to_picture(self, place: Point) -> Point {
        let [x, y] = turn(place.map(|axis| axis * self.zoom), self.angle);
        [x + self.shift[0], y + self.shift[1]]
    }
}

/// One part under the camera. Lengths are nominal pixels from the middle of the picture, x right and y down.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub pose: Pose,
    finish: Finish,
    light: Light,
    /// The same light in the frame of the part, and the direction to the lamp there.
    light_on_part: Light,
    bearing: Point,
    /// How far the belt has moved, and the seed of its fabric.
    belt: Point,
    fabric: u32,
}

impl Scene {
    /// Part `index` of `stream`, as it lies on the belt.
    pub(super) fn new(seed: u64, stream: Stream, index: u64) -> Scene {
        let draws = &mut draws(seed, stream, index);
        let pose = Pose::jittered(draws);
        let finish = Finish {
            seed: draws.random(),
            cutter_radius: draws.random_range(165.0..185.0),
            cutter_y: draws.random_range(-12.0..12.0),
        };
        let belt = [draws.random_range(0.0..4000.0), draws.random_range(-3.0..3.0)];
        let fabric = seed as u32;
        let light = lamp(seed, stream, index, draws);
        Scene { finish, belt, fabric, ..Scene::lit(pose, light, finish) }
    }

    fn lit(pose: Pose, light: Light, finish: Finish) -> Scene {
        let light_on_part = light.turned((-pose.angle.0, pose.angle.1));
        Scene { pose, finish, light, light_on_part, bearing: light_on_part.bearing(), belt: [0.0; 2], fabric: 0 }
    }

    /// The same part under the same lamp, lying as `pose` says.
    pub(super) fn posed(&self, pose: Pose) -> Scene {
        Scene { belt: self.belt, fabric: self.fabric, ..Scene::lit(pose, self.light, self.finish) }
    }

    /// Linear radiance (R, G, B) that reaches the sensor from `at`; 1 saturates it.
    ///
    /// * `pitch` — distance between samples; edges are as soft as that
    pub(super) fn radiance(&self, at: Point, pitch: f32, flaw: Option<&Flaw>) -> [f32; 3] {
        let place = self.pose.to_part(at);
        let touch = flaw.map(|flaw| flaw.touch(place, self.bearing));
        let covered = cover(part::outline(place).0, pitch);
        let mut radiance = if covered < 1.0 { self.belt(at, part::beside(place, self.bearing)) } else { [0.0; 3] };
        if covered > 0.0 {
            let mut plate = self.plate(at, place, pitch, None, touch.as_ref());
            if let Some((feature, amount)) = flaw.and_then(Flaw::missing) {
                plate = mix_colour(plate, self.plate(at, place, pitch, Some(feature), touch.as_ref()), amount);
            }
            radiance = mix_colour(radiance, plate, covered);
        }
        if let Some(touch) = touch {
            radiance = radiance.map(|channel| channel * touch.lit);
            if let Some((covered, body)) = touch.body {
                radiance = mix_colour(radiance, self.light_on_part.radiance(&body, place), covered);
            }
        }
        let vignette = 1.0 - 0.10 * (at[0] * at[0] + at[1] * at[1]) / (160.0 * 160.0);
        radiance.map(|channel| channel * vignette.max(0.5))
    }

    /// The plate at `place`: metal, or what is seen through a hole.
    fn plate(&self, at: Point, place: Point, pitch: f32, without: Option<Feature>, touch: Option<&Touch>) -> [f32; 3] {
        let hole = part::hole_at(place, without);
        let solid = hole.map_or(1.0, |hole| 1.0 - cover(part::to_hole(place, hole).0, pitch));
        let mut radiance = [0.0; 3];
        if let Some(hole) = hole.filter(|_| solid < 1.0) {
            let (lit, wall, wall_radiance) = part::inside(place, hole, self.bearing);
            radiance = mix_colour(self.belt(at, lit), [wall_radiance; 3], wall);
        }
        if solid > 0.0 {
            let mut surface = part::metal(place, &self.finish, self.bearing, hole, without != Some(Feature::Mark));
            if let Some(touch) = touch {
                touch.mark(&mut surface);
            }
            radiance = mix_colour(radiance, self.light_on_part.radiance(&surface, place), solid);
        }
        radiance
    }

    /// The belt at `at`: a dark green fabric under a matt coat, which moves on from part to part.
    fn belt(&self, at: Point, lit: f32) -> [f32; 3] {
        let [x, y] = [at[0] + self.belt[0], at[1] + self.belt[1]];
        let weave = wave(x / 5.3) * wave(y / 4.7);
        let fuzz = noise([x / 1.7, y / 1.7], self.fabric);
        let wear = noise([x / 23.0, y / 9.0], self.fabric ^ 5);
        let shade = 1.0 + 0.16 * weave + 0.22 * fuzz + 0.16 * wear;
        let surface = Surface {
            slope: [0.0; 2],
            colour: [0.050 * shade, 0.078 * shade, 0.068 * shade],
            gloss: 0.25,
            lay: [1.0, 0.0],
            spread: [0.6, 0.6],
            lit,
        };
        self.light.radiance(&surface, at)
    }
}

/// The lamp above part `index`: it drifts slowly within about ±5 % and wanders a little, and each part adds its own
/// ±2 %.
fn lamp(seed: u64, stream: Stream, index: u64, part: &mut ChaCha8Rng) -> Light {
    let mut drift = draws(seed, stream, u64::MAX);
    let mut swing = |period: f64| {
        let phase: f64 = drift.random();
        ((index as f64 / period + phase).fract() as f32 * TAU).sin()
    };
    let slow = 0.028 * swing(230.0) + 0.018 * swing(67.0);
    let wander = [6.0 * swing(150.0), 6.0 * swing(190.0)];
    let warmth = 0.012 * swing(310.0);
    Light {
        at: [-150.0 + wander[0], -190.0 + wander[1], 300.0],
        power: (1.0 + slow) * (1.0 + 0.010 * normal(part)),
        tint: [1.01 + warmth, 1.0, 0.99 - warmth],
    }
}

/// The fraction of a sample inside an edge at signed `distance`, negative inside.
fn cover(distance: f32, pitch: f32) -> f32 {
    (0.5 - distance / pitch).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pose_leads_to_the_part_and_back() {
        let pose = Pose { shift: [3.0, -2.0], angle: (0.6, 0.8), zoom: 2.0 };
        assert_eq!(pose.to_picture([10.0, 0.0]), [19.0, 10.0]);
        let [x, y] = pose.to_part([19.0, 10.0]);
        assert!((x - 10.0).abs() < 1e-5 && y.abs() < 1e-5);
    }

    #[test]
    fn an_edge_covers_half_of_the_sample_that_it_halves() {
        assert_eq!([-1.0, -0.25, 0.0, 0.25, 1.0].map(|distance| cover(distance, 1.0)), [1.0, 0.75, 0.5, 0.25, 0.0]);
    }
}
