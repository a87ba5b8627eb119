//! The part: a milled flange with a turned boss, drawn as distances to its edges.
//!
//! Lengths are nominal pixels, in which the shorter side of the picture is 320; the origin is the middle of the plate,
//! x to the right and y down. A signed distance is negative inside.

use super::light::Surface;
use super::texture::{Point, length, noise, ramp};

/// Half the width and half the height of the plate.
pub(super) const HALF: Point = [122.0, 98.0];
const CORNER_RADIUS: f32 = 24.0;
/// Area of the plate within its outline, holes included: the rectangle less what the round corners cut off.
pub(super) const AREA: f32 = 4.0 * HALF[0] * HALF[1] - (4.0 - std::f32::consts::PI) * CORNER_RADIUS * CORNER_RADIUS;
const RIM_CHAMFER: f32 = 4.0;
/// How high the plate stands above the belt, and the boss above the plate.
pub(super) const PLATE_HEIGHT: f32 = 13.0;
const BOSS_HEIGHT: f32 = 7.0;

const BOSS: Point = [-14.0, 0.0];
const BOSS_RADIUS: f32 = 56.0;
const BOSS_CHAMFER: f32 = 3.5;
const GROOVE_RADIUS: f32 = 41.0;
const GROOVE_HALF_WIDTH: f32 = 2.2;

/// A hole through the plate: round, or a slot where `half_length` along y is more than 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Hole {
    pub at: Point,
    pub half_length: f32,
    pub radius: f32,
    pub chamfer: f32,
}

const fn bore(x: f32, y: f32, radius: f32, chamfer: f32) -> Hole {
    Hole { at: [x, y], half_length: 0.0, radius, chamfer }
}

/// The bore of the boss, the slot, the four screw holes, the two dowel holes.
pub(super) const HOLES: [Hole; 8] = [
    bore(BOSS[0], BOSS[1], 24.0, 4.0),
    Hole { at: [82.0, 0.0], half_length: 28.0, radius: 9.0, chamfer: 2.5 },
    bore(-98.0, -74.0, 11.0, 3.5),
    bore(98.0, -74.0, 11.0, 3.5),
    bore(-98.0, 74.0, 11.0, 3.5),
    bore(98.0, 74.0, 11.0, 3.5),
    bore(-100.0, -24.0, 5.5, 2.0),
    bore(-100.0, 24.0, 5.5, 2.0),
];
pub(super) const SLOT: usize = 1;
pub(super) const SCREW_HOLES: std::ops::Range<usize> = 2..6;
pub(super) const DOWEL_HOLES: std::ops::Range<usize> = 6..8;

/// A feature that a machine can forget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Feature {
    /// An index into [`HOLES`].
    Hole(usize),
    /// The engraved part number.
    Mark,
}

impl Feature {
    /// The middle of the feature and a radius that holds all of it.
    pub(super) fn reach(self) -> (Point, f32) {
        match self {
            Feature::Hole(index) => {
                let hole = HOLES[index];
                (hole.at, hole.half_length + hole.radius + hole.chamfer + 2.0)
            }
            Feature::Mark => {
                let [x, y] = MARK_AT;
                ([x + 2.5 * GLYPH_PITCH, y + 0.5 * GLYPH_HEIGHT], 2.5 * GLYPH_PITCH + 3.0)
            }
        }
    }
}

