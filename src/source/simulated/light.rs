//! How a surface looks under the lamp: a near lamp, a brushed-metal lobe, and the glow of the room.

use super::texture::{Point, length, turn};

/// What there is at one place of a surface.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surface {
    /// Rise of the surface per unit of length, along x and y.
    pub slope: Point,
    /// Reflected fraction of each colour, linear.
    pub colour: [f32; 3],
    /// How strongly it mirrors the lamp; 0 is matt.
    pub gloss: f32,
    /// Unit vector along the tool marks; the lobe is narrow along them and wide across them.
    pub lay: Point,
    /// Spread of the lobe along and across the tool marks, as a slope.
    pub spread: [f32; 2],
    /// The fraction of the light that arrives; below 1 in a shadow.
    pub lit: f32,
}

/// The lamp and the room, seen from above: x to the right, y down, z towards the camera, in nominal pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Light {
    pub at: [f32; 3],
    /// Brightness of lamp and room together; 1 is nominal.
    pub power: f32,
    /// The lamp's colour; `[1.0; 3]` is white.
    pub tint: [f32; 3],
}

/// Distance from the nominal lamp to the middle of the part; there its brightness is 1.
const NOMINAL_DISTANCE: f32 = 387.0;

impl Light {
    /// The same light in a frame turned by the angle with this sine and cosine.
    pub(super) fn turned(self, angle: (f32, f32)) -> Light {
        let [x, y] = turn([self.at[0], self.at[1]], angle);
        Light { at: [x, y, self.at[2]], ..self }
    }

    /// Unit vector in the plane that points to the lamp from the middle of the picture.
    pub(super) fn bearing(self) -> Point {
        let [x, y, _] = self.at;
        let reach = length([x, y]).max(1e-6);
        [x / reach, y / reach]
    }

    /// Linear radiance (R, G, B) of `surface` at `place`, seen from straight above; 1 saturates the sensor.
    ///
    /// L = colour · lit · (room + lamp · (0.5 · ⟨n, l⟩ + gloss · lobe)), with the lobe 1 / (1 + q)² over the
    /// distance q from the surface's slope to the slope that would mirror the lamp, as in Trowbridge and Reitz,
    /// stretched along the tool marks.
    pub(super) fn radiance(self, surface: &Surface, place: Point) -> [f32; 3] {
        let to_lamp = [self.at[0] - place[0], self.at[1] - place[1], self.at[2]];
        let square = to_lamp[0] * to_lamp[0] + to_lamp[1] * to_lamp[1] + to_lamp[2] * to_lamp[2];
        let inverse = 1.0 / square.sqrt();
        let [lx, ly, lz] = to_lamp.map(|axis| axis * inverse);
        let [sx, sy] = surface.slope;
        let steep = sx * sx + sy * sy;
        let lambert = ((lz - sx * lx - sy * ly) / (1.0 + steep).sqrt()).max(0.0);
        let miss = [-lx / (lz + 1.0) - sx, -ly / (lz + 1.0) - sy];
        let [along, across] = surface.spread;
        let a = (miss[0] * surface.lay[0] + miss[1] * surface.lay[1]) / along;
        let b = (miss[1] * surface.lay[0] - miss[0] * surface.lay[1]) / across;
        let q = 1.0 + a * a + b * b;
        let lamp = NOMINAL_DISTANCE * NOMINAL_DISTANCE * inverse * inverse;
        let room = (0.30 + 0.12 * sy.clamp(-1.0, 1.0)) / (1.0 + steep);
        let light = self.power * surface.lit * (room + lamp * (0.5 * lambert + surface.gloss / (q * q)));
        std::array::from_fn(|channel| surface.colour[channel] * self.tint[channel] * light)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIGHT: Light = Light { at: [-300.0, 0.0, 300.0], power: 1.0, tint: [1.0; 3] };

    fn metal(slope: Point) -> Surface {
        Surface { slope, colour: [0.5; 3], gloss: 0.5, lay: [0.0, 1.0], spread: [0.1, 0.4], lit: 1.0 }
    }

    #[test]
    fn a_slope_that_mirrors_the_lamp_is_brighter_than_a_flat_one_and_one_turned_away_darker() {
        // The lamp stands at 45° to the left; a surface that rises to the right at tan 22.5° mirrors it upwards.
        let [towards, flat, away] = [0.414, 0.0, -0.8].map(|rise| LIGHT.radiance(&metal([rise, 0.0]), [0.0; 2])[0]);
        assert!(towards > flat && flat > away, "{towards} {flat} {away}");
    }

    #[test]
    fn the_lobe_is_narrow_along_the_tool_marks() {
        let along = LIGHT.radiance(&metal([0.414, 0.2]), [0.0; 2])[0];
        let across = LIGHT.radiance(&metal([0.614, 0.0]), [0.0; 2])[0];
        assert!(along < across, "{along} {across}");
    }
}
