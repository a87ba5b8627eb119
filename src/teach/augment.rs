//! More looks of the few good parts that there are: turned, mirrored, lighter and darker.
//!
//! With ten good parts a bank does not know how good parts may look, and what it has not seen it calls anomalous. A
//! variant of a part stands for one that never came: it joins the bank, and nothing else. Thresholds are calibrated on
//! parts as the camera saw them.
//!
//! Not every variant is a good part: a screw turned is a screw, a mirrored left-hand thread is scrap. So `auto` tries each
//! augmentation on held-out good parts against synthetic defects and takes the best only where it is better than none by
//! more than chance.

use std::str::FromStr;

use super::TeachError;
use super::defects::UnknownName;
use crate::frame::{Frame, Roi};

/// Which variants of each good part join the bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Augmentation {
    /// A tenth lighter and a tenth darker.
    Light,
    /// Left to right, top to bottom, and both.
    Mirrored,
    /// By 5 and 10 degrees either way.
    Tilted,
    /// By every eighth of a full turn.
    Turned,
}

/// Whether good parts are augmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Augment {
    Never,
    /// As the evidence says, where the metric is chosen by it and the parts are few; otherwise not.
    Auto,
    Always(Augmentation),
}

/// What is done to a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Variant {
    /// Counter-clockwise, about the middle of the region.
    degrees: f32,
    mirrored: bool,
    /// Every value is multiplied by it.
    gain: f32,
}

const AS_IT_IS: Variant = Variant { degrees: 0.0, mirrored: false, gain: 1.0 };

impl Augmentation {
    pub const ALL: [Augmentation; 4] =
        [Augmentation::Light, Augmentation::Mirrored, Augmentation::Tilted, Augmentation::Turned];

    pub fn name(self) -> &'static str {
        match self {
            Augmentation::Light => "light",
            Augmentation::Mirrored => "mirrored",
            Augmentation::Tilted => "tilted",
            Augmentation::Turned => "turned",
        }
    }

    /// How many variants it makes of a part.
    pub fn count(self) -> usize {
        self.variants().len()
    }

    /// Variant 0 … `count` − 1 of a part. What is turned into the picture from outside repeats its border.
    /// * `roi` — about whose middle it is turned; the whole frame if absent
    pub fn apply(self, frame: &Frame, roi: Option<Roi>, variant: usize) -> Frame {
        self.variants()[variant].of(frame, roi)
    }

    fn variants(self) -> Vec<Variant> {
        let turned = |degrees: f32| Variant { degrees, ..AS_IT_IS };
        match self {
            Augmentation::Light => [0.9, 1.1].map(|gain| Variant { gain, ..AS_IT_IS }).into(),
            Augmentation::Mirrored => {
                let mirrored = Variant { mirrored: true, ..AS_IT_IS };
                vec![mirrored, Variant { degrees: 180.0, ..mirrored }, turned(180.0)]
            }
            Augmentation::Tilted => [-10.0, -5.0, 5.0, 10.0].map(turned).into(),
            Augmentation::Turned => (1..8).map(|eighth| turned(45.0 * eighth as f32)).collect(),
        }
    }
}

impl Variant {
    fn of(self, frame: &Frame, roi: Option<Roi>) -> Frame {
        let (width, height) = (frame.width(), frame.height());
        let Roi { x, y, width: across, height: down } = roi.unwrap_or(Roi { x: 0, y: 0, width, height });
        let middle = [x as f32 + (across - 1) as f32 / 2.0, y as f32 + (down - 1) as f32 / 2.0];
        let (sine, cosine) = self.degrees.to_radians().sin_cos();
        let mut rgb = Vec::with_capacity(frame.rgb().len());
        for row in 0..height {
            for column in 0..width {
                let [mut right, below] = [column as f32 - middle[0], row as f32 - middle[1]];
                if self.mirrored {
                    right = -right;
                }
                let from = [middle[0] + cosine * right - sine * below, middle[1] + sine * right + cosine * below];
                rgb.extend(sample(frame, from).map(|value| (value * self.gain).round().clamp(0.0, 255.0) as u8));
            }
        }
        Frame::new(width, height, rgb, frame.captured, frame.sequence).expect("the size is that of a frame")
    }
}

