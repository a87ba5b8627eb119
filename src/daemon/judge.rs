//! From the configuration to an inspector: the model, the profile, the threshold in force.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::config::{ManualThreshold, Settings, SourceSettings, TriggerSettings};
use crate::frame::Roi;
use crate::inspect::card::{CardError, Model};
use crate::inspect::threads::default_threads;
use crate::inspect::{InspectError, Inspector, short};
use crate::line::schedule::Delay;
use crate::profile::generations::{self, FellBack};
use crate::profile::{Profile, ProfileError};

/// The first inspection of a process takes longer than those to come.
const TIMED_INSPECTIONS: usize = 3;

/// An inspector that has recomputed its probe, with the profile that it runs.
pub struct Ready {
    pub inspector: Inspector,
    pub profile: Profile,
    /// Set if the profile is not the one in FILE, but a generation of it.
    pub fell_back: Option<FellBack>,
    /// How long an inspection takes here: the fastest of a few of the probe.
    pub inspection: Duration,
}

impl Ready {
    /// Name and value of what parts are judged by, for the log and for `check`: model, profile, threshold.
    pub fn facts(&self, settings: &Settings) -> [(&'static str, String); 3] {
        let (profile, about) = (&self.profile, &self.profile.about);
        let (file, fingerprint) = (settings.profile.display(), profile.fingerprint());
        let threshold = match &settings.threshold {
            // A generation that was fallen back to keeps its own.
            Some(manual) if manual.fingerprint == fingerprint => {
                format!("{} from the configuration; it carries no bound", manual.value)
            }
            _ => format!("{}: {}", about.threshold.value, about.threshold.promise),
        };
        let (generation, rows) = (about.generation, profile.bank.len());
        let profile =
            format!("{file} {fingerprint}, generation {generation}, {rows} bank rows; its probe scores as taught");
        let model = format!("{} {}", about.backbone.name, short(&about.backbone.fingerprint));
        [("model", model), ("profile", profile), ("threshold", threshold)]
    }
}

#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    #[error(transparent)]
    Card(#[from] CardError),
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error("{}: {source}", file.display())]
    Unfit { file: PathBuf, source: Box<InspectError> },
    #[error(
        "the threshold {value} is meant for the profile {meant}, but {} is {found}; scores of different profiles have \
         different scales: remove threshold and threshold_for, or set them for this one", file.display()
    )]
    ForeignThreshold { value: f32, meant: String, file: PathBuf, found: String },
    #[error(
        "roi_px is {configured}, but {} was taught with {taught}; correct roi_px, leave it out, or teach again",
        file.display()
    )]
    OtherRoi { configured: Roi, file: PathBuf, taught: String },
}

/// Opens the profile strictly, with its model and probe.
/// # Errors  `JudgeError`: whatever makes the profile not the one to judge by.
pub fn open(settings: &Settings) -> Result<Ready, JudgeError> {
    let file = &settings.profile;
    let (profile, inspector) = open_profile(&Model::open(settings.model_card.as_deref())?, file)?;
    finish(settings, inspector, profile, None)
}

/// As [`open`], but falls back to the newest generation that is whole and fits.
/// # Errors  `JudgeError`, if no generation can be used either, or the configuration contradicts the profile.
pub fn open_or_fall_back(settings: &Settings) -> Result<Ready, JudgeError> {
    let model = Model::open(settings.model_card.as_deref())?;
    let made = RefCell::new(None);
    let fit = |profile: &Profile| {
        *made.borrow_mut() = Some(inspector(&model, profile).map_err(|e| e.to_string())?);
        Ok(())
    };
    let loaded = generations::load_or_fall_back(&settings.profile, fit)?;
    let inspector = made.into_inner().expect("a profile that is loaded was fit");
    finish(settings, inspector, loaded.profile, loaded.fell_back)
}

/// A profile and its inspector, the probe recomputed.
/// # Errors  `JudgeError::Profile`, `JudgeError::Unfit`
pub fn open_profile(model: &Model, file: &Path) -> Result<(Profile, Inspector), JudgeError> {
    let profile = generations::load(file)?;
    let unfit = |source| JudgeError::Unfit { file: file.to_owned(), source: Box::new(source) };
    let inspector = inspector(model, &profile).map_err(unfit)?;
    Ok((profile, inspector))
}

