//! The output thread: applies the schedule, the health and the heartbeat to the lines.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::progress::{NAP, Stage};
use super::shared::{Output, Shared, lock};
use crate::clock::Timestamp;
use crate::line::schedule::{Ejection, Mode};
use crate::line::{LineOutputs, Role, Untrue};

/// The pause before a line that could not be set, at once and once more, is tried again.
const RETRY_LINE: Duration = Duration::from_millis(20);
/// How often it is tried to release the lines at the end: for a second.
const RELEASE_TRIES: u32 = 50;
/// From so much on, a late pulse is worth a line in the log.
const LATE: Duration = Duration::from_millis(20);
/// A pulse-watchdog relay that has had no beat for so long has let go.
const MISSED_BEATS: Duration = Duration::from_millis(200);
/// How often the lines are read back, besides after each move of the reject line.
const VERIFY: Duration = Duration::from_millis(100);
/// At the end a belt that has brought no encoder count for so long is taken to stand still.
const STANDSTILL: Duration = Duration::from_secs(1);
/// And parts that wait for counts are waited for no longer than this.
pub(super) const LONGEST_END: Duration = Duration::from_secs(60);

/// So much later than it is due a pulse may begin and still hit its part.
fn latest(pulse: Duration) -> Duration {
    LATE.max(pulse / 2)
}

/// What a person is told when a part passed that was to be rejected.
const LOST: &str = "a part that was to be rejected was not in time, look for it behind the ejector";

type Levels = [(Role, bool); Role::ALL.len()];

/// What the output thread knows.
pub(super) struct Outputs<'a> {
    shared: &'a Shared,
    lines: Box<dyn LineOutputs>,
    /// None is unknown: as at first, so that all are set once whatever they were.
    levels: [Option<bool>; Role::ALL.len()],
    heart: Heart,
    /// A line could not be set.
    refused: bool,
    /// A line has not the level that it was set to.
    untrue: bool,
    /// The reject line could not be set to this.
    owed: Option<bool>,
    /// When the reject line should have moved, and has not yet.
    due: Option<Timestamp>,
    verify_at: Timestamp,
    /// When the end began.
    closed: Option<Timestamp>,
    stops_with_ready: bool,
    /// Whether all has been well since the belt was last taken to stand with parts on it.
    was_sound: bool,
    /// When it was last looked.
    looked: Timestamp,
}

