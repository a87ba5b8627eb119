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
    pub source: Box<dyn FrameSource>,
    pub timeout: Duration,
    pub trigger: TriggerSettings,
    pub presence: Option<PresenceGate>,
    pub shared: &'a Shared,
    pub clock: Arc<dyn Clock>,
    /// How many parts were armed.
    pub parts: u64,
    pub lost: Option<Lost>,
}

/// Since when the source is lost, for the log, and when to try again.
pub(super) struct Lost {
    since: Timestamp,
    retry: Timestamp,
    pause: Duration,
    /// Whether the device must be opened again; a silent one may also speak up by itself.
    reopen: bool,
}

impl Capture<'_> {
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
                    Look::Parts(jobs) => jobs.into_iter().try_for_each(|job| inspector.give(job))?,
                    Look::End => return Ok(()),
                }
            }
            let (next, missed) = next_tick(tick, self.interval(), self.clock.now());
            self.skip(missed + u64::from(!looking));
            tick = next;
        }
    }

    /// Counts ticks of the free-running trigger at which nobody looked, and nothing was wrong.
    fn skip(&self, ticks: u64) {
        if let TriggerSettings::FreeRunning { .. } = self.trigger {
            self.shared.skipped.fetch_add(ticks, Ordering::Relaxed);
        }
    }

    fn interval(&self) -> Duration {
        let (TriggerSettings::EveryFrame { interval } | TriggerSettings::FreeRunning { interval }) = self.trigger;
        interval
    }

    /// Asks the source for one frame.
    ///
    /// A free-running tick is armed before, and so is each further one that passes meanwhile, so that whatever keeps
    /// the frame away, their parts are rejected on time. Once it comes, the further ones were merely skipped.
    fn look(&mut self, now: Timestamp) -> Look {
        let mut armed = Vec::new();
        if let TriggerSettings::FreeRunning { .. } = self.trigger {
            armed.push(self.arm(now));
        }
        if let Some(lost) = &self.lost
            && lost.reopen
        {
            if now < lost.retry {
                let retry = lost.retry;
                return self.without_frame(armed, retry, "the source is lost");
            }
            if let Err(error) = self.source.reopen() {
                return self.lose(armed, &error);
            }
        }
        match self.grab(now, &mut armed) {
            Ok(frame) => {
                self.found();
                self.frame(armed, frame)
            }
            Err(SourceError::Exhausted) => {
                // What comes after the last frame is no part.
                for part in armed {
                    self.shared.cancel(part);
                }
                Look::End
            }
            Err(SourceError::BadFrame(why)) => {
                self.found();
                let captured = self.clock.now();
                self.judged(armed, captured, Err(NoDecision::BadFrame(why)))
            }
            Err(error) => self.lose(armed, &error),
        }
    }

    /// The first frame captured at or after `now`; arms the ticks that pass while it is waited for.
    fn grab(&mut self, now: Timestamp, armed: &mut Vec<Part>) -> Result<Frame, SourceError> {
        let deadline = now + self.timeout;
        loop {
            let next = armed.last().map(|part| part.triggered + self.interval());
            let until = next.map_or(deadline, |next| next.min(deadline));
            match self.source.grab(now, until.since(self.clock.now())) {
                Err(SourceError::Timeout(why)) => match next {
                    Some(next) if next < deadline && !self.shared.stopping() => armed.push(self.arm(next)),
                    _ => return Err(SourceError::Timeout(why)),
                },
                result => return result,
            }
        }
    }

    fn frame(&mut self, armed: Vec<Part>, frame: Frame) -> Look {
        match self.presence.as_mut().map(|gate| gate.sees_part(&frame)) {
            Some(Ok(false)) => {
                self.shared.empty.fetch_add(1, Ordering::Relaxed);
                let mut armed = armed.into_iter();
                if let Some(own) = armed.next() {
                    self.shared.cancel(own);
                }
                Look::Parts(self.unseen(armed.collect()))
            }
            // A frame that the gate cannot look at is a part: only an empty belt may pass unseen.
            Some(Err(error)) => self.judged(armed, frame.captured, Err(NoDecision::BadFrame(error.to_string()))),
            Some(Ok(true)) | None => self.judged(armed, frame.captured, Ok(frame)),
        }
    }

    /// The frame belongs to the first tick, or is a part of its own where frames make parts.
    fn judged(&mut self, mut armed: Vec<Part>, captured: Timestamp, frame: Result<Frame, NoDecision>) -> Look {
        let further = armed.split_off(armed.len().min(1));
        let part = armed.pop().unwrap_or_else(|| self.arm(captured));
        let unseen = self.unseen(further);
        Look::Parts(std::iter::once(Job { part, frame }).chain(unseen).collect())
    }

    /// Takes back ticks of a source that works. Those whose time has come already are parts that were rejected unseen.
    fn unseen(&mut self, armed: Vec<Part>) -> Vec<Job> {
        let (taken_back, served): (Vec<Part>, Vec<Part>) =
            armed.into_iter().partition(|part| self.shared.cancel(*part));
        self.skip(taken_back.len() as u64);
        let late = |part| Job { part, frame: Err(NoDecision::NoFrame("it came after the part was due".into())) };
        served.into_iter().map(late).collect()
    }

    /// A tick without a frame is a part that nobody saw; where only frames make parts, it is none, and the thread rests
    /// until `retry`.
    fn without_frame(&mut self, armed: Vec<Part>, retry: Timestamp, why: &str) -> Look {
        if armed.is_empty() {
            self.sleep_until(retry);
        }
        let unseen = |part| Job { part, frame: Err(NoDecision::NoFrame(why.to_owned())) };
        Look::Parts(armed.into_iter().map(unseen).collect())
    }

    fn arm(&mut self, triggered: Timestamp) -> Part {
        self.parts += 1;
        let part = Part { id: TriggerId(self.parts), triggered };
        self.shared.arm(part);
        part
    }

    /// Notes that no frame came. A source that is silent twice in a row is opened again too.
    fn lose(&mut self, armed: Vec<Part>, error: &SourceError) -> Look {
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
        self.without_frame(armed, retry, &error.to_string())
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
    /// Any number of parts; none for an empty belt, or for a lost source whose frames make the parts.
    Parts(Vec<Job>),
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
