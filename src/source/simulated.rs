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
        let defect_fraction = settings.defect_fraction.max(0.0).min(1.0);
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
        let ordinal = (index as f64 * fraction) as u64;
        let start = (ordinal as f64 / fraction).ceil() as u64;
        let end = ((ordinal + 1) as f64 / fraction).ceil() as u64;
        let chosen = draws(self.settings.seed, Stream::Schedule, 2 * ordinal).random_range(start..end.max(start + 1));
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
        let (mut frame, _) = self.belt.part(self.next);
        frame.captured = captured;
        self.next += 1;
        Ok(frame)
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
