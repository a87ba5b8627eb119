//! A simulated belt: machined parts under a camera, rendered from a seed, some of them defective.
//!
//! It stands in for a camera in the demo and in tests, and knows the truth that no camera knows: what is wrong with
//! each part and on which pixels. The part is a milled flange with a turned boss. From part to part the tool marks,
//! the pose (within ±3°, ±4 of 320 pixels and ±1 %), the brightness (±2 %), the belt and the sensor's noise differ; the
//! lamp drifts slowly by some ±5 % and wanders. So good parts differ more from one another than a faint defect shows.
//!
//! - Part `index` of a seed is the same picture in whatever order parts are drawn. It is the same to the last bit only on
//!   one build: sine and exponential come from the platform's library.
//! - Every defect is as plain as its [`Severity`] says by construction; `severity` defines the contrast.
//! - Non-goals: to replace photographs in the figures of docs/results.md, and to share code with the synthetic defects
//!   that teaching uses, which would make teaching look better than it is.
//!
//! The rooms: `texture` (noise) → `light` (radiance of a surface) → `part` (geometry) and `defect` → `scene` (one part
//! on the belt) → `camera` (pixels) → `severity` (how strong a defect must be).

mod camera;
mod defect;
mod light;
mod part;
mod scene;
mod severity;
mod texture;

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::seq::SliceRandom;

use super::{FrameSource, SourceError};
use crate::clock::{Clock, Timestamp};
use crate::frame::{Frame, check_size};
use camera::{Camera, Region};
use scene::{Scene, Stream, draws};

/// What runs on the belt, and how the camera sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct BeltSettings {
    pub seed: u64,
    /// Size of the picture in pixels; the part fills about three quarters of the shorter side.
    pub width: u32,
    pub height: u32,
    /// How many parts come before the source is exhausted; `None`: endless.
    pub parts: Option<u64>,
    /// The fraction of parts with a defect, in 0..=1.
    pub defect_fraction: f64,
}

impl Default for BeltSettings {
    fn default() -> BeltSettings {
        BeltSettings { seed: 7, width: 320, height: 320, parts: None, defect_fraction: 0.2 }
    }
}

/// How plain a defect is, as a contrast against what good parts differ by; `severity` has the definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Small and near the noise: about 1 σ. Some can't be caught.
    Faint,
    /// At least 2 σ over at least 0.12 % of the part.
    Medium,
    /// At least 4 σ over at least 0.5 % of the part.
    Plain,
}

impl Severity {
    pub const ALL: [Severity; 3] = [Severity::Faint, Severity::Medium, Severity::Plain];
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.pad(match self {
            Severity::Faint => "faint",
            Severity::Medium => "medium",
            Severity::Plain => "plain",
        })
    }
}

/// What is wrong with a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DefectKind {
    /// Grooves that something dragged across the part.
    Scratch,
    /// A bowl that a blow left.
    Dent,
    /// A dried drop of oil or coolant.
    Stain,
    /// A screw hole or the slot not made (plain), a dowel hole not made or a weak part number (medium), either of
    /// them made too shallow (faint).
    MissingFeature,
    /// Torn metal that stands over an edge.
    Burr,
    /// A crumb, a chip or a fibre that lies on the part.
    ForeignBody,
}

impl DefectKind {
    pub const ALL: [DefectKind; 6] = [
        DefectKind::Scratch,
        DefectKind::Dent,
        DefectKind::Stain,
        DefectKind::MissingFeature,
        DefectKind::Burr,
        DefectKind::ForeignBody,
    ];
}

impl std::fmt::Display for DefectKind {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.pad(match self {
            DefectKind::Scratch => "scratch",
            DefectKind::Dent => "dent",
            DefectKind::Stain => "stain",
            DefectKind::MissingFeature => "missing feature",
            DefectKind::Burr => "burr",
            DefectKind::ForeignBody => "foreign body",
        })
    }
}

/// What is wrong with a part, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    pub defect: Option<(DefectKind, Severity)>,
    /// `height · width` pixels, row by row: whether the defect changes a colour of the pixel by at least 2 of 255
    /// levels, before noise.
    pub mask: Vec<bool>,
}

