//! What teaching tries to estimate what a threshold would catch.

use rand_chacha::ChaCha8Rng;

use super::{Kind, Severity, draw};
use crate::frame::{Frame, Roi};

/// A defect of a kind and severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    pub kind: Kind,
    pub severity: Severity,
}

/// What teaching tries: what lies on a part, what is in the wrong place and what is gone, from weak to plain.
pub const TRIALS: [Trial; 12] = [
    Trial { kind: Kind::LineOnObject, severity: Severity::Weak },
    Trial { kind: Kind::LineOnObject, severity: Severity::Clear },
    Trial { kind: Kind::LineOnObject, severity: Severity::Plain },
    Trial { kind: Kind::Stain, severity: Severity::Weak },
    Trial { kind: Kind::Stain, severity: Severity::Clear },
    Trial { kind: Kind::Stain, severity: Severity::Plain },
    Trial { kind: Kind::CutPastePatch, severity: Severity::Weak },
    Trial { kind: Kind::CutPastePatch, severity: Severity::Clear },
    Trial { kind: Kind::CutPastePatch, severity: Severity::Plain },
    Trial { kind: Kind::Missing, severity: Severity::Weak },
    Trial { kind: Kind::Missing, severity: Severity::Clear },
    Trial { kind: Kind::Missing, severity: Severity::Plain },
];

impl Trial {
    /// The frame with one such defect inside `roi`; panics as [`draw`].
    pub fn draw(self, frame: &Frame, roi: Option<Roi>, rng: &mut ChaCha8Rng) -> Frame {
        draw(self.kind, self.severity, frame, None, roi, rng).frame
    }
}

impl std::fmt::Display for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} {}", self.severity, self.kind)
    }
}

/// A plain line somewhere on the region, for a probe; panics as [`draw`].
pub fn plain_line(frame: &Frame, roi: Option<Roi>, rng: &mut ChaCha8Rng) -> Frame {
    Trial { kind: Kind::Line, severity: Severity::Plain }.draw(frame, roi, rng)
}
