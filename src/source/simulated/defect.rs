//! What can be wrong with a part, each as a change of its surface or a body on it.
//!
//! Lengths are nominal pixels in the frame of the part. A flaw grows steadily with its strength: up to 1 it deepens,
//! darkens or (burr, foreign body) grows to its full size; above 1 it grows on.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::light::Surface;
use super::part::{self, DOWEL_HOLES, Feature, HALF, HOLES, SCREW_HOLES, SLOT};
use super::texture::{Point, length, mix, noise, ramp, turn, wave};
use super::{DefectKind, Severity};

/// A defect of one part.
#[derive(Clone, Debug)]
pub(super) struct Flaw {
    shape: Shape,
    /// More than 0.
    strength: f32,
}

/// What a flaw does at one place.
pub(super) struct Touch {
    slope: Point,
    /// Factors of the metal's colour and gloss.
    colour: [f32; 3],
    gloss: f32,
    /// The fraction of light that passes the flaw's body, for whatever lies below it.
    pub lit: f32,
    /// What lies on the part, and the fraction that it covers.
    pub body: Option<(f32, Surface)>,
}

const UNTOUCHED: Touch = Touch { slope: [0.0; 2], colour: [1.0; 3], gloss: 1.0, lit: 1.0, body: None };

impl Touch {
    /// Changes the metal.
    pub(super) fn mark(&self, surface: &mut Surface) {
        surface.slope = [surface.slope[0] + self.slope[0], surface.slope[1] + self.slope[1]];
        surface.colour = std::array::from_fn(|channel| surface.colour[channel] * self.colour[channel]);
        surface.gloss *= self.gloss;
    }
}

#[derive(Clone, Debug)]
enum Shape {
    Scratch(Scratch),
    Dent(Dent),
    Stain(Stain),
    Missing { feature: Feature, whole: bool },
    Burr(Burr),
    Body(Body),
}

/// A bundle of grooves along a slightly bent line.
#[derive(Clone, Debug)]
struct Scratch {
    middle: Point,
    angle: (f32, f32),
    half_length: f32,
    half_width: f32,
    /// How far the middle of the line lies beside the line between its ends.
    bend: f32,
    strands: usize,
    /// The change of colour in a groove: bright where the tool burnished it, dark where dirt filled it.
    tone: f32,
    seed: u32,
}

/// A bowl with a soft edge.
#[derive(Clone, Debug)]
struct Dent {
    at: Point,
    angle: (f32, f32),
    radius: f32,
    stretch: f32,
}

/// A dried drop: a ragged patch with a darker edge.
#[derive(Clone, Debug)]
struct Stain {
    at: Point,
    radius: f32,
    /// Factors of the metal's colour under the full stain.
    colour: [f32; 3],
    seed: u32,
}

/// Torn metal that stands over the edge of a hole, or of the plate where `hole` is absent.
#[derive(Clone, Debug)]
struct Burr {
    hole: Option<usize>,
    anchor: Point,
    /// Unit vector along the edge at the anchor.
    tangent: Point,
    half_length: f32,
    height: f32,
    seed: u32,
}

/// Something that lies on the part and throws a shadow.
#[derive(Clone, Debug)]
struct Body {
    form: Form,
    at: Point,
    angle: (f32, f32),
    radius: f32,
    colour: [f32; 3],
    opacity: f32,
    seed: u32,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    /// A lump of plastic or rubber.
    Crumb,
    /// A coiled metal chip.
    Swarf,
    /// A bent thread.
    Fibre,
}

impl Flaw {
    /// A flaw with strength 1 at a place where it can be seen.
    pub(super) fn draw(kind: DefectKind, severity: Severity, draws: &mut ChaCha8Rng) -> Flaw {
        let shape = match kind {
            DefectKind::Scratch => Shape::Scratch(draw_scratch(severity, draws)),
            DefectKind::Dent => Shape::Dent(draw_dent(severity, draws)),
            DefectKind::Stain => Shape::Stain(draw_stain(severity, draws)),
            DefectKind::MissingFeature => draw_missing(severity, draws),
            DefectKind::Burr => Shape::Burr(draw_burr(severity, draws)),
            DefectKind::ForeignBody => Shape::Body(draw_body(severity, draws)),
        };
        Flaw { shape, strength: 1.0 }
    }

    /// The same flaw with another strength, more than 0.
    pub(super) fn with_strength(&self, strength: f32) -> Flaw {
        Flaw { strength, ..self.clone() }
    }

