//! The reject signal: what is due when, and the lines that carry it.
//!
//! A part is guilty until proven good. Its trigger arms a reject, due at trigger time + delay (or so many encoder counts
//! later), and only a valid Accept before that moment disarms it. [`schedule`] holds all timing as a plain state machine;
//! [`LineOutputs`] only set levels, and [`LineInputs`] only tell edges with the kernel's own time of them.
//!
//! Outputs go through the registers of a Raspberry Pi ([`rpi`]) or the kernel's GPIO character device ([`gpiochip`]).
//! Inputs always go through the latter: only the kernel stamps an edge at its interrupt, and a debounced one when the level
//! has been steady for the debounce time; delays run from that stamp.

use crate::clock::Timestamp;

pub mod backend;
pub mod confirm;
pub mod dry_run;
pub mod gpiochip;
pub mod rpi;
pub mod schedule;
pub mod wiring;

/// What an output line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The ejector (`eject`), or the gate that lets parts through (`pass`).
    Reject,
    /// Active while parts can be judged; the machine's controller must stop the line when it is not.
    Ready,
    /// Active while a part is inspected.
    Busy,
    /// Active while the station is not ready because something is wrong.
    Fault,
    /// A square wave while the station is ready and every thread of it makes progress.
    Heartbeat,
}

impl Role {
    pub const ALL: [Role; 5] = [Role::Reject, Role::Ready, Role::Busy, Role::Fault, Role::Heartbeat];

    /// The name in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Role::Reject => "reject",
            Role::Ready => "ready",
            Role::Busy => "busy",
            Role::Fault => "fault",
            Role::Heartbeat => "heartbeat",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// What an input line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sensor {
    /// A part is in front of the camera.
    Trigger,
    /// The belt moved by one count.
    Encoder,
    /// A rejected part arrived in the bin.
    Confirm,
    /// Active while the reject bin is full.
    BinFull,
    /// Active while the ejector has too little air.
    AirLow,
}

impl Sensor {
    pub const ALL: [Sensor; 5] = [Sensor::Trigger, Sensor::Encoder, Sensor::Confirm, Sensor::BinFull, Sensor::AirLow];

    /// The name in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Sensor::Trigger => "trigger",
            Sensor::Encoder => "encoder",
            Sensor::Confirm => "confirm",
            Sensor::BinFull => "bin_full",
            Sensor::AirLow => "air_low",
        }
    }
}

impl std::fmt::Display for Sensor {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// The output lines.
pub trait LineOutputs: Send {
    /// Sets the line of `role` active or inactive; a role without a line is none of its business.
    /// * `now` — the moment, for those that record it
    ///
    /// # Errors  A sentence, if the line could not be set; the caller treats it as a fault, and sets all lines again.
    fn set(&mut self, role: Role, active: bool, now: Timestamp) -> Result<(), String>;

    /// Whether the lines are still there and have the levels that they were set to; asked often.
    /// # Errors  `Untrue`, of the first that has not.
    fn verify(&mut self) -> Result<(), Untrue> {
        Ok(())
    }

    /// One line for the log: which lines these are.
    fn describe(&self) -> String;
}

/// A line that does not have the level that it was set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untrue {
    pub role: Role,
    /// A sentence.
    pub why: String,
}

/// A change of an input line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    pub sensor: Sensor,
    /// Whether it became active.
    pub active: bool,
    /// When, by the kernel.
    pub at: Timestamp,
    /// How many edges of the same line were lost before this one.
    pub lost: u32,
}

/// The input lines.
pub trait LineInputs: Send {
    /// The next edge, in the order of time; none if none came until `until`. The first calls tell the levels that
    /// `bin_full` and `air_low` have.
    /// # Errors  A sentence, if the lines cannot be read; then [`LineInputs::reopen`] is called before the next try.
    fn next(&mut self, until: Timestamp) -> Result<Option<Edge>, String>;

    /// Opens the lines again after an error. Edges that were read before are still told.
    /// # Errors  A sentence.
    fn reopen(&mut self) -> Result<(), String>;

    /// Whether one of the lines is for this.
    fn has(&self, sensor: Sensor) -> bool;

    /// One line for the log: which lines these are.
    fn describe(&self) -> String;
}
