//! Perlin noise: smooth random hills from random slopes on a grid.

use std::f32::consts::TAU;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::geometry::Point;

const SIDE: usize = 16;

/// Noise with a period of 16 grid cells along both axes, 0 at every grid point, within ±1.
/// # Source  Perlin 1985, with the slopes and the fade of 2002 (6t⁵ − 15t⁴ + 10t³).
pub(super) struct Perlin {
    slopes: Vec<Point>,
}

impl Perlin {
    pub fn new(rng: &mut ChaCha8Rng) -> Perlin {
        let slope = |_| {
            let (sin, cos) = rng.random_range(0.0..TAU).sin_cos();
            [cos, sin]
        };
        Perlin { slopes: (0..SIDE * SIDE).map(slope).collect() }
    }

    /// The noise at a point, in grid cells.
    pub fn at(&self, point: Point) -> f32 {
        let cell = point.map(f32::floor);
        let [x, y] = [point[0] - cell[0], point[1] - cell[1]];
        let [column, row] = cell.map(|at| (at as i64).rem_euclid(SIDE as i64) as usize);
        let hill = |right: usize, down: usize| {
            let slope = self.slopes[(row + down) % SIDE * SIDE + (column + right) % SIDE];
            slope[0] * (x - right as f32) + slope[1] * (y - down as f32)
        };
        let fade = |t: f32| t * t * t * (t * (6.0 * t - 15.0) + 10.0);
        let mix = |a: f32, b: f32, t: f32| a + (b - a) * t;
        let (across, down) = (fade(x), fade(y));
        // The extremes of two-dimensional noise are ±1/√2.
        std::f32::consts::SQRT_2 * mix(mix(hill(0, 0), hill(1, 0), across), mix(hill(0, 1), hill(1, 1), across), down)
    }

    /// Two octaves, the second half as strong.
    pub fn rough(&self, point: Point) -> f32 {
        (self.at(point) + 0.5 * self.at(point.map(|axis| 2.0 * axis + 5.3))) / 1.5
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn noise_is_0_at_grid_points_within_1_and_smooth() {
        let noise = Perlin::new(&mut ChaCha8Rng::seed_from_u64(4));
        assert_eq!(noise.at([3.0, -7.0]), 0.0);
        let mut largest = 0.0f32;
        for i in 0..4000 {
            let point = [i as f32 * 0.037, i as f32 * 0.0191];
            let value = noise.at(point);
            largest = largest.max(value.abs());
            assert!((noise.at([point[0] + 1e-3, point[1]]) - value).abs() < 0.01);
        }
        assert!((0.4..=1.0).contains(&largest), "{largest}");
    }
}
