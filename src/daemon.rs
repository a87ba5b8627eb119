//! The loop that sees the whole chain: trigger -> source -> inspection -> reject output.
//!
//! Threads of its own for each, so that a slow one cannot stop another: *inputs* reads edges, *capture* owns the source,
//! *inspect* owns the inspector, *output* owns the lines. Between them pass one part at a time, the schedule behind a
//! lock, and finished [`Outcome`]s through a bounded channel to one observer, who can lose some but never slow a reject.
//!
//! A part is armed at its trigger, whatever the other threads do. Where triggers come from outside, the capture thread
//! finds the first frame captured after each; where frames or the clock make parts, it makes them, and only when the
//! inspector waits for one (a free-running tick that finds it busy is skipped and counted).
//!
//! All waits go by the station's clock, so that a test runs a day on the line in seconds, with these very threads. Each
//! thread promises when it will be heard of again; a broken promise stops the heartbeat and the watchdog's pings.
//!
//! The lines rest at the start; `ready` follows the health of the station. At shutdown the parts that are on their way
//! to the ejector are still served, then every line is released.
//!
//! Non-goals: several cameras in one process (systemd runs one instance each).

use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{OnFault, TriggerSettings};
use crate::frame::Frame;
use crate::inspect::{InspectError, Inspector};
use crate::line::schedule::Schedule;
use crate::line::{LineInputs, LineOutputs};
use crate::part::{Inspection, Outcome, TriggerId};
use crate::source::FrameSource;

mod capture;
mod inputs;
mod inspecting;
pub mod judge;
pub mod lateness;
pub mod lent;
mod outputs;
mod post;
pub mod presence;
pub mod progress;
pub mod realtime;
pub mod serve;
mod service;
mod shared;
pub mod socket;

use capture::{Capture, Lost};
use inputs::Inputs;
use inspecting::Inspecting;
use lateness::Lateness;
use outputs::Outputs;
use presence::PresenceGate;
use progress::Stage;
use shared::{Shared, lock};

/// How a frame is judged: by [`Inspector::inspect`], always; a test may put a thinner one in its place.
pub type Judging = Box<dyn FnMut(&Frame) -> Result<Inspection, InspectError> + Send>;

/// Who judges, and how long that may take.
pub struct Judges {
    pub by: Judging,
    /// An inspection that takes longer is a stall: ready and heartbeat go until it ends.
    pub limit: Duration,
}

/// What judges the parts: an inspector, or the reason why there is none and every part is held as rejected.
pub type Judge = Result<Judges, String>;

/// An inspection that takes so many times longer than usual is a stall.
const STALL: u32 = 5;
/// And none that takes less than this is.
const LEAST_LIMIT: Duration = Duration::from_millis(200);

/// The judge that an inspector is.
/// * `inspection` — how long an inspection usually takes here
pub fn judge_by(mut inspector: Inspector, inspection: Duration) -> Judge {
    Ok(Judges { by: Box::new(move |frame| inspector.inspect(frame)), limit: LEAST_LIMIT.max(STALL * inspection) })
}

/// Everything that a running line needs.
pub struct Station {
    pub source: Box<dyn FrameSource>,
    /// A source that is silent for this long is a fault.
    pub timeout: Duration,
    /// How long a frame may take to be read out and decoded; longer is a stall.
    pub frame_limit: Duration,
    pub trigger: TriggerSettings,
    pub presence: Option<PresenceGate>,
    pub judge: Judge,
    pub on_fault: OnFault,
    pub schedule: Schedule,
    pub outputs: Box<dyn LineOutputs>,
    /// Half of the heartbeat's period.
    pub heartbeat: Duration,
    /// Whether the belt stops when ready falls or the heart does: parts on their way are then where no time tells.
    pub stops_with_ready: bool,
    pub inputs: Option<Box<dyn LineInputs>>,
    /// Within which time a sensor at the bin must see a rejected part; none if there is no such sensor.
    pub confirm_within: Option<Duration>,
    pub clock: Arc<dyn Clock>,
    /// How many outcomes may wait for the observer before further ones are lost to it.
    pub observer_backlog: usize,
}

/// How the parts of a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub accepted: u64,
    pub rejected: u64,
    pub no_decision: u64,
    /// Of those without a decision: triggered while the parts before took too long.
    pub missed: u64,
    /// Ticks of the free-running trigger that found the inspector busy, or passed while a frame was waited for.
    pub skipped: u64,
    /// Frames that the presence gate took for an empty belt.
    pub empty: u64,
    /// Outcomes that the observer was too slow for; they were decided and acted upon all the same.
    pub unobserved: u64,
}

impl Summary {
    pub fn parts(&self) -> u64 {
        self.accepted + self.rejected + self.no_decision
    }
}

/// The handle by which a running line is told to stop, to judge by something else, or that a part is there; and asked how
/// it does.
#[derive(Clone)]
pub struct Control(Arc<Shared>);

/// Why a part cannot be triggered by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TriggerError {
    #[error("parts are not triggered from outside here; set [trigger] kind = \"gpio\" or \"software\"")]
    NotTriggered,
    #[error("the line is stopping and takes no further part")]
    Stopping,
}

