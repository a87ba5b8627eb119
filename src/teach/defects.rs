//! Synthetic defects: a picture of a good part with one defect on it, and the exact mask of what changed.
//!
//! They choose the metric, heads are trained on them, and teaching tries them to estimate what a threshold would catch. They
//! are no test set: only real defects tell how good an inspection is.
//!
//! **One path.** Each kind proposes a layer, the change of every pixel around a place of its choice. The layer is made
//! as strong as the severity asks, in units of the noise of the good part at that very place, rounded to bytes, and
//! becomes picture and mask at once:
//!
//! - A pixel is in the mask exactly if it differs from the good picture. A change of less than [`VISIBLE_LEVELS`] in
//!   every channel is taken back, so that a mask ends where its defect does.
//! - Lengths are shares of the region's shorter side, so that a defect looks the same at 64 and at 4000 pixels.
//! - One seed, one picture.
//! - A defect that cannot be seen, or is weaker than asked for, is drawn anew, [`TRIES`] times in all. After that the
//!   strongest try is taken if it is at least as strong as the noise, and [`Drawn::severity`] says what it came to. If
//!   there is none, because a plain surface has no structure to move, a line is drawn, and [`Drawn::kind`] says so.
//!
//! Everything is made from good parts and from the seed; no other pictures are needed.

use rand_chacha::ChaCha8Rng;

use crate::frame::{Frame, Roi};

mod blemish;
mod colour;
mod geometry;
mod kind;
mod layer;
mod line;
mod noise;
mod patch;
mod perlin;
mod preset;
mod region;
mod structure;
mod trial;

pub(super) use kind::by_name;
pub use kind::{Family, Kind, Severity, UnknownName};
pub use preset::Preset;
pub use trial::{TRIALS, Trial, plain_line};

use layer::{Fit, Layer};
use region::Region;

/// The smallest change of a channel, in grey levels, that is left in the picture.
pub const VISIBLE_LEVELS: u8 = 2;
/// The noise is never taken to be less, in grey levels: rounding to bytes hides as much.
pub const LEAST_NOISE: f32 = 1.5;
/// How often a defect is drawn anew before the best try, or a line, is taken instead.
pub const TRIES: usize = 8;

/// Which pixels of a picture a defect changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    pub width: u32,
    pub height: u32,
    /// `width · height`, row by row, true where the picture changed.
    pub data: Vec<bool>,
}

impl Mask {
    /// How many pixels changed.
    pub fn area(&self) -> usize {
        self.data.iter().filter(|changed| **changed).count()
    }
}

/// A picture with a synthetic defect.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    pub frame: Frame,
    /// Of the size of the frame; true exactly where a byte of it differs from the good picture.
    pub mask: Mask,
    /// What was drawn: the kind asked for, or a line where that kind cannot be seen.
    pub kind: Kind,
    /// The severity asked for, or the one that the contrast comes to: with a preset, and where the picture does not
    /// give more.
    pub severity: Severity,
    /// Root mean square of the change over mask and channels ÷ `noise`.
    pub contrast: f32,
    /// Noise of the good picture around the defect, in grey levels, at least [`LEAST_NOISE`].
    pub noise: f32,
}

/// Draws a defect.
///
/// * `other` — another good part, from which pasted and blended texture may come too; best of the same size
/// * `roi` — where the defect lies, wholly; the whole frame if absent
///
/// # Panics  if `roi` is not inside the frame, or a side of it is below [`crate::frame::MIN_SIDE_PX`].
pub fn draw(
    kind: Kind,
    severity: Severity,
    frame: &Frame,
    other: Option<&Frame>,
    roi: Option<Roi>,
    rng: &mut ChaCha8Rng,
) -> Drawn {
    let region = Region::new(frame, roi);
    let other = other.map(|other| region.beside(other));
    let sources = Sources { region: &region, other: other.as_ref() };
    let propose = |rng: &mut ChaCha8Rng| sources.propose(kind, severity, rng);
    attempt(&region, kind, Some(severity), propose, rng)
}

/// Where the pixels of a defect may come from.
struct Sources<'a> {
    region: &'a Region<'a>,
    other: Option<&'a Region<'a>>,
}

impl Sources<'_> {
    fn propose(&self, kind: Kind, severity: Severity, rng: &mut ChaCha8Rng) -> Layer {
        let Sources { region, other } = *self;
        match kind {
            Kind::Line => line::anywhere(region, severity, rng),
            Kind::LineOnObject => line::on_object(region, severity, rng),
            Kind::LineOnEdge => line::on_edge(region, severity, rng),
            Kind::RotatedDisc => patch::rotated_disc(region, severity, rng),
            Kind::RotatedSquare => patch::rotated_square(region, severity, rng),
            Kind::CutPastePatch => patch::cut_paste(region, other, severity, rng),
            Kind::CutPasteScar => patch::scar(region, other, severity, rng),
            Kind::Blend => blemish::blend(region, other, severity, rng),
            Kind::Stain => blemish::stain(region, severity, rng),
            Kind::Missing => patch::missing(region, severity, rng),
            Kind::Duplicated => patch::duplicated(region, severity, rng),
        }
    }
}

/// Tries until a layer is as strong as `severity` asks, or, without one, as long as it cannot be seen.
fn attempt(
    region: &Region,
    kind: Kind,
    severity: Option<Severity>,
    mut propose: impl FnMut(&mut ChaCha8Rng) -> Layer,
    rng: &mut ChaCha8Rng,
) -> Drawn {
    let mut strongest: Option<(Layer, Fit)> = None;
    for _ in 0..TRIES {
        let layer = propose(rng);
        let fit = layer.fit(region, severity, rng);
        if !fit.seen {
            continue;
        }
        match severity {
            Some(severity) if fit.reached => return finish(region, &layer, fit, kind, severity),
            None => return finish(region, &layer, fit, kind, Severity::of(fit.contrast())),
            Some(_) if strongest.as_ref().is_none_or(|(_, best)| best.contrast() < fit.contrast()) => {
                strongest = Some((layer, fit));
            }
            Some(_) => {}
        }
    }
    match strongest {
        Some((layer, fit)) => finish(region, &layer, fit, kind, Severity::of(fit.contrast())),
        None => {
            let severity = severity.unwrap_or(Severity::Plain);
            let layer = line::anywhere(region, severity, rng);
            let fit = layer.fit(region, Some(severity), rng);
            finish(region, &layer, fit, Kind::Line, severity)
        }
    }
}

fn finish(region: &Region, layer: &Layer, fit: Fit, kind: Kind, severity: Severity) -> Drawn {
    let (frame, mask) = layer.apply(region, fit.opacity);
    Drawn { frame, mask, kind, severity, contrast: fit.contrast(), noise: fit.noise }
}

#[cfg(test)]
mod tests;
