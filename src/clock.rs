//! Time on the line: the kernel's monotonic clock, and a simulated one for tests.
//!
//! All that is timed uses `CLOCK_MONOTONIC`: wall-clock steps must never move a reject. V4L2 stamps its frames
//! and the GPIO character device its edges with the same clock, so their times can be compared with ours.

use std::ops::{Add, Sub};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
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

/// A clock that never goes back, and what threads wait for by it.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
    /// Blocks the calling thread until the clock has reached `moment`; returns at once if it has.
    fn sleep_until(&self, moment: Timestamp);
    /// A new bell, for something that threads share.
    fn bell(&self) -> Arc<dyn Bell>;
    /// A thread that waits by this clock is about to start; simulated time stands still while any of them works.
    fn enter(&self) {}
    /// A thread that had entered ends.
    fn leave(&self) {}
}

/// What a thread waits for besides a moment: it is rung whenever the thing that it belongs to has changed.
///
/// Ask [`Bell::rung`] first, then look at the thing, then wait: a ring in between is not lost.
pub trait Bell: Send + Sync {
    /// How often it was rung so far.
    fn rung(&self) -> u64;
    fn ring(&self);
    /// Blocks until it was rung more often than `heard`, or the clock has reached `until`.
    fn wait(&self, heard: u64, until: Option<Timestamp>);
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

    fn bell(&self) -> Arc<dyn Bell> {
        Arc::new(MonotonicBell::default())
    }
}

/// The system's condition variable waits by `CLOCK_MONOTONIC` too.
#[derive(Default)]
struct MonotonicBell {
    rung: Mutex<u64>,
    changed: Condvar,
}

impl Bell for MonotonicBell {
    fn rung(&self) -> u64 {
        *lock(&self.rung)
    }

    fn ring(&self) {
        *lock(&self.rung) += 1;
        self.changed.notify_all();
    }

    fn wait(&self, heard: u64, until: Option<Timestamp>) {
        let rung = lock(&self.rung);
        let silent = |rung: &mut u64| *rung <= heard;
        match until {
            None => drop(self.changed.wait_while(rung, silent).expect("no holder of a bell panics")),
            Some(until) => {
                let limit = until.since(MonotonicClock.now());
                drop(self.changed.wait_timeout_while(rung, limit, silent).expect("no holder of a bell panics"));
            }
        }
    }
}

/// A clock that a test moves on, or that moves itself: once threads have entered it, it jumps to the next moment that one
/// of them waits for whenever all of them wait. So a day on the line passes as fast as its work is done, and a moment is
/// met to the nanosecond. Clones show the same time.
#[derive(Clone, Debug, Default)]
pub struct SimulatedClock {
    shared: Arc<Simulated>,
}

#[derive(Debug, Default)]
struct Simulated {
    time: Mutex<SimulatedTime>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct SimulatedTime {
    now: Timestamp,
    /// Threads that have entered and do not wait.
    working: usize,
    entered: usize,
    /// How often each bell was rung.
    rung: Vec<u64>,
    waiting: Vec<Waiting>,
    next_waiting: u64,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    bell: Option<usize>,
    until: Option<Timestamp>,
    woken: bool,
}

impl SimulatedTime {
    fn wake(&mut self, which: impl Fn(&Waiting) -> bool) {
        for waiting in self.waiting.iter_mut().filter(|waiting| !waiting.woken) {
            if which(waiting) {
                waiting.woken = true;
                self.working += usize::from(self.entered > 0);
            }
        }
    }

    fn advance_to(&mut self, moment: Timestamp) {
        self.now = self.now.max(moment);
        let now = self.now;
        self.wake(|waiting| waiting.until.is_some_and(|until| until <= now));
    }