/// The parts on the belt, each drawn when it is asked for.
#[derive(Clone, Debug)]
pub struct Belt {
    settings: BeltSettings,
}

impl Belt {
    /// A defect fraction outside 0..=1 is taken as the nearer end, one that is no number as 0.
    /// # Panics  If the size is not one that a frame may have; see [`check_size`].
    pub fn new(settings: BeltSettings) -> Belt {
        if let Err(error) = check_size(settings.width, settings.height) {
            panic!("the simulated belt has no such camera: {error}");
        }
        let fraction = settings.defect_fraction;
        let defect_fraction = if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) };
        Belt { settings: BeltSettings { defect_fraction, ..settings } }
    }

    /// Part `index`, from 0: its picture, captured at time 0, and what is wrong with it.
    pub fn part(&self, index: u64) -> (Frame, Truth) {
        self.draw(index, self.defect_of(index))
    }

    /// What is wrong with part `index`, without drawing it.
    ///
    /// Among every 1 / `defect_fraction` parts one is defective, at a random place; among 18 defects each kind comes once
    /// in each severity, in a random order.
    pub fn defect_of(&self, index: u64) -> Option<(DefectKind, Severity)> {
        let fraction = self.settings.defect_fraction;
        if fraction == 0.0 {
            return None;
        }
        // A hair less than the quotient, so that 21 / 0.7 is 30 and not the 31 that its rounding would give.
        let start = |ordinal: u64| (ordinal as f64 / fraction - 1e-6).ceil() as u64;
        let mut ordinal = (index as f64 * fraction) as u64;
        if start(ordinal) > index {
            ordinal -= 1;
        } else if start(ordinal + 1) <= index {
            ordinal += 1;
        }
        let stretch = start(ordinal)..start(ordinal + 1);
        let chosen = draws(self.settings.seed, Stream::Schedule, 2 * ordinal).random_range(stretch);
        (index == chosen).then(|| {
            let mut deck: Vec<_> =
                DefectKind::ALL.iter().flat_map(|&kind| Severity::ALL.map(|severity| (kind, severity))).collect();
            let round = ordinal / deck.len() as u64;
            deck.shuffle(&mut draws(self.settings.seed, Stream::Schedule, 2 * round + 1));
            deck[(ordinal % deck.len() as u64) as usize]
        })
    }

    /// Good part `index` of a run of its own, for teaching: never defective, and none of the parts of [`Belt::part`].
    pub fn good_part(&self, index: u64) -> Frame {
        let scene = Scene::new(self.settings.seed, Stream::Taught, index);
        let camera = self.camera();
        self.read_out(&camera.expose(&scene, camera.whole(), None), Stream::TaughtSensor, index)
    }

    fn camera(&self) -> Camera {
        Camera { width: self.settings.width, height: self.settings.height }
    }

    /// Part `index` with `defect`, whatever the schedule says.
    fn draw(&self, index: u64, defect: Option<(DefectKind, Severity)>) -> (Frame, Truth) {
        let camera = self.camera();
        let scene = Scene::new(self.settings.seed, Stream::Inspected, index);
        let mut picture = camera.expose(&scene, camera.whole(), None);
        let mut mask = vec![false; picture.len()];
        if let Some((kind, severity)) = defect {
            let draws = &mut draws(self.settings.seed, Stream::Defect, index);
            let seen = severity::defect(camera, &scene, &picture, kind, severity, draws);
            lay(&seen.picture, seen.region, &mut picture, &mut mask, self.settings.width);
        }
        (self.read_out(&picture, Stream::InspectedSensor, index), Truth { defect, mask })
    }

    fn read_out(&self, picture: &[[f32; 3]], sensor: Stream, index: u64) -> Frame {
        let rgb = camera::read_out(picture, &mut draws(self.settings.seed, sensor, index));
        Frame::new(self.settings.width, self.settings.height, rgb, Timestamp(0), index)
            .expect("the size was checked when the belt was made")
    }
}

