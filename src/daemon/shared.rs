//! What the threads of a station have in common.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::Judge;
use super::lateness::Lateness;
use super::post::{Gone, Post};
use super::progress::Progress;
use crate::clock::{Bell, Clock, Timestamp};
use crate::config::OnFault;
use crate::frame::Frame;
use crate::line::confirm::Confirmation;
use crate::line::schedule::Schedule;
use crate::part::{NoDecision, Outcome, Part, TriggerId, Verdict};

use super::Summary;

/// So many parts are remembered by their triggers; far more than come within the time for one frame.
const RECENT: usize = 256;
/// So many triggers may wait for their frames; more are missed.
const MOST_WAITING: usize = 64;

pub(super) struct Shared {
    pub clock: Arc<dyn Clock>,
    pub stop: AtomicBool,
    /// The outputs are released, and nobody needs the inputs any more.
    pub finished: AtomicBool,
    pub skipped: AtomicU64,
    pub empty: AtomicU64,
    pub next_judge: Mutex<Option<(Judge, OnFault)>>,
    health: Mutex<Health>,
    pub output: Mutex<Output>,
    /// Rung when the output has changed.
    pub output_changed: Arc<dyn Bell>,
    /// Up to when every edge of the inputs was told; the end of time where there are none.
    told: AtomicU64,
    told_more: Arc<dyn Bell>,
    /// Parts that were triggered from outside and wait for their frames.
    pub triggers: Post<Part>,
    /// From a trigger to its frame; none if parts are not triggered from outside.
    pub capture_delay: Option<Duration>,
    pub jobs: Post<Job>,
    pub progress: Progress,
    /// Those who wait for the next frame of a part.
    wanting_frames: Mutex<Vec<SyncSender<Frame>>>,
    outcomes: Mutex<Option<SyncSender<Outcome>>>,
    pub summary: Mutex<Summary>,
}

/// One part on its way to the inspector.
pub(super) struct Job {
    pub part: Part,
    pub frame: Result<Frame, NoDecision>,
}

/// Why the station may not be ready.
#[derive(Debug, Default)]
pub(super) struct Health {
    pub source_lost: bool,
    pub no_judge: bool,
    /// Until the next reload: parts may have passed, or one had no decision and `on_fault = "stop"`.
    pub stopped: bool,
    pub inputs_lost: bool,
    pub bin_full: bool,
    pub air_low: bool,
    /// A rejected part did not arrive in the bin; until the next reload.
    pub unconfirmed: bool,
    pub on_fault: Option<OnFault>,
}

impl Health {
    fn is_good(&self) -> bool {
        !(self.source_lost
            || self.no_judge
            || self.stopped
            || self.inputs_lost
            || self.bin_full
            || self.air_low
            || self.unconfirmed)
    }
}

pub(super) struct Output {
    pub schedule: Schedule,
    pub confirmation: Option<Confirmation>,
    /// Whether the health of the station allows it.
    pub ready: bool,
    /// Whether the ready line says so: not while a line fails or a stage is stalled either.
    pub shows_ready: bool,
    pub busy: bool,
    /// No part will be armed any more.
    pub closing: bool,
    pub lateness: Lateness,
    /// When the encoder moved last.
    pub last_count: Timestamp,
    last_part: u64,
    /// The last parts that were triggered.
    recent: VecDeque<Part>,
}

impl Shared {
    pub fn new(
        clock: Arc<dyn Clock>,
        schedule: Schedule,
        confirm_within: Option<Duration>,
        capture_delay: Option<Duration>,
        has_inputs: bool,
        outcomes: SyncSender<Outcome>,
    ) -> Shared {
        Shared {
            stop: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            skipped: AtomicU64::new(0),
            empty: AtomicU64::new(0),
            next_judge: Mutex::new(None),
            health: Mutex::new(Health::default()),
            output: Mutex::new(Output {
                schedule,
                confirmation: confirm_within.map(Confirmation::new),
                ready: false,
                shows_ready: false,
                busy: false,
                closing: false,
                lateness: Lateness::default(),
                last_count: Timestamp(0),
                last_part: 0,
                recent: VecDeque::with_capacity(RECENT),
            }),
            output_changed: clock.bell(),
            told: AtomicU64::new(if has_inputs { 0 } else { u64::MAX }),
            told_more: clock.bell(),
            triggers: Post::new(MOST_WAITING, &*clock),
            capture_delay,
            jobs: Post::new(1, &*clock),
            progress: Progress::new(),
            wanting_frames: Mutex::new(Vec::new()),
            outcomes: Mutex::new(Some(outcomes)),
            summary: Mutex::new(Summary::default()),
            clock,
        }
    }

    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Changes the health and, with it, the lines that show it; returns what `change` does.
    pub fn report<R>(&self, change: impl FnOnce(&mut Health) -> R) -> R {
        let mut health = lock(&self.health);
        let result = change(&mut health);
        lock(&self.output).ready = health.is_good();
        drop(health);
        self.output_changed.ring();
        result
    }

    /// Parts may have passed, or are at unknown places: a person must look before the line goes on.
    pub fn stop_until_reload(&self, why: &str) {
        if !self.report(|health| std::mem::replace(&mut health.stopped, true)) {
            log::error!(
                "FAULT {why}; the line is not ready until the next reload (SIGHUP): clear the belt between sensor and \
                 ejector first"
            );
        }
    }

