//! Lines of the kernel's GPIO character device, by gpiocdev: Jetson, Raspberry Pi and every other Linux board.
//!
//! The kernel owns the lines: one process each, and what it holds is let go when it ends, however it ends. What a line
//! does then is the driver's: some keep the level, some fall back to an input (docs/fail-safe.md has a table).

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gpiocdev::Request;
use gpiocdev::line::{EdgeDetection, EdgeKind, EventClock, Offset, Value};
use gpiocdev::request::Builder;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use super::wiring::{Bias, Drive, InputLine, LineName, OutputLine, Wiring};
use super::{Edge, LineInputs, LineOutputs, Role, Sensor, Untrue};
use crate::clock::{Clock, MonotonicClock, Timestamp};

pub mod by_hand;
mod find;

pub use find::{ChipLines, Found, GpioError, find, named_chip, survey};
use find::{explain, refused};

/// Who holds the lines, for others to see.
const CONSUMER: &str = "rejectd";
/// So many edges wait in the kernel before it drops the oldest.
const KERNEL_EDGES: u32 = 1024;

/// The output lines of a station, requested from the kernel.
pub struct Outputs {
    chip: Option<String>,
    wanted: BTreeMap<Role, OutputLine>,
    held: BTreeMap<Role, Held>,
    requests: BTreeMap<PathBuf, Request>,
}

struct Held {
    found: Found,
    /// What it was last set to, where it can be read back.
    level: Option<bool>,
}

impl Outputs {
    /// Requests the lines, all inactive.
    /// # Errors  `GpioError`: a line or chip that is not there, in use, or forbidden; two roles on one line.
    pub fn open(chip: Option<&str>, wanted: &BTreeMap<Role, OutputLine>) -> Result<Outputs, GpioError> {
        let mut outputs = Outputs {
            chip: chip.map(str::to_owned),
            wanted: wanted.clone(),
            held: BTreeMap::new(),
            requests: BTreeMap::new(),
        };
        outputs.request()?;
        Ok(outputs)
    }

    /// Requests the lines that are not held; a chip that is still there keeps its own.
    fn request(&mut self) -> Result<(), GpioError> {
        let chips = survey()?;
        let missing = self.wanted.iter().filter(|(role, _)| !self.held.contains_key(role));
        let found = locate(&chips, self.chip.as_deref(), missing.map(|(role, line)| (*role, &line.line)))?;
        for (path, lines) in by_chip(&found) {
            let mut builder = Request::builder();
            builder.on_chip(path.clone()).with_consumer(CONSUMER);
            let offsets: Vec<Offset> = lines.iter().map(|(_, offset)| *offset).collect();
            for (role, offset) in &lines {
                let OutputLine { active_low, bias, drive, .. } = self.wanted[role];
                builder.with_line(*offset).as_output(Value::Inactive).with_drive(kernel_drive(drive));
                finish(&mut builder, active_low, bias);
            }
            let request = builder.request().map_err(|error| refused(&path, &offsets, &error))?;
            self.requests.insert(path, request);
            for (role, _) in lines {
                let level = (self.wanted[&role].drive == Drive::PushPull).then_some(false);
                self.held.insert(role, Held { found: found[&role].clone(), level });
            }
        }
        Ok(())
    }

    /// Lets go of a chip that failed, and says why.
    fn lose(&mut self, chip: &Path, error: &gpiocdev::Error) -> String {
        self.requests.remove(chip);
        self.held.retain(|_, held| held.found.chip != chip);
        explain(chip, error)
    }
}

impl LineOutputs for Outputs {
    fn set(&mut self, role: Role, active: bool, _now: Timestamp) -> Result<(), String> {
        if !self.wanted.contains_key(&role) {
            return Ok(());
        }
        if !self.held.contains_key(&role) {
            self.request().map_err(|error| error.to_string())?;
        }
        let held = self.held.get_mut(&role).expect("every line that is wanted is held");
        let Found { chip, offset, .. } = &held.found;
        match self.requests[chip].set_value(*offset, Value::from(active)) {
            Ok(()) => {
                held.level = (self.wanted[&role].drive == Drive::PushPull).then_some(active);
                Ok(())
            }
            Err(error) => {
                let chip = chip.clone();
                Err(self.lose(&chip, &error))
            }
        }
    }

    fn verify(&mut self) -> Result<(), Untrue> {
        for (&role, held) in &self.held {
            let Found { chip, offset, .. } = &held.found;
            let Some(level) = held.level else { continue };
            match self.requests[chip].value(*offset).map(bool::from) {
                Ok(found) if found == level => {}
                Ok(_) => {
                    let word = |active| if active { "active" } else { "inactive" };
                    let why = format!(
                        "the {role} line ({}) was set {} but reads {}; look for a short circuit, or for what else drives it",
                        held.found,
                        word(level),
                        word(!level)
                    );
                    return Err(Untrue { role, why });
                }
                Err(error) => {
                    let chip = chip.clone();
                    return Err(Untrue { role, why: self.lose(&chip, &error) });
                }
            }
        }
        Ok(())
    }

