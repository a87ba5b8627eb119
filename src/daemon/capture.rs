//! The capture thread: makes parts of frames, or finds the frames of parts, and outlives a lost camera.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::post::{Closes, Gone};
use super::presence::PresenceGate;
use super::progress::{GRACE, NAP, Stage};
use super::shared::{Job, Shared};
use crate::clock::{Clock, Timestamp};
use crate::config::TriggerSettings;
use crate::frame::Frame;
use crate::part::{NoDecision, Part};
use crate::source::{FrameSource, SourceError};

mod triggered;

/// The pause before the device is opened again: doubled from the first to the last.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// So many damaged frames in a row are a lost camera.
const MOST_DAMAGED: u32 = 3;
/// A driver that takes longer to open its device is stalled.
const REOPEN_LIMIT: Duration = Duration::from_secs(10);

pub(super) struct Capture<'a> {
    pub source: Box<dyn FrameSource>,
    pub timeout: Duration,
    pub trigger: TriggerSettings,
    pub presence: Option<PresenceGate>,
    pub shared: &'a Shared,
    pub clock: Arc<dyn Clock>,
    pub lost: Option<Lost>,
    /// When a frame was last seen to come.
    pub seen: Timestamp,
    pub damaged_in_a_row: u32,
    /// How long a frame may take to be read out and decoded.
    pub frame_limit: Duration,
}

/// What the armed ticks are, once a frame came.
struct Ticks {
    /// Before the one of the frame: nobody saw their parts.
    unseen: Vec<Job>,
    /// That of the frame; none where frames make parts.
    own: Option<Part>,
    /// After it.
    skipped: Vec<Part>,
}

/// Since when the source is lost, for the log, and when to try again.
pub(super) struct Lost {
    since: Timestamp,
    retry: Timestamp,
    pause: Duration,
    /// Whether the device must be opened again; a silent one may also speak up by itself.
    reopen: bool,
}

impl Lost {
    /// A source that is not open when the line starts is lost already, and tried at once.
    pub fn at_start(source: &dyn FrameSource, now: Timestamp) -> Option<Lost> {
        (!source.is_open()).then_some(Lost { since: now, retry: now, pause: FIRST_RETRY, reopen: true })
    }
}

