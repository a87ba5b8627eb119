//! The words that all rooms share: a part on the line, what its inspection found, and how it ended.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::frame::Frame;

/// Counts the triggers since the start of the daemon, from 1; each names at most one part. A tick of a free-running
/// trigger that was taken back leaves a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TriggerId(pub u64);

impl std::fmt::Display for TriggerId {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A part that passed the trigger: guilty until proven good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub id: TriggerId,
    pub triggered: Timestamp,
}

/// What becomes of a part. There is no fourth: a part without a verdict does not exist.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Accept,
    Reject,
    /// Nobody could judge the part; it acts as a reject, or stops the line (`on_fault`).
    NoDecision(NoDecision),
}

impl Verdict {
    /// The verdict of a score: a part at the threshold is still good.
    pub fn of(score: f32, threshold: f32) -> Verdict {
        // A NaN score is not good either, hence no `score > threshold`.
        if score <= threshold { Verdict::Accept } else { Verdict::Reject }
    }

    /// The word for tables, JSON and the journal: `accept`, `reject` or `no-decision`.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Accept => "accept",
            Verdict::Reject => "reject",
            Verdict::NoDecision(_) => "no-decision",
        }
    }
}

/// Why a part could not be judged.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NoDecision {
    #[error("no frame came: {0}")]
    NoFrame(String),
    #[error("the frame is damaged: {0}")]
    BadFrame(String),
    #[error("there is no usable profile: {0}")]
    NoProfile(String),
    #[error("the inspection failed: {0}")]
    InspectionFailed(String),
    #[error("the verdict came {} ms after the part was due", .by.as_millis())]
    Late { by: Duration },
}

/// The distances of the patches, an image of `height` × `width` patches, row by row; larger is more anomalous.
///
/// The scale is the profile's own distance scale: compare it with the threshold, never with the map's own maximum.
#[derive(Clone, Debug, PartialEq)]
pub struct AnomalyMap {
    pub width: usize,
    pub height: usize,
    pub distances: Vec<f32>,
}

/// What the inspection of one frame found.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The anomaly score, larger is worse; comparable only within one profile.
    pub score: f32,
    /// The threshold in force; the part is good at or below it.
    pub threshold: f32,
    pub verdict: Verdict,
    pub map: AnomalyMap,
    pub timings: StageTimings,
}

/// How long each stage of one inspection took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimings {
    /// Crop, resize, normalise.
    pub preprocess: Duration,
    /// The network.
    pub backbone: Duration,
    /// Pool, resize, concatenate, head, length.
    pub embedding: Duration,
    /// The nearest neighbours in the bank and the score.
    pub search: Duration,
}

impl StageTimings {
    pub fn total(&self) -> Duration {
        self.preprocess + self.backbone + self.embedding + self.search
    }
}

/// How a part ended: what observers (journal, page, demo) receive.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub part: Part,
    pub verdict: Verdict,
    /// Absent where the verdict is `NoDecision` for want of a frame or a profile.
    pub inspection: Option<Inspection>,
    pub frame: Option<Frame>,
    /// When the verdict was ready.
    pub decided: Timestamp,
}

impl Outcome {
    /// From trigger to verdict.
    pub fn latency(&self) -> Duration {
        self.decided.since(self.part.triggered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_at_the_threshold_is_good_and_a_score_that_is_no_number_is_not() {
        assert_eq!(Verdict::of(0.5, 0.5), Verdict::Accept);
        assert_eq!(Verdict::of(0.500_01, 0.5), Verdict::Reject);
        assert_eq!(Verdict::of(f32::NAN, 0.5), Verdict::Reject);
        assert_eq!(Verdict::of(0.1, f32::NAN), Verdict::Reject);
    }
}
