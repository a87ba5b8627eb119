//! The loop that sees the whole chain: source -> inspection -> reject output.
//!
//! Three threads of its own, so that a slow one cannot stop another: *capture* owns the source, *inspect* owns the
//! inspector, *output* owns the lines. Between them pass one part at a time, the schedule behind a lock, and finished
//! [`Outcome`]s through a bounded channel to one observer, who can lose some but never slow a reject.
//!
//! A frame is grabbed only when the inspector is idle, so no frame ever waits and none is judged late without need.
//! Where the source gives the pace (`every_frame`) it waits; where the clock does (`free_running`) the tick is skipped
//! and counted.
//!
//! The lines rest at the start; `ready` follows the health of the station. At shutdown the parts that are on their way
//! to the ejector are still served, then every line is released.
//!
//! Non-goals: several cameras in one process (systemd runs one instance each), and a watchdog for a stalled thread
//! (the service around this loop has it).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::config::{OnFault, TriggerSettings};
use crate::frame::Frame;
use crate::inspect::Inspector;
use crate::line::schedule::Schedule;
use crate::line::{LineOutputs, Role};
use crate::part::{Inspection, NoDecision, Outcome, Part, Verdict};
use crate::source::FrameSource;

mod capture;
pub mod judge;
pub mod presence;
pub mod serve;

use capture::Capture;
use presence::PresenceGate;

/// The longest that the output thread waits before it looks again.
const IDLE_WAIT: Duration = Duration::from_secs(1);
/// The pause before a line that could not be set is tried again.
const RETRY_LINE: Duration = Duration::from_millis(20);
/// How often it is tried to release the lines at the end: for a second.
const RELEASE_TRIES: u32 = 50;
/// From so much on, a late pulse is worth a line in the log.
const LATE: Duration = Duration::from_millis(20);

/// What judges the parts: an inspector, or the reason why there is none and every part is held as rejected.
pub type Judge = Result<Inspector, String>;

/// Everything that a running line needs.
pub struct Station {
    pub source: Box<dyn FrameSource>,
    /// A source that is silent for this long is a fault.
    pub timeout: Duration,
    pub trigger: TriggerSettings,
    pub presence: Option<PresenceGate>,
    pub judge: Judge,
    pub on_fault: OnFault,
    pub schedule: Schedule,
    pub outputs: Box<dyn LineOutputs>,
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

/// The handle by which a running line is told to stop or to judge by something else.
#[derive(Clone)]
pub struct Control(Arc<Shared>);

impl Control {
    /// No further part is taken; those on their way are still served.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }

    /// From the next part on, `judge` decides. It also ends a stop that a fault had caused.
    pub fn replace_judge(&self, judge: Judge, on_fault: OnFault) {
        let no_judge = judge.is_err();
        *lock(&self.0.next_judge) = Some((judge, on_fault));
        self.0.report(|health| (health.no_judge, health.stopped) = (no_judge, false));
    }
}

/// What the threads have in common.
struct Shared {
    stop: AtomicBool,
    skipped: AtomicU64,
    empty: AtomicU64,
    next_judge: Mutex<Option<(Judge, OnFault)>>,
    health: Mutex<Health>,
    output: Mutex<Output>,
    output_changed: Condvar,
}

/// Why the station may not be ready.
#[derive(Debug, Default)]
struct Health {
    source_lost: bool,
    no_judge: bool,
    /// After a part without a decision, with `on_fault = "stop"`; until the next reload.
    stopped: bool,
}

struct Output {
    schedule: Schedule,
    ready: bool,
    /// No part will be armed any more.
    closing: bool,
}

/// One part on its way to the inspector.
struct Job {
    part: Part,
    frame: Result<Frame, NoDecision>,
}

impl Shared {
    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Changes the health and, with it, the `ready` line.
    fn report(&self, change: impl FnOnce(&mut Health)) {
        let mut health = lock(&self.health);
        change(&mut health);
        let ready = !(health.source_lost || health.no_judge || health.stopped);
        lock(&self.output).ready = ready;
        self.output_changed.notify_all();
    }

