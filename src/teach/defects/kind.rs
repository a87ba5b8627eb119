//! The kinds of synthetic defects, and how large and how strong each severity is.

use std::ops::Range;
use std::str::FromStr;

/// What a synthetic defect looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A straight line anywhere.
    Line,
    /// A straight line that starts on the object.
    LineOnObject,
    /// A straight line that starts on an edge.
    LineOnEdge,
    /// A disc of the picture, rotated in place.
    RotatedDisc,
    /// A square of the picture, cut out, rotated and put back.
    RotatedSquare,
    /// A rectangle pasted elsewhere, its colours a little changed.
    CutPastePatch,
    /// A thin rectangle pasted elsewhere, rotated, its colours a little changed.
    CutPasteScar,
    /// Another texture where Perlin noise is high.
    Blend,
    /// A soft blob, lighter or darker.
    Stain,
    /// Structure gone: a patch filled from what lies around it.
    Missing,
    /// Structure twice: a patch copied elsewhere without a seam.
    Duplicated,
}

impl Kind {
    pub const ALL: [Kind; 11] = [
        Kind::Line,
        Kind::LineOnObject,
        Kind::LineOnEdge,
        Kind::RotatedDisc,
        Kind::RotatedSquare,
        Kind::CutPastePatch,
        Kind::CutPasteScar,
        Kind::Blend,
        Kind::Stain,
        Kind::Missing,
        Kind::Duplicated,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Line => "line",
            Kind::LineOnObject => "line-on-object",
            Kind::LineOnEdge => "line-on-edge",
            Kind::RotatedDisc => "rotated-disc",
            Kind::RotatedSquare => "rotated-square",
            Kind::CutPastePatch => "cutpaste-patch",
            Kind::CutPasteScar => "cutpaste-scar",
            Kind::Blend => "blend",
            Kind::Stain => "stain",
            Kind::Missing => "missing",
            Kind::Duplicated => "duplicated",
        }
    }

    pub fn family(self) -> Family {
        match self {
            Kind::Line | Kind::LineOnObject | Kind::LineOnEdge => Family::Line,
            Kind::RotatedDisc | Kind::RotatedSquare | Kind::CutPastePatch | Kind::CutPasteScar => Family::Patch,
            Kind::Blend | Kind::Stain | Kind::Missing | Kind::Duplicated => Family::Blemish,
        }
    }
}

/// What kinds are alike: who has learned one of a family has not met a new kind in another of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Lines, wherever they start.
    Line,
    /// Patches of a picture, turned in place or pasted elsewhere.
    Patch,
    /// What is soft, or has no edge of its own: stains, blended texture, structure gone or doubled.
    Blemish,
}

impl Family {
    pub const ALL: [Family; 3] = [Family::Line, Family::Patch, Family::Blemish];
}

/// How large and how strong a defect is. Contrast is the root mean square of the change over mask and channels.
///
/// Lines and stains are as strong as their severity says. All else replaces pixels by others of a part, and can't be
/// stronger than these differ; it is see-through up to weak, and opaque from clear on, where its size tells its severity
/// and the contrast only has to be more than that of noise put over noise (√2).
///
/// | severity | contrast ÷ noise | but at least | opaque: at least | and at least | patch, of the shorter side | line, of the shorter side |
/// |---|---|---|---|---|---|---|
/// | faint | 1.5 to 2.5 | 2.5 levels | | | 4 to 8 % | 6 to 12 % long, 0.3 to 0.6 % wide |
/// | weak | 3 to 5 | 6 levels | | | 6 to 12 % | 10 to 20 % long, 0.4 to 0.8 % wide |
/// | clear | 6 to 10 | 16 levels | 1.6 | 12 levels | 10 to 20 % | 15 to 30 % long, 0.6 to 1.2 % wide |
/// | plain | 12 to 20 | 40 levels | 1.6 | 12 levels | 16 to 30 % | 25 to 40 % long, 0.8 to 2 % wide |
///
/// No contrast is asked to be more than [`Severity::MOST_LEVELS`], and of a stain, which is broad, not more than 50. A patch is at least 6 pixels across, a line at
/// least 5 long and 1 wide. A faint defect is meant to be hardly more than the good parts themselves: some cannot be
/// caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    Faint,
    Weak,
    Clear,
    Plain,
}

impl Severity {
    pub const ALL: [Severity; 4] = [Severity::Faint, Severity::Weak, Severity::Clear, Severity::Plain];
    /// The largest contrast that is asked for, in grey levels.
    pub const MOST_LEVELS: f32 = 110.0;

