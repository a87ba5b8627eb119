//! Parts that are triggered from outside: each is judged by the first frame after its trigger, if that comes in time.

use std::time::Duration;

use super::{Capture, Job, MOST_DAMAGED};
use crate::clock::Timestamp;
use crate::daemon::post::{Closes, Gone, Received};
use crate::daemon::progress::NAP;
use crate::part::{NoDecision, Part};
use crate::source::{SourceError, Watched};

/// Any frame will do.
const EVER: Timestamp = Timestamp(0);

impl Capture<'_> {
    /// Takes the parts that are triggered, and watches the source in between.
    pub(super) fn take_triggered(&mut self, capture_delay: Duration, frame_within: Duration) -> Result<(), Gone> {
        let shared = self.shared;
        let _closes = Closes(&shared.triggers);
        // When the source is watched next; the time until then is a wait for triggers.
        let mut watch = self.clock.now();
        while !shared.stopping() {
            match shared.triggers.receive(watch.min(self.nap())) {
                Received::Letter(part) => match self.look_for(part, capture_delay, frame_within) {
                    Ok(job) => self.give(job)?,
                    Err(job) => {
                        self.give(job)?;
                        break;
                    }
                },
                Received::Nothing if self.clock.now() >= watch => watch = self.watch(),
                Received::Nothing => {}
                Received::Closed => break,
            }
        }
        shared.triggers.close();
        while let Received::Letter(part) = shared.triggers.receive(self.clock.now()) {
            self.give(unseen(part, NoDecision::NoFrame("the line was told to stop".into())))?;
        }
        Ok(())
    }

    /// Finds the frame of a part. `Err` if the source will have none any more.
    fn look_for(&mut self, part: Part, capture_delay: Duration, frame_within: Duration) -> Result<Job, Job> {
        let not_before = part.triggered + capture_delay;
        let deadline = not_before + frame_within;
        if self.lost.as_ref().is_some_and(|lost| lost.reopen) {
            return Ok(unseen(part, NoDecision::NoFrame("the source is lost".into())));
        }
        let started = self.clock.now();
        let too_late = |captured: Timestamp| {
            let after = captured.since(part.triggered).as_millis();
            let why = format!("its first frame came {after} ms after the trigger, later than frame_within_ms allows");
            if started > deadline {
                NoDecision::Missed(format!("{why}, for the parts before it took so long"))
            } else {
                NoDecision::NoFrame(why)
            }
        };
        let frame = match self.grab_by(not_before, deadline) {
            Ok(frame) if frame.captured < not_before => {
                Err(NoDecision::NoFrame("the source gave one from before the trigger; this is a bug".into()))
            }
            Ok(frame) if frame.captured <= deadline => {
                self.found_whole();
                self.shared.share_frame(&frame);
                Ok(frame)
            }
            Ok(frame) => Err(too_late(frame.captured)),
            Err(SourceError::Exhausted) => {
                return Err(unseen(part, NoDecision::NoFrame(SourceError::Exhausted.to_string())));
            }
            Err(SourceError::BadFrame(why)) => {
                self.damaged(&why);
                return Ok(unseen(part, NoDecision::BadFrame(why)));
            }
            Err(SourceError::Timeout(_)) if started > deadline => Err(too_late(self.clock.now())),
            Err(SourceError::Timeout(why)) => {
                self.lose_if_silent(&SourceError::Timeout(why.clone()));
                return Ok(unseen(part, NoDecision::NoFrame(why)));
            }
            Err(error) => {
                self.note_loss(&error);
                return Ok(unseen(part, NoDecision::NoFrame(error.to_string())));
            }
        };
        self.found();
        Ok(Job { part, frame })
    }

    /// Keeps the source fresh between parts, and notices its loss. Returns when to watch again.
    fn watch(&mut self) -> Timestamp {
        if let Some(lost) = &self.lost
            && lost.reopen
        {
            if self.clock.now() < lost.retry {
                return lost.retry;
            }
            if let Err(error) = self.reopen() {
                return self.note_loss(&error);
            }
        }
        match self.source.watch(NAP) {
            // No part may come to show whether they are whole again, since the line is not ready.
            Ok(Watched::Frame) if self.damaged_in_a_row >= MOST_DAMAGED => match self.source.grab(EVER, Duration::ZERO)
            {
                Ok(_) => self.found_whole(),
                Err(SourceError::BadFrame(_) | SourceError::Timeout(_)) => self.seen = self.clock.now(),
                Err(error) => {
                    self.note_loss(&error);
                }
            },
            Ok(Watched::Frame) => self.found(),
            Ok(Watched::NotNeeded) => {
                self.found();
                return self.clock.now() + NAP;
            }
            Ok(Watched::Silence) => {
                let silent = self.clock.now().since(self.seen).as_millis();
                self.lose_if_silent(&SourceError::Timeout(format!("none came for {silent} ms; check the cable")));
            }
            Err(error) => {
                self.note_loss(&error);
            }
        }
        self.clock.now()
    }

    fn lose_if_silent(&mut self, error: &SourceError) {
        if self.clock.now().since(self.seen) >= self.timeout {
            self.note_loss(error);
            self.seen = self.clock.now();
        }
    }
}

fn unseen(part: Part, why: NoDecision) -> Job {
    Job { part, frame: Err(why) }
}
