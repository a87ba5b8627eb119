//! The generators of the originals, and ours.

use std::str::FromStr;

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::colour::Jitter;
use super::kind::{UnknownName, by_name};
use super::layer::Layer;
use super::line::{Start, Twin};
use super::patch::{ASPECT, Pasted, log_uniform, turned_in_place};
use super::region::Region;
use super::{Drawn, Kind, Severity, attempt, draw};
use crate::frame::{Frame, Roi};

/// Which defects are drawn, and which classes they make beside the good parts.
///
/// The ranges of the originals are scaled from the size of their pictures to the shorter side of the region.
///
/// | preset | draws | classes |
/// |---|---|---|
/// | daisukelab | a line anywhere: width 1 to 16, up to 45 along each axis, of 224; any colour | normal, anomaly |
/// | daisukelab-blob | a line on the object: width 1 to 10, up to 20 along each axis, of 224; grey | normal, anomaly |
/// | shinmura0 | a grey line as of daisukelab, or a disc or square of 10 to 30 % turned by 5 to 30° | normal, line, distortion |
/// | cutpaste | a patch of 2 to 15 % of the area, aspect 0.3 to 3.3, or a scar of 2–16 × 10–25 of 256, turned by up to 45°; colour jitter 0.1 | normal, patch, scar |
/// | mixed | every kind in every severity, equally often | normal, line, distortion, paste, blemish, structure |
///
/// Colours are bytes, lines start on the region and have a length, and what cannot be seen is drawn anew.
/// # Source  daisukelab/metric_learning (AnomalyTwinImageList, DefectOnBlobImageList); the article on shinmura0, which
/// names no sizes: those are ours; Runinho/pytorch-cutpaste.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Preset {
    Daisukelab,
    DaisukelabBlob,
    Shinmura0,
    Cutpaste,
    Mixed,
}

const LINE_ANYWHERE: Twin = Twin { start: Start::Anywhere, most_width: 16.0, most_length: 45.0, coloured: true };
const LINE_ON_BLOB: Twin = Twin { start: Start::OnObject, most_width: 10.0, most_length: 20.0, coloured: false };
const GREY_LINE: Twin = Twin { coloured: false, ..LINE_ANYWHERE };
/// The side of the pictures for which Runinho's scars are made.
const CUTPASTE_SIDE: f32 = 256.0;

impl Preset {
    pub const ALL: [Preset; 5] =
        [Preset::Daisukelab, Preset::DaisukelabBlob, Preset::Shinmura0, Preset::Cutpaste, Preset::Mixed];

