//! The sections of the line: trigger, outputs, inputs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rule::{Rule, boolean, integer, line_name, one_of, text};
use super::written::{Config, Key};
use super::{LineSettings, SourceKind, SourceSettings, TriggerSettings, milliseconds};
use crate::line::schedule::{Delay, Ejection, Mode};
use crate::line::wiring::{Backend, Bias, Drive, InputLine, LineName, OutputLine, Wiring};
use crate::line::{Role, Sensor};

/// The key of a line, in the order in which a clash of two is told.
type Taken = Vec<(Key, LineName)>;

/// What was read of the lines so far.
#[derive(Default)]
pub(super) struct Lines {
    inputs: BTreeMap<Sensor, InputLine>,
    taken: Taken,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    EveryFrame,
    FreeRunning,
    Gpio,
    Software,
}

pub(super) fn trigger(
    config: &mut Config,
    source: Option<SourceKind>,
    settings: Option<&SourceSettings>,
) -> (TriggerSettings, Lines) {
    let mut section = config.section("trigger");
    let kinds = &[
        ("every_frame", Kind::EveryFrame),
        ("free_running", Kind::FreeRunning),
        ("gpio", Kind::Gpio),
        ("software", Kind::Software),
    ];
    let default = "\"gpio\" where [trigger.gpio] names a line, else \"free_running\" for v4l2, \"every_frame\" for folder \
                   and simulated";
    let kind = section.optional("kind", one_of(kinds), default);
    let interval = section.optional("interval_ms", milliseconds(0..=3_600_000), "0, or 200 for free_running");
    let capture_delay = section.with_default("capture_delay_ms", milliseconds(0..=60_000), "0");
    let frame_within = section.with_default("frame_within_ms", milliseconds(1..=60_000), "100");
    let mut lines = Lines::default();
    for (sensor, section, debounce) in
        [(Sensor::Trigger, "trigger.gpio", "1000"), (Sensor::Encoder, "trigger.encoder", "0")]
    {
        lines.input(config, sensor, section, ("edge", edge(), "\"rising\""), debounce);
    }
    let from_camera = source == Some(SourceKind::V4l2);
    let has_line = lines.inputs.contains_key(&Sensor::Trigger);
    let default = match (has_line, from_camera) {
        (true, _) => Kind::Gpio,
        (false, true) => Kind::FreeRunning,
        (false, false) => Kind::EveryFrame,
    };
    let kind = kind.unwrap_or(default);
    if kind != Kind::Gpio && lines.inputs.remove(&Sensor::Trigger).is_some() {
        // Nobody listens to it, so that another role may have it.
        lines.taken.retain(|(key, _)| key.0 != "trigger.gpio");
    }
    let settings = match kind {
        Kind::FreeRunning => {
            if interval == Some(Duration::ZERO) {
                let about = &[("trigger", "interval_ms"), ("trigger", "kind"), ("source", "kind")];
                let sentence = "[trigger] interval_ms is 0, but the trigger is free-running; expected at least 1";
                config.contradiction(about, sentence);
            }
            let interval = interval.filter(|interval| !interval.is_zero()).unwrap_or(Duration::from_millis(200));
            check_against_frames(config, "interval_ms", interval, settings);
            TriggerSettings::FreeRunning { interval }
        }
        Kind::EveryFrame => {
            if from_camera {
                let sentence = "[trigger] kind is \"every_frame\", but a camera streams on while a part is inspected and \
                                frames would be lost; expected \"free_running\", \"gpio\" or \"software\"";
                config.contradiction(&[("trigger", "kind"), ("source", "kind")], sentence);
            }
            TriggerSettings::EveryFrame { interval: interval.unwrap_or(Duration::ZERO) }
        }
        Kind::Gpio | Kind::Software => {
            check_external(config, kind == Kind::Gpio && !has_line, interval);
            check_against_frames(config, "frame_within_ms", frame_within, settings);
            TriggerSettings::External { capture_delay, frame_within }
        }
    };
    (settings, lines)
}

