//! Time on the line: the kernel's monotonic clock, and a simulated one for tests.
//!
//! All that is timed uses `CLOCK_MONOTONIC`: wall-clock steps must never move a reject. V4L2 stamps its frames
//! and the GPIO character device its edges with the same clock, so their times can be compared with ours.

use std::ops::{Add, Sub};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// A moment on the monotonic clock, in nanoseconds since an origin that the clock does not tell (boot, on Linux).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The time that passed between `earlier` and this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, later: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(later.as_nanos() as u64))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;
    fn sub(self, earlier: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(earlier.as_nanos() as u64))
    }
}

/// A clock that never goes back.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
    /// Blocks the calling thread until the clock has reached `moment`; returns at once if it has.
    fn sleep_until(&self, moment: Timestamp);
}

/// The kernel's `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, Default)]
pub struct MonotonicClock;

impl Clock for MonotonicClock {
    fn now(&self) -> Timestamp {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Timestamp(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    fn sleep_until(&self, moment: Timestamp) {
        std::thread::sleep(moment.since(self.now()));
    }
}

/// A clock that stands still until a test moves it on; clones show the same time.
#[derive(Clone, Debug, Default)]
pub struct SimulatedClock {
    shared: Arc<(Mutex<Timestamp>, Condvar)>,
}

impl SimulatedClock {
    /// Moves the time on and wakes every sleeper whose moment has come.
    pub fn advance(&self, by: Duration) {
        let (now, moved) = &*self.shared;
        let mut now = now.lock().expect("no holder of the simulated time panics");
        *now = *now + by;
        moved.notify_all();
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        *self.shared.0.lock().expect("no holder of the simulated time panics")
    }

    fn sleep_until(&self, moment: Timestamp) {
        let (now, moved) = &*self.shared;
        let now = now.lock().expect("no holder of the simulated time panics");
        drop(moved.wait_while(now, |now| *now < moment).expect("no holder of the simulated time panics"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_clock_wakes_its_sleepers_when_it_is_moved_past_their_moment() {
        let clock = SimulatedClock::default();
        let sleeper = std::thread::spawn({
            let clock = clock.clone();
            move || {
                clock.sleep_until(Timestamp(1_000));
                clock.now()
            }
        });
        clock.advance(Duration::from_nanos(999));
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_nanos(1));
        assert_eq!(sleeper.join().unwrap(), Timestamp(1_000));
    }

    #[test]
    fn the_monotonic_clock_moves_on() {
        let start = MonotonicClock.now();
        MonotonicClock.sleep_until(start + Duration::from_millis(2));
        assert!(MonotonicClock.now().since(start) >= Duration::from_millis(2));
    }
}
