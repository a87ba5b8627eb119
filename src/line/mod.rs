//! The reject signal: what is due when, and the lines that carry it.
//!
//! A part is guilty until proven good. Its trigger arms a reject, due at trigger time + delay, and only a valid Accept
//! before that moment disarms it. [`schedule`] holds all timing as a plain state machine; a [`LineOutputs`] only sets
//! levels.

use crate::clock::Timestamp;

pub mod dry_run;
pub mod schedule;

/// What a line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The ejector (`eject`), or the gate that lets parts through (`pass`).
    Reject,
    /// Active while parts can be judged; the machine's controller must stop the line when it is not.
    Ready,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Role::Reject => "reject",
            Role::Ready => "ready",
        })
    }
}

/// The output lines.
pub trait LineOutputs: Send {
    /// Sets the line of `role` active or inactive.
    /// * `now` — the moment, for those that record it
    ///
    /// # Errors  A sentence, if the line could not be set; the caller treats it as a fault.
    fn set(&mut self, role: Role, active: bool, now: Timestamp) -> Result<(), String>;

    /// One line for the log: which lines these are.
    fn describe(&self) -> String;
}
