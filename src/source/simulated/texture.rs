//! Noise that depends on nothing but a place and a seed, so that any pixel can be drawn in any order.

/// A point or a direction in the plane.
pub(super) type Point = [f32; 2];

/// The largest whole number at or below `x`; `f32::floor` is a library call on processors without SSE 4.1.
fn floor(x: f32) -> i32 {
    let cut = x as i32;
    cut - i32::from(x < cut as f32)
}

/// One number in [−1, 1) for each lattice point.
fn lattice(x: i32, y: i32, seed: u32) -> f32 {
    let mut hash = (x as u32).wrapping_mul(0x9E37_79B1) ^ (y as u32).wrapping_mul(0x85EB_CA77) ^ seed;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x7FEB_352D);
    hash = (hash ^ (hash >> 15)).wrapping_mul(0x846C_A68B);
    (hash ^ (hash >> 16)) as i32 as f32 / 2f32.powi(31)
}

/// Value noise: random numbers in [−1, 1) on the unit lattice, joined smoothly; standard deviation about 0.4.
pub(super) fn noise([x, y]: Point, seed: u32) -> f32 {
    let (column, row) = (floor(x), floor(y));
    let fade = |t: f32| t * t * (3.0 - 2.0 * t);
    let (across, down) = (fade(x - column as f32), fade(y - row as f32));
    let line = |row: i32| mix(lattice(column, row, seed), lattice(column.wrapping_add(1), row, seed), across);
    mix(line(row), line(row.wrapping_add(1)), down)
}

/// A wave with period 1 between −1 and 1, close to sin(2πx) and cheaper.
pub(super) fn wave(x: f32) -> f32 {
    let t = 2.0 * (x - floor(x) as f32) - 1.0;
    -4.0 * t * (1.0 - t.abs())
}

/// `from` where t is 0, `to` where t is 1.
pub(super) fn mix(from: f32, to: f32, t: f32) -> f32 {
    from + (to - from) * t
}

/// [`mix`] for each colour channel.
pub(super) fn mix_colour(from: [f32; 3], to: [f32; 3], t: f32) -> [f32; 3] {
    std::array::from_fn(|channel| mix(from[channel], to[channel], t))
}

/// Rises smoothly from 0 at `low` to 1 at `high`; falls where `high` is below `low`.
pub(super) fn ramp(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// `point` turned by the angle with this sine and cosine.
pub(super) fn turn([x, y]: Point, (sine, cosine): (f32, f32)) -> Point {
    [cosine * x - sine * y, sine * x + cosine * y]
}

pub(super) fn length([x, y]: Point) -> f32 {
    (x * x + y * y).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_meets_its_lattice_and_joins_it_without_a_step() {
        assert_eq!(noise([3.0, -2.0], 7), lattice(3, -2, 7));
        assert_eq!(floor(-0.25), -1);
        assert_eq!(floor(-2.0), -2);
        for x in [-1.0, 0.0, 5.0] {
            let step = noise([x + 1e-3, 0.4], 7) - noise([x - 1e-3, 0.4], 7);
            assert!(step.abs() < 1e-3, "{step} at {x}");
        }
    }

    #[test]
    fn a_wave_has_the_zeros_and_peaks_of_a_sine() {
        assert_eq!([-0.75, 0.0, 0.25, 0.5, 0.75, 1.0].map(wave), [1.0, 0.0, 1.0, 0.0, -1.0, 0.0]);
    }

    #[test]
    fn a_ramp_rises_from_0_to_1_and_falls_where_its_ends_are_exchanged() {
        assert_eq!([0.0, 2.0, 3.0, 5.0].map(|x| ramp(2.0, 4.0, x)), [0.0, 0.0, 0.5, 1.0]);
        assert_eq!([0.0, 2.0, 3.0, 5.0].map(|x| ramp(4.0, 2.0, x)), [1.0, 1.0, 0.5, 0.0]);
    }
}
