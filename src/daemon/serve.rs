//! `rejectd run`: the station that a configuration describes, the signals and commands that steer it, and the service
//! manager that watches it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::judge::{self, JudgeError, Ready};
use super::outputs::LONGEST_END;
use super::presence::PresenceGate;
use super::service::{self, Service};
use super::socket::{self, Socket};
use super::{Control, Station, Summary, judge_by};
use crate::clock::{Clock, MonotonicClock};
use crate::config::{self, PresenceSettings, Settings, SourceSettings, V4l2Settings};
use crate::line::backend::{LineError, open_inputs, open_outputs};
use crate::line::schedule::{Delay, Ejection, Schedule};
use crate::line::{LineInputs, LineOutputs, Role, Sensor};
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

/// The network finishes its part and the lines are released within this, besides the way of the last part.
const GRACE_AT_THE_END: Duration = Duration::from_secs(10);

/// Decoding a JPEG takes some 20 ns a pixel on a small board.
const LONGEST_PIXEL_NS: u64 = 200;

/// Runs the daemon until SIGTERM, SIGINT or the end of its source.
///
/// # Errors  Only before the first part: a configuration that is wrong or contradicts the profile, a card that cannot
/// be used, a line that cannot be opened, a source that cannot do what is asked. A camera that is not there is none: it is
/// waited for. A profile that cannot be used is none: the newest good generation is used, or every part is held as
/// rejected. In both cases the journal says FAULT.
pub fn serve(config: &Path) -> anyhow::Result<Summary> {
    let settings = config::load(config)?;
    // From here on a signal waits until there is someone to obey it.
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    journal::start(settings.log.level, settings.log.target)?;
    let _last_lines = LastLines;
    log::info!("rejectd {} starts with {}", env!("CARGO_PKG_VERSION"), config.display());
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock);
    // Before any line is touched: another daemon may be at work on them.
    let socket = Socket::open(&settings)?;
    let (outputs, inputs) = open_lines(&settings)?;
    let judge = match judge::open_or_fall_back(&settings) {
        Ok(ready) => {
            log_ready(&settings, &ready);
            judge_by(ready.inspector, ready.inspection)
        }
        Err(JudgeError::Profile(error)) => {
            log::error!("FAULT {error}; until there is a profile, every part is held as rejected");
            Err(error.to_string())
        }
        Err(error) => return Err(error.into()),
    };
    let source = open_or_await_source(&settings, clock.clone())?;
    log::info!("source: {}", source.describe());
    let confirms = settings.line.wiring.inputs.contains_key(&Sensor::Confirm);
    let station = Station {
        source,
        timeout: timeout(&settings),
        frame_limit: frame_limit(&settings),
        trigger: settings.trigger,
        presence: settings.presence.as_ref().map(open_presence).transpose()?,
        judge,
        on_fault: settings.on_fault,
        schedule: Schedule::new(settings.line.ejection),
        outputs,
        heartbeat: settings.line.heartbeat,
        stops_with_ready: stops_with_ready(&settings),
        inputs,
        confirm_within: confirms.then_some(settings.line.confirm_within),
        clock,
        observer_backlog: OBSERVER_BACKLOG,
    };
    let service = Service::new();
    let waiting = socket::Waiting::default();
    let listening = Listening(signals.handle());
    let summary = std::thread::scope(|scope| {
        let ended = service.ended();
        let start = |control: Control| {
            let (steered, asked) = (control.clone(), control.clone());
            spawn(scope, "signals", move || obey(&mut signals, &steered, config, settings));
            let (service, waiting) = (&service, &waiting);
            spawn(scope, "service", move || service.attend(&control));
            if let Some(socket) = socket {
                spawn(scope, "socket", move || socket.serve(&asked, waiting, || service.has_ended()));
            }
        };
        // Dropped before the scope waits for the threads, after a panic too.
        let _ends = (listening, ended);
        super::run(station, start, |outcome| {
            journal::log_outcome(&outcome);
            waiting.tell(&outcome);
        })
    });
    log::info!(
        "rejectd ends: {} parts, {} accepted, {} rejected, {} without a decision ({} missed); {} ticks skipped, {} empty \
         frames, {} parts not logged",
        summary.parts(),
        summary.accepted,
        summary.rejected,
        summary.no_decision,
        summary.missed,
        summary.skipped,
        summary.empty,
        summary.unobserved
    );
    Ok(summary)
}

fn spawn<'scope>(scope: &'scope std::thread::Scope<'scope, '_>, name: &str, body: impl FnOnce() + Send + 'scope) {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn_scoped(scope, body).expect("the system starts a thread");
}

/// The output and input lines of a station.
type Lines = (Box<dyn LineOutputs>, Option<Box<dyn LineInputs>>);

