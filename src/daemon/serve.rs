//! `rejectd run`: the station that a configuration describes, and the signals that steer it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::judge::{self, JudgeError, Ready};
use super::presence::PresenceGate;
use super::{Control, Station, Summary};
use crate::clock::{Clock, MonotonicClock};
use crate::config::{self, LineBackend, PresenceSettings, Settings, SourceSettings};
use crate::line::LineOutputs;
use crate::line::dry_run::DryRun;
use crate::line::schedule::Schedule;
use crate::observe::journal;
use crate::source::decode::read_frame;
use crate::source::folder::FolderSource;
use crate::source::simulated::{BeltSettings, SimulatedSource};
use crate::source::v4l2::{Camera, CameraSettings};
use crate::source::{FrameSource, SourceError};

/// A source without a timeout of its own answers at once; this is only what the daemon would wait.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
/// So many outcomes, with their frames, may wait for the log.
const OBSERVER_BACKLOG: usize = 32;

/// Runs the daemon until SIGTERM, SIGINT or the end of its source.
///
/// # Errors  Only before the first part: a configuration that is wrong or contradicts the profile, a card that cannot
/// be used, a source that cannot be opened. A profile that cannot be used is none: the newest good generation is used,
/// or every part is held as rejected, and the journal says FAULT.
pub fn serve(config: &Path) -> anyhow::Result<Summary> {
    let settings = config::load(config)?;
    // From here on a signal waits until there is someone to obey it.
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    journal::start(settings.log.level, settings.log.target)?;
    log::info!("rejectd {} starts with {}", env!("CARGO_PKG_VERSION"), config.display());
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock);
    let judge = match judge::open_or_fall_back(&settings) {
        Ok(ready) => {
            log_ready(&settings, &ready);
            Ok(ready.inspector)
        }
        Err(JudgeError::Profile(error)) => {
            log::error!("FAULT {error}; until there is a profile, every part is held as rejected");
            Err(error.to_string())
        }
        Err(error) => return Err(error.into()),
    };
    let source = open_source(&settings, clock.clone())?;
    log::info!("source: {}", source.describe());
    let outputs = open_outputs(&settings);
    log::info!("outputs: {}", outputs.describe());
    let station = Station {
        source,
        timeout: timeout(&settings),
        trigger: settings.trigger,
        presence: settings.presence.as_ref().map(open_presence).transpose()?,
        judge,
        on_fault: settings.on_fault,
        schedule: schedule(&settings),
        outputs,
        clock,
        observer_backlog: OBSERVER_BACKLOG,
    };
    let listening = Listening(signals.handle());
    let summary = std::thread::scope(|scope| {
        let listen = |control: Control| {
            std::thread::Builder::new()
                .name("signals".into())
                .spawn_scoped(scope, move || obey(&mut signals, &control, config, settings))
                .expect("the system starts a thread");
        };
        // Dropped before the scope waits for the thread, after a panic too.
        let _listening = listening;
        super::run(station, listen, |outcome| journal::log_outcome(&outcome))
    });
    log::info!(
        "rejectd ends: {} parts, {} accepted, {} rejected, {} without a decision; {} ticks skipped, {} empty frames, {} \
         parts not logged",
        summary.parts(),
        summary.accepted,
        summary.rejected,
        summary.no_decision,
        summary.skipped,
        summary.empty,
        summary.unobserved
    );
    Ok(summary)
}

/// Ends the thread that waits for signals when it is dropped.
struct Listening(Handle);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn obey(signals: &mut Signals, control: &Control, config: &Path, mut settings: Settings) {
    for signal in signals.forever() {
        if signal != SIGHUP {
            log::info!("told to stop; parts on their way are still served");
            control.stop();
            continue;
        }
        match reload(config, &settings) {
            Ok((changed, ready)) => {
                log_ready(&changed, &ready);
                control.replace_judge(Ok(ready.inspector), changed.on_fault);
                settings = changed;
                log::info!("reloaded: from the next part on");
            }
            Err(error) => log::error!("the reload is refused, all stays as it was: {error:#}"),
        }
    }
}

/// Reads the configuration again and takes over what can change while the line runs: model, profile, threshold,
/// `on_fault`.
fn reload(config: &Path, old: &Settings) -> anyhow::Result<(Settings, Ready)> {
    let new = config::load(config)?;
    let ready = judge::open(&new)?;
    let taken_over = Settings {
        model_card: new.model_card.clone(),
        profile: new.profile.clone(),
        threshold: new.threshold.clone(),
        on_fault: new.on_fault,
        ..old.clone()
    };
    if taken_over != new {
        log::warn!("changes outside [model], [profile] and [verdict] are not taken over; restart rejectd for them");
    }
    Ok((taken_over, ready))
}

fn log_ready(settings: &Settings, ready: &Ready) {
    if let Some(fell_back) = &ready.fell_back {
        log::error!("FAULT {}; inspecting by generation {} instead", fell_back.because, fell_back.generation);
    }
    if let Some(mismatch) = judge::other_size(settings, &ready.profile) {
        log::warn!("{mismatch}");
    }
    for (name, value) in ready.facts(settings) {
        log::info!("{name}: {value}");
    }
}

/// Opens the source that the settings name.
/// # Errors  `SourceError::Disconnected` with the reason.
pub fn open_source(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Box<dyn FrameSource>, SourceError> {
    Ok(match &settings.source {
        SourceSettings::V4l2(v4l2) => {
            let camera = CameraSettings {
                device: v4l2.device.clone(),
                format: v4l2.format,
                width_px: v4l2.width_px,
                height_px: v4l2.height_px,
                frames_per_second: v4l2.frames_per_second,
                controls: v4l2.controls.clone(),
            };
            Box::new(Camera::open(camera, clock)?)
        }
        SourceSettings::Folder { path, looped } => Box::new(FolderSource::open(path, *looped, clock)?),
        SourceSettings::Simulated { seed, parts, defect_fraction, width_px, height_px } => {
            let belt = BeltSettings {
                seed: *seed,
                width: *width_px,
                height: *height_px,
                parts: *parts,
                defect_fraction: *defect_fraction,
            };
            Box::new(SimulatedSource::new(belt, clock))
        }
    })
}

/// How long the source may be silent.
pub fn timeout(settings: &Settings) -> Duration {
    match &settings.source {
        SourceSettings::V4l2(v4l2) => v4l2.timeout,
        _ => DEFAULT_TIMEOUT,
    }
}

/// Opens the outputs that the settings name.
pub fn open_outputs(settings: &Settings) -> Box<dyn LineOutputs> {
    match settings.line.backend {
        LineBackend::DryRun => Box::new(DryRun),
    }
}

/// A presence gate that cannot work as it is configured.
#[derive(Debug, thiserror::Error)]
#[error("[presence] {0}")]
pub struct PresenceError(String);

/// Makes the presence gate, with the picture of the empty belt if there is one.
/// # Errors  `PresenceError`: the picture cannot be read, or the region is not inside it.
pub fn open_presence(settings: &PresenceSettings) -> Result<PresenceGate, PresenceError> {
    let Some(path) = &settings.background else {
        return Ok(PresenceGate::new(settings.roi, settings.min_change, None).expect("there is no picture to leave"));
    };
    let background = read_frame(path).map_err(|e| PresenceError(format!("background: {e}")))?;
    PresenceGate::new(settings.roi, settings.min_change, Some(&background))
        .map_err(|e| PresenceError(format!("background {}: {e}", path.display())))
}

fn schedule(settings: &Settings) -> Schedule {
    Schedule::new(settings.line.mode, settings.line.delay, settings.line.pulse)
}