/// The colour at a place between pixels, bilinear; outside that of the nearest pixel.
fn sample(frame: &Frame, [x, y]: [f32; 2]) -> [f32; 3] {
    let last = [frame.width() - 1, frame.height() - 1];
    // A turn by a quarter meets the pixels but for rounding.
    let [x, y] = [x, y].map(|at| if (at - at.round()).abs() < 1e-3 { at.round() } else { at });
    let [x, y] = [x.clamp(0.0, last[0] as f32), y.clamp(0.0, last[1] as f32)];
    let ([left, top], [right, low]) = ([x.floor(), y.floor()], [x.fract(), y.fract()]);
    let pixel = |column: u32, row: u32| {
        let start = 3 * (row.min(last[1]) as usize * frame.width() as usize + column.min(last[0]) as usize);
        &frame.rgb()[start..start + 3]
    };
    let (column, row) = (left as u32, top as u32);
    let corners = [pixel(column, row), pixel(column + 1, row), pixel(column, row + 1), pixel(column + 1, row + 1)];
    let shares = [(1.0 - right) * (1.0 - low), right * (1.0 - low), (1.0 - right) * low, right * low];
    std::array::from_fn(|channel| {
        corners.iter().zip(shares).map(|(corner, share)| share * f32::from(corner[channel])).sum()
    })
}

impl FromStr for Augment {
    type Err = UnknownName;
    fn from_str(name: &str) -> Result<Augment, UnknownName> {
        let choices = [Augment::Auto, Augment::Never].into_iter().chain(Augmentation::ALL.map(Augment::Always));
        super::defects::by_name("augmentation", &choices.collect::<Vec<_>>(), Augment::name, name)
    }
}

impl Augment {
    fn name(self) -> &'static str {
        match self {
            Augment::Never => "none",
            Augment::Auto => "auto",
            Augment::Always(augmentation) => augmentation.name(),
        }
    }

    /// The augmentation that is asked for without any choice.
    pub fn given(self) -> Option<Augmentation> {
        match self {
            Augment::Always(augmentation) => Some(augmentation),
            Augment::Never | Augment::Auto => None,
        }
    }
}

/// Loads variants of parts.
/// * `load` — gives a part as it is
///
/// # Errors  Those of `load`.
pub(super) fn load_variant(
    augmentation: Augmentation,
    roi: Option<Roi>,
    variant: usize,
    load: impl Fn(usize) -> Result<Frame, TeachError>,
) -> Result<Frame, TeachError> {
    let (part, variant) = (variant / augmentation.count(), variant % augmentation.count());
    Ok(augmentation.apply(&load(part)?, roi, variant))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 18 × 16, every pixel another colour: (column, row, 7).
    fn frame() -> Frame {
        let rgb: Vec<u8> = (0..18 * 16).flat_map(|at| [(at % 18) as u8, (at / 18) as u8, 7]).collect();
        Frame::new(18, 16, rgb, Default::default(), 0).unwrap()
    }

    fn pixel(frame: &Frame, x: usize, y: usize) -> [u8; 3] {
        frame.rgb()[3 * (y * 18 + x)..][..3].try_into().unwrap()
    }

    #[test]
    fn mirrors_turn_sides_about_the_middle() {
        let all: Vec<Frame> = (0..3).map(|variant| Augmentation::Mirrored.apply(&frame(), None, variant)).collect();
        assert_eq!(pixel(&all[0], 0, 0), [17, 0, 7]);
        assert_eq!(pixel(&all[1], 0, 0), [0, 15, 7]);
        assert_eq!(pixel(&all[2], 0, 0), [17, 15, 7]);
    }

    #[test]
    fn a_quarter_turn_moves_pixels_about_the_middle_of_the_region_and_repeats_the_border() {
        let roi = Some(Roi { x: 0, y: 0, width: 16, height: 16 });
        let turned = Augmentation::Turned.apply(&frame(), roi, 1);
        // The upper left corner of the region now shows its upper right one, and each corner the next.
        assert_eq!(pixel(&turned, 0, 0), [15, 0, 7]);
        assert_eq!(pixel(&turned, 0, 15), [0, 0, 7]);
        // What lies right of the region came from above the picture.
        assert_eq!(pixel(&turned, 17, 15), [0, 15, 7]);
    }

    #[test]
    fn light_scales_every_value_and_ends_at_white() {
        let bright = Frame::new(16, 16, vec![240; 768], Default::default(), 0).unwrap();
        assert_eq!(Augmentation::Light.apply(&bright, None, 0).rgb()[0], 216);
        assert_eq!(Augmentation::Light.apply(&bright, None, 1).rgb()[0], 255);
    }

    #[test]
    fn an_eighth_of_a_turn_mixes_the_pixels_around() {
        let plain = Frame::new(32, 32, vec![90; 3072], Default::default(), 0).unwrap();
        assert_eq!(Augmentation::Turned.apply(&plain, None, 0).rgb(), plain.rgb());
        assert_eq!(pixel(&Augmentation::Tilted.apply(&frame(), None, 2), 9, 8), [9, 8, 7]);
    }

    #[test]
    fn names_are_read_and_others_refused_with_those_that_there_are() {
        assert_eq!("turned".parse(), Ok(Augment::Always(Augmentation::Turned)));
        assert_eq!("none".parse(), Ok(Augment::Never));
        let error = "rotated".parse::<Augment>().unwrap_err().to_string();
        assert!(error.contains("turned") && error.contains("auto"), "{error}");
    }
}
