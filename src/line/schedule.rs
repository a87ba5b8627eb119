//! When the reject line moves: a state machine without a clock or a thread of its own.
//!
//! Time is an argument, so a test runs a shift in a millisecond. The daemon asks for the next event, waits for it, and
//! applies the level.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::part::{NoDecision, Part, TriggerId, Verdict};

/// What a pulse on the reject line does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A pulse throws a part out; an armed part gives one at its due time.
    Eject,
    /// A pulse lets a part through; an accepted part gives one at its due time, and the resting line rejects.
    Pass,
}

/// The parts between the camera and the ejector.
#[derive(Debug)]
pub struct Schedule {
    mode: Mode,
    delay: Duration,
    pulse: Duration,
    /// In the order of their due times; a part leaves when its time has come.
    in_flight: VecDeque<InFlight>,
    /// The line is active until then.
    active_until: Option<Timestamp>,
}

#[derive(Debug)]
struct InFlight {
    id: TriggerId,
    due: Timestamp,
    accepted: bool,
}

impl Schedule {
    /// * `delay` — from the trigger to the moment when the part is at the ejector
    /// * `pulse` — how long the line then stays active; pulses that overlap become one
    pub fn new(mode: Mode, delay: Duration, pulse: Duration) -> Schedule {
        Schedule { mode, delay, pulse, in_flight: VecDeque::new(), active_until: None }
    }

    /// Takes in a part at its trigger: from now on it is rejected unless it is accepted in time.
    pub fn arm(&mut self, part: Part) {
        let due = part.triggered + self.delay;
        let place = self.in_flight.partition_point(|other| other.due <= due);
        self.in_flight.insert(place, InFlight { id: part.id, due, accepted: false });
    }

    /// Takes back a part that was none: the belt was empty. Returns whether that was in time.
    pub fn cancel(&mut self, part: Part) -> bool {
        let before = self.in_flight.len();
        self.in_flight.retain(|other| other.id != part.id);
        self.in_flight.len() < before
    }

    /// Takes in the verdict of a part, and returns the one that holds: an Accept at or after the part's due time comes
    /// too late.
    pub fn decide(&mut self, part: Part, verdict: Verdict, now: Timestamp) -> Verdict {
        if verdict != Verdict::Accept {
            return verdict;
        }
        let due = part.triggered + self.delay;
        match self.in_flight.iter_mut().find(|other| other.id == part.id) {
            Some(in_flight) if now < due => {
                in_flight.accepted = true;
                Verdict::Accept
            }
            _ => Verdict::NoDecision(NoDecision::Late { by: now.since(due) }),
        }
    }

    /// The moment at which the line may have to move next, if any.
    pub fn next_event(&self) -> Option<Timestamp> {
        let due = self.in_flight.front().map(|part| part.due);
        [due, self.active_until].into_iter().flatten().min()
    }

    /// Whether the line is active at `now`; lets go of the parts whose time has come.
    ///
    /// An ejecting pulse lasts its full time, and begins when its part is due or, if the caller comes later, when it
    /// comes. A passing pulse never outlasts its part's time, and ends at once when a part is due that must not pass.
    pub fn advance(&mut self, now: Timestamp) -> bool {
        while let Some(part) = self.in_flight.pop_front_if(|part| part.due <= now) {
            self.active_until = match (self.mode, part.accepted) {
                (Mode::Eject, false) => self.active_until.max(Some(now + self.pulse)),
                (Mode::Eject, true) => self.active_until,
                (Mode::Pass, false) => None,
                (Mode::Pass, true) => Some(part.due + self.pulse),
            };
        }
        if self.active_until.is_some_and(|end| end <= now) {
            self.active_until = None;
        }
        self.active_until.is_some()
    }

    /// Whether no part is on its way and the line rests.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.active_until.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(500);
    const PULSE: Duration = Duration::from_millis(50);

    fn part(id: u64, triggered_ms: u64) -> Part {
        Part { id: TriggerId(id), triggered: at(triggered_ms) }
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp(ms * 1_000_000)
    }