const MARK_AT: Point = [-42.0, 68.0];
const GLYPH_PITCH: f32 = 11.5;
const GLYPH_HEIGHT: f32 = 15.0;
const STROKE_HALF_WIDTH: f32 = 1.1;
/// "R7-42" in strokes from (x, y) to (x, y); x in glyph pitches, y in glyph heights.
const MARK: [[f32; 4]; 16] = [
    [0.0, 1.0, 0.0, 0.0],
    [0.0, 0.0, 0.6, 0.0],
    [0.6, 0.0, 0.6, 0.5],
    [0.6, 0.5, 0.0, 0.5],
    [0.2, 0.5, 0.6, 1.0],
    [1.0, 0.0, 1.6, 0.0],
    [1.6, 0.0, 1.2, 1.0],
    [2.1, 0.5, 2.6, 0.5],
    [3.45, 1.0, 3.45, 0.0],
    [3.45, 0.0, 3.0, 0.66],
    [3.0, 0.66, 3.65, 0.66],
    [4.0, 0.0, 4.6, 0.0],
    [4.6, 0.0, 4.6, 0.5],
    [4.6, 0.5, 4.0, 0.5],
    [4.0, 0.5, 4.0, 1.0],
    [4.0, 1.0, 4.6, 1.0],
];

/// The tool marks of one part; every part has its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finish {
    pub seed: u32,
    /// Radius of the face mill's path, and where its middle passes along y.
    pub cutter_radius: f32,
    pub cutter_y: f32,
}

/// Signed distance from `place` to the outline of the plate, and the unit vector that leads outwards.
pub(super) fn outline([x, y]: Point) -> (f32, Point) {
    let beyond = [x.abs() - HALF[0] + CORNER_RADIUS, y.abs() - HALF[1] + CORNER_RADIUS];
    let [right, down] = [1f32.copysign(x), 1f32.copysign(y)];
    if beyond[0] > 0.0 && beyond[1] > 0.0 {
        let reach = length(beyond).max(1e-6);
        (reach - CORNER_RADIUS, [right * beyond[0] / reach, down * beyond[1] / reach])
    } else if beyond[0] > beyond[1] {
        (beyond[0] - CORNER_RADIUS, [right, 0.0])
    } else {
        (beyond[1] - CORNER_RADIUS, [0.0, down])
    }
}

/// Signed distance from `place` to the edge of `hole`, and the unit vector that leads away from it.
pub(super) fn to_hole([x, y]: Point, hole: Hole) -> (f32, Point) {
    let along = (y - hole.at[1]).clamp(-hole.half_length, hole.half_length);
    let away = [x - hole.at[0], y - hole.at[1] - along];
    let reach = length(away).max(1e-6);
    (reach - hole.radius, [away[0] / reach, away[1] / reach])
}

/// The hole whose chamfer or inside `place` lies in, unless it is `without`.
pub(super) fn hole_at([x, y]: Point, without: Option<Feature>) -> Option<Hole> {
    let covers = |hole: &Hole| {
        let along = (y - hole.at[1]).clamp(-hole.half_length, hole.half_length);
        let away = [x - hole.at[0], y - hole.at[1] - along];
        let outer = hole.radius + hole.chamfer + 1.0;
        away[0] * away[0] + away[1] * away[1] < outer * outer
    };
    let index = HOLES.iter().position(covers)?;
    (without != Some(Feature::Hole(index))).then_some(HOLES[index])
}

/// How far `place` is from the nearest edge of the plate, of a hole or of the boss; negative outside the metal.
pub(super) fn clearance(place: Point) -> f32 {
    let boss = (length([place[0] - BOSS[0], place[1] - BOSS[1]]) - BOSS_RADIUS).abs();
    let holes = HOLES.iter().map(|&hole| to_hole(place, hole).0 - hole.chamfer);
    holes.fold(boss.min(-outline(place).0 - RIM_CHAMFER), f32::min)
}