impl Capture<'_> {
    /// Takes parts until the source is exhausted, the line is told to stop, or the inspector is gone.
    pub fn run(mut self) {
        let shared = self.shared;
        let _closes = Closes(&shared.jobs);
        let _gone = match self.trigger {
            TriggerSettings::External { capture_delay, frame_within } => {
                self.take_triggered(capture_delay, frame_within)
            }
            TriggerSettings::EveryFrame { interval } => self.take_parts(interval, true),
            TriggerSettings::FreeRunning { interval } => self.take_parts(interval, false),
        };
        shared.progress.end(Stage::Capture);
    }

    fn take_parts(&mut self, interval: Duration, every_frame: bool) -> Result<(), Gone> {
        let mut tick = self.clock.now();
        loop {
            self.sleep_until(tick);
            if self.shared.stopping() {
                return Ok(());
            }
            let looking = if every_frame {
                self.wait_until_awaited()?;
                true
            } else {
                self.shared.jobs.is_awaited_now()?
            };
            if looking {
                match self.look(self.clock.now()) {
                    Look::Parts(jobs) => jobs.into_iter().try_for_each(|job| self.give(job))?,
                    Look::End => return Ok(()),
                }
            }
            let (next, missed) = next_tick(tick, interval, self.clock.now());
            self.skip(missed + u64::from(!looking));
            tick = next;
        }
    }

    /// Hands over a part, when the inspector waits for one.
    fn give(&mut self, job: Job) -> Result<(), Gone> {
        self.wait_until_awaited()?;
        self.shared.jobs.send(|_| Some(job))
    }

    fn wait_until_awaited(&self) -> Result<(), Gone> {
        while !self.shared.jobs.is_awaited(self.nap())? {}
        Ok(())
    }

    /// Until when the thread may wait before it is heard of again, which it is now.
    fn nap(&self) -> Timestamp {
        let now = self.clock.now();
        self.shared.progress.nap(Stage::Capture, now);
        now + NAP
    }

    /// Counts ticks of the free-running trigger at which nobody looked, and nothing was wrong.
    fn skip(&self, ticks: u64) {
        if let TriggerSettings::FreeRunning { .. } = self.trigger {
            self.shared.skipped.fetch_add(ticks, Ordering::Relaxed);
        }
    }

    /// Asks the source for one frame.
    ///
    /// A free-running tick is armed before, and so is each further one that passes meanwhile, so that whatever keeps
    /// the frame away, their parts are rejected on time. Once it comes, it is that of the last tick before it; nobody saw
    /// the parts of earlier ones, and later ones were merely skipped.
    fn look(&mut self, now: Timestamp) -> Look {
        let mut armed = Vec::new();
        if let TriggerSettings::FreeRunning { .. } = self.trigger {
            armed.push(self.shared.arm(now));
        }
        if let Some(lost) = &self.lost
            && lost.reopen
        {
            if now < lost.retry {
                let retry = lost.retry;
                return self.without_frame(armed, retry, "the source is lost");
            }
            if let Err(error) = self.reopen() {
                return self.lose(armed, &error);
            }
        }
        match self.grab(now, &mut armed) {
            Ok(frame) => {
                self.found_whole();
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
                self.damaged(&why);
                let captured = self.clock.now();
                self.judged(armed, captured, Err(NoDecision::BadFrame(why)))
            }
            Err(error) => self.lose(armed, &error),
        }
    }

    fn reopen(&mut self) -> Result<(), SourceError> {
        self.shared.progress.promise(Stage::Capture, self.clock.now() + REOPEN_LIMIT);
        self.source.reopen()?;
        // Open is not yet alive: the first frame shows that.
        if let Some(lost) = &mut self.lost {
            lost.reopen = false;
        }
        self.seen = self.clock.now();
        Ok(())
    }

    /// The first frame captured at or after `now`; arms the ticks that pass while it is waited for.
    fn grab(&mut self, now: Timestamp, armed: &mut Vec<Part>) -> Result<Frame, SourceError> {
        let deadline = now + self.timeout;
        loop {
            let next = armed.last().and_then(|part| Some(part.triggered + self.tick_interval()?));
            let until = next.map_or(deadline, |next| next.min(deadline));
            match self.grab_by(now, until) {
                Err(SourceError::Timeout(why)) => match next {
                    Some(next) if next < deadline && !self.shared.stopping() => armed.push(self.shared.arm(next)),
                    _ => return Err(SourceError::Timeout(why)),
                },
                result => return result,
            }
        }
    }

    fn tick_interval(&self) -> Option<Duration> {
        match self.trigger {
            TriggerSettings::FreeRunning { interval } => Some(interval),
            _ => None,
        }
    }

    /// The first frame captured at or after `not_before`, waiting for it until `until` in naps.
    fn grab_by(&mut self, not_before: Timestamp, until: Timestamp) -> Result<Frame, SourceError> {
        loop {
            let nap = self.nap().min(until);
            self.shared.progress.promise(Stage::Capture, nap + GRACE + self.frame_limit);
            match self.source.grab(not_before, nap.since(self.clock.now())) {
                Err(SourceError::Timeout(why)) if self.clock.now() >= until || self.shared.stopping() => {
                    return Err(SourceError::Timeout(why));
                }
                Err(SourceError::Timeout(_)) => {}
                result => {
                    self.shared.progress.nap(Stage::Capture, self.clock.now());
                    return result;
                }
            }
        }
    }

    fn frame(&mut self, armed: Vec<Part>, frame: Frame) -> Look {
        match self.presence.as_mut().map(|gate| gate.sees_part(&frame)) {
            Some(Ok(false)) => {
                self.shared.empty.fetch_add(1, Ordering::Relaxed);
                let Ticks { unseen, own, skipped } = self.ticks(armed, frame.captured);
                if let Some(own) = own {
                    self.shared.cancel(own);
                }
                Look::Parts(unseen.into_iter().chain(self.take_back(skipped)).collect())
            }
            // A frame that the gate cannot look at is a part: only an empty belt may pass unseen.
            Some(Err(error)) => self.judged(armed, frame.captured, Err(NoDecision::BadFrame(error.to_string()))),
            Some(Ok(true)) | None => {
                self.shared.share_frame(&frame);
                self.judged(armed, frame.captured, Ok(frame))
            }
        }
    }

    /// The frame belongs to its tick, or is a part of its own where frames make parts.
    fn judged(&mut self, armed: Vec<Part>, captured: Timestamp, frame: Result<Frame, NoDecision>) -> Look {
        let Ticks { unseen, own, skipped } = self.ticks(armed, captured);
        let part = own.unwrap_or_else(|| self.shared.arm(captured));
        let late = self.take_back(skipped);
        Look::Parts(unseen.into_iter().chain([Job { part, frame }]).chain(late).collect())
    }

    /// Sorts armed ticks by a frame that came at last.
    fn ticks(&self, mut armed: Vec<Part>, captured: Timestamp) -> Ticks {
        let skipped = armed.split_off(armed.partition_point(|part| part.triggered <= captured).max(1).min(armed.len()));
        let own = armed.pop();
        let silent = || Err(NoDecision::NoFrame("none came before the next tick".into()));
        Ticks { unseen: armed.into_iter().map(|part| Job { part, frame: silent() }).collect(), own, skipped }
    }

    /// Takes back ticks of a source that works. Those whose time has come already are parts that were rejected unseen.
    fn take_back(&mut self, armed: Vec<Part>) -> Vec<Job> {
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

    /// Notes that no frame came. A source that is silent twice in a row is opened again too.
    fn lose(&mut self, armed: Vec<Part>, error: &SourceError) -> Look {
        let retry = self.note_loss(error);
        self.without_frame(armed, retry, &error.to_string())
    }

    /// Returns when to try again.
    fn note_loss(&mut self, error: &SourceError) -> Timestamp {
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
        retry
    }

    /// A damaged frame is a loss where one follows another: such a camera shows nothing any more.
    fn damaged(&mut self, why: &str) {
        self.damaged_in_a_row += 1;
        if self.damaged_in_a_row < MOST_DAMAGED {
            // It is alive, but a loss ends with a whole one.
            self.seen = self.clock.now();
        } else {
            self.note_loss(&SourceError::BadFrame(format!("{} damaged ones in a row, {why}", self.damaged_in_a_row)));
        }
    }

    fn found_whole(&mut self) {
        self.damaged_in_a_row = 0;
        self.found();
    }

    fn found(&mut self) {
        self.seen = self.clock.now();
        if let Some(lost) = self.lost.take() {
            let gone = self.clock.now().since(lost.since).as_secs_f32();
            log::info!("frames are back after {gone:.1} s: {}", self.source.describe());
            self.shared.report(|health| health.source_lost = false);
        }
    }

    /// Waits for `moment`, or until the line is told to stop.
    fn sleep_until(&self, moment: Timestamp) {
        while !self.shared.stopping() {
            let nap = self.nap();
            if self.clock.now() >= moment {
                return;
            }
            self.clock.sleep_until(moment.min(nap));
        }
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