    /// The smallest strength that still means what the defect's name says.
    pub(super) fn least_strength(&self) -> f32 {
        if matches!(self.shape, Shape::Missing { whole: true, .. }) { 1.0 } else { 0.03 }
    }

    /// The middle of the flaw and a radius outside which it changes nothing.
    pub(super) fn reach(&self) -> (Point, f32) {
        let size = self.size();
        match &self.shape {
            Shape::Scratch(scratch) => {
                let across = 8.0 * scratch.strands as f32 + 4.0 * scratch.half_width + scratch.bend.abs();
                (scratch.middle, size * (scratch.half_length + across))
            }
            Shape::Dent(dent) => (dent.at, size * dent.radius * dent.stretch * 2.6),
            Shape::Stain(stain) => (stain.at, size * stain.radius * 1.6),
            Shape::Missing { feature, .. } => feature.reach(),
            Shape::Burr(burr) => (burr.anchor, size * burr.half_length + 4.0),
            Shape::Body(body) => (body.at, self.growth() * body.radius * 2.0 + 8.0),
        }
    }

    /// The feature that was not made, and how much of it is missing, in 0..=1.
    pub(super) fn missing(&self) -> Option<(Feature, f32)> {
        match self.shape {
            Shape::Missing { feature, .. } => Some((feature, self.depth())),
            _ => None,
        }
    }

    /// What the flaw does at `place`.
    ///
    /// * `bearing` — unit vector that points to the lamp
    pub(super) fn touch(&self, place: Point, bearing: Point) -> Touch {
        let (middle, radius) = self.reach();
        if length([place[0] - middle[0], place[1] - middle[1]]) > radius {
            return UNTOUCHED;
        }
        match &self.shape {
            Shape::Scratch(scratch) => scratch.touch(place, self.depth(), self.size()),
            Shape::Dent(dent) => dent.touch(place, self.depth(), self.size()),
            Shape::Stain(stain) => stain.touch(place, self.depth(), self.size()),
            Shape::Missing { .. } => UNTOUCHED,
            Shape::Burr(burr) => burr.touch(place, self.growth(), self.size()),
            Shape::Body(body) => body.touch(place, bearing, self.growth()),
        }
    }

    /// Depth or darkness, in 0..=1.
    fn depth(&self) -> f32 {
        self.strength.min(1.0)
    }

    /// Factor of the lengths of what deepens first: at least 1.
    fn size(&self) -> f32 {
        self.strength.max(1.0)
    }

    /// Factor of the lengths of what has no depth.
    fn growth(&self) -> f32 {
        self.strength
    }
}

/// One of three values.
fn by_severity<T>(severity: Severity, [faint, medium, plain]: [T; 3]) -> T {
    match severity {
        Severity::Faint => faint,
        Severity::Medium => medium,
        Severity::Plain => plain,
    }
}

fn any_angle(draws: &mut ChaCha8Rng) -> (f32, f32) {
    draws.random_range(0.0..std::f32::consts::TAU).sin_cos()
}

/// A place on the metal, at least `clearance` from every edge.
fn on_metal(clearance: f32, draws: &mut ChaCha8Rng) -> Point {
    loop {
        let place = [draws.random_range(-HALF[0]..HALF[0]), draws.random_range(-HALF[1]..HALF[1])];
        if part::clearance(place) >= clearance {
            return place;
        }
    }
}

fn draw_scratch(severity: Severity, draws: &mut ChaCha8Rng) -> Scratch {
    let half_length: f32 = by_severity(
        severity,
        [draws.random_range(8.0..16.0), draws.random_range(20.0..38.0), draws.random_range(50.0..75.0)],
    );
    let half_width = by_severity(severity, [0.7, 0.9, 1.3]) * draws.random_range(0.85..1.25);
    Scratch {
        middle: on_metal(3.0, draws),
        angle: any_angle(draws),
        half_length,
        half_width,
        bend: half_length * draws.random_range(-0.16..0.16),
        strands: by_severity(severity, [1, draws.random_range(1..=2), draws.random_range(1..=3)]),
        tone: if draws.random_bool(0.6) { 0.9 } else { -0.65 },
        seed: draws.random(),
    }
}

fn draw_dent(severity: Severity, draws: &mut ChaCha8Rng) -> Dent {
    let radius: f32 = by_severity(severity, [4.0, 6.5, 11.0]) * draws.random_range(0.9..1.3);
    Dent { at: on_metal(0.4 * radius, draws), angle: any_angle(draws), radius, stretch: draws.random_range(1.0..1.5) }
}

