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

/// How far the ejector is from the sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// So long after the trigger, on a belt of one speed.
    Time(Duration),
    /// So many encoder counts after the trigger, at whatever speed.
    Counts(u64),
}

/// What the reject line does for the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    pub mode: Mode,
    pub delay: Delay,
    /// How long the line stays active for one part.
    pub pulse: Duration,
    /// Ejecting pulses that would leave less than this between them become one, so that a valve need not close and open
    /// again faster than it can.
    pub min_gap: Duration,
}

/// No line holds more parts between camera and ejector; a trigger beyond is refused, so that memory stays bounded.
pub const MOST_IN_FLIGHT: usize = 4096;
/// So many parts that left are remembered, to say how late their verdicts came.
const REMEMBERED: usize = 256;

/// The parts between the camera and the ejector.
#[derive(Debug)]
pub struct Schedule {
    ejection: Ejection,
    /// Encoder counts so far.
    counts: u64,
    /// In the order of their due moments; a part leaves when its moment has come.
    in_flight: VecDeque<InFlight>,
    /// The last parts that left, with the moments at which they were due.
    passed: VecDeque<(TriggerId, Timestamp)>,
    /// The parts that were not let pass since the caller last asked, by their due moments.
    rejected: Vec<Timestamp>,
    /// Accepted parts that were due while an ejecting pulse lasted, since the caller last asked.
    struck: usize,
    /// The line is active until then.
    active_until: Option<Timestamp>,
    /// The part for whose sake it is kept active after its pulse has ended, unless that part is accepted.
    bridged_to: Option<TriggerId>,
}

#[derive(Debug)]
struct InFlight {
    id: TriggerId,
    due: Due,
    accepted: bool,
    /// A person has taken it away.
    barred: bool,
}

/// When a part is at the ejector; a schedule has only one kind, but a count that was reached becomes a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    At(Timestamp),
    Count(u64),
}

impl Due {
    fn moment(self) -> Option<Timestamp> {
        match self {
            Due::At(moment) => Some(moment),
            Due::Count(_) => None,
        }
    }
}

impl Schedule {
    pub fn new(ejection: Ejection) -> Schedule {
        Schedule {
            ejection,
            counts: 0,
            in_flight: VecDeque::new(),
            passed: VecDeque::new(),
            rejected: Vec::new(),
            struck: 0,
            active_until: None,
            bridged_to: None,
        }
    }

    /// Takes in a part at its trigger: from now on it is rejected unless it is accepted in time. Returns false, and takes
    /// it not, if [`MOST_IN_FLIGHT`] parts are on their way.
    pub fn arm(&mut self, part: Part) -> bool {
        if self.in_flight.len() >= MOST_IN_FLIGHT {
            return false;
        }
        let due = match self.ejection.delay {
            Delay::Time(delay) => Due::At(part.triggered + delay),
            Delay::Counts(counts) => Due::Count(self.counts + counts),
        };
        let place = self.in_flight.partition_point(|other| other.due <= due);
        self.in_flight.insert(place, InFlight { id: part.id, due, accepted: false, barred: false });
        true
    }

    /// Takes back a part that was none: the belt was empty. Returns whether that was in time.
    pub fn cancel(&mut self, part: Part) -> bool {
        let before = self.in_flight.len();
        self.in_flight.retain(|other| other.id != part.id);
        self.in_flight.len() < before
    }

    /// Takes in one encoder count, at the moment of its edge.
    pub fn count(&mut self, at: Timestamp) {
        self.counts += 1;
        for part in &mut self.in_flight {
            match part.due {
                // Reached before, and still here.
                Due::At(_) => {}
                Due::Count(count) if count <= self.counts => part.due = Due::At(at),
                Due::Count(_) => break,
            }
        }
    }

    /// Takes in the verdict of a part, and returns the one that holds: an Accept at or after the part's due moment comes
    /// too late.
    pub fn decide(&mut self, part: Part, verdict: Verdict, now: Timestamp) -> Verdict {
        if verdict != Verdict::Accept {
            return verdict;
        }
        match self.in_flight.iter_mut().find(|other| other.id == part.id) {
            Some(in_flight) if in_flight.due.moment().is_none_or(|due| now < due) => {
                in_flight.accepted = true;
                if self.bridged_to == Some(part.id) {
                    self.active_until = Some(now);
                }
                Verdict::Accept
            }
            Some(in_flight) => late(in_flight.due.moment(), now),
            None => late(self.passed.iter().find(|(id, _)| *id == part.id).map(|(_, due)| *due), now),
        }
    }

    /// The moment at which the line may have to move next, if it is known.
    pub fn next_event(&self) -> Option<Timestamp> {
        let due = self.in_flight.front().and_then(|part| part.due.moment());
        [due, self.active_until].into_iter().flatten().min()
    }