    fn describe(&self) -> String {
        let lines: Vec<String> = self.held.iter().map(|(role, held)| format!("{role} {}", held.found)).collect();
        format!("GPIO character device: {}", lines.join(", "))
    }
}

/// The input lines of a station, requested from the kernel.
pub struct Inputs {
    chip: Option<String>,
    wanted: BTreeMap<Sensor, InputLine>,
    found: BTreeMap<Sensor, Found>,
    requests: Vec<(PathBuf, Request)>,
    /// The number of the last edge of each line.
    numbers: BTreeMap<Sensor, u32>,
    waiting: VecDeque<Edge>,
}

impl Inputs {
    /// Requests the lines.
    /// # Errors  `GpioError`, as [`Outputs::open`]; also where the kernel cannot see edges or debounce.
    pub fn open(chip: Option<&str>, wanted: &BTreeMap<Sensor, InputLine>) -> Result<Inputs, GpioError> {
        let mut inputs = Inputs {
            chip: chip.map(str::to_owned),
            wanted: wanted.clone(),
            found: BTreeMap::new(),
            requests: Vec::new(),
            numbers: BTreeMap::new(),
            waiting: VecDeque::new(),
        };
        inputs.request()?;
        Ok(inputs)
    }

    fn request(&mut self) -> Result<(), GpioError> {
        self.requests.clear();
        self.numbers.clear();
        let chips = survey()?;
        self.found = locate(&chips, self.chip.as_deref(), self.wanted.iter().map(|(role, line)| (*role, &line.line)))?;
        for (path, lines) in by_chip(&self.found) {
            let mut builder = Request::builder();
            builder.on_chip(path.clone()).with_consumer(CONSUMER).with_kernel_event_buffer_size(KERNEL_EDGES);
            let offsets: Vec<Offset> = lines.iter().map(|(_, offset)| *offset).collect();
            for (sensor, offset) in lines {
                let InputLine { active_low, bias, debounce, .. } = self.wanted[&sensor];
                builder.with_line(offset).as_input().with_edge_detection(edges_of(sensor));
                builder.with_event_clock(EventClock::Monotonic);
                if debounce > Duration::ZERO {
                    builder.with_debounce_period(debounce);
                }
                finish(&mut builder, active_low, bias);
            }
            let request = builder.request().map_err(|error| refused(&path, &offsets, &error))?;
            self.requests.push((path, request));
        }
        self.tell_levels()
    }

    fn tell_levels(&mut self) -> Result<(), GpioError> {
        let at = MonotonicClock.now();
        for sensor in [Sensor::BinFull, Sensor::AirLow] {
            let Some(found) = self.found.get(&sensor) else { continue };
            let (path, request) =
                self.requests.iter().find(|(path, _)| *path == found.chip).expect("each line has a request");
            let active = request.value(found.offset).map_err(|error| refused(path, &[], &error))?;
            self.waiting.push_back(Edge { sensor, active: active.into(), at, lost: 0 });
        }
        Ok(())
    }

    /// Takes all edges that are there.
    fn read(&mut self, index: usize) -> Result<(), String> {
        let (path, request) = &self.requests[index];
        let problem = |error| explain(path, &error);
        while request.has_edge_event().map_err(problem)? {
            let event = request.read_edge_event().map_err(problem)?;
            let on_this_line = |(_, found): &(&Sensor, &Found)| found.chip == *path && found.offset == event.offset;
            let Some((&sensor, _)) = self.found.iter().find(on_this_line) else { continue };
            // The kernel counts from 1.
            let last = self.numbers.insert(sensor, event.line_seqno).unwrap_or(0);
            self.waiting.push_back(Edge {
                sensor,
                active: event.kind == EdgeKind::Rising,
                at: Timestamp(event.timestamp_ns),
                lost: event.line_seqno.wrapping_sub(last).saturating_sub(1),
            });
        }
        Ok(())
    }
}

impl LineInputs for Inputs {
    fn next(&mut self, until: Timestamp) -> Result<Option<Edge>, String> {
        if let Some(edge) = self.waiting.pop_front() {
            return Ok(Some(edge));
        }
        let left = until.since(MonotonicClock.now());
        let limit = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ };
        let mut watched: Vec<PollFd> =
            self.requests.iter().map(|(_, request)| PollFd::new(request, PollFlags::IN)).collect();
        match poll(&mut watched, Some(&limit)) {
            Err(rustix::io::Errno::INTR) | Ok(0) => return Ok(None),
            Err(error) => return Err(format!("the input lines cannot be watched: {error}")),
            Ok(_) => {}
        }
        let ready: Vec<usize> = (0..watched.len()).filter(|index| !watched[*index].revents().is_empty()).collect();
        let gone = ready.iter().any(|index| watched[*index].revents().intersects(PollFlags::ERR | PollFlags::HUP));
        drop(watched);
        if gone {
            return Err("the chip of the input lines is gone; plug it in again".into());
        }
        for index in ready {
            self.read(index)?;
        }
        self.waiting.make_contiguous().sort_by_key(|edge| edge.at);
        Ok(self.waiting.pop_front())
    }

    fn reopen(&mut self) -> Result<(), String> {
        self.request().map_err(|error| error.to_string())
    }

    fn has(&self, sensor: Sensor) -> bool {
        self.wanted.contains_key(&sensor)
    }

    fn describe(&self) -> String {
        let lines: Vec<String> = self.found.iter().map(|(sensor, found)| format!("{sensor} {found}")).collect();
        format!("GPIO character device: {}", lines.join(", "))
    }
}