/// Whether the profile in `file` was taught with the region that is configured; none configured takes the profile's.
/// # Errors  `JudgeError::OtherRoi`
pub fn check_roi(configured: Option<Roi>, profile: &Profile, file: &Path) -> Result<(), JudgeError> {
    let taught = profile.about.recipe.roi_px;
    match configured {
        Some(configured) if taught != Some(configured) => {
            let taught = taught.map_or("the whole frame".to_owned(), |roi| roi.to_string());
            Err(JudgeError::OtherRoi { configured, file: file.to_owned(), taught })
        }
        _ => Ok(()),
    }
}

/// A warning, if the source is set to another frame size than the profile was taught with: the picture would be resized
/// all the same, and look a little different from what was taught.
pub fn other_size(settings: &Settings, profile: &Profile) -> Option<String> {
    let (width, height) = match &settings.source {
        SourceSettings::V4l2(v4l2) => (v4l2.width_px, v4l2.height_px),
        SourceSettings::Simulated { width_px, height_px, .. } => (*width_px, *height_px),
        SourceSettings::Folder { .. } => return None,
    };
    let taught = (profile.probe.width(), profile.probe.height());
    (taught != (width, height)).then(|| {
        format!(
            "the source gives {width} × {height} pixels, but {} was taught with {} × {}; set the size back, or teach again",
            settings.profile.display(),
            taught.0,
            taught.1
        )
    })
}

/// A sentence, if an inspection and the wait for its frame take longer here than a part takes to the ejector, so that every
/// part would be rejected.
pub fn too_slow(settings: &Settings, inspection: Duration) -> Option<String> {
    let Delay::Time(delay) = settings.line.ejection.delay else { return None };
    let capture_delay = match settings.trigger {
        TriggerSettings::External { capture_delay, .. } => capture_delay,
        _ => Duration::ZERO,
    };
    // A frame that begins after the trigger is there one period later at the earliest.
    let frame = match &settings.source {
        SourceSettings::V4l2(camera) => Duration::from_secs(1) / camera.frames_per_second,
        _ => Duration::ZERO,
    };
    let waits = [(capture_delay, "capture_delay_ms is"), (frame, "a frame takes")];
    (capture_delay + frame + inspection >= delay).then(|| {
        let waiting: String = waits
            .iter()
            .filter(|(time, _)| !time.is_zero())
            .map(|(time, what)| format!(", {what} {}", time.as_millis()))
            .collect();
        format!(
            "[line] delay_ms is {}, but an inspection takes {} ms here{waiting}: every part would be rejected; lengthen \
             delay_ms, or teach with a smaller --input-px or --bank-rows",
            delay.as_millis(),
            inspection.as_millis().max(1)
        )
    })
}

fn fastest(inspector: &mut Inspector, profile: &Profile) -> Duration {
    let times = (0..TIMED_INSPECTIONS).map(|_| {
        let started = Instant::now();
        // Whether it can be inspected was seen before; here only the time counts.
        let _ = inspector.inspect(&profile.probe);
        started.elapsed()
    });
    times.min().unwrap_or_default()
}

fn inspector(model: &Model, profile: &Profile) -> Result<Inspector, InspectError> {
    let mut inspector = Inspector::new(model, profile)?;
    inspector.verify_probe(profile)?;
    Ok(inspector)
}

/// Holds the profile against the configuration and sets the threshold in force.
fn finish(
    settings: &Settings,
    mut inspector: Inspector,
    profile: Profile,
    fell_back: Option<FellBack>,
) -> Result<Ready, JudgeError> {
    inspector = inspector.on_threads(settings.threads.unwrap_or_else(default_threads));
    let inspection = fastest(&mut inspector, &profile);
    let mut ready = Ready { inspector, profile, fell_back, inspection };
    if let Err(error) = check_roi(settings.roi, &ready.profile, &settings.profile) {
        return Err(match &ready.fell_back {
            // Nobody configured this generation, so it is not the configuration that is wrong.
            Some(fell_back) => {
                ProfileError::NoneFits { because: format!("{}; {error}", fell_back.because), tried: 1 }.into()
            }
            None => error,
        });
    }
    if let Some(ManualThreshold { value, fingerprint }) = &settings.threshold {
        let found = ready.profile.fingerprint();
        if found == *fingerprint {
            ready.inspector.set_threshold(*value);
        } else if ready.fell_back.is_none() {
            return Err(JudgeError::ForeignThreshold {
                value: *value,
                meant: fingerprint.clone(),
                file: settings.profile.clone(),
                found,
            });
        } else {
            log::error!(
                "FAULT the threshold {value} is meant for the profile {fingerprint}; the generation in use keeps its own"
            );
        }
    }
    Ok(ready)
}
