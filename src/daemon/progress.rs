//! Whether every thread makes progress: each says by when it will be heard of again, and keeps that or is stalled.
//!
//! The heartbeat on the line and the service's watchdog both hang on it, so that neither can go on while a camera driver
//! or the network hangs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;

/// The longest that a thread waits before it is heard of again.
pub(super) const NAP: Duration = Duration::from_millis(50);
/// How much longer than its nap a thread may take for a step.
pub(super) const GRACE: Duration = Duration::from_millis(100);

/// A thread of the station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Capture,
    Inspect,
    Output,
    Inputs,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Stage::Capture => "capture",
            Stage::Inspect => "inspect",
            Stage::Output => "output",
            Stage::Inputs => "inputs",
        })
    }
}

const STAGES: [Stage; 4] = [Stage::Capture, Stage::Inspect, Stage::Output, Stage::Inputs];

/// The moments by which the threads said they would be heard of again.
#[derive(Debug)]
pub(super) struct Progress([AtomicU64; STAGES.len()]);

impl Progress {
    /// No thread has said anything so far, and so none is late.
    pub fn new() -> Progress {
        Progress(std::array::from_fn(|_| AtomicU64::new(u64::MAX)))
    }

    /// The stage works, and will be heard of again by `moment`.
    pub fn promise(&self, stage: Stage, moment: Timestamp) {
        self.0[stage as usize].store(moment.0, Ordering::Relaxed);
    }

    /// The stage naps, and will be heard of soon.
    pub fn nap(&self, stage: Stage, now: Timestamp) {
        self.promise(stage, now + NAP + GRACE);
    }

    /// The stage has ended as it should, and owes nothing.
    pub fn end(&self, stage: Stage) {
        self.promise(stage, Timestamp(u64::MAX));
    }

    /// The first stage that should have been heard of before `now`.
    pub fn stalled(&self, now: Timestamp) -> Option<Stage> {
        STAGES.into_iter().find(|stage| self.0[*stage as usize].load(Ordering::Relaxed) < now.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_that_breaks_its_promise_is_stalled_until_it_is_heard_of_again() {
        let progress = Progress::new();
        assert_eq!(progress.stalled(Timestamp(u64::MAX - 1)), None, "none has started");
        progress.promise(Stage::Inspect, Timestamp(100));
        progress.promise(Stage::Output, Timestamp(200));
        assert_eq!(progress.stalled(Timestamp(100)), None);
        assert_eq!(progress.stalled(Timestamp(101)), Some(Stage::Inspect));
        progress.promise(Stage::Inspect, Timestamp(300));
        assert_eq!(progress.stalled(Timestamp(201)), Some(Stage::Output));
        progress.end(Stage::Output);
        assert_eq!(progress.stalled(Timestamp(300)), None);
    }
}