/// Lays the pixels of `region` into the whole picture, `width` pixels wide, and marks in `mask` where that shows.
fn lay(pixels: &[[f32; 3]], region: Region, picture: &mut [[f32; 3]], mask: &mut [bool], width: u32) {
    for ((column, row), &with) in region.pixels().zip(pixels) {
        let index = row as usize * width as usize + column as usize;
        let levels = camera::levels(with).into_iter().zip(camera::levels(picture[index]));
        mask[index] = levels.into_iter().any(|(with, without)| (with - without).abs() >= severity::VISIBLE_LEVELS);
        picture[index] = with;
    }
}

/// A camera above the belt that takes the next part whenever it is asked.
pub struct SimulatedSource {
    belt: Belt,
    clock: Arc<dyn Clock>,
    next: u64,
}

impl SimulatedSource {
    /// # Panics  As [`Belt::new`].
    pub fn new(settings: BeltSettings, clock: Arc<dyn Clock>) -> SimulatedSource {
        SimulatedSource { belt: Belt::new(settings), clock, next: 0 }
    }
}

impl FrameSource for SimulatedSource {
    fn grab(&mut self, not_before: Timestamp, _timeout: Duration) -> Result<Frame, SourceError> {
        if self.belt.settings.parts.is_some_and(|parts| self.next >= parts) {
            return Err(SourceError::Exhausted);
        }
        let captured = self.clock.now().max(not_before);
        let (frame, _) = self.belt.part(self.next);
        self.next += 1;
        let sequence = frame.sequence;
        Ok(frame.taken(captured, sequence))
    }

