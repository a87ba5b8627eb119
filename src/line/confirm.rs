//! Whether what was rejected arrived in the bin: a sensor there must see each rejected part in time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Timestamp;

/// The rejected parts that the sensor at the bin has yet to see.
#[derive(Debug)]
pub struct Confirmation {
    within: Duration,
    /// Until when each must be seen, the oldest first.
    expected: VecDeque<Timestamp>,
}

impl Confirmation {
    /// * `within` — the longest way of a part from the ejector to the sensor
    pub fn new(within: Duration) -> Confirmation {
        Confirmation { within, expected: VecDeque::new() }
    }

    /// A part was rejected at `due`.
    pub fn expect(&mut self, due: Timestamp) {
        self.expected.push_back(due + self.within);
    }

    /// The sensor saw a part; returns whether one was expected.
    pub fn seen(&mut self) -> bool {
        self.expected.pop_front().is_some()
    }

    /// Lets go of the parts that were not seen in time and returns how many those are.
    pub fn overdue(&mut self, now: Timestamp) -> usize {
        let before = self.expected.len();
        while self.expected.pop_front_if(|until| *until <= now).is_some() {}
        before - self.expected.len()
    }

    /// Nothing is expected any more.
    pub fn clear(&mut self) {
        self.expected.clear();
    }

    /// When the next part is overdue.
    pub fn next_event(&self) -> Option<Timestamp> {
        self.expected.front().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp(ms * 1_000_000)
    }

    #[test]
    fn a_rejected_part_that_the_bin_does_not_see_in_time_is_overdue() {
        let mut confirmation = Confirmation::new(Duration::from_millis(300));
        confirmation.expect(at(0));
        confirmation.expect(at(100));
        assert!(confirmation.seen());
        assert_eq!((confirmation.overdue(at(399)), confirmation.next_event()), (0, Some(at(400))));
        assert_eq!((confirmation.overdue(at(400)), confirmation.next_event()), (1, None));
        assert!(!confirmation.seen(), "nothing was rejected");
    }
}