impl Outputs<'_> {
    /// * `beat` — half of the heartbeat's period
    /// * `stops_with_ready` — whether the belt stops when ready falls
    pub fn new(shared: &Shared, lines: Box<dyn LineOutputs>, beat: Duration, stops_with_ready: bool) -> Outputs<'_> {
        Outputs {
            shared,
            lines,
            levels: [None; Role::ALL.len()],
            heart: Heart { half: beat, level: false, next: None },
            refused: false,
            untrue: false,
            owed: None,
            due: None,
            verify_at: Timestamp(0),
            closed: None,
            stops_with_ready,
            was_sound: false,
            looked: shared.clock.now(),
        }
    }

    /// Serves the lines until the last part is, then releases them.
    ///
    /// A line that cannot be set is tried again and again, at the end for a second, and the station is not ready until it
    /// could be.
    pub fn run(mut self) {
        let _finished = Finished(self.shared);
        let mut releases = 0;
        loop {
            let heard = self.shared.output_changed.rung();
            let now = self.shared.clock.now();
            self.shared.progress.nap(Stage::Output, now);
            let Moment { due, wanted, next, done } = self.look(now);
            // Of several moves that could not be made, the first one tells how late they are.
            self.due = self.due.or(due);
            if self.is_set(&wanted) {
                self.due = None;
                if done {
                    return;
                }
                if now >= self.verify_at && !self.verify(now) {
                    continue;
                }
                self.shared.output_changed.wait(heard, Some(next.min(now + NAP).min(self.verify_at)));
                continue;
            }
            let had_failed = self.has_failed();
            if !self.set(&wanted) {
                if !had_failed {
                    // Ready falls at once.
                    continue;
                }
                if done {
                    releases += 1;
                    if releases > RELEASE_TRIES {
                        log::error!("FAULT the lines could not be released at the end");
                        return;
                    }
                }
                let retry = self.shared.clock.now() + RETRY_LINE;
                self.shared.output_changed.wait(heard, Some(next.min(retry)));
            }
        }
    }

    /// What the lines should be, and until when.
    fn look(&mut self, now: Timestamp) -> Moment {
        let stalled = self.shared.progress.stalled(now).is_some();
        let mut output = lock(&self.shared.output);
        let due = output.schedule.next_event().filter(|due| *due <= now);
        let reject = output.schedule.advance(now);
        let rejected = output.schedule.take_rejected();
        let lost = self.lost_rejects(output.schedule.ejection(), reject, &rejected, now);
        let mut unconfirmed = 0;
        if let Some(confirmation) = &mut output.confirmation {
            rejected.into_iter().for_each(|due| confirmation.expect(due));
            unconfirmed = confirmation.overdue(now);
        }
        let struck = output.schedule.take_struck();
        let is_open = !output.closing && !self.shared.stopping();
        // What is found out here must not show ready for the moment until it is told.
        let is_sound = output.ready && !self.has_failed() && !stalled && !lost;
        let is_timed = !output.schedule.is_counted();
        let strands = self.stops_with_ready && is_timed && is_open && output.schedule.has_parts_at_stake();
        // A heart that missed its beats may have stopped the belt too.
        let paused = now.since(std::mem::replace(&mut self.looked, now)) > MISSED_BEATS;
        let stranded = self.was_sound && (!is_sound || paused) && strands;
        let is_sound = is_sound && !stranded;
        self.was_sound = is_sound || self.was_sound && !stranded;
        if self.stops_with_ready && is_timed && !is_sound {
            output.schedule.close_gate();
        }
        output.shows_ready = is_sound && is_open;
        let wanted = [
            (Role::Reject, reject),
            (Role::Ready, is_sound && is_open),
            (Role::Busy, output.busy && is_open),
            (Role::Fault, !is_sound && is_open),
            (Role::Heartbeat, self.heart.level(now, is_sound && is_open)),
        ];
        let confirm_by = output.confirmation.as_ref().and_then(|confirmation| confirmation.next_event());
        let next = [output.schedule.next_event(), self.heart.next, confirm_by].into_iter().flatten().min();
        if output.closing {
            self.closed.get_or_insert(now);
        }
        let moment = Moment {
            due,
            wanted,
            next: next.unwrap_or(Timestamp(u64::MAX)),
            done: output.closing && output.schedule.is_idle() && !self.belt_moves(&output, now),
        };
        drop(output);
        if lost {
            self.shared.stop_until_reload(LOST);
        }
        if stranded {
            self.shared.stop_until_reload(
                "parts were on their way when ready fell: where the belt has stopped, delay_ms does not tell where they are",
            );
        }
        if unconfirmed > 0 {
            self.unconfirmed(unconfirmed);
        }
        if struck > 0 {
            log::warn!(
                "the pulse for a rejected part lasted until {struck} accepted one was due; shorten pulse_ms, or space the \
                 parts"
            );
        }
        moment
    }

    /// Whether parts passed because the reject line was not moved in time: an ejector that could not be switched on while it
    /// should have been, or is looked after only now that the part is past it; a gate that was open when a part came.
    fn lost_rejects(&mut self, ejection: Ejection, reject: bool, rejected: &[Timestamp], now: Timestamp) -> bool {
        let is_active = self.levels[Role::Reject as usize] == Some(true);
        let passed = |by: Duration| rejected.iter().any(|due| now.since(*due) > by);
        match ejection.mode {
            Mode::Eject => {
                let never = self.owed == Some(true) && !reject;
                if never {
                    self.owed = None;
                }
                never || !is_active && passed(latest(ejection.pulse))
            }
            Mode::Pass if self.owed == Some(false) => !rejected.is_empty(),
            Mode::Pass => is_active && passed(LATE),
        }
    }

    /// The reject line has moved, so late: too late for a part that was to be thrown out, or for the one behind a gate?
    fn note_lateness(&self, late: Duration, active: bool) {
        let mut output = lock(&self.shared.output);
        output.lateness.record(late);
        let Ejection { mode, pulse, .. } = output.schedule.ejection();
        drop(output);
        let most = match (mode, active) {
            (Mode::Eject, true) => latest(pulse),
            (Mode::Pass, false) => LATE,
            _ => Duration::MAX,
        };
        if late > most {
            self.shared.stop_until_reload(LOST);
        }
        if late > LATE {
            log::warn!("the lines were served {} ms late; this machine is overloaded", late.as_millis());
        }
    }

    /// Whether, after the end, parts on a moving belt still come to the ejector.
    fn belt_moves(&self, output: &Output, now: Timestamp) -> bool {
        self.closed.is_some_and(|closed| {
            output.schedule.awaits_counts()
                && now < output.last_count.max(closed) + STANDSTILL
                && now < closed + LONGEST_END
        })
    }

    fn unconfirmed(&self, parts: usize) {
        log::error!(
            "FAULT {parts} rejected parts did not arrive in the bin in time; the line is not ready until the next reload \
             (SIGHUP): look at the ejector, the air and the sensor"
        );
        self.shared.report(|health| health.unconfirmed = true);
    }

    fn is_set(&self, wanted: &Levels) -> bool {
        self.levels.iter().zip(wanted).all(|(level, (_, wanted))| *level == Some(*wanted))
    }

    /// Sets the lines that are not as they should be; returns whether all could be. Neither a slow line nor a slow log holds
    /// up a trigger or a verdict.
    fn set(&mut self, wanted: &Levels) -> bool {
        let mut failure = None;
        for (index, (role, wanted)) in wanted.iter().enumerate() {
            if self.levels[index] == Some(*wanted) {
                continue;
            }
            let set = self.set_line(*role, *wanted);
            if *role == Role::Reject {
                self.owed = set.is_err().then_some(*wanted);
            }
            match set {
                Ok(()) => {
                    if *role == Role::Reject
                        && let Some(due) = self.due.take()
                    {
                        self.note_lateness(self.shared.clock.now().since(due), *wanted);
                    }
                    if *role == Role::Reject && !self.untrue {
                        self.verify_at = Timestamp(0);
                    }
                    self.levels[index] = Some(*wanted);
                }
                Err(why) => failure = Some(format!("the {role} line could not be set: {why}")),
            }
        }
        let had_failed = self.has_failed();
        self.refused = failure.is_some();
        self.tell(had_failed, failure.as_deref());
        !self.refused
    }

    /// A driver that has just let go of a line may have it again at the second try; what it did to the others then, nobody
    /// knows.
    fn set_line(&mut self, role: Role, active: bool) -> Result<(), String> {
        let now = self.shared.clock.now();
        let mut set = || {
            let set = catch_unwind(AssertUnwindSafe(|| self.lines.set(role, active, now)));
            set.unwrap_or_else(|_| Err("its driver panicked".into()))
        };
        set().or_else(|_| {
            self.levels = [None; Role::ALL.len()];
            set()
        })
    }

    /// Reads the lines back; returns whether they are as they were set.
    fn verify(&mut self, now: Timestamp) -> bool {
        self.verify_at = now + VERIFY;
        let verified = catch_unwind(AssertUnwindSafe(|| self.lines.verify()));
        let panicked = || Err(Untrue { role: Role::Reject, why: "the driver of the lines panicked".into() });
        let failure = verified.unwrap_or_else(|_| panicked()).err();
        let had_failed = self.has_failed();
        self.untrue = failure.is_some();
        self.tell(had_failed, failure.as_ref().map(|untrue| untrue.why.as_str()));
        if failure.is_some_and(|untrue| untrue.role == Role::Reject) {
            self.shared.stop_until_reload(LOST);
        }
        !self.untrue
    }

    fn has_failed(&self) -> bool {
        self.refused || self.untrue
    }

    /// Tells when the lines fail, and when they no longer do. After a failure all are set again, for a driver that has lost
    /// one may have lost all.
    fn tell(&mut self, had_failed: bool, failure: Option<&str>) {
        match failure {
            Some(why) if !had_failed => {
                log::error!("FAULT {why}; a part may have passed, the line is not ready, trying again")
            }
            None if had_failed && !self.has_failed() => log::info!("the lines can be set again"),
            _ => {}
        }
        if failure.is_some() {
            self.levels = [None; Role::ALL.len()];
        }
    }
}