    fn reopen(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    fn describe(&self) -> String {
        let BeltSettings { seed, width, height, parts, defect_fraction } = &self.belt.settings;
        let parts = parts.map_or(String::new(), |parts| format!("{parts} parts, "));
        let percent = (1000.0 * defect_fraction).round() / 10.0;
        format!("simulated belt, seed {seed}, {width} × {height} pixels, {parts}{percent} % defects")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SimulatedClock;

    fn belt(seed: u64, side: u32, defect_fraction: f64) -> Belt {
        Belt::new(BeltSettings { seed, width: side, height: side, parts: None, defect_fraction })
    }

    #[test]
    fn a_part_is_the_same_picture_in_whatever_order_parts_are_drawn() {
        let forwards: Vec<_> = (0..12).map(|index| belt(7, 64, 0.5).part(index)).collect();
        let same = belt(7, 64, 0.5);
        for index in (0..12).rev() {
            assert_eq!(same.part(index), forwards[index as usize]);
        }
        assert_ne!(belt(8, 64, 0.5).part(0).0, forwards[0].0);
    }

    #[test]
    fn teaching_sees_none_of_the_parts_that_are_inspected() {
        let belt = belt(7, 64, 0.0);
        assert_ne!(belt.good_part(3).rgb(), belt.part(3).0.rgb());
        assert_eq!(belt.good_part(3), belt.good_part(3));
    }

    #[test]
    fn the_stream_has_its_fraction_of_defects_and_every_kind_and_severity_equally_often() {
        let defects: Vec<_> = (0..900).filter_map(|index| belt(7, 64, 0.2).defect_of(index)).collect();
        assert_eq!(defects.len(), 180);
        for kind in DefectKind::ALL {
            for severity in Severity::ALL {
                assert_eq!(defects.iter().filter(|&&defect| defect == (kind, severity)).count(), 10);
            }
        }
        let count = |fraction| (0..1000).filter(|&index| belt(7, 64, fraction).defect_of(index).is_some()).count();
        assert_eq!([f64::NAN, -1.0, 0.0, 0.03, 0.7, 1.0, 2.0].map(count), [0, 0, 0, 30, 700, 1000, 1000]);
    }

    #[test]
    fn the_mask_holds_all_that_the_defect_changes() {
        let belt = belt(11, 160, 0.0);
        assert!(!belt.draw(0, None).1.mask.contains(&true));
        for (kind, severity) in DefectKind::ALL.iter().flat_map(|&kind| Severity::ALL.map(|severity| (kind, severity)))
        {
            let (good, _) = belt.draw(5, None);
            let (bad, truth) = belt.draw(5, Some((kind, severity)));
            assert!(truth.mask.contains(&true), "{severity} {kind} leaves no trace");
            let changes =
                bad.rgb().chunks(3).zip(good.rgb().chunks(3)).zip(&truth.mask).filter(|(_, inside)| !**inside);
            let most = changes.flat_map(|((bad, good), _)| bad.iter().zip(good).map(|(b, g)| b.abs_diff(*g))).max();
            // 2 levels before noise; rounding and the shot noise of the changed light add at most one more.
            assert!(most <= Some(3), "{severity} {kind}: {most:?} levels outside the mask");
        }
    }

    #[test]
    fn pictures_of_any_size_a_frame_may_have_can_be_drawn() {
        for (width, height) in [(16, 16), (16, 90), (100, 64)] {
            let belt = Belt::new(BeltSettings { width, height, defect_fraction: 1.0, ..BeltSettings::default() });
            for index in 0..18 {
                let (frame, truth) = belt.part(index);
                assert_eq!((frame.width(), frame.height(), frame.sequence), (width, height, index));
                assert_eq!((truth.mask.len(), truth.defect), ((width * height) as usize, belt.defect_of(index)));
            }
        }
    }

    #[test]
    fn the_difference_from_the_mean_picture_does_not_tell_the_defects() {
        let runs = [1, 2, 3].map(|seed| mean_picture_auroc(&belt(seed, 160, 0.2)));
        let mean = [0, 1, 2].map(|variant| runs.iter().map(|run| run[variant]).sum::<f64>() / runs.len() as f64);
        println!("AUROC of the mean, the greatest 1 % and the greatest difference: {mean:.3?}");
        assert!(mean.into_iter().all(|auroc| auroc <= 0.85), "{mean:?}");
    }

    /// Image AUROC of the difference from the mean of 60 good parts over a stream of 200: its mean over all pixels, over
    /// the greatest 1 %, and its maximum.
    fn mean_picture_auroc(belt: &Belt) -> [f64; 3] {
        let mut mean = vec![0.0; belt.good_part(0).rgb().len()];
        for index in 0..60 {
            mean.iter_mut().zip(belt.good_part(index).rgb()).for_each(|(sum, &byte)| *sum += byte as f64 / 60.0);
        }
        let scored = |index| {
            let (frame, truth) = belt.part(index);
            let mut differences: Vec<f64> = mean.iter().zip(frame.rgb()).map(|(m, &b)| (m - b as f64).abs()).collect();
            differences.sort_by(f64::total_cmp);
            let of_greatest = |count: usize| differences.iter().rev().take(count).sum::<f64>() / count as f64;
            let count = differences.len();
            (truth.defect.is_some(), [of_greatest(count), of_greatest(count / 100), of_greatest(1)])
        };
        let (bad, good): (Vec<_>, Vec<_>) = (0..200).map(scored).partition(|(defective, _)| *defective);
        [0, 1, 2].map(|variant| {
            let pairs = bad.iter().flat_map(|(_, b)| good.iter().map(|(_, g)| b[variant].total_cmp(&g[variant])));
            let won: f64 = pairs.map(|order| (order as i8 + 1) as f64 / 2.0).sum();
            won / (bad.len() * good.len()) as f64
        })
    }

    #[test]
    fn the_source_hands_out_its_parts_and_then_is_exhausted() {
        let clock = SimulatedClock::default();
        clock.advance(Duration::from_nanos(500));
        let settings = BeltSettings { width: 64, height: 64, parts: Some(2), ..BeltSettings::default() };
        let mut source = SimulatedSource::new(settings.clone(), Arc::new(clock));
        assert_eq!(source.describe(), "simulated belt, seed 7, 64 × 64 pixels, 2 parts, 20 % defects");
        let first = source.grab(Timestamp(0), Duration::ZERO).unwrap();
        let second = source.grab(Timestamp(900), Duration::ZERO).unwrap();
        assert_eq!((first.captured, first.sequence), (Timestamp(500), 0));
        assert_eq!((second.captured, second.sequence), (Timestamp(900), 1));
        assert_eq!(second.rgb(), Belt::new(settings).part(1).0.rgb());
        assert_eq!(source.grab(Timestamp(0), Duration::ZERO), Err(SourceError::Exhausted));
    }
}