    pub fn name(self) -> &'static str {
        match self {
            Severity::Faint => "faint",
            Severity::Weak => "weak",
            Severity::Clear => "clear",
            Severity::Plain => "plain",
        }
    }

    /// Contrast in units of the noise.
    pub fn contrast(self) -> Range<f32> {
        match self {
            Severity::Faint => 1.5..2.5,
            Severity::Weak => 3.0..5.0,
            Severity::Clear => 6.0..10.0,
            Severity::Plain => 12.0..20.0,
        }
    }

    /// The least contrast that is asked for, in grey levels.
    pub fn least_levels(self) -> f32 {
        match self {
            Severity::Faint => 2.5,
            Severity::Weak => 6.0,
            Severity::Clear => 16.0,
            Severity::Plain => 40.0,
        }
    }

    /// The least contrast of an opaque patch, in units of the noise and in grey levels; `None` where it is see-through.
    pub(super) fn opaque(self) -> Option<(f32, f32)> {
        match self {
            Severity::Faint | Severity::Weak => None,
            Severity::Clear => Some((1.6, 12.0)),
            Severity::Plain => Some((1.6, 12.0)),
        }
    }

    /// The severity of a contrast in units of the noise: the highest whose range begins below it.
    pub fn of(contrast: f32) -> Severity {
        let reached = |severity: &Severity| severity.contrast().start <= contrast;
        Severity::ALL.into_iter().rfind(reached).unwrap_or(Severity::Faint)
    }

    /// Side or diameter of a patch, as a share of the region's shorter side.
    pub(super) fn extent(self) -> Range<f32> {
        match self {
            Severity::Faint => 0.04..0.08,
            Severity::Weak => 0.06..0.12,
            Severity::Clear => 0.10..0.20,
            Severity::Plain => 0.16..0.30,
        }
    }

    /// Length of a line, as a share of the region's shorter side.
    pub(super) fn line_length(self) -> Range<f32> {
        match self {
            Severity::Faint => 0.06..0.12,
            Severity::Weak => 0.10..0.20,
            Severity::Clear => 0.15..0.30,
            Severity::Plain => 0.25..0.40,
        }
    }

    /// Width of a line, as a share of the region's shorter side.
    pub(super) fn line_width(self) -> Range<f32> {
        match self {
            Severity::Faint => 0.003..0.006,
            Severity::Weak => 0.004..0.008,
            Severity::Clear => 0.006..0.012,
            Severity::Plain => 0.008..0.020,
        }
    }

    /// Angle by which a patch is rotated, in degrees, to either side.
    pub(super) fn rotation(self) -> Range<f32> {
        match self {
            Severity::Faint => 3.0..10.0,
            Severity::Weak => 6.0..20.0,
            Severity::Clear => 15.0..60.0,
            Severity::Plain => 30.0..180.0,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {what} '{found}'; write one of {known}")]
pub struct UnknownName {
    what: &'static str,
    found: String,
    known: String,
}

/// The one of `all` that is called `found`.
pub(in crate::teach) fn by_name<T: Copy>(
    what: &'static str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
    found: &str,
) -> Result<T, UnknownName> {
    all.iter().copied().find(|one| name(*one) == found).ok_or_else(|| UnknownName {
        what,
        found: found.to_owned(),
        known: all.iter().map(|one| name(*one)).collect::<Vec<_>>().join(", "),
    })
}

impl FromStr for Kind {
    type Err = UnknownName;
    fn from_str(name: &str) -> Result<Kind, UnknownName> {
        by_name("kind of synthetic defect", &Kind::ALL, Kind::name, name)
    }
}

impl FromStr for Severity {
    type Err = UnknownName;
    fn from_str(name: &str) -> Result<Severity, UnknownName> {
        by_name("severity", &Severity::ALL, Severity::name, name)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_a_wrong_one_tells_the_right_ones() {
        for kind in Kind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        for severity in Severity::ALL {
            assert_eq!(severity.to_string().parse(), Ok(severity));
        }
        let wrong = "medium".parse::<Severity>().unwrap_err();
        assert_eq!(wrong.to_string(), "there is no severity 'medium'; write one of faint, weak, clear, plain");
    }

    #[test]
    fn the_severity_of_a_contrast_is_the_highest_whose_range_begins_below_it() {
        let of = [0.5, 2.0, 3.0, 7.0, 11.9, 12.0].map(Severity::of);
        use Severity::*;
        assert_eq!(of, [Faint, Faint, Weak, Clear, Clear, Plain]);
    }
}
