//! Lines moved and watched by hand, to find out which is which and whether the wiring works.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gpiocdev::Request;
use gpiocdev::line::{EdgeDetection, EdgeKind, EventClock, Value};

use super::CONSUMER;
use super::find::{Found, GpioError, explain, refused};
use crate::clock::{Clock, MonotonicClock, Timestamp};

/// An output may take so long to show on an input that it is wired to: an opto-coupler and a debounced input need some.
const LOOPBACK_LIMIT: Duration = Duration::from_millis(200);

/// How soon an interrupt is heard.
const LOOK: Duration = Duration::from_millis(10);

/// Makes a line an output with the given level for so long, sets it to the other one, and lets go of it: a driver may keep
/// the level of a line that is let go. With `keeps` it is let go as it is, to see what the driver does.
/// * `interrupted` — ends it before its time
///
/// # Errors  `GpioError`
pub fn hold(line: &Found, high: bool, time: Duration, keeps: bool, interrupted: &AtomicBool) -> Result<(), GpioError> {
    let request = Request::builder()
        .on_chip(&line.chip)
        .with_consumer(CONSUMER)
        .with_line(line.offset)
        .as_output(Value::from(high))
        .request()
        .map_err(|error| refused(&line.chip, &[line.offset], &error))?;
    let until = Instant::now() + time;
    while Instant::now() < until && !interrupted.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK.min(until.saturating_duration_since(Instant::now())));
    }
    if keeps {
        return Ok(());
    }
    request.set_lone_value(Value::from(!high)).map_err(|error| GpioError::Failed(explain(&line.chip, &error)))
}

/// An edge of a line that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub offset: u32,
    pub rising: bool,
    /// By the kernel.
    pub at: Timestamp,
}

/// Tells the edges of lines of one chip, until `seen` returns false or no edge comes for `silence`.
/// # Errors  `GpioError`
pub fn watch(
    lines: &[Found],
    debounce: Duration,
    silence: Option<Duration>,
    mut seen: impl FnMut(Seen) -> bool,
) -> Result<(), GpioError> {
    let Some(chip) = lines.first().map(|line| &line.chip) else { return Ok(()) };
    let offsets: Vec<u32> = lines.iter().map(|line| line.offset).collect();
    let failed = |error| refused(chip, &offsets, &error);
    let mut builder = Request::builder();
    builder.on_chip(chip).with_consumer(CONSUMER).with_lines(&offsets).as_input();
    builder.with_edge_detection(EdgeDetection::BothEdges).with_event_clock(EventClock::Monotonic);
    if debounce > Duration::ZERO {
        builder.with_debounce_period(debounce);
    }
    let request = builder.request().map_err(failed)?;
    loop {
        if let Some(silence) = silence
            && !request.wait_edge_event(silence).map_err(failed)?
        {
            return Ok(());
        }
        let event = request.read_edge_event().map_err(failed)?;
        let rising = event.kind == EdgeKind::Rising;
        if !seen(Seen { offset: event.offset, rising, at: Timestamp(event.timestamp_ns) }) {
            return Ok(());
        }
    }
}

/// What an output that is wired to an input showed there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loopback {
    /// From setting the output to the kernel's time of the input's edge, for each turn that arrived.
    pub delays: Vec<Duration>,
    /// Turns that did not arrive in time, or with the wrong level.
    pub lost: usize,
}

/// Turns an output `turns` times and waits for each turn on the input that it is wired to.
/// # Errors  `GpioError`
pub fn loopback(output: &Found, input: &Found, turns: usize) -> Result<Loopback, GpioError> {
    let out = Request::builder()
        .on_chip(&output.chip)
        .with_consumer(CONSUMER)
        .with_line(output.offset)
        .as_output(Value::Inactive)
        .request()
        .map_err(|error| refused(&output.chip, &[output.offset], &error))?;
    let failed = |error| refused(&input.chip, &[input.offset], &error);
    let watched = Request::builder()
        .on_chip(&input.chip)
        .with_consumer(CONSUMER)
        .with_line(input.offset)
        .as_input()
        .with_edge_detection(EdgeDetection::BothEdges)
        .with_event_clock(EventClock::Monotonic)
        .request()
        .map_err(failed)?;
    let mut result = Loopback::default();
    for turn in 1..=turns {
        let level = turn % 2 == 1;
        let set_at = MonotonicClock.now();
        out.set_lone_value(Value::from(level)).map_err(|error| GpioError::Failed(explain(&output.chip, &error)))?;
        let until = Instant::now() + LOOPBACK_LIMIT;
        let mut arrived = false;
        while !arrived && watched.wait_edge_event(until.saturating_duration_since(Instant::now())).map_err(failed)? {
            let event = watched.read_edge_event().map_err(failed)?;
            let at = Timestamp(event.timestamp_ns);
            if at >= set_at && (event.kind == EdgeKind::Rising) == level {
                result.delays.push(at.since(set_at));
                arrived = true;
            }
        }
        result.lost += usize::from(!arrived);
    }
    out.set_lone_value(Value::Inactive).map_err(|error| GpioError::Failed(explain(&output.chip, &error)))?;
    Ok(result)
}