    pub fn name(self) -> &'static str {
        match self {
            Preset::Daisukelab => "daisukelab",
            Preset::DaisukelabBlob => "daisukelab-blob",
            Preset::Shinmura0 => "shinmura0",
            Preset::Cutpaste => "cutpaste",
            Preset::Mixed => "mixed",
        }
    }

    /// The classes to tell apart, good parts first.
    pub fn classes(self) -> &'static [&'static str] {
        match self {
            Preset::Daisukelab | Preset::DaisukelabBlob => &["normal", "anomaly"],
            Preset::Shinmura0 => &["normal", "line", "distortion"],
            Preset::Cutpaste => &["normal", "patch", "scar"],
            Preset::Mixed => &["normal", "line", "distortion", "paste", "blemish", "structure"],
        }
    }

    /// The class of a drawn defect, an index of [`Preset::classes`]; a line stands in for what cannot be seen, so every
    /// kind has one.
    pub fn class_of(self, kind: Kind) -> u32 {
        use Kind::*;
        let line = matches!(kind, Line | LineOnObject | LineOnEdge);
        match self {
            Preset::Daisukelab | Preset::DaisukelabBlob => 1,
            Preset::Shinmura0 => {
                if line {
                    1
                } else {
                    2
                }
            }
            Preset::Cutpaste => {
                if line || kind == CutPasteScar {
                    2
                } else {
                    1
                }
            }
            Preset::Mixed => match kind {
                Line | LineOnObject | LineOnEdge => 1,
                RotatedDisc | RotatedSquare => 2,
                CutPastePatch | CutPasteScar => 3,
                Blend | Stain => 4,
                Missing | Duplicated => 5,
            },
        }
    }

    /// Draws one of its defects; arguments and panics as of [`draw`].
    pub fn draw(self, frame: &Frame, other: Option<&Frame>, roi: Option<Roi>, rng: &mut ChaCha8Rng) -> Drawn {
        let (kind, severity) = match self {
            Preset::Daisukelab => (LINE_ANYWHERE.kind(), None),
            Preset::DaisukelabBlob => (LINE_ON_BLOB.kind(), None),
            Preset::Shinmura0 => (one_of(&[Kind::Line, Kind::Line, Kind::RotatedDisc, Kind::RotatedSquare], rng), None),
            Preset::Cutpaste => (one_of(&[Kind::CutPastePatch, Kind::CutPasteScar], rng), None),
            Preset::Mixed => (one_of(&Kind::ALL, rng), Some(one_of(&Severity::ALL, rng))),
        };
        if let Some(severity) = severity {
            return draw(kind, severity, frame, other, roi, rng);
        }
        let region = Region::new(frame, roi);
        attempt(&region, kind, None, |rng| self.propose(kind, &region, rng), rng)
    }

    fn propose(self, kind: Kind, region: &Region, rng: &mut ChaCha8Rng) -> Layer {
        match (self, kind) {
            (Preset::Daisukelab, _) => LINE_ANYWHERE.layer(region, rng),
            (Preset::DaisukelabBlob, _) => LINE_ON_BLOB.layer(region, rng),
            (_, Kind::RotatedDisc | Kind::RotatedSquare) => distortion(region, kind == Kind::RotatedDisc, rng),
            (_, Kind::CutPastePatch) => pasted_patch(region, rng).layer(region, region),
            (_, Kind::CutPasteScar) => pasted_scar(region, rng).layer(region, region),
            _ => GREY_LINE.layer(region, rng),
        }
    }
}

fn one_of<T: Copy>(choices: &[T], rng: &mut ChaCha8Rng) -> T {
    *choices.choose(rng).expect("there is always a choice")
}

fn distortion(region: &Region, round: bool, rng: &mut ChaCha8Rng) -> Layer {
    let side = region.side() * rng.random_range(0.1..0.3);
    let angle = rng.random_range(5.0f32..30.0).to_radians();
    let angle = if rng.random_bool(0.5) { angle } else { -angle };
    turned_in_place(region, round, side, angle, rng)
}

fn pasted_patch(region: &Region, rng: &mut ChaCha8Rng) -> Pasted {
    let area = rng.random_range(0.02..0.15) * region.bounds().area() as f32;
    let aspect = log_uniform(ASPECT, rng);
    let sides = [region.width() as f32, region.height() as f32];
    let size = [(area * aspect).sqrt().min(sides[0]), (area / aspect).sqrt().min(sides[1])];
    let mut place = || [0, 1].map(|axis| size[axis] / 2.0 + rng.random_range(0.0..=1.0) * (sides[axis] - size[axis]));
    let (from, to) = (place(), place());
    Pasted { size, from, to, angle: 0.0, jitter: Jitter::draw(rng) }
}

fn pasted_scar(region: &Region, rng: &mut ChaCha8Rng) -> Pasted {
    let scale = region.side() / CUTPASTE_SIDE;
    let size = [rng.random_range(2.0..=16.0) * scale, rng.random_range(10.0..=25.0) * scale].map(|side| side.max(2.0));
    let reach = Pasted::reach(size);
    let angle = rng.random_range(-45.0f32..=45.0).to_radians();
    let (from, to) = (region.place(reach, rng), region.place(reach, rng));
    Pasted { size, from, to, angle, jitter: Jitter::draw(rng) }
}

impl FromStr for Preset {
    type Err = UnknownName;
    fn from_str(name: &str) -> Result<Preset, UnknownName> {
        by_name("preset of synthetic defects", &Preset::ALL, Preset::name, name)
    }
}

impl std::fmt::Display for Preset {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.pad(self.name())
    }
}