    /// A person has looked, and the station may go on. Returns whether it had been stopped.
    pub fn go_on(&self, no_judge: bool) -> bool {
        let had_stopped = self.report(|health| {
            health.no_judge = no_judge;
            std::mem::take(&mut health.stopped) | std::mem::take(&mut health.unconfirmed)
        });
        if had_stopped {
            let mut output = lock(&self.output);
            output.schedule.bar();
            if let Some(confirmation) = &mut output.confirmation {
                confirmation.clear();
            }
        }
        had_stopped
    }

    /// Takes in a part that has just been triggered: from now on it is rejected unless it is accepted in time.
    pub fn arm(&self, triggered: Timestamp) -> Part {
        let mut output = lock(&self.output);
        output.last_part += 1;
        let part = Part { id: TriggerId(output.last_part), triggered };
        let armed = output.schedule.arm(part);
        if output.recent.len() == RECENT {
            output.recent.pop_front();
        }
        output.recent.push_back(part);
        drop(output);
        if !armed {
            self.stop_until_reload(&format!("part {} cannot be timed, for too many are before the ejector", part.id));
        }
        self.output_changed.ring();
        part
    }

    /// A part is triggered from outside. One that no thread could look at in time is missed, and rejected.
    /// # Errors  `Gone`: no part is taken any more.
    pub fn trigger(&self, at: Timestamp) -> Result<TriggerId, Gone> {
        let mut id = None;
        self.triggers.send(|has_room| {
            let part = self.arm(at);
            id = Some(part.id);
            if !has_room {
                let why = format!("{MOST_WAITING} others wait for their frames");
                self.finish(Outcome {
                    part,
                    verdict: Verdict::NoDecision(NoDecision::Missed(why)),
                    inspection: None,
                    frame: None,
                    decided: self.clock.now(),
                });
            }
            has_room.then_some(part)
        })?;
        Ok(id.expect("a post that is open has made its letter"))
    }

    pub fn cancel(&self, part: Part) -> bool {
        lock(&self.output).schedule.cancel(part)
    }

    pub fn decide(&self, part: Part, verdict: Verdict, now: Timestamp) -> Verdict {
        let verdict = lock(&self.output).schedule.decide(part, verdict, now);
        self.output_changed.ring();
        verdict
    }

    /// Whether the exposure of a frame may have lasted until after the trigger of a later part, and show that one.
    pub fn shows_another(&self, part: Part, exposed_by: Timestamp) -> bool {
        let Some(delay) = self.capture_delay else { return false };
        // By their moments: what one input tells late has a larger number all the same.
        let is_later = |other: &Part| other.triggered > part.triggered && other.triggered + delay <= exposed_by;
        lock(&self.output).recent.iter().any(is_later)
    }

    /// The inputs thread has told every edge up to `moment`.
    pub fn edges_told(&self, moment: Timestamp) {
        self.told.fetch_max(moment.0, Ordering::Release);
        self.told_more.ring();
    }

    /// Waits until every edge up to `moment` is told, and returns whether they are in time: before, nobody knows whether
    /// another part had been triggered by then.
    pub fn await_edges(&self, moment: Timestamp, until: Timestamp) -> bool {
        loop {
            let heard = self.told_more.rung();
            if self.told.load(Ordering::Acquire) >= moment.0 {
                return true;
            }
            if self.clock.now() >= until {
                return false;
            }
            self.told_more.wait(heard, Some(until));
        }
    }

    pub fn set_busy(&self, busy: bool) {
        lock(&self.output).busy = busy;
        self.output_changed.ring();
    }

    /// Counts a part that has ended and passes it on to the observer.
    pub fn finish(&self, outcome: Outcome) {
        let mut summary = lock(&self.summary);
        match &outcome.verdict {
            Verdict::Accept => summary.accepted += 1,
            Verdict::Reject => summary.rejected += 1,
            Verdict::NoDecision(_) => summary.no_decision += 1,
        }
        summary.missed += u64::from(matches!(outcome.verdict, Verdict::NoDecision(NoDecision::Missed(_))));
        let undecided = matches!(outcome.verdict, Verdict::NoDecision(_));
        let sender = lock(&self.outcomes);
        if sender.as_ref().is_some_and(|sender| matches!(sender.try_send(outcome), Err(TrySendError::Full(_)))) {
            summary.unobserved += 1;
        }
        drop((summary, sender));
        // A judge that is being replaced must not stop the line that its successor has just freed.
        if undecided && lock(&self.next_judge).is_none() {
            self.report(|health| health.stopped |= health.on_fault == Some(OnFault::Stop));
        }
    }

    /// The observer is told that no outcome will come any more.
    pub fn end_outcomes(&self) {
        lock(&self.outcomes).take();
    }

    /// The next frame of a part goes to `to` too.
    pub fn want_frame(&self, to: SyncSender<Frame>) {
        lock(&self.wanting_frames).push(to);
    }

    /// Gives a frame to those who want one; who is not there any more, or has one, gets none.
    pub fn share_frame(&self, frame: &Frame) {
        for wanting in lock(&self.wanting_frames).drain(..) {
            let _ = wanting.try_send(frame.clone());
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread of the station panics while it holds a lock")
}