fn check_external(config: &mut Config, lacks_line: bool, interval: Option<Duration>) {
    if lacks_line {
        config.contradiction(
            &[("trigger", "kind"), ("trigger.gpio", "line")],
            "[trigger] kind is \"gpio\", but [trigger.gpio] line is missing; expected the line of the part sensor; add a \
             line line = … below [trigger.gpio]",
        );
    }
    if interval.is_some() {
        config.contradiction(
            &[("trigger", "interval_ms"), ("trigger", "kind"), ("trigger.gpio", "line")],
            "[trigger] interval_ms is set, but parts come when they are triggered; leave it out, or set kind = \
             \"free_running\"",
        );
    }
}

/// A window that is shorter than a frame rejects parts at random, and ticks that come faster than frames are parts that
/// nobody sees.
fn check_against_frames(config: &mut Config, key: &'static str, time: Duration, source: Option<&SourceSettings>) {
    let Some(SourceSettings::V4l2(camera)) = source else { return };
    let period = Duration::from_secs(1) / camera.frames_per_second;
    if time < period && !time.is_zero() {
        let sentence = format!(
            "[trigger] {key} is {}, but at {} frames per second a frame comes every {} ms only; expected at least that",
            time.as_millis(),
            camera.frames_per_second,
            period.as_millis()
        );
        let about = &[("trigger", key), ("source.v4l2", "frames_per_second"), ("trigger", "kind"), ("source", "kind")];
        config.contradiction(about, sentence);
    }
}

/// The rest of the lines, and what they are for.
pub(super) fn line(config: &mut Config, trigger: TriggerSettings, presence: bool, mut lines: Lines) -> LineSettings {
    let mut section = config.section("line");
    let backends = &[
        ("auto", Backend::Auto),
        ("rpi", Backend::Rpi),
        ("gpiochip", Backend::GpioChip),
        ("dry_run", Backend::DryRun),
    ];
    let backend = section.with_default("backend", one_of(backends), "\"auto\"");
    let chip = section.optional(
        "chip",
        text("the name, path or label of a GPIO chip"),
        "the chip of the board's header, or any chip for lines with names",
    );
    let mode = section.with_default("mode", one_of(&[("eject", Mode::Eject), ("pass", Mode::Pass)]), "\"eject\"");
    let delay = section.with_default("delay_ms", milliseconds(1..=600_000), "500");
    let counts = integer(0..=1_000_000, "edges of the encoder").map(|counts| counts as u64);
    let counts = section.with_default("delay_counts", counts, "0");
    let pulse = section.with_default("pulse_ms", milliseconds(1..=10_000), "50");
    let min_gap = section.with_default("min_gap_ms", milliseconds(0..=10_000), "0");
    let stops_with_ready = section.with_default("stops_with_ready", boolean(), "true");
    let delay = if counts > 0 { Delay::Counts(counts) } else { Delay::Time(delay) };
    if counts > 0 && !lines.inputs.contains_key(&Sensor::Encoder) {
        config.contradiction(
            &[("line", "delay_counts"), ("trigger.encoder", "line")],
            "[line] delay_counts is set, but [trigger.encoder] line is missing; expected the line of the encoder, or \
             delay_ms instead",
        );
    }
    let ejection = Ejection { mode, delay, pulse, min_gap };
    check_gap(config, ejection, trigger, presence);

    let mut outputs = BTreeMap::new();
    for (role, section) in [
        (Role::Reject, "line.reject"),
        (Role::Ready, "line.ready"),
        (Role::Busy, "line.busy"),
        (Role::Fault, "line.fault"),
        (Role::Heartbeat, "line.heartbeat"),
    ] {
        outputs.extend(output(config, section, &mut lines.taken).map(|line| (role, line)));
    }
    let frequency = integer(1..=50, "hertz").map(|hertz| hertz as u32);
    let frequency_hz = config.section("line.heartbeat").with_default("frequency_hz", frequency, "10");

    for (sensor, section) in
        [(Sensor::Confirm, "inputs.confirm"), (Sensor::BinFull, "inputs.bin_full"), (Sensor::AirLow, "inputs.air_low")]
    {
        lines.input(config, sensor, section, ("active", level(), "\"high\""), "10000");
    }
    let confirm_within = config.section("inputs.confirm").with_default("within_ms", milliseconds(1..=60_000), "1000");
    check_taken(config, &lines.taken);
    LineSettings {
        wiring: Wiring { backend, chip, outputs, inputs: lines.inputs },
        ejection,
        stops_with_ready,
        heartbeat: Duration::from_secs(1) / (2 * frequency_hz),
        confirm_within,
    }
}

