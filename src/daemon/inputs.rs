//! The inputs thread: turns edges into parts, encoder counts and faults.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::progress::{NAP, Stage};
use super::shared::{Health, Shared, lock};
use crate::clock::Timestamp;
use crate::line::{Edge, LineInputs, Sensor};

/// The pause before lost lines are opened again.
const RETRY: Duration = Duration::from_millis(500);

/// The kernel stamps an edge at its interrupt and tells it this much later at most, unless the machine is overloaded.
const TELLING: Duration = Duration::from_millis(5);

pub(super) struct Inputs<'a> {
    shared: &'a Shared,
    lines: Box<dyn LineInputs>,
    /// Whether parts are timed by the encoder.
    is_counted: bool,
    /// Whether a part was triggered since the encoder last moved.
    part_since_count: bool,
    /// Edges from before the line ran say nothing of its parts.
    started: Timestamp,
}

impl Inputs<'_> {
    pub fn new(shared: &Shared, lines: Box<dyn LineInputs>, is_counted: bool) -> Inputs<'_> {
        Inputs { shared, lines, is_counted, part_since_count: false, started: shared.clock.now() }
    }

    /// Reads edges until the outputs are released: the encoder serves the last parts too.
    pub fn run(mut self) {
        while !self.shared.finished.load(Ordering::Relaxed) {
            let now = self.shared.clock.now();
            self.shared.progress.nap(Stage::Inputs, now);
            let until = now + NAP;
            let next = catch_unwind(AssertUnwindSafe(|| self.lines.next(until)));
            match next.unwrap_or_else(|_| Err("its driver panicked".into())) {
                Ok(Some(edge)) => {
                    if edge.at >= self.started || matches!(edge.sensor, Sensor::BinFull | Sensor::AirLow) {
                        self.take(edge);
                    }
                    self.shared.edges_told(edge.at);
                }
                Ok(None) => self.shared.edges_told(self.shared.clock.now().min(until) - TELLING),
                Err(why) => self.lose(&why),
            }
        }
        self.shared.progress.end(Stage::Inputs);
    }

    fn take(&mut self, edge: Edge) {
        if edge.lost > 0 {
            self.edges_lost(edge);
        }
        match edge.sensor {
            Sensor::Trigger => self.trigger(edge.at),
            Sensor::Encoder => self.count(edge),
            Sensor::Confirm => self.confirm(),
            Sensor::BinFull => self.condition(edge.active, "the reject bin is full", |health| &mut health.bin_full),
            Sensor::AirLow => {
                self.condition(edge.active, "the ejector has too little air", |health| &mut health.air_low)
            }
        }
    }

    fn trigger(&mut self, at: Timestamp) {
        if self.is_counted && self.part_since_count {
            self.shared.stop_until_reload(
                "two parts were triggered and the encoder did not move between them: look at it and its cable",
            );
        }
        self.part_since_count = true;
        // A line that is stopping takes no further part.
        let _ = self.shared.trigger(at);
    }

    fn count(&mut self, edge: Edge) {
        self.part_since_count = false;
        let mut output = lock(&self.shared.output);
        // Lost counts moved the belt all the same.
        (0..=edge.lost).for_each(|_| output.schedule.count(edge.at));
        output.last_count = edge.at;
        drop(output);
        self.shared.output_changed.ring();
    }

    fn confirm(&mut self) {
        let expected = lock(&self.shared.output).confirmation.as_mut().is_some_and(|confirmation| confirmation.seen());
        if !expected {
            log::warn!("a part arrived in the reject bin that was not rejected, or another moved the sensor");
        }
    }

    fn condition(&mut self, active: bool, what: &str, of: impl FnOnce(&mut Health) -> &mut bool) {
        let was = self.shared.report(|health| std::mem::replace(of(health), active));
        match (was, active) {
            (false, true) => log::error!("FAULT {what}; the line is not ready until that has changed"),
            (true, false) => log::info!("no longer true: {what}"),
            _ => {}
        }
    }

    /// A part whose trigger is lost cannot be timed, and may pass.
    fn edges_lost(&self, Edge { sensor, lost, .. }: Edge) {
        log::error!(
            "FAULT {lost} edges of the {sensor} line were lost; this machine is overloaded, or the line bounces"
        );
        if sensor == Sensor::Trigger {
            self.shared.stop_until_reload("parts passed without a trigger");
        }
    }

    fn lose(&mut self, why: &str) {
        log::error!("FAULT the input lines cannot be read: {why}; the line is not ready, trying again");
        self.shared.report(|health| health.inputs_lost = true);
        if self.lines.has(Sensor::Trigger) || self.is_counted {
            self.shared.stop_until_reload("parts may have passed without a trigger or uncounted");
        }
        while !self.shared.finished.load(Ordering::Relaxed) {
            match catch_unwind(AssertUnwindSafe(|| self.lines.reopen())) {
                Ok(Ok(())) => {
                    log::info!("the input lines can be read again: {}", self.lines.describe());
                    self.shared.report(|health| health.inputs_lost = false);
                    return;
                }
                Ok(Err(why)) => log::debug!("still no input lines: {why}"),
                Err(_) => log::debug!("still no input lines: their driver panicked"),
            }
            self.pause(RETRY);
        }
    }

    fn pause(&self, time: Duration) {
        let end = self.shared.clock.now() + time;
        while !self.shared.finished.load(Ordering::Relaxed) && self.shared.clock.now() < end {
            let now = self.shared.clock.now();
            self.shared.progress.nap(Stage::Inputs, now);
            self.shared.clock.sleep_until(end.min(now + NAP));
        }
    }
}