impl Control {
    /// No further part is taken; those on their way are still served.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Relaxed);
        self.0.output_changed.ring();
    }

    /// From the next part on, `judge` decides. It also ends a stop that a fault had caused, for which a person has looked.
    pub fn replace_judge(&self, judge: Judge, on_fault: OnFault) {
        let no_judge = judge.is_err();
        *lock(&self.0.next_judge) = Some((judge, on_fault));
        if self.0.go_on(no_judge) {
            log::warn!(
                "the station had been stopped and goes on: the belt between sensor and ejector counts as cleared"
            );
        }
    }

    /// A part is in front of the camera now.
    /// # Errors  `TriggerError`
    pub fn trigger(&self) -> Result<TriggerId, TriggerError> {
        if self.0.capture_delay.is_none() {
            return Err(TriggerError::NotTriggered);
        }
        self.0.trigger(self.0.clock.now()).map_err(|_| TriggerError::Stopping)
    }

    /// The frame of the next part goes to `to` too.
    pub fn want_frame(&self, to: SyncSender<Frame>) {
        self.0.want_frame(to);
    }

    /// The thread that makes no progress, if one does not.
    pub fn stalled(&self) -> Option<Stage> {
        self.0.progress.stalled(self.0.clock.now())
    }

    /// Whether parts can be judged and rejected, as the ready line tells.
    pub fn is_ready(&self) -> bool {
        lock(&self.0.output).shows_ready
    }

    pub fn summary(&self) -> Summary {
        self.0.summary()
    }

    pub fn lateness(&self) -> Lateness {
        lock(&self.0.output).lateness.clone()
    }
}

impl Shared {
    fn summary(&self) -> Summary {
        Summary {
            skipped: self.skipped.load(Ordering::Relaxed),
            empty: self.empty.load(Ordering::Relaxed),
            ..*lock(&self.summary)
        }
    }
}

/// Tells the output thread, when it is dropped, that no part will be armed any more, and the observer, that none will end:
/// after the last part, and when the inspector panics, so that the lines are released and the process can end.
struct Closing<'a>(&'a Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        // A lock that another thread's panic poisoned still holds what the output thread reads.
        self.0.output.lock().unwrap_or_else(PoisonError::into_inner).closing = true;
        self.0.output_changed.ring();
        self.0.end_outcomes();
    }
}

/// Runs the line until its source is exhausted or it is told to stop.
///
/// * `with_control` — receives the handle before the first part
/// * `observe` — receives the outcomes, on the calling thread
///
/// Every part that was taken has exactly one outcome and is counted in the summary.
pub fn run(station: Station, with_control: impl FnOnce(Control), mut observe: impl FnMut(Outcome)) -> Summary {
    let Station { source, timeout, trigger, presence, judge, schedule, outputs, inputs, clock, .. } = station;
    let (outcome_sender, outcomes) = sync_channel(station.observer_backlog);
    let capture_delay = match trigger {
        TriggerSettings::External { capture_delay, .. } => Some(capture_delay),
        _ => None,
    };
    let is_counted = schedule.is_counted();
    let shared = Arc::new(Shared::new(
        clock.clone(),
        schedule,
        station.confirm_within,
        capture_delay,
        inputs.is_some(),
        outcome_sender,
    ));
    let lost = Lost::at_start(&*source, clock.now());
    shared.report(|health| {
        health.no_judge = judge.is_err();
        health.source_lost = lost.is_some();
        health.on_fault = Some(station.on_fault);
    });
    // All threads, before the first one starts: else simulated time would run away from those to come.
    (0..if inputs.is_some() { 4 } else { 3 }).for_each(|_| clock.enter());
    with_control(Control(shared.clone()));
    std::thread::scope(|scope| {
        let shared = &*shared;
        let outputs = Outputs::new(shared, outputs, station.heartbeat, station.stops_with_ready);
        let capture = Capture {
            source,
            timeout,
            trigger,
            presence,
            shared,
            seen: clock.now(),
            clock: clock.clone(),
            lost,
            damaged_in_a_row: 0,
            frame_limit: station.frame_limit,
        };
        let inspecting = Inspecting { judge, shared };
        let inputs = inputs.map(|lines| Inputs::new(shared, lines, is_counted));
        spawn(scope, &clock, "output", move || {
            realtime::ask(Stage::Output);
            outputs.run();
        });
        if let Some(inputs) = inputs {
            spawn(scope, &clock, "inputs", move || {
                realtime::ask(Stage::Inputs);
                inputs.run();
            });
        }
        spawn(scope, &clock, "capture", move || capture.run());
        let inspecting = spawn(scope, &clock, "inspect", move || {
            let _closing = Closing(shared);
            inspecting.run();
        });
        outcomes.iter().for_each(&mut observe);
        inspecting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    shared.summary()
}

fn spawn<'scope, 'env>(
    scope: &'scope std::thread::Scope<'scope, 'env>,
    clock: &Arc<dyn Clock>,
    name: &str,
    body: impl FnOnce() + Send + 'scope,
) -> std::thread::ScopedJoinHandle<'scope, ()> {
    let entered = Entered(clock.clone());
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn_scoped(scope, move || {
            let _entered = entered;
            body();
        })
        .expect("the system starts a thread")
}

/// Leaves the clock when it is dropped.
struct Entered(Arc<dyn Clock>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.leave();
    }
}