fn draw_stain(severity: Severity, draws: &mut ChaCha8Rng) -> Stain {
    let radius: f32 = by_severity(severity, [4.5, 8.0, 15.0]) * draws.random_range(0.9..1.4);
    let colours = [[0.42, 0.33, 0.23], [0.33, 0.33, 0.36], [0.55, 0.42, 0.25]];
    Stain {
        at: on_metal(0.5 * radius.min(12.0), draws),
        radius,
        colour: colours[draws.random_range(0..colours.len())],
        seed: draws.random(),
    }
}

fn draw_missing(severity: Severity, draws: &mut ChaCha8Rng) -> Shape {
    let screw_hole = Feature::Hole(draws.random_range(SCREW_HOLES));
    let dowel_hole = Feature::Hole(draws.random_range(DOWEL_HOLES));
    let first = draws.random_bool(0.5);
    match severity {
        Severity::Plain => {
            Shape::Missing { feature: if first { screw_hole } else { Feature::Hole(SLOT) }, whole: true }
        }
        Severity::Medium => Shape::Missing { feature: if first { dowel_hole } else { Feature::Mark }, whole: first },
        Severity::Faint => Shape::Missing { feature: if first { dowel_hole } else { Feature::Mark }, whole: false },
    }
}

fn draw_burr(severity: Severity, draws: &mut ChaCha8Rng) -> Burr {
    let half_length: f32 = by_severity(severity, [6.0, 14.0, 34.0]) * draws.random_range(0.8..1.3);
    let height = by_severity(severity, [2.5, 4.5, 7.0]) * draws.random_range(0.9..1.2);
    let holes = by_severity(severity, [8, 6, 2]);
    let on_rim = draws.random_bool(by_severity(severity, [0.3, 0.4, 0.6]));
    let hole = (!on_rim).then(|| draws.random_range(0..holes));
    let start = match hole {
        Some(index) => {
            let (sine, cosine) = any_angle(draws);
            [HOLES[index].at[0] + 60.0 * cosine, HOLES[index].at[1] + 60.0 * sine]
        }
        None => {
            let (sine, cosine) = any_angle(draws);
            [HALF[0] * cosine, HALF[1] * sine]
        }
    };
    let (distance, away) = edge(start, hole);
    let anchor = [start[0] - distance * away[0], start[1] - distance * away[1]];
    Burr { hole, anchor, tangent: [-away[1], away[0]], half_length, height, seed: draws.random() }
}

/// Signed distance to the edge of a hole or of the plate, and the unit vector that leads away from its middle.
fn edge(place: Point, hole: Option<usize>) -> (f32, Point) {
    hole.map_or_else(|| part::outline(place), |index| part::to_hole(place, HOLES[index]))
}

fn draw_body(severity: Severity, draws: &mut ChaCha8Rng) -> Body {
    let form = match draws.random_range(0..3) {
        0 => Form::Crumb,
        1 => Form::Swarf,
        _ => Form::Fibre,
    };
    let colours = [[0.035, 0.035, 0.04], [0.03, 0.07, 0.30], [0.10, 0.055, 0.03], [0.42, 0.05, 0.03]];
    let radius = match form {
        Form::Crumb => by_severity(severity, [3.0, 5.5, 12.0]),
        Form::Swarf => by_severity(severity, [5.0, 9.0, 24.0]),
        Form::Fibre => by_severity(severity, [8.0, 16.0, 36.0]),
    };
    Body {
        form,
        at: on_metal(3.0, draws),
        angle: any_angle(draws),
        radius,
        colour: colours[draws.random_range(0..colours.len())],
        opacity: by_severity(severity, [draws.random_range(0.15..0.3), draws.random_range(0.6..0.85), 1.0]),
        seed: draws.random(),
    }
}

impl Scratch {
    fn touch(&self, place: Point, depth: f32, size: f32) -> Touch {
        let (u, v) = across(place, self.middle, self.angle);
        let half_length = self.half_length * size;
        let run = u / half_length;
        let width = self.half_width * size.sqrt();
        let line = self.bend * size * (1.0 - run * run) + 0.7 * noise([u / 14.0, 0.5], self.seed);
        let mut touch = UNTOUCHED;
        for strand in 0..self.strands {
            let seed = self.seed ^ strand as u32;
            let beside = strand as f32 * (3.4 * width + 1.5 * noise([strand as f32 * 3.3, 7.5], self.seed));
            let t = (v - line - beside) / width;
            if t.abs() > 3.0 {
                continue;
            }
            let ends = ramp(1.0, 0.75, (run + 0.25 * noise([strand as f32 * 2.7, 3.5], self.seed)).abs());
            let pressure = ends * (0.8 + 0.3 * noise([u / 7.0, 2.5], seed));
            let groove = depth * pressure * (-t * t).exp();
            let slope = -1.1 * t * groove;
            touch.slope[0] -= self.angle.0 * slope;
            touch.slope[1] += self.angle.1 * slope;
            touch.colour = touch.colour.map(|factor| factor * (1.0 + self.tone * groove));
        }
        touch
    }
}