/// Opens the lines that the settings name, the outputs inactive, and logs which they are.
/// # Errors  `LineError`
fn open_lines(settings: &Settings) -> Result<Lines, LineError> {
    let (outputs, because) = open_outputs(&settings.line.wiring)?;
    log::info!("outputs: {}", outputs.describe());
    if let Some(because) = because {
        log::info!("they are driven by {because}");
    }
    let inputs = open_inputs(&settings.line.wiring)?;
    if let Some(inputs) = &inputs {
        log::info!("inputs: {}", inputs.describe());
    }
    Ok((outputs, inputs))
}

/// Waits, when it is dropped, until the last lines of the log are written.
struct LastLines;

impl Drop for LastLines {
    fn drop(&mut self) {
        log::logger().flush();
    }
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
            service::stopping(longest_stop(&settings));
            control.stop();
            continue;
        }
        match catch_unwind(AssertUnwindSafe(|| reload(config, &settings))).unwrap_or_else(|_| Err(panicked())) {
            Ok((changed, ready)) => {
                log_ready(&changed, &ready);
                control.replace_judge(judge_by(ready.inspector, ready.inspection), changed.on_fault);
                settings = changed;
                log::info!("reloaded: it holds from the next part on");
            }
            Err(error) => log::error!("the reload is refused, all stays as it was: {error:#}"),
        }
    }
}

fn panicked() -> anyhow::Error {
    anyhow::anyhow!("reading it panicked; this is a bug, report it with the log")
}

/// Whether the belt stops when the station is not ready: as configured, where a line can tell the machine.
fn stops_with_ready(settings: &Settings) -> bool {
    let outputs = &settings.line.wiring.outputs;
    settings.line.stops_with_ready && [Role::Ready, Role::Heartbeat].iter().any(|role| outputs.contains_key(role))
}

/// How long it takes at most until the last part has passed the ejector and the lines are released.
fn longest_stop(settings: &Settings) -> Duration {
    let Ejection { delay, pulse, min_gap, .. } = settings.line.ejection;
    let way = match delay {
        Delay::Time(delay) => delay,
        Delay::Counts(_) => LONGEST_END,
    };
    way + pulse + min_gap + GRACE_AT_THE_END
}

/// Reads the configuration again and takes over what can change while the line runs: model, profile, threshold,
/// `on_fault`.
fn reload(config: &Path, old: &Settings) -> anyhow::Result<(Settings, Ready)> {
    let new = config::load(config)?;
    let ready = judge::open(&new)?;
    let taken_over = Settings {
        model_card: new.model_card.clone(),
        threads: new.threads,
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
    if let Some(too_slow) = judge::too_slow(settings, ready.inspection) {
        log::error!("FAULT {too_slow}");
    }
    if let Some(mismatch) = judge::other_size(settings, &ready.profile) {
        log::warn!("{mismatch}");
    }
    for (name, value) in ready.facts(settings) {
        log::info!("{name}: {value}");
    }
}

/// As [`open_source`], but a camera that is not there yet is waited for while the line runs and is not ready: a board may
/// start before its camera does.
/// # Errors  `SourceError::Unfit`: the camera is there and cannot do what is asked.
fn open_or_await_source(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Box<dyn FrameSource>, SourceError> {
    match (open_source(settings, clock.clone()), &settings.source) {
        (Err(SourceError::Disconnected(why)), SourceSettings::V4l2(v4l2)) => {
            log::error!("FAULT no frames: {why}; the line is not ready, trying again");
            Ok(Box::new(Camera::awaited(camera_settings(v4l2), clock)))
        }
        (opened, _) => opened,
    }
}

fn camera_settings(v4l2: &V4l2Settings) -> CameraSettings {
    CameraSettings {
        device: v4l2.device.clone(),
        format: v4l2.format,
        width_px: v4l2.width_px,
        height_px: v4l2.height_px,
        frames_per_second: v4l2.frames_per_second,
        controls: v4l2.controls.clone(),
    }
}

/// Opens the source that the settings name.
/// # Errors  `SourceError::Disconnected` with the reason; `SourceError::Unfit`.
pub fn open_source(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Box<dyn FrameSource>, SourceError> {
    Ok(match &settings.source {
        SourceSettings::V4l2(v4l2) => Box::new(Camera::open(camera_settings(v4l2), clock)?),
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

/// How long a frame may take to be read out and decoded: ten times what a small board needs.
fn frame_limit(settings: &Settings) -> Duration {
    let pixels = match &settings.source {
        SourceSettings::V4l2(v4l2) => u64::from(v4l2.width_px) * u64::from(v4l2.height_px),
        SourceSettings::Simulated { width_px, height_px, .. } => u64::from(*width_px) * u64::from(*height_px),
        // Pictures of any size, read from a disk of any speed.
        SourceSettings::Folder { .. } => return Duration::from_secs(5),
    };
    Duration::from_nanos(pixels * LONGEST_PIXEL_NS)
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