    /// Whether the line is active at `now`; lets go of the parts whose moment has come.
    ///
    /// An ejecting pulse lasts its full time, and begins when its part is due or, if the caller comes later, when it
    /// comes. A passing pulse never outlasts its part's time, and ends at once when a part is due that must not pass.
    pub fn advance(&mut self, now: Timestamp) -> bool {
        let Ejection { mode, pulse, .. } = self.ejection;
        while let Some((part, due)) = self.leave(now) {
            if !part.accepted {
                self.rejected.extend((!part.barred).then_some(due));
                self.bridged_to = None;
            }
            self.active_until = match (mode, part.accepted) {
                (Mode::Eject, false) => self.active_until.max(Some(now + pulse)),
                (Mode::Eject, true) => {
                    self.struck += usize::from(self.active_until.is_some_and(|end| end > due));
                    self.active_until
                }
                (Mode::Pass, false) => None,
                (Mode::Pass, true) => Some(due + pulse),
            };
        }
        if let Some(end) = self.active_until.filter(|end| *end <= now) {
            let next = self.next_pulse_before(end + self.ejection.min_gap);
            (self.active_until, self.bridged_to) = (next.map(|(_, due)| due), next.map(|(id, _)| id));
        }
        self.active_until.is_some()
    }

    /// The next part that is to be thrown out, if it is due before `moment`; a gate that lets parts through is never kept
    /// open for one.
    fn next_pulse_before(&self, moment: Timestamp) -> Option<(TriggerId, Timestamp)> {
        let next = self.in_flight.iter().find(|part| !part.accepted).filter(|_| self.ejection.mode == Mode::Eject)?;
        next.due.moment().filter(|due| *due < moment).map(|due| (next.id, due))
    }

    /// Takes out the first part, with its due moment, if that has come.
    fn leave(&mut self, now: Timestamp) -> Option<(InFlight, Timestamp)> {
        let due = self.in_flight.front()?.due.moment().filter(|due| *due <= now)?;
        let part = self.in_flight.pop_front()?;
        if self.passed.len() == REMEMBERED {
            self.passed.pop_front();
        }
        self.passed.push_back((part.id, due));
        Some((part, due))
    }

    /// Whether a part is on its way whose end hangs on the line's next moves: one to throw out, or any that a gate waits for.
    pub fn has_parts_at_stake(&self) -> bool {
        self.in_flight.iter().any(|part| !part.barred && (!part.accepted || self.ejection.mode == Mode::Pass))
    }

    /// The places of the parts on their way are not known any more: a gate opens for none of them.
    pub fn close_gate(&mut self) {
        if self.ejection.mode == Mode::Pass {
            self.in_flight.clear();
            self.active_until = None;
        }
    }

    /// The belt was cleared: a gate opens for none of the parts that were on their way, and those that an ejector blows at are
    /// not there.
    pub fn bar(&mut self) {
        self.close_gate();
        self.in_flight.iter_mut().for_each(|part| part.barred = true);
    }

    /// The due moments of the parts that were not let pass since the last call.
    pub fn take_rejected(&mut self) -> Vec<Timestamp> {
        std::mem::take(&mut self.rejected)
    }

    /// How many accepted parts were due while the pulse for another lasted, since the last call.
    pub fn take_struck(&mut self) -> usize {
        std::mem::take(&mut self.struck)
    }

    /// Whether no part is on its way to a known moment and the line rests. Parts that wait for encoder counts do not keep
    /// it from being idle: a belt that stands still may never bring them.
    pub fn is_idle(&self) -> bool {
        self.next_event().is_none()
    }

    /// Whether a part is on its way that waits for encoder counts.
    pub fn awaits_counts(&self) -> bool {
        self.in_flight.back().is_some_and(|part| part.due.moment().is_none())
    }

    pub fn ejection(&self) -> Ejection {
        self.ejection
    }

    /// Whether parts are timed by encoder counts.
    pub fn is_counted(&self) -> bool {
        matches!(self.ejection.delay, Delay::Counts(_))
    }
}

