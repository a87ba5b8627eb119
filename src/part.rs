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
    #[error("the part was missed: {0}")]
    Missed(String),
    #[error("the verdict came {} ms after the part was due", .by.as_millis())]
    Late { by: Duration },
}

/// The distances of the patches, smoothed if the recipe says so, an image of `height` × `width` patches, row by row; larger is more anomalous.
///
/// The scale is the profile's own distance scale: compare it with the threshold, never with the map's own maximum.
#[derive(Clone, Debug, PartialEq)]
pub struct AnomalyMap {
    pub width: usize,
    pub height: usize,
    pub distances: Vec<f32>,
}

impl AnomalyMap {
    /// The map at a size of `width` × `height` pixels, row by row.
    ///
    /// Bilinear, with `align_corners = false`: the centre of patch (i, j) lies at ((j + ½) · width ÷ map width,
    /// (i + ½) · height ÷ map height), and beyond the outermost centres the nearest one holds.
    ///
    /// ```
    /// use rejectd::part::AnomalyMap;
    /// let map = AnomalyMap { width: 2, height: 1, distances: vec![0.0, 1.0] };
    /// assert_eq!(map.resized(4, 1), [0.0, 0.25, 0.75, 1.0]);
    /// ```
    /// # Panics  if `distances` does not hold `width · height` numbers of the map, or none.
    /// # Source  `scipy.ndimage.zoom(…, order=1, mode="nearest", grid_mode=True)`
    pub fn resized(&self, width: u32, height: u32) -> Vec<f32> {
        self.resized_corner((width, height), (width, height))
    }

    /// The upper left corner of what [`AnomalyMap::resized`] gives: `visible` = (width, height) of `size` = (width, height).
    ///
    /// # Panics  as `resized`.
    pub fn resized_corner(&self, size: (u32, u32), visible: (u32, u32)) -> Vec<f32> {
        assert_eq!(self.distances.len(), self.width * self.height, "a map holds one distance a patch");
        assert!(!self.distances.is_empty(), "a map has a patch");
        let columns: Vec<Between> = (0..visible.0).map(|x| Between::patches(x, size.0, self.width)).collect();
        let mut resized = Vec::with_capacity(visible.0 as usize * visible.1 as usize);
        for y in 0..visible.1 {
            let row = Between::patches(y, size.1, self.height);
            let upper = &self.distances[row.first * self.width..][..self.width];
            let lower = &self.distances[row.second * self.width..][..self.width];
            resized.extend(columns.iter().map(|column| row.mix(column.of(upper), column.of(lower))));
        }
        resized
    }
}

/// A pixel's place between the centres of two neighbouring patches of one axis.
struct Between {
    first: usize,
    second: usize,
    /// 0 at the first centre, 1 at the second.
    weight: f32,
}

impl Between {
    fn patches(pixel: u32, pixels: u32, patches: usize) -> Between {
        let place = (pixel as f32 + 0.5) * patches as f32 / pixels as f32 - 0.5;
        let place = place.clamp(0.0, (patches - 1) as f32);
        let first = place as usize;
        Between { first, second: (first + 1).min(patches - 1), weight: place - first as f32 }
    }

    fn of(&self, row: &[f32]) -> f32 {
        self.mix(row[self.first], row[self.second])
    }

    fn mix(&self, first: f32, second: f32) -> f32 {
        // Infinity times a weight of 0 would be no number and leak into the neighbour.
        if self.weight == 0.0 { first } else { first + (second - first) * self.weight }
    }
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

    #[test]
    fn patches_are_enlarged_about_their_centres() {
        // The centres of the two patches lie at 4 and 12 pixels, that is in the pixels' grid at 3.5 and 11.5.
        let row = AnomalyMap { width: 2, height: 1, distances: vec![0.0, 1.0] }.resized(16, 1);
        assert_eq!([0, 3, 4, 7, 8, 11, 12, 15].map(|x| row[x]), [0.0, 0.0, 0.0625, 0.4375, 0.5625, 0.9375, 1.0, 1.0]);
        let column = AnomalyMap { width: 1, height: 2, distances: vec![0.0, 1.0] };
        assert_eq!(column.resized(1, 4), [0.0, 0.25, 0.75, 1.0]);
        let same = AnomalyMap { width: 2, height: 2, distances: vec![1.0, f32::INFINITY, 3.0, 4.0] };
        assert_eq!(same.resized(2, 2), same.distances);
    }

    #[test]
    fn a_corner_is_what_the_whole_has_there() {
        let map = AnomalyMap { width: 3, height: 2, distances: vec![1.0, 5.0, 2.0, 8.0, 0.0, 3.0] };
        let whole = map.resized(10, 6);
        let corner = map.resized_corner((10, 6), (4, 3));
        assert!((0..12).all(|pixel| corner[pixel] == whole[pixel / 4 * 10 + pixel % 4]));
    }
}