/// The coordinates of `place` along and across a line through `middle` at `angle`.
fn across(place: Point, middle: Point, angle: (f32, f32)) -> (f32, f32) {
    let [u, v] = turn([place[0] - middle[0], place[1] - middle[1]], (-angle.0, angle.1));
    (u, v)
}

impl Dent {
    fn touch(&self, place: Point, depth: f32, size: f32) -> Touch {
        let (u, v) = across(place, self.at, self.angle);
        let [a, b] = [u / (self.radius * self.stretch * size), v / (self.radius * size)];
        let bowl = depth * (-(a * a + b * b)).exp();
        // The bowl is −bowl deep, so that it rises outwards from its middle.
        let slope = turn([2.4 * a * bowl / self.stretch, 2.4 * b * bowl], self.angle);
        Touch { slope, colour: [1.0 - 0.22 * bowl; 3], gloss: 1.0 - 0.3 * bowl, ..UNTOUCHED }
    }
}

impl Stain {
    fn touch(&self, place: Point, depth: f32, size: f32) -> Touch {
        let [u, v] = [(place[0] - self.at[0]) / (self.radius * size), (place[1] - self.at[1]) / (self.radius * size)];
        let ragged = length([u, v])
            + 0.34 * noise([u * 1.5 + 9.0, v * 1.5], self.seed)
            + 0.12 * noise([u * 5.0, v * 5.0 + 9.0], self.seed ^ 1);
        let patch = ramp(1.0, 0.86, ragged);
        let edge = ramp(0.62, 0.92, ragged);
        let cloud = 0.15 * noise([u * 2.3, v * 2.3], self.seed ^ 2);
        let covered = depth * patch * (0.72 + 0.28 * edge + cloud).clamp(0.0, 1.0);
        Touch { colour: self.colour.map(|channel| mix(1.0, channel, covered)), gloss: 1.0 - 0.5 * covered, ..UNTOUCHED }
    }
}

impl Burr {
    fn touch(&self, place: Point, growth: f32, size: f32) -> Touch {
        let from = [place[0] - self.anchor[0], place[1] - self.anchor[1]];
        let half_length = self.half_length * size;
        let along = length(from).copysign(from[0] * self.tangent[0] + from[1] * self.tangent[1]);
        let ends = ramp(1.0, 0.6, (along / half_length).abs());
        let (distance, away) = edge(place, self.hole);
        let over = if self.hole.is_some() { -distance } else { distance };
        let teeth = 0.62 + 0.5 * noise([along / 2.6, 0.5], self.seed) + 0.35 * noise([along / 7.0, 4.5], self.seed);
        let height = self.height * growth * ends * teeth.max(0.0);
        let covered = ends * ramp(height + 0.5, height - 0.5, over) * ramp(-1.6 * ends - 0.6, -0.6, over);
        let crumple =
            [noise([along / 3.0, over / 1.6], self.seed ^ 1), noise([along / 2.2, over / 2.6], self.seed ^ 2)];
        let body = Surface {
            slope: turn([0.6 * crumple[0] + 0.25, 0.6 * crumple[1]], (away[1], away[0])),
            colour: [0.53, 0.53, 0.54],
            gloss: 0.8,
            lay: away,
            spread: [0.35, 0.35],
            lit: 1.0,
        };
        let shadow = ends * ramp(height + 2.5, height, over) * ramp(-1.0, 1.0, over) * ramp(0.0, 1.5, height);
        Touch { lit: 1.0 - 0.4 * shadow, body: (covered > 0.0).then_some((covered, body)), ..UNTOUCHED }
    }
}

