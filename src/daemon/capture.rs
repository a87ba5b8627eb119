//! The capture thread: makes parts of frames, and outlives a lost camera.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::Duration;

use super::presence::PresenceGate;
use super::{Job, Shared};
use crate::clock::{Clock, Timestamp};
use crate::config::TriggerSettings;
use crate::frame::Frame;
use crate::part::{NoDecision, Part, TriggerId};
use crate::source::{FrameSource, SourceError};

/// The pause before the device is opened again: doubled from the first to the last.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// How often a pause looks whether it is time to stop.
const NAP: Duration = Duration::from_millis(50);

pub(super) struct Capture<'a> {
    source: Box<dyn FrameSource>,
    timeout: Duration,
    trigger: TriggerSettings,
    presence: Option<PresenceGate>,
    shared: &'a Shared,
    clock: Arc<dyn Clock>,
    parts: u64,
    lost: Option<Lost>,
}

/// Since when the source is lost, for the log, and when to try again.
struct Lost {
    since: Timestamp,
    retry: Timestamp,
    pause: Duration,
    /// Whether the device must be opened again; a silent one may also speak up by itself.
    reopen: bool,
}

impl<'a> Capture<'a> {
    pub fn new(
        source: Box<dyn FrameSource>,
        timeout: Duration,
        trigger: TriggerSettings,
        presence: Option<PresenceGate>,
        shared: &'a Shared,
        clock: Arc<dyn Clock>,
    ) -> Capture<'a> {
        Capture { source, timeout, trigger, presence, shared, clock, parts: 0, lost: None }
    }

    /// Takes parts until the source is exhausted, the line is told to stop, or the inspector is gone.
    pub fn run(mut self, idle: &Receiver<()>, jobs: &SyncSender<Job>) {
        let mut tick = self.clock.now();
        let mut inspector_is_idle = false;
        while !self.shared.stopping() {
            self.sleep_until(tick);
            if !inspector_is_idle {
                let waited = match self.trigger {
                    TriggerSettings::EveryFrame { .. } => idle.recv().map_err(|_| TryRecvError::Disconnected),
                    TriggerSettings::FreeRunning { .. } => idle.try_recv(),
                };
                if waited == Err(TryRecvError::Disconnected) {
                    return;
                }
                inspector_is_idle = waited.is_ok();
            }
            if inspector_is_idle {
                match self.look(self.clock.now()) {
                    Look::Part(job) => {
                        self.shared.arm(job.part);
                        if jobs.send(job).is_err() {
                            return;
                        }
                        inspector_is_idle = false;
                    }
                    Look::Nothing => {}
                    Look::End => return,
                }
            } else {
                self.shared.skipped.fetch_add(1, Ordering::Relaxed);
            }
            tick = next_tick(tick, self.interval(), self.clock.now());
        }
    }

    fn interval(&self) -> Duration {
        let (TriggerSettings::EveryFrame { interval } | TriggerSettings::FreeRunning { interval }) = self.trigger;
        interval
    }

    /// Asks the source once.
    fn look(&mut self, now: Timestamp) -> Look {
        if let Some(lost) = &self.lost
            && lost.reopen
        {
            if now < lost.retry {
                let retry = lost.retry;
                return self.without_frame(now, retry, "the source is lost".to_owned());
            }
            if let Err(error) = self.source.reopen() {
                return self.lose(now, &error);
            }
        }
        // A silent source must not hold up the ticks, each of which is a part that nobody sees.
        let timeout = match &self.lost {
            Some(_) if !self.interval().is_zero() => self.timeout.min(self.interval()),
            _ => self.timeout,
        };
        match self.source.grab(now, timeout) {
            Ok(frame) => {
                self.found(now);
                self.frame(frame)
            }
            Err(SourceError::Exhausted) => Look::End,
            Err(SourceError::BadFrame(why)) => {
                self.found(now);
                self.part(now, Err(NoDecision::BadFrame(why)))
            }
            Err(error @ (SourceError::Timeout(_) | SourceError::Disconnected(_))) => self.lose(now, &error),
        }
    }

    fn frame(&mut self, frame: Frame) -> Look {
        match self.presence.as_mut().map(|gate| gate.sees_part(&frame)) {
            Some(Ok(false)) => {
                self.shared.empty.fetch_add(1, Ordering::Relaxed);
                Look::Nothing
            }
            // A frame that the gate cannot look at is a part: only an empty belt may pass unseen.
            Some(Err(error)) => self.part(frame.captured, Err(NoDecision::BadFrame(error.to_string()))),
            Some(Ok(true)) | None => self.part(frame.captured, Ok(frame)),
        }
    }

    /// A tick without a frame is a part that nobody saw; where only frames make parts, it is none, and the thread rests
    /// until `retry`.
    fn without_frame(&mut self, now: Timestamp, retry: Timestamp, why: String) -> Look {
        match self.trigger {
            TriggerSettings::FreeRunning { .. } => self.part(now, Err(NoDecision::NoFrame(why))),
            TriggerSettings::EveryFrame { .. } => {
                self.sleep_until(retry);
                Look::Nothing
            }
        }
    }

    fn part(&mut self, triggered: Timestamp, frame: Result<Frame, NoDecision>) -> Look {
        self.parts += 1;
        Look::Part(Job { part: Part { id: TriggerId(self.parts), triggered }, frame })
    }

    /// Notes that no frame came. A source that is silent twice in a row is opened again too.
    fn lose(&mut self, now: Timestamp, error: &SourceError) -> Look {
        let again = self.lost.take();
        let pause = again.as_ref().map_or(FIRST_RETRY, |lost| (2 * lost.pause).min(LAST_RETRY));
        match &again {
            None => log::error!("FAULT no frames: {error}; the line is not ready, trying again"),
            Some(_) => log::warn!("still no frames: {error}; next try in {:.1} s", pause.as_secs_f32()),
        }
        let since = again.as_ref().map_or(now, |lost| lost.since);
        let reopen = again.is_some() || matches!(error, SourceError::Disconnected(_));
        let retry = self.clock.now() + pause;
        self.lost = Some(Lost { since, retry, pause, reopen });
        self.shared.report(|health| health.source_lost = true);
        self.without_frame(now, retry, error.to_string())
    }

    fn found(&mut self, now: Timestamp) {
        if let Some(lost) = self.lost.take() {
            let gone = now.since(lost.since).as_secs_f32();
            log::info!("frames are back after {gone:.1} s: {}", self.source.describe());
            self.shared.report(|health| health.source_lost = false);
        }
    }

    /// Waits for `moment`, or until the line is told to stop.
    fn sleep_until(&self, moment: Timestamp) {
        while !self.shared.stopping() {
            let now = self.clock.now();
            if now >= moment {
                return;
            }
            self.clock.sleep_until(moment.min(now + NAP));
        }
    }
}

/// What asking the source gave.
enum Look {
    Part(Job),
    /// No part: an empty belt, or a source that is lost.
    Nothing,
    /// No part will come any more.
    End,
}

/// The next moment on the beat of `interval` that is not past; the next one whatever happens, if it is zero.
fn next_tick(tick: Timestamp, interval: Duration, now: Timestamp) -> Timestamp {
    if interval.is_zero() {
        return now;
    }
    let behind = now.since(tick).as_nanos() / interval.as_nanos();
    Timestamp(tick.0 + (interval.as_nanos() * (behind + 1)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_tick_keeps_the_beat() {
        let interval = Duration::from_nanos(100);
        for (now, next) in [(0, 100), (99, 100), (100, 200), (250, 300)] {
            assert_eq!(next_tick(Timestamp(0), interval, Timestamp(now)), Timestamp(next), "at {now}");
        }
        assert_eq!(next_tick(Timestamp(0), Duration::ZERO, Timestamp(7)), Timestamp(7));
    }
}