/// The machined metal at `place`, which lies on the plate and outside the holes.
///
/// * `bearing` — unit vector that points to the lamp, for the shadow of the boss
/// * `hole` — as [`hole_at`] finds it; `marked` — whether the part number is engraved
pub(super) fn metal(place: Point, finish: &Finish, bearing: Point, hole: Option<Hole>, marked: bool) -> Surface {
    let from_boss = [place[0] - BOSS[0], place[1] - BOSS[1]];
    let radius = length(from_boss);
    let mut surface = if radius < BOSS_RADIUS { turned(from_boss, radius, finish) } else { milled(place, finish) };

    let (rim, outwards) = outline(place);
    tilt(&mut surface, outwards, -0.85 * ramp(-RIM_CHAMFER - 0.6, -RIM_CHAMFER + 0.6, rim));
    if radius < BOSS_RADIUS + BOSS_CHAMFER + 8.0 {
        shape_boss(&mut surface, from_boss, radius, bearing);
    }
    if let Some(hole) = hole {
        let (distance, away) = to_hole(place, hole);
        tilt(&mut surface, away, 0.8 * ramp(hole.chamfer + 0.5, hole.chamfer - 0.5, distance));
    }
    if marked {
        engrave(&mut surface, place);
    }
    surface
}

/// Tilts the surface so that it rises by `slope` towards `direction`.
fn tilt(surface: &mut Surface, direction: Point, slope: f32) {
    surface.slope[0] += direction[0] * slope;
    surface.slope[1] += direction[1] * slope;
}

const STEEL: [f32; 3] = [0.47, 0.475, 0.48];

/// A face that a wide cutter passed over: arcs, one for each turn of the cutter.
fn milled(place: Point, finish: &Finish) -> Surface {
    let from_path = place[1] - finish.cutter_y;
    let root = (finish.cutter_radius * finish.cutter_radius - from_path * from_path).sqrt();
    let arc = place[0] - root;
    let streak = 0.75 * noise([arc / 1.1, place[1] / 40.0], finish.seed)
        + 0.6 * noise([arc / 4.5, place[1] / 140.0], finish.seed ^ 1);
    let patch = noise([place[0] / 37.0, place[1] / 29.0], finish.seed ^ 2);
    let across = [root / finish.cutter_radius, from_path / finish.cutter_radius];
    let shade = 1.0 + 0.11 * streak + 0.04 * patch;
    Surface {
        slope: across.map(|axis| axis * 0.06 * streak),
        colour: STEEL.map(|channel| channel * shade),
        gloss: 0.95,
        lay: [-across[1], across[0]],
        spread: [0.24, 0.36],
        lit: 1.0,
    }
}

/// A face that a lathe turned: rings around the boss, which mirror the lamp in two opposite fans.
fn turned(from_boss: Point, radius: f32, finish: &Finish) -> Surface {
    let reach = radius.max(1e-3);
    let out = [from_boss[0] / reach, from_boss[1] / reach];
    let rings = noise([radius / 1.1, 1.5 * out[0]], finish.seed ^ 3)
        + noise([radius / 1.1, 1.5 * out[1] + 40.0], finish.seed ^ 4);
    let shade = 1.0 + 0.09 * rings;
    Surface {
        slope: out.map(|axis| axis * 0.08 * rings),
        colour: STEEL.map(|channel| channel * 1.04 * shade),
        gloss: 1.25,
        lay: [-out[1], out[0]],
        spread: [0.10, 0.45],
        lit: 1.0,
    }
}

/// The edge of the boss, its shadow on the plate, and the ring groove in its face.
fn shape_boss(surface: &mut Surface, from_boss: Point, radius: f32, bearing: Point) {
    let reach = radius.max(1e-3);
    let out = [from_boss[0] / reach, from_boss[1] / reach];
    let edge = radius - BOSS_RADIUS;
    tilt(surface, out, -1.1 * ramp(-0.6, 0.6, edge) * ramp(BOSS_CHAMFER + 0.6, BOSS_CHAMFER - 0.6, edge));
    if edge > BOSS_CHAMFER - 1.0 {
        let shift = [from_boss[0] + bearing[0] * BOSS_HEIGHT, from_boss[1] + bearing[1] * BOSS_HEIGHT];
        let shadow = ramp(4.0, -1.0, length(shift) - BOSS_RADIUS - BOSS_CHAMFER);
        surface.lit *= 1.0 - 0.45 * shadow - 0.15 * ramp(3.0, 0.0, edge - BOSS_CHAMFER);
    }
    let groove = (radius - GROOVE_RADIUS) / GROOVE_HALF_WIDTH;
    if groove.abs() < 1.2 {
        tilt(surface, out, 0.9 * groove.clamp(-1.0, 1.0) * ramp(1.2, 0.9, groove.abs()));
        surface.lit *= 1.0 - 0.35 * ramp(1.0, 0.2, groove.abs());
    }
}