    /// The intervals in which the line is active, in ms, when it is served at each of its events.
    fn pulses(schedule: &mut Schedule) -> Vec<(u64, u64)> {
        let mut pulses = Vec::new();
        let mut since = None;
        while let Some(now) = schedule.next_event() {
            let ms = now.0 / 1_000_000;
            match (schedule.advance(now), since) {
                (true, None) => since = Some(ms),
                (false, Some(start)) => {
                    pulses.push((start, ms));
                    since = None;
                }
                _ => {}
            }
        }
        pulses
    }

    #[test]
    fn an_armed_part_is_ejected_at_trigger_time_plus_delay_whatever_the_time_of_its_verdict() {
        let mut schedule = Schedule::new(Mode::Eject, DELAY, PULSE);
        schedule.arm(part(1, 0));
        assert_eq!(schedule.decide(part(1, 0), Verdict::Reject, at(90)), Verdict::Reject);
        assert_eq!(pulses(&mut schedule), [(500, 550)]);
        assert!(schedule.is_idle());
    }

    #[test]
    fn only_the_accepted_part_of_several_in_flight_is_spared() {
        let mut schedule = Schedule::new(Mode::Eject, DELAY, PULSE);
        (0..64).for_each(|i| schedule.arm(part(i, 100 * i)));
        (0..64).filter(|i| i % 8 != 0).for_each(|i| {
            assert_eq!(schedule.decide(part(i, 100 * i), Verdict::Accept, at(100 * i + 40)), Verdict::Accept);
        });
        let expected: Vec<_> = (0..8).map(|i| (800 * i + 500, 800 * i + 550)).collect();
        assert_eq!(pulses(&mut schedule), expected);
    }

    #[test]
    fn a_late_accept_changes_nothing_and_is_no_decision() {
        let mut schedule = Schedule::new(Mode::Eject, DELAY, PULSE);
        schedule.arm(part(1, 0));
        let verdict = schedule.decide(part(1, 0), Verdict::Accept, at(500));
        assert_eq!(verdict, Verdict::NoDecision(NoDecision::Late { by: Duration::ZERO }));
        assert_eq!(pulses(&mut schedule), [(500, 550)]);
    }

    #[test]
    fn in_pass_mode_only_an_accept_moves_the_line() {
        let mut schedule = Schedule::new(Mode::Pass, DELAY, PULSE);
        (1..=3).for_each(|i| schedule.arm(part(i, 1000 * i)));
        schedule.decide(part(2, 2000), Verdict::Accept, at(2040));
        schedule.decide(part(3, 3000), Verdict::NoDecision(NoDecision::NoFrame("unplugged".into())), at(3040));
        assert_eq!(pulses(&mut schedule), [(2500, 2550)]);
    }

    #[test]
    fn in_pass_mode_a_bad_part_close_behind_a_good_one_closes_the_gate() {
        let mut schedule = Schedule::new(Mode::Pass, DELAY, PULSE);
        schedule.arm(part(1, 0));
        schedule.arm(part(2, 30));
        schedule.decide(part(1, 0), Verdict::Accept, at(40));
        schedule.decide(part(2, 30), Verdict::Reject, at(70));
        assert_eq!(pulses(&mut schedule), [(500, 530)]);
    }

    #[test]
    fn in_pass_mode_a_gate_that_is_served_late_does_not_open_for_the_next_part() {
        let mut schedule = Schedule::new(Mode::Pass, DELAY, PULSE);
        schedule.arm(part(1, 0));
        schedule.decide(part(1, 0), Verdict::Accept, at(40));
        assert!(!schedule.advance(at(560)));
    }

    #[test]
    fn a_tick_without_a_part_is_taken_back() {
        let mut schedule = Schedule::new(Mode::Eject, DELAY, PULSE);
        schedule.arm(part(1, 0));
        assert!(schedule.cancel(part(1, 0)) && schedule.is_idle());
        schedule.arm(part(2, 0));
        schedule.advance(at(500));
        assert!(!schedule.cancel(part(2, 0)), "its time has come");
    }

    #[test]
    fn overlapping_pulses_become_one() {
        let mut schedule = Schedule::new(Mode::Eject, DELAY, PULSE);
        schedule.arm(part(1, 0));
        schedule.arm(part(2, 30));
        assert_eq!(pulses(&mut schedule), [(500, 580)]);
    }
}