    fn arm(&self, part: Part) {
        lock(&self.output).schedule.arm(part);
        self.output_changed.notify_all();
    }

    fn cancel(&self, part: Part) -> bool {
        lock(&self.output).schedule.cancel(part)
    }

    fn decide(&self, part: Part, verdict: Verdict, now: Timestamp) -> Verdict {
        lock(&self.output).schedule.decide(part, verdict, now)
    }
}

/// Tells the output thread, when it is dropped, that no part will be armed any more: after the last part, and when the
/// inspector panics, so that the lines are released and the process can end.
struct Closing<'a>(&'a Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        // A lock that another thread's panic poisoned still holds what the output thread reads.
        self.0.output.lock().unwrap_or_else(PoisonError::into_inner).closing = true;
        self.0.output_changed.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread of the station panics while it holds a lock")
}

/// Runs the line until its source is exhausted or it is told to stop.
///
/// * `with_control` — receives the handle before the first part
/// * `observe` — receives the outcomes, on the calling thread
///
/// Every part that was taken has exactly one outcome and is counted in the summary.
pub fn run(station: Station, with_control: impl FnOnce(Control), mut observe: impl FnMut(Outcome)) -> Summary {
    let Station { source, timeout, trigger, presence, judge, on_fault, schedule, outputs, clock, observer_backlog } =
        station;
    let shared = Arc::new(Shared {
        stop: AtomicBool::new(false),
        skipped: AtomicU64::new(0),
        empty: AtomicU64::new(0),
        next_judge: Mutex::new(None),
        health: Mutex::new(Health::default()),
        output: Mutex::new(Output { schedule, ready: false, closing: false }),
        output_changed: Condvar::new(),
    });
    shared.report(|health| health.no_judge = judge.is_err());
    with_control(Control(shared.clone()));
    let (idle_sender, idle) = sync_channel(1);
    let (job_sender, jobs) = sync_channel(1);
    let (outcome_sender, outcomes) = sync_channel(observer_backlog);
    std::thread::scope(|scope| {
        let shared = &*shared;
        let output_clock = clock.clone();
        spawn(scope, "output", move || serve_outputs(shared, outputs, &*output_clock));
        let capture =
            Capture { source, timeout, trigger, presence, shared, clock: clock.clone(), parts: 0, lost: None };
        spawn(scope, "capture", move || capture.run(&idle, &job_sender));
        let inspecting = spawn(scope, "inspect", move || {
            let _closing = Closing(shared);
            Inspecting { judge, on_fault, shared, clock: &*clock }.run(&idle_sender, &jobs, &outcome_sender)
        });
        outcomes.iter().for_each(&mut observe);
        let summary = inspecting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Summary {
            skipped: shared.skipped.load(Ordering::Relaxed),
            empty: shared.empty.load(Ordering::Relaxed),
            ..summary
        }
    })
}

fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    name: &str,
    body: impl FnOnce() -> T + Send + 'scope,
) -> std::thread::ScopedJoinHandle<'scope, T> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn_scoped(scope, body)
        .expect("the system starts three threads")
}

/// The inspect thread.
struct Inspecting<'a> {
    judge: Judge,
    on_fault: OnFault,
    shared: &'a Shared,
    clock: &'a dyn Clock,
}