/// Whether outputs and inputs are on lines of their own, however those are named. The kernel does not see to it where the
/// registers drive the outputs.
/// # Errors  `GpioError`
pub fn check_apart(wiring: &Wiring) -> Result<(), GpioError> {
    apart(&survey()?, wiring)
}

fn apart(chips: &[ChipLines], wiring: &Wiring) -> Result<(), GpioError> {
    let outputs = wiring.outputs.iter().map(|(role, line)| (role.word(), &line.line));
    let inputs = wiring.inputs.iter().map(|(sensor, line)| (sensor.word(), &line.line));
    locate(chips, wiring.chip.as_deref(), outputs.chain(inputs)).map(|_| ())
}

/// Where each role's line is.
/// # Errors  `GpioError`; two roles on one line are one too.
fn locate<'a, R: Copy + Ord + std::fmt::Display>(
    chips: &[ChipLines],
    chip: Option<&str>,
    wanted: impl Iterator<Item = (R, &'a LineName)>,
) -> Result<BTreeMap<R, Found>, GpioError> {
    let mut located: BTreeMap<R, Found> = BTreeMap::new();
    for (role, line) in wanted {
        let found = find(chips, chip, line)?;
        if let Some((other, _)) = located.iter().find(|(_, other)| other.is_same_line(&found)) {
            return Err(GpioError::Shared { line: found.to_string(), roles: format!("{other} and {role}") });
        }
        located.insert(role, found);
    }
    Ok(located)
}

fn by_chip<R: Copy + Ord>(found: &BTreeMap<R, Found>) -> BTreeMap<PathBuf, Vec<(R, Offset)>> {
    let mut chips: BTreeMap<PathBuf, Vec<(R, Offset)>> = BTreeMap::new();
    for (role, found) in found {
        chips.entry(found.chip.clone()).or_default().push((*role, found.offset));
    }
    chips
}

/// What matters of a sensor: that it became active, or both.
fn edges_of(sensor: Sensor) -> EdgeDetection {
    match sensor {
        Sensor::Trigger | Sensor::Encoder | Sensor::Confirm => EdgeDetection::RisingEdge,
        Sensor::BinFull | Sensor::AirLow => EdgeDetection::BothEdges,
    }
}

fn finish(builder: &mut Builder, active_low: bool, bias: Option<Bias>) {
    if active_low {
        builder.as_active_low();
    } else {
        builder.as_active_high();
    }
    builder.with_bias(bias.map(|bias| match bias {
        Bias::PullUp => gpiocdev::line::Bias::PullUp,
        Bias::PullDown => gpiocdev::line::Bias::PullDown,
        Bias::Disabled => gpiocdev::line::Bias::Disabled,
    }));
}

fn kernel_drive(drive: Drive) -> gpiocdev::line::Drive {
    match drive {
        Drive::PushPull => gpiocdev::line::Drive::PushPull,
        Drive::OpenDrain => gpiocdev::line::Drive::OpenDrain,
        Drive::OpenSource => gpiocdev::line::Drive::OpenSource,
    }
}

#[cfg(test)]
mod tests {
    use gpiocdev::line::Info;

    use super::super::wiring::Backend;
    use super::*;

    #[test]
    fn an_input_and_an_output_on_one_line_are_told_by_name_and_by_number() {
        let named = |offset| Info { offset, name: format!("GPIO{offset}"), ..Info::default() };
        let header =
            ChipLines { label: "pinctrl-bcm2711".into(), lines: (0..28).map(named).collect(), ..Default::default() };
        let line = LineName::Number(17);
        let reject = OutputLine { line, active_low: false, bias: None, drive: Drive::PushPull };
        let shared = |line| {
            let trigger = InputLine { line, active_low: false, bias: None, debounce: Duration::ZERO };
            let wiring = Wiring {
                backend: Backend::Auto,
                chip: None,
                outputs: BTreeMap::from([(Role::Reject, reject.clone())]),
                inputs: BTreeMap::from([(Sensor::Trigger, trigger)]),
            };
            apart(std::slice::from_ref(&header), &wiring).err().map(|error| error.to_string())
        };
        let sentence = shared(LineName::Name("GPIO17".into())).unwrap();
        assert_eq!(sentence, " line 17 (GPIO17) is used for reject and trigger; each needs a line of its own");
        assert!(shared(LineName::Number(17)).is_some());
        assert_eq!(shared(LineName::Number(5)), None);
    }
}