/// Darkens the strokes of the part number.
fn engrave(surface: &mut Surface, [x, y]: Point) {
    let [x, y] = [x - MARK_AT[0], y - MARK_AT[1]];
    if !(-2.0..5.0 * GLYPH_PITCH + 2.0).contains(&x) || !(-2.0..GLYPH_HEIGHT + 2.0).contains(&y) {
        return;
    }
    let nearest = MARK.iter().map(|stroke| {
        let [x0, y0, x1, y1] =
            [stroke[0] * GLYPH_PITCH, stroke[1] * GLYPH_HEIGHT, stroke[2] * GLYPH_PITCH, stroke[3] * GLYPH_HEIGHT];
        let [dx, dy] = [x1 - x0, y1 - y0];
        let t = (((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy)).clamp(0.0, 1.0);
        length([x - x0 - t * dx, y - y0 - t * dy])
    });
    let depth = ramp(STROKE_HALF_WIDTH + 0.7, STROKE_HALF_WIDTH - 0.5, nearest.fold(f32::MAX, f32::min));
    surface.colour = surface.colour.map(|channel| channel * (1.0 - 0.55 * depth));
    surface.gloss *= 1.0 - 0.7 * depth;
}

/// How dark the inside of a hole is at `place`: the fraction of light that reaches the belt under it, and how much
/// of its wall is seen there (0..=1) with the brightness of that wall.
pub(super) fn inside(place: Point, hole: Hole, bearing: Point) -> (f32, f32, f32) {
    // The belt lies farther away than the plate, so the lower edge appears nearer to the middle of the picture.
    let lower = Hole { at: hole.at.map(|axis| axis * 0.965), ..hole };
    let (distance, away) = to_hole(place, lower);
    let wall = ramp(-0.6, 0.6, distance);
    let facing = -(away[0] * bearing[0] + away[1] * bearing[1]);
    let reached = [place[0] + bearing[0] * PLATE_HEIGHT, place[1] + bearing[1] * PLATE_HEIGHT];
    let lit = 0.22 + 0.6 * ramp(1.0, -4.0, to_hole(reached, hole).0);
    (lit, wall, 0.10 + 0.30 * facing.max(0.0))
}

/// The fraction of the lamp's light that reaches the belt at `place`, beside the plate.
pub(super) fn beside(place: Point, bearing: Point) -> f32 {
    let shift = [place[0] + bearing[0] * PLATE_HEIGHT, place[1] + bearing[1] * PLATE_HEIGHT];
    (1.0 - 0.62 * ramp(5.0, -3.0, outline(shift).0)) * (1.0 - 0.35 * ramp(7.0, 0.0, outline(place).0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_to_the_outline_and_to_a_hole_are_negative_inside() {
        assert_eq!(outline([0.0, 98.0]), (0.0, [0.0, 1.0]));
        assert_eq!(outline([-132.0, 0.0]), (10.0, [-1.0, 0.0]));
        let slot = HOLES[SLOT];
        assert_eq!(to_hole([82.0 + 12.0, 20.0], slot), (3.0, [1.0, 0.0]));
        assert_eq!(to_hole([82.0, 28.0 + 9.0], slot).0, 0.0);
    }

    #[test]
    fn all_holes_lie_in_the_plate_and_apart() {
        for (index, hole) in HOLES.iter().enumerate() {
            assert!(outline(hole.at).0 < -hole.radius - hole.chamfer - RIM_CHAMFER);
            assert_eq!(hole_at(hole.at, None), Some(*hole));
            assert_eq!(hole_at(hole.at, Some(Feature::Hole(index))), None);
        }
    }
}