fn output(config: &mut Config, path: &'static str, taken: &mut Taken) -> Option<OutputLine> {
    let mut section = config.section(path);
    let line = section.optional("line", line_name(), "none");
    let active_low = section.with_default("active", level(), "\"high\"");
    let bias = section.with_default("bias", bias(), "\"as_is\"");
    let drives =
        &[("push_pull", Drive::PushPull), ("open_drain", Drive::OpenDrain), ("open_source", Drive::OpenSource)];
    let drive = section.with_default("drive", one_of(drives), "\"push_pull\"");
    let line = line?;
    taken.push(((path, "line"), line.clone()));
    Some(OutputLine { line, active_low, bias, drive })
}

impl Lines {
    /// Reads the section of an input.
    /// * `which` — the key that says which level or edge counts, its rule (true is the low one), and its default
    fn input(
        &mut self,
        config: &mut Config,
        sensor: Sensor,
        path: &'static str,
        which: (&'static str, Rule<bool>, &str),
        debounce_us: &str,
    ) {
        let mut section = config.section(path);
        let line = section.optional("line", line_name(), "none");
        let active_low = section.with_default(which.0, which.1, which.2);
        let bias = section.with_default("bias", bias(), "\"as_is\"");
        let microseconds = integer(0..=1_000_000, "microseconds").map(|number| Duration::from_micros(number as u64));
        let debounce = section.with_default("debounce_us", microseconds, debounce_us);
        if let Some(line) = line {
            self.taken.push(((path, "line"), line.clone()));
            self.inputs.insert(sensor, InputLine { line, active_low, bias, debounce });
        }
    }
}

fn edge() -> Rule<bool> {
    one_of(&[("rising", false), ("falling", true)])
}

fn level() -> Rule<bool> {
    one_of(&[("high", false), ("low", true)])
}

fn bias() -> Rule<Option<Bias>> {
    one_of(&[
        ("as_is", None),
        ("pull_up", Some(Bias::PullUp)),
        ("pull_down", Some(Bias::PullDown)),
        ("disabled", Some(Bias::Disabled)),
    ])
}

/// Where parts come at a fixed pace, a pulse that lasts into the next part would hit it too.
fn check_gap(config: &mut Config, ejection: Ejection, trigger: TriggerSettings, presence: bool) {
    let TriggerSettings::FreeRunning { interval } = trigger else { return };
    if ejection.mode == Mode::Eject && !presence && ejection.pulse + ejection.min_gap > interval {
        let sentence = format!(
            "[line] pulse_ms = {} with min_gap_ms = {} lasts into the next part, which comes after interval_ms = {}; \
             shorten the pulse, or lengthen the interval",
            ejection.pulse.as_millis(),
            ejection.min_gap.as_millis(),
            interval.as_millis()
        );
        let about = &[("line", "pulse_ms"), ("line", "min_gap_ms"), ("trigger", "interval_ms"), ("trigger", "kind")];
        config.contradiction(about, sentence);
    }
}

fn check_taken(config: &mut Config, taken: &Taken) {
    for (index, (key, line)) in taken.iter().enumerate() {
        if let Some((other, _)) = taken[..index].iter().find(|(_, other)| other == line) {
            let sentence = format!("[{}] and [{}] are both on line {line}; each needs one of its own", other.0, key.0);
            config.contradiction(&[*key, *other], sentence);
        }
    }
}