fn late(due: Option<Timestamp>, now: Timestamp) -> Verdict {
    Verdict::NoDecision(NoDecision::Late { by: due.map_or(Duration::ZERO, |due| now.since(due)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(500);
    const PULSE: Duration = Duration::from_millis(50);

    fn schedule(mode: Mode) -> Schedule {
        Schedule::new(Ejection { mode, delay: Delay::Time(DELAY), pulse: PULSE, min_gap: Duration::ZERO })
    }

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
        let mut schedule = schedule(Mode::Eject);
        schedule.arm(part(1, 0));
        assert_eq!(schedule.decide(part(1, 0), Verdict::Reject, at(90)), Verdict::Reject);
        assert_eq!(pulses(&mut schedule), [(500, 550)]);
        assert!(schedule.is_idle());
    }

    #[test]
    fn only_the_accepted_part_of_several_in_flight_is_spared() {
        let mut schedule = schedule(Mode::Eject);
        assert!((0..64).all(|i| schedule.arm(part(i, 100 * i))));
        (0..64).filter(|i| i % 8 != 0).for_each(|i| {
            assert_eq!(schedule.decide(part(i, 100 * i), Verdict::Accept, at(100 * i + 40)), Verdict::Accept);
        });
        let expected: Vec<_> = (0..8).map(|i| (800 * i + 500, 800 * i + 550)).collect();
        assert_eq!(pulses(&mut schedule), expected);
    }

    #[test]
    fn a_late_accept_changes_nothing_and_is_no_decision() {
        let mut schedule = schedule(Mode::Eject);
        schedule.arm(part(1, 0));
        let verdict = schedule.decide(part(1, 0), Verdict::Accept, at(500));
        assert_eq!(verdict, Verdict::NoDecision(NoDecision::Late { by: Duration::ZERO }));
        assert_eq!(pulses(&mut schedule), [(500, 550)]);
    }

    #[test]
    fn in_pass_mode_only_an_accept_moves_the_line() {
        let mut schedule = schedule(Mode::Pass);
        assert!((1..=3).all(|i| schedule.arm(part(i, 1000 * i))));
        schedule.decide(part(2, 2000), Verdict::Accept, at(2040));
        schedule.decide(part(3, 3000), Verdict::NoDecision(NoDecision::NoFrame("unplugged".into())), at(3040));
        assert_eq!(pulses(&mut schedule), [(2500, 2550)]);
    }

    #[test]
    fn in_pass_mode_a_bad_part_close_behind_a_good_one_closes_the_gate() {
        let mut schedule = schedule(Mode::Pass);
        schedule.arm(part(1, 0));
        schedule.arm(part(2, 30));
        schedule.decide(part(1, 0), Verdict::Accept, at(40));
        schedule.decide(part(2, 30), Verdict::Reject, at(70));
        assert_eq!(pulses(&mut schedule), [(500, 530)]);
    }

    #[test]
    fn in_pass_mode_a_gate_that_is_served_late_does_not_open_for_the_next_part() {
        let mut schedule = schedule(Mode::Pass);
        schedule.arm(part(1, 0));
        schedule.decide(part(1, 0), Verdict::Accept, at(40));
        assert!(!schedule.advance(at(560)));
    }

    #[test]
    fn a_tick_without_a_part_is_taken_back() {
        let mut schedule = schedule(Mode::Eject);
        schedule.arm(part(1, 0));
        assert!(schedule.cancel(part(1, 0)) && schedule.is_idle());
        schedule.arm(part(2, 0));
        schedule.advance(at(500));
        assert!(!schedule.cancel(part(2, 0)), "its time has come");
    }

    #[test]
    fn parts_at_stake_are_those_to_throw_out_or_all_before_a_gate_which_opens_for_none_that_is_barred() {
        let mut ejector = schedule(Mode::Eject);
        assert!(ejector.arm(part(1, 0)));
        assert!(ejector.has_parts_at_stake());
        ejector.decide(part(1, 0), Verdict::Accept, at(10));
        assert!(!ejector.has_parts_at_stake(), "an accepted part passes wherever it stands");
        assert!(ejector.arm(part(2, 100)));
        ejector.bar();
        assert!(!ejector.has_parts_at_stake());
        assert_eq!(pulses(&mut ejector), [(600, 650)], "a blow at nothing");
        assert!(ejector.take_rejected().is_empty());
        let mut gate = schedule(Mode::Pass);
        assert!(gate.arm(part(1, 0)) && gate.arm(part(2, 100)));
        gate.decide(part(1, 0), Verdict::Accept, at(10));
        assert!(gate.has_parts_at_stake());
        gate.bar();
        assert!(matches!(gate.decide(part(2, 100), Verdict::Accept, at(200)), Verdict::NoDecision(_)));
        assert_eq!(pulses(&mut gate), []);
    }

    #[test]
    fn overlapping_pulses_become_one() {
        let mut schedule = schedule(Mode::Eject);
        schedule.arm(part(1, 0));
        schedule.arm(part(2, 30));
        assert_eq!(pulses(&mut schedule), [(500, 580)]);
    }

    #[test]
    fn pulses_that_leave_less_than_the_least_gap_become_one_unless_the_second_part_is_accepted() {
        let ejection =
            Ejection { mode: Mode::Eject, delay: Delay::Time(DELAY), pulse: PULSE, min_gap: Duration::from_millis(20) };
        for (second, expected) in [(69, vec![(500, 619)]), (70, vec![(500, 550), (570, 620)])] {
            let mut schedule = Schedule::new(ejection);
            schedule.arm(part(1, 0));
            schedule.arm(part(2, second));
            assert_eq!(pulses(&mut schedule), expected);
        }
        let mut schedule = Schedule::new(ejection);
        schedule.arm(part(1, 0));
        schedule.arm(part(2, 60));
        assert!(schedule.advance(at(500)) && schedule.advance(at(550)), "the second part is guilty so far");
        schedule.decide(part(2, 60), Verdict::Accept, at(552));
        assert!(!schedule.advance(at(552)), "it is not blown at");
        // A third part that is told of late begins a pulse of its own, which the second part's accept must not end.
        let mut schedule = Schedule::new(ejection);
        assert!(schedule.arm(part(1, 0)) && schedule.arm(part(2, 60)));
        assert!(schedule.advance(at(500)) && schedule.advance(at(550)));
        schedule.arm(part(3, 51));
        assert!(schedule.advance(at(551)));
        schedule.decide(part(2, 60), Verdict::Accept, at(552));
        assert!(schedule.advance(at(553)), "the third part is thrown out");
    }

    #[test]
    fn by_counts_a_part_is_due_when_its_count_comes_at_whatever_speed() {
        let mut schedule = Schedule::new(Ejection {
            mode: Mode::Eject,
            delay: Delay::Counts(3),
            pulse: PULSE,
            min_gap: Duration::ZERO,
        });
        schedule.arm(part(1, 0));
        schedule.count(at(10));
        schedule.arm(part(2, 11));
        schedule.count(at(20));
        assert_eq!((schedule.next_event(), schedule.is_idle()), (None, true), "the belt may stand still for ever");
        assert_eq!(schedule.decide(part(2, 11), Verdict::Accept, at(5_000)), Verdict::Accept);
        schedule.count(at(9_000));
        assert_eq!(schedule.next_event(), Some(at(9_000)));
        assert!(schedule.advance(at(9_000)));
        schedule.count(at(9_010));
        assert!(schedule.advance(at(9_010)) && !schedule.advance(at(9_050)), "one pulse, for the first part alone");
        let late = schedule.decide(part(1, 0), Verdict::Accept, at(9_100));
        assert_eq!(late, Verdict::NoDecision(NoDecision::Late { by: Duration::from_millis(100) }));
    }

    #[test]
    fn counts_that_come_in_one_go_reach_every_part_that_they_should() {
        let delay = Delay::Counts(3);
        let ejection = Ejection { mode: Mode::Eject, delay, pulse: PULSE, min_gap: Duration::ZERO };
        let mut schedule = Schedule::new(ejection);
        schedule.arm(part(1, 0));
        schedule.count(at(10));
        schedule.arm(part(2, 11));
        // Both parts are reached before the line is served again.
        [20, 30, 40].iter().for_each(|ms| schedule.count(at(*ms)));
        assert!(!schedule.awaits_counts());
        assert_eq!(schedule.decide(part(2, 11), Verdict::Accept, at(41)).word(), "no-decision", "it has passed");
        schedule.advance(at(45));
        assert_eq!(schedule.take_rejected(), [at(30), at(40)]);
    }

    #[test]
    fn a_pulse_that_reaches_an_accepted_part_is_told() {
        let mut schedule = schedule(Mode::Eject);
        (0..3).for_each(|i| assert!(schedule.arm(part(i, 49 * i))));
        schedule.decide(part(1, 49), Verdict::Accept, at(60));
        schedule.decide(part(2, 98), Verdict::Accept, at(99));
        pulses(&mut schedule);
        assert_eq!(
            (schedule.take_struck(), schedule.take_struck()),
            (1, 0),
            "50 ms reach the next part, not the one after"
        );
    }

    #[test]
    fn the_parts_that_were_not_let_pass_are_told_once_with_their_due_moments() {
        let mut schedule = schedule(Mode::Eject);
        (1..=2).for_each(|i| assert!(schedule.arm(part(i, 100 * i))));
        schedule.decide(part(2, 200), Verdict::Accept, at(210));
        schedule.advance(at(800));
        assert_eq!((schedule.take_rejected(), schedule.take_rejected()), (vec![at(600)], vec![]));
    }

    #[test]
    fn more_parts_than_a_line_can_hold_are_refused_instead_of_remembered_without_end() {
        let mut schedule = schedule(Mode::Eject);
        assert!((0..MOST_IN_FLIGHT as u64).all(|i| schedule.arm(part(i, i))));
        assert!(!schedule.arm(part(9_999, 9_999)));
    }
}