    /// Jumps to the next moment that is waited for, if nobody works.
    fn jump(&mut self) {
        if self.entered > 0 && self.working == 0 {
            let next = self.waiting.iter().filter(|waiting| !waiting.woken).filter_map(|waiting| waiting.until).min();
            if let Some(next) = next {
                self.advance_to(next);
            }
        }
    }
}

impl Simulated {
    fn wait(&self, bell: Option<(usize, u64)>, until: Option<Timestamp>) {
        let mut time = lock(&self.time);
        let rung = bell.is_some_and(|(bell, heard)| time.rung[bell] > heard);
        if rung || until.is_some_and(|until| until <= time.now) {
            return;
        }
        let id = time.next_waiting;
        time.next_waiting += 1;
        time.waiting.push(Waiting { id, bell: bell.map(|(bell, _)| bell), until, woken: false });
        time.working = time.working.saturating_sub(1);
        time.jump();
        self.moved.notify_all();
        let asleep = |time: &mut SimulatedTime| time.waiting.iter().any(|waiting| waiting.id == id && !waiting.woken);
        let mut time = self.moved.wait_while(time, asleep).expect("no holder of the simulated time panics");
        time.waiting.retain(|waiting| waiting.id != id);
    }
}

impl SimulatedClock {
    /// Moves the time on and wakes every sleeper whose moment has come.
    pub fn advance(&self, by: Duration) {
        let mut time = lock(&self.shared.time);
        let moment = time.now + by;
        time.advance_to(moment);
        self.shared.moved.notify_all();
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        lock(&self.shared.time).now
    }

    fn sleep_until(&self, moment: Timestamp) {
        self.shared.wait(None, Some(moment));
    }

    fn bell(&self) -> Arc<dyn Bell> {
        let mut time = lock(&self.shared.time);
        time.rung.push(0);
        Arc::new(SimulatedBell { shared: self.shared.clone(), number: time.rung.len() - 1 })
    }

    fn enter(&self) {
        let mut time = lock(&self.shared.time);
        time.entered += 1;
        time.working += 1;
    }

    fn leave(&self) {
        let mut time = lock(&self.shared.time);
        time.entered -= 1;
        time.working -= 1;
        time.jump();
        self.shared.moved.notify_all();
    }
}

struct SimulatedBell {
    shared: Arc<Simulated>,
    number: usize,
}

impl Bell for SimulatedBell {
    fn rung(&self) -> u64 {
        lock(&self.shared.time).rung[self.number]
    }

    fn ring(&self) {
        let mut time = lock(&self.shared.time);
        time.rung[self.number] += 1;
        time.wake(|waiting| waiting.bell == Some(self.number));
        self.shared.moved.notify_all();
    }

    fn wait(&self, heard: u64, until: Option<Timestamp>) {
        self.shared.wait(Some((self.number, heard)), until);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of a clock's lock panics")
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

    #[test]
    fn a_bell_that_is_rung_after_it_was_looked_at_ends_the_wait_on_both_clocks() {
        let clocks: [Arc<dyn Clock>; 2] = [Arc::new(MonotonicClock), Arc::new(SimulatedClock::default())];
        for clock in clocks {
            let bell = clock.bell();
            let heard = bell.rung();
            bell.ring();
            bell.wait(heard, None);
            assert_eq!(bell.rung(), heard + 1);
        }
    }

    #[test]
    fn simulated_time_jumps_to_the_next_moment_once_every_thread_waits() {
        let clock = SimulatedClock::default();
        let bell = clock.bell();
        let heard = bell.rung();
        (0..2).for_each(|_| clock.enter());
        let ringer = std::thread::spawn({
            let (clock, bell) = (clock.clone(), bell.clone());
            move || {
                (1..=1000).for_each(|day| clock.sleep_until(Timestamp(day * 86_400_000_000_000)));
                bell.ring();
                clock.leave();
            }
        });
        let waiter = std::thread::spawn({
            let clock = clock.clone();
            move || {
                bell.wait(heard, None);
                let woken = clock.now();
                clock.leave();
                woken
            }
        });
        ringer.join().unwrap();
        assert_eq!(waiter.join().unwrap(), Timestamp(1000 * 86_400_000_000_000));
    }
}