impl Body {
    fn touch(&self, place: Point, bearing: Point, growth: f32) -> Touch {
        let radius = self.radius * growth;
        let thickness = match self.form {
            Form::Crumb => 0.55 * radius,
            Form::Swarf => 2.5,
            Form::Fibre => 1.2,
        };
        let toward_lamp = [place[0] + bearing[0] * thickness, place[1] + bearing[1] * thickness];
        let (shadow, _) = self.cover(toward_lamp, radius);
        let (covered, slope) = self.cover(place, radius);
        let body = Surface {
            slope,
            colour: match self.form {
                Form::Swarf => [0.50, 0.48, 0.45],
                _ => self.colour,
            },
            gloss: match self.form {
                Form::Crumb => 0.25,
                Form::Swarf => 1.2,
                Form::Fibre => 0.1,
            },
            lay: [1.0, 0.0],
            spread: [0.3, 0.3],
            lit: 1.0,
        };
        Touch {
            lit: 1.0 - 0.6 * self.opacity * shadow,
            body: (covered > 0.0).then_some((covered * self.opacity, body)),
            ..UNTOUCHED
        }
    }

    /// How much of `place` the body covers, and its slope there.
    fn cover(&self, place: Point, radius: f32) -> (f32, Point) {
        let (u, v) = across(place, self.at, self.angle);
        match self.form {
            Form::Crumb => {
                let [a, b] = [u / radius, v / (0.72 * radius)];
                let ragged = length([a, b])
                    + 0.28 * noise([1.6 * a, 1.6 * b], self.seed)
                    + 0.10 * noise([5.0 * a, 5.0 * b], self.seed ^ 1);
                let rough = 0.35 * noise([place[0] / 2.1, place[1] / 2.1], self.seed ^ 2);
                let fall = turn([-0.9 * a + rough, -0.9 * b - rough], self.angle);
                (ramp(1.0 + 0.5 / radius, 1.0 - 0.5 / radius, 1.08 * ragged), fall)
            }
            Form::Swarf => {
                // A ribbon wound into a bent coil, seen from the side: its turns run aslant and notch the edge.
                let run = u / radius;
                let bent = radius * (0.3 * (1.0 - run * run) + 0.10 * noise([1.7 * run, 0.5], self.seed));
                let half_width = (0.17 + 0.05 * noise([2.3 * run, 8.5], self.seed)) * radius + 0.7;
                let t = (v - bent) / half_width;
                let turns = wave((u - 0.5 * (v - bent)) / (0.55 * half_width + 1.6));
                let edge = t.abs() + 0.16 * (1.0 - turns);
                let ends = ramp(1.0 + 0.5 / radius, 1.0 - 0.5 / radius, run.abs());
                let fall = turn([0.75 * turns, -0.7 * t], self.angle);
                (ends * ramp(1.0 + 0.5 / half_width, 1.0 - 0.5 / half_width, edge), fall)
            }
            Form::Fibre => {
                let run = u / radius;
                let line = radius * (0.25 * (1.0 - run * run) + 0.16 * noise([1.7 * run, 0.5], self.seed));
                let half_width = 0.8 + 0.035 * radius;
                let t = (v - line) / half_width;
                let ends = ramp(1.0 + 0.5 / radius, 1.0 - 0.5 / radius, run.abs());
                let fall = turn([0.0, -0.8 * t], self.angle);
                (ends * ramp(1.0 + 0.5 / half_width, 1.0 - 0.5 / half_width, t.abs()), fall)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::{Stream, draws};
    use super::*;

    #[test]
    fn a_flaw_changes_nothing_beyond_its_reach_and_something_within() {
        for (seed, kind) in (0..4).flat_map(|seed| DefectKind::ALL.map(|kind| (seed, kind))) {
            let flaw = Flaw::draw(kind, Severity::Plain, &mut draws(seed, Stream::Defect, 0));
            let (middle, radius) = flaw.reach();
            let touched = |at: Point| {
                let touch = flaw.touch(at, [-0.6, -0.8]);
                touch.slope != [0.0; 2] || touch.colour != [1.0; 3] || touch.lit != 1.0 || touch.body.is_some()
            };
            let ring = (0..360).map(|degree| (degree as f32).to_radians().sin_cos());
            assert!(
                !ring.clone().any(|(y, x)| touched([middle[0] + 1.001 * radius * x, middle[1] + 1.001 * radius * y]))
            );
            let within = (0..200).any(|step| {
                ring.clone().any(|(y, x)| {
                    let reach = radius * step as f32 / 200.0;
                    touched([middle[0] + reach * x, middle[1] + reach * y])
                })
            });
            assert_eq!(within, kind != DefectKind::MissingFeature, "{kind:?} {seed}");
        }
    }
}