impl Inspecting<'_> {
    fn run(mut self, idle: &SyncSender<()>, jobs: &Receiver<Job>, outcomes: &SyncSender<Outcome>) -> Summary {
        let mut summary = Summary::default();
        // The capture thread may be gone already; then the receiver tells so.
        while idle.send(()).is_ok()
            && let Ok(job) = jobs.recv()
        {
            if let Some((judge, on_fault)) = lock(&self.shared.next_judge).take() {
                (self.judge, self.on_fault) = (judge, on_fault);
            }
            let outcome = self.decide(job);
            match &outcome.verdict {
                Verdict::Accept => summary.accepted += 1,
                Verdict::Reject => summary.rejected += 1,
                Verdict::NoDecision(_) => {
                    summary.no_decision += 1;
                    // A judge that is being replaced must not stop the line that its successor has just freed.
                    if self.on_fault == OnFault::Stop && lock(&self.shared.next_judge).is_none() {
                        self.shared.report(|health| health.stopped = true);
                    }
                }
            }
            if let Err(TrySendError::Full(_)) = outcomes.try_send(outcome) {
                summary.unobserved += 1;
            }
        }
        summary
    }

    fn decide(&mut self, Job { part, frame }: Job) -> Outcome {
        let (frame, inspection) = match frame {
            Ok(frame) => {
                let inspection = match &mut self.judge {
                    Ok(inspector) => inspect_contained(inspector, &frame),
                    Err(because) => Err(NoDecision::NoProfile(because.clone())),
                };
                (Some(frame), inspection)
            }
            Err(why) => (None, Err(why)),
        };
        let verdict = match &inspection {
            Ok(inspection) => inspection.verdict.clone(),
            Err(why) => Verdict::NoDecision(why.clone()),
        };
        let decided = self.clock.now();
        let verdict = self.shared.decide(part, verdict, decided);
        Outcome { part, verdict, inspection: inspection.ok(), frame, decided }
    }
}

/// Inspects the frame; a panic in the network costs this part its decision, and no other.
fn inspect_contained(inspector: &mut Inspector, frame: &Frame) -> Result<Inspection, NoDecision> {
    catch_unwind(AssertUnwindSafe(|| inspector.inspect(frame)))
        .map_err(|_| NoDecision::InspectionFailed("it panicked; this is a bug, report it with the log".into()))?
        .map_err(|e| NoDecision::InspectionFailed(e.to_string()))
}

/// The output thread: applies the schedule to the lines until the last part is served, then releases them.
///
/// A line that cannot be set is tried again and again, at the end for a second, and the station is not ready until it
/// could be.
fn serve_outputs(shared: &Shared, mut outputs: Box<dyn LineOutputs>, clock: &dyn Clock) {
    // Unknown at first, so that both are set once whatever they were.
    let mut levels = [(Role::Reject, None), (Role::Ready, None)];
    let mut failed = false;
    let mut releases = 0;
    loop {
        let mut output = lock(&shared.output);
        let now = clock.now();
        let late = output.schedule.next_event().map_or(Duration::ZERO, |event| now.since(event));
        let reject = output.schedule.advance(now);
        let wanted = [reject, output.ready && !output.closing && !failed];
        let done = output.closing && output.schedule.is_idle();
        if levels.iter().zip(wanted).all(|((_, level), wanted)| *level == Some(wanted)) {
            if done {
                return;
            }
            let wait = output.schedule.next_event().map_or(IDLE_WAIT, |next| next.since(clock.now()).min(IDLE_WAIT));
            drop(shared.output_changed.wait_timeout(output, wait).expect("no thread of the station panics"));
            continue;
        }
        // Neither a slow line nor a slow log may hold up a trigger or a verdict.
        drop(output);
        if late > LATE {
            log::warn!("the lines were served {} ms late; this machine is overloaded", late.as_millis());
        }
        let mut failure = None;
        for ((role, level), wanted) in levels.iter_mut().zip(wanted) {
            if *level != Some(wanted) {
                let set = catch_unwind(AssertUnwindSafe(|| outputs.set(*role, wanted, clock.now())));
                match set.unwrap_or_else(|_| Err("its driver panicked".into())) {
                    Ok(()) => *level = Some(wanted),
                    Err(why) => {
                        *level = None;
                        failure = Some(format!("the {role} line could not be set: {why}"));
                    }
                }
            }
        }
        match &failure {
            Some(why) if !failed => {
                log::error!("FAULT {why}; a part may have passed, the line is not ready, trying again")
            }
            None if failed => log::info!("the lines can be set again"),
            _ => {}
        }
        failed = failure.is_some();
        if failed {
            if done {
                releases += 1;
                if releases > RELEASE_TRIES {
                    log::error!("FAULT the lines could not be released at the end");
                    return;
                }
            }
            clock.sleep_until(clock.now() + RETRY_LINE);
        }
    }
}
