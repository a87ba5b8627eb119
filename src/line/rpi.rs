//! Outputs of a Raspberry Pi's header, by rppal: a level is set by one write to a register.
//!
//! The kernel does not know of lines that are set so: nothing keeps another process from setting them too, and nothing
//! lets go of them when this process is killed (docs/fail-safe.md; the unit file's `ExecStopPost=` does).

use std::collections::BTreeMap;

use rppal::gpio::{Error, Gpio, OutputPin};
use rppal::system::DeviceInfo;

use super::wiring::{Drive, LineName, OutputLine};
use super::{LineOutputs, Role, Untrue};
use crate::clock::Timestamp;

/// The output lines of a station on the header.
pub struct Outputs {
    pins: BTreeMap<Role, Pin>,
    model: String,
}

struct Pin {
    pin: OutputPin,
    active_low: bool,
    active: bool,
}

/// Why the header's lines cannot be used in this way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RpiError {
    #[error("this board is no Raspberry Pi that is known; set [line] backend = \"gpiochip\"")]
    NoPi,
    #[error(
        "[line.{role}] line {line} is no BCM number such as 17 or GPIO17; correct it, or set [line] backend = \"gpiochip\""
    )]
    NoNumber { role: Role, line: LineName },
    #[error(
        "[line.{role}] asks for a drive or bias that the registers do not give an output; leave it out, or set [line] \
         backend = \"gpiochip\""
    )]
    Electrical { role: Role },
    #[error("GPIO{number} is used for {roles}; each needs a line of its own")]
    Shared { number: u8, roles: String },
    #[error("there is no GPIO{0} on this board; expected a BCM number of the header")]
    NoSuchLine(u8),
    #[error("{0} may not be opened by this user; add the user to the group gpio")]
    Denied(String),
    #[error("the GPIO registers cannot be used: {0}")]
    Failed(String),
}

/// The BCM numbers of the lines, if all of them can be driven by the registers.
/// # Errors  `RpiError`, whatever the board.
pub fn numbers(wanted: &BTreeMap<Role, OutputLine>) -> Result<BTreeMap<Role, u8>, RpiError> {
    let mut numbers: BTreeMap<Role, u8> = BTreeMap::new();
    for (&role, line) in wanted {
        if line.drive != Drive::PushPull || line.bias.is_some() {
            return Err(RpiError::Electrical { role });
        }
        let number = match &line.line {
            LineName::Number(number) => u8::try_from(*number).ok(),
            LineName::Name(name) => name.strip_prefix("GPIO").and_then(|number| number.parse().ok()),
        };
        let number = number.ok_or_else(|| RpiError::NoNumber { role, line: line.line.clone() })?;
        if let Some((other, _)) = numbers.iter().find(|(_, taken)| **taken == number) {
            return Err(RpiError::Shared { number, roles: format!("{other} and {role}") });
        }
        numbers.insert(role, number);
    }
    Ok(numbers)
}

/// Whether this is a Raspberry Pi that rppal knows.
pub fn is_raspberry_pi() -> bool {
    DeviceInfo::new().is_ok()
}

impl Outputs {
    /// Makes the lines outputs, all inactive; they become what they were when this is dropped.
    /// # Errors  `RpiError`
    pub fn open(wanted: &BTreeMap<Role, OutputLine>) -> Result<Outputs, RpiError> {
        let numbers = numbers(wanted)?;
        let model = DeviceInfo::new().map_err(|_| RpiError::NoPi)?.model().to_string();
        let gpio = Gpio::new().map_err(refused)?;
        let mut pins = BTreeMap::new();
        for (role, number) in numbers {
            let active_low = wanted[&role].active_low;
            let pin = gpio.get(number).map_err(refused)?;
            let pin = if active_low { pin.into_output_high() } else { pin.into_output_low() };
            pins.insert(role, Pin { pin, active_low, active: false });
        }
        Ok(Outputs { pins, model })
    }
}

impl LineOutputs for Outputs {
    fn set(&mut self, role: Role, active: bool, _now: Timestamp) -> Result<(), String> {
        if let Some(pin) = self.pins.get_mut(&role) {
            pin.active = active;
            pin.pin.write((active != pin.active_low).into());
        }
        Ok(())
    }

    fn verify(&mut self) -> Result<(), Untrue> {
        let wrong = self.pins.iter().find(|(_, pin)| pin.pin.is_set_high() != (pin.active != pin.active_low));
        wrong.map_or(Ok(()), |(&role, pin)| {
            let why = format!(
                "the {role} line (GPIO{}) does not have the level that it was set to; look for a short circuit, or for \
                 what else drives it",
                pin.pin.pin()
            );
            Err(Untrue { role, why })
        })
    }

    fn describe(&self) -> String {
        let lines: Vec<String> = self.pins.iter().map(|(role, pin)| format!("{role} GPIO{}", pin.pin.pin())).collect();
        format!("registers of the {}: {}", self.model, lines.join(", "))
    }
}

fn refused(error: Error) -> RpiError {
    match error {
        Error::UnknownModel => RpiError::NoPi,
        Error::PinNotAvailable(number) => RpiError::NoSuchLine(number),
        Error::PermissionDenied(path) => RpiError::Denied(path),
        error => RpiError::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(line: LineName) -> OutputLine {
        OutputLine { line, active_low: false, bias: None, drive: Drive::PushPull }
    }

    #[test]
    fn header_lines_are_bcm_numbers_or_their_names() {
        let wanted = BTreeMap::from([
            (Role::Reject, output(LineName::Number(17))),
            (Role::Ready, output(LineName::Name("GPIO27".into()))),
        ]);
        assert_eq!(numbers(&wanted).unwrap(), BTreeMap::from([(Role::Reject, 17), (Role::Ready, 27)]));
    }

    #[test]
    fn what_the_registers_cannot_do_is_refused_with_the_backend_that_can() {
        let sentence = |role, line: OutputLine| {
            let wanted = BTreeMap::from([(Role::Reject, output(LineName::Number(17))), (role, line)]);
            numbers(&wanted).unwrap_err().to_string()
        };
        let open_drain = OutputLine { drive: Drive::OpenDrain, ..output(LineName::Number(4)) };
        assert!(sentence(Role::Ready, open_drain).contains("backend = \"gpiochip\""));
        assert!(sentence(Role::Ready, output(LineName::Name("PA.01".into()))).contains("is no BCM number"));
        let shared = sentence(Role::Ready, output(LineName::Number(17)));
        assert_eq!(shared, "GPIO17 is used for reject and ready; each needs a line of its own");
    }
}
