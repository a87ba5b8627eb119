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
        let _gone = self.take_parts(&mut ToInspector { idle, jobs, is_idle: false });
    }

    fn take_parts(&mut self, inspector: &mut ToInspector) -> Result<(), Gone> {
        let mut tick = self.clock.now();
        loop {
            self.sleep_until(tick);
            if self.shared.stopping() {
                return Ok(());
            }
            let looking = match self.trigger {
                TriggerSettings::EveryFrame { .. } => inspector.wait_until_idle().map(|()| true)?,
                TriggerSettings::FreeRunning { .. } => inspector.is_idle()?,
            };
            if looking {
                match self.look(self.clock.now()) {
                    Look::Part(job) => inspector.give(job)?,
                    Look::Nothing => {}
                    Look::End => return Ok(()),
                }
            }
            let (next, missed) = next_tick(tick, self.interval(), self.clock.now());
            if let TriggerSettings::FreeRunning { interval } = self.trigger {
                if self.lost.is_some() {
                    // The source kept silent over these ticks, and their parts went by unseen.
                    for late in 1..=missed {
                        let part = self.arm(tick + interval * late as u32);
                        inspector
                            .give(Job { part, frame: Err(NoDecision::NoFrame("the source was silent".into())) })?;
                    }
                } else {
                    let skipped = missed + u64::from(!looking);
                    self.shared.skipped.fetch_add(skipped, Ordering::Relaxed);
                }
            }
            tick = next;
        }
    }

    fn interval(&self) -> Duration {
        let (TriggerSettings::EveryFrame { interval } | TriggerSettings::FreeRunning { interval }) = self.trigger;
        interval
    }

    /// Asks the source once. A free-running tick is armed before: whatever keeps the frame away, its part is rejected.
    fn look(&mut self, now: Timestamp) -> Look {
        let armed = matches!(self.trigger, TriggerSettings::FreeRunning { .. }).then(|| self.arm(now));
        if let Some(lost) = &self.lost
            && lost.reopen
        {
            if now < lost.retry {
                let retry = lost.retry;
                return self.without_frame(armed, retry, "the source is lost".to_owned());
            }
            if let Err(error) = self.source.reopen() {
                return self.lose(armed, &error);
            }
        }
        match self.source.grab(now, self.timeout) {
            Ok(frame) => {
                self.found();
                self.frame(armed, frame)
            }
            Err(SourceError::Exhausted) => {
                self.cancel(armed);
                Look::End
            }
            Err(SourceError::BadFrame(why)) => {
                self.found();
                let part = armed.unwrap_or_else(|| self.arm(now));
                Look::Part(Job { part, frame: Err(NoDecision::BadFrame(why)) })
            }
            Err(error) => self.lose(armed, &error),
        }
    }

    fn frame(&mut self, armed: Option<Part>, frame: Frame) -> Look {
        let seen = self.presence.as_mut().map(|gate| gate.sees_part(&frame));
        if let Some(Ok(false)) = seen {
            self.shared.empty.fetch_add(1, Ordering::Relaxed);
            self.cancel(armed);
            return Look::Nothing;
        }
        let part = armed.unwrap_or_else(|| self.arm(frame.captured));
        // A frame that the gate cannot look at is a part: only an empty belt may pass unseen.
        let frame = match seen {
            Some(Err(error)) => Err(NoDecision::BadFrame(error.to_string())),
            _ => Ok(frame),
        };
        Look::Part(Job { part, frame })
    }

    /// A tick without a frame is a part that nobody saw; where only frames make parts, it is none, and the thread rests
    /// until `retry`.
    fn without_frame(&mut self, armed: Option<Part>, retry: Timestamp, why: String) -> Look {
        match armed {
            Some(part) => Look::Part(Job { part, frame: Err(NoDecision::NoFrame(why)) }),
            None => {
                self.sleep_until(retry);
                Look::Nothing
            }
        }
    }

    fn arm(&mut self, triggered: Timestamp) -> Part {
        self.parts += 1;
        let part = Part { id: TriggerId(self.parts), triggered };
        self.shared.arm(part);
        part
    }

    /// Takes back a tick at which there was no part; its number goes to the next one.
    fn cancel(&mut self, armed: Option<Part>) {
        if let Some(part) = armed {
            self.shared.cancel(part);
            self.parts -= 1;
        }
    }

    /// Notes that no frame came. A source that is silent twice in a row is opened again too.
    fn lose(&mut self, armed: Option<Part>, error: &SourceError) -> Look {
        let now = self.clock.now();
        let again = self.lost.take();
        let pause = again.as_ref().map_or(FIRST_RETRY, |lost| (2 * lost.pause).min(LAST_RETRY));
        match &again {
            None => log::error!("FAULT no frames: {error}; the line is not ready, trying again"),
            Some(_) => log::warn!("still no frames: {error}; next try in {:.1} s", pause.as_secs_f32()),
        }
        let since = again.as_ref().map_or(now, |lost| lost.since);
        let reopen = again.is_some() || !matches!(error, SourceError::Timeout(_));
        let retry = now + pause;
        self.lost = Some(Lost { since, retry, pause, reopen });
        self.shared.report(|health| health.source_lost = true);
        self.without_frame(armed, retry, error.to_string())
    }

    fn found(&mut self) {
        if let Some(lost) = self.lost.take() {
            let gone = self.clock.now().since(lost.since).as_secs_f32();
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

/// The way to the inspector, who takes one part at a time.
struct ToInspector<'a> {
    idle: &'a Receiver<()>,
    jobs: &'a SyncSender<Job>,
    /// Whether the inspector said that it is idle and was given nothing since.
    is_idle: bool,
}

/// The inspector is gone, and so is the run.
struct Gone;

impl ToInspector<'_> {
    fn is_idle(&mut self) -> Result<bool, Gone> {
        if !self.is_idle {
            self.is_idle = match self.idle.try_recv() {
                Ok(()) => true,
                Err(TryRecvError::Empty) => false,
                Err(TryRecvError::Disconnected) => return Err(Gone),
            };
        }
        Ok(self.is_idle)
    }

    fn wait_until_idle(&mut self) -> Result<(), Gone> {
        if !self.is_idle {
            self.idle.recv().map_err(|_| Gone)?;
            self.is_idle = true;
        }
        Ok(())
    }

    /// Hands over a part, when the inspector is idle.
    fn give(&mut self, job: Job) -> Result<(), Gone> {
        self.wait_until_idle()?;
        self.is_idle = false;
        self.jobs.send(job).map_err(|_| Gone)
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

/// The next moment on the beat of `interval` that is not past, and how many beats were missed before it; the moment
/// itself if there is no beat.
fn next_tick(tick: Timestamp, interval: Duration, now: Timestamp) -> (Timestamp, u64) {
    if interval.is_zero() {
        return (now, 0);
    }
    let missed = (now.since(tick).as_nanos() / interval.as_nanos()) as u64;
    (tick + interval + Duration::from_nanos(missed * interval.as_nanos() as u64), missed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_tick_keeps_the_beat_and_counts_what_it_missed() {
        let interval = Duration::from_nanos(100);
        for (now, next, missed) in [(0, 100, 0), (99, 100, 0), (100, 200, 1), (250, 300, 2)] {
            assert_eq!(next_tick(Timestamp(0), interval, Timestamp(now)), (Timestamp(next), missed), "at {now}");
        }
        assert_eq!(next_tick(Timestamp(0), Duration::ZERO, Timestamp(7)), (Timestamp(7), 0));
    }
}