/// What the lines should be at a moment.
struct Moment {
    /// The event that has come, if any.
    due: Option<Timestamp>,
    wanted: Levels,
    /// When they may have to move next.
    next: Timestamp,
    /// The last part is served.
    done: bool,
}

/// The heartbeat: a square wave, or rest.
struct Heart {
    half: Duration,
    level: bool,
    /// When it turns next; none at rest.
    next: Option<Timestamp>,
}

impl Heart {
    fn level(&mut self, now: Timestamp, beats: bool) -> bool {
        if !beats {
            (self.level, self.next) = (false, None);
        } else if self.next.is_none_or(|next| next <= now) {
            self.level = !self.level;
            // It keeps its beat, but makes up for no turn that it missed.
            let kept = self.next.map(|next| next + self.half).filter(|next| *next > now);
            self.next = Some(kept.unwrap_or(now + self.half));
        }
        self.level
    }
}

/// Tells the others, when it is dropped, that the outputs are released. After a panic the run ends, and until it has, the
/// thread counts as stalled.
struct Finished<'a>(&'a Shared);

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        self.0.finished.store(true, Ordering::Relaxed);
        if std::thread::panicking() {
            self.0.stop.store(true, Ordering::Relaxed);
            self.0.progress.promise(Stage::Output, Timestamp(0));
        } else {
            self.0.progress.end(Stage::Output);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heart_beats_at_its_rate_and_rests_low_at_once() {
        let ms = |ms: u64| Timestamp(ms * 1_000_000);
        let mut heart = Heart { half: Duration::from_millis(50), level: false, next: None };
        let levels: Vec<bool> = [0, 49, 50, 99, 100, 103].map(|at| heart.level(ms(at), true)).into();
        assert_eq!(levels, [true, true, false, false, true, true]);
        assert_eq!(heart.next, Some(ms(150)));
        assert!(!heart.level(ms(104), false) && heart.next.is_none());
    }
}
