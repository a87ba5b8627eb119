//! Which line carries what: the wiring of a station, as it is configured.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Role, Sensor};

/// A line, as people name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LineName {
    /// Its offset on the chip; on a Raspberry Pi the BCM number.
    Number(u32),
    /// The name that the board's device tree gives it, as `rejectd gpio list` prints it.
    Name(String),
}

impl std::fmt::Display for LineName {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            LineName::Number(number) => number.fmt(f),
            LineName::Name(name) => name.fmt(f),
        }
    }
}

/// The resistor of the chip, where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    PullUp,
    PullDown,
    Disabled,
}

/// How an output is driven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Drive {
    /// High and low.
    #[default]
    PushPull,
    /// Low only, else released; an external resistor pulls it up.
    OpenDrain,
    /// High only, else released.
    OpenSource,
}

#[derive(Clone, Debug, PartialEq)]
pub struct OutputLine {
    pub line: LineName,
    /// Whether active is the low level.
    pub active_low: bool,
    /// As the kernel has it if absent.
    pub bias: Option<Bias>,
    pub drive: Drive,
}

#[derive(Clone, Debug, PartialEq)]
pub struct InputLine {
    pub line: LineName,
    /// Whether active is the low level.
    pub active_low: bool,
    /// As the kernel has it if absent.
    pub bias: Option<Bias>,
    /// Changes shorter than this are no edges; the kernel sees to it. Zero for none.
    pub debounce: Duration,
}

/// What drives the output lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The registers of a Raspberry Pi where there is one and the lines allow it, else the GPIO character device; without
    /// any line, none.
    Auto,
    /// rppal.
    Rpi,
    /// The kernel's GPIO character device.
    GpioChip,
    DryRun,
}

/// The lines of a station.
#[derive(Clone, Debug, PartialEq)]
pub struct Wiring {
    pub backend: Backend,
    /// Number (`gpiochip0`), path or label of the chip that the lines are on; any chip for lines with names, or the one of
    /// the board's header, if absent.
    pub chip: Option<String>,
    pub outputs: BTreeMap<Role, OutputLine>,
    pub inputs: BTreeMap<Sensor, InputLine>,
}
