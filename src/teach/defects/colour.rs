//! A small random change of colour.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// How far brightness, contrast, saturation and hue are changed at most.
pub(super) const MOST: f32 = 0.1;

/// Brightness, contrast, saturation as factors within 1 ± 0.1, and the hue turned by up to a tenth of the circle.
/// # Source  colour jitter 0.1 of Runinho/pytorch-cutpaste. Differs: the hue is turned in YIQ.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jitter {
    pub brightness: f32,
    pub contrast: f32,
    pub saturation: f32,
    /// In radians.
    pub hue: f32,
}

impl Jitter {
    pub fn draw(rng: &mut ChaCha8Rng) -> Jitter {
        let mut factor = || rng.random_range(1.0 - MOST..=1.0 + MOST);
        let (brightness, contrast, saturation) = (factor(), factor(), factor());
        Jitter { brightness, contrast, saturation, hue: rng.random_range(-MOST..=MOST) * std::f32::consts::TAU }
    }

    /// * `mean` — the colour that contrast is measured from
    pub fn of(&self, rgb: [f32; 3], mean: [f32; 3]) -> [f32; 3] {
        let grey = |[r, g, b]: [f32; 3]| 0.299 * r + 0.587 * g + 0.114 * b;
        let middle = grey(mean);
        let [r, g, b] = rgb.map(|level| self.brightness * (middle + self.contrast * (level - middle)));
        let y = grey([r, g, b]);
        let (sin, cos) = self.hue.sin_cos();
        let i = self.saturation * (0.596 * r - 0.274 * g - 0.322 * b);
        let q = self.saturation * (0.211 * r - 0.523 * g + 0.312 * b);
        let (i, q) = (i * cos - q * sin, i * sin + q * cos);
        [y + 0.956 * i + 0.621 * q, y - 0.272 * i - 0.647 * q, y - 1.106 * i + 1.703 * q]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Jitter = Jitter { brightness: 1.0, contrast: 1.0, saturation: 1.0, hue: 0.0 };

    #[test]
    fn without_a_change_a_colour_stays_and_a_grey_keeps_its_hue() {
        let same = NONE.of([200.0, 40.0, 90.0], [50.0; 3]);
        assert!(same.iter().zip([200.0, 40.0, 90.0]).all(|(a, b)| (a - b).abs() < 0.5), "{same:?}");
        let grey = Jitter { hue: 0.6, saturation: 1.1, brightness: 1.1, ..NONE }.of([100.0; 3], [100.0; 3]);
        assert!(grey.iter().all(|level| (level - 110.0).abs() < 0.2), "{grey:?}");
    }

    #[test]
    fn contrast_is_measured_from_the_mean() {
        let more = Jitter { contrast: 1.1, ..NONE }.of([150.0; 3], [100.0; 3]);
        assert!(more.iter().all(|level| (level - 155.0).abs() < 0.2), "{more:?}");
    }
}
