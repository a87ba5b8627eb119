//! Opens the lines that a wiring names, and says which driver took them and why.

use super::dry_run::DryRun;
use super::gpiochip::{self, GpioError};
use super::rpi::{self, RpiError};
use super::wiring::{Backend, Wiring};
use super::{LineInputs, LineOutputs};

/// Why the lines cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    #[error("[line] {0}")]
    Gpio(#[from] GpioError),
    #[error("[line] {0}")]
    Rpi(#[from] RpiError),
}

/// Opens the outputs, all inactive. The second value says why this driver was taken, where it was a choice.
/// # Errors  `LineError`
pub fn open_outputs(wiring: &Wiring) -> Result<(Box<dyn LineOutputs>, Option<String>), LineError> {
    let chip = wiring.chip.as_deref();
    let by_kernel = || gpiochip::Outputs::open(chip, &wiring.outputs).map(|outputs| Box::new(outputs) as Box<_>);
    Ok(match wiring.backend {
        Backend::DryRun => (Box::new(DryRun { because: "as configured" }), None),
        _ if wiring.outputs.is_empty() => (Box::new(DryRun { because: "for [line] names none" }), None),
        Backend::Rpi => (Box::new(rpi::Outputs::open(&wiring.outputs)?), None),
        Backend::GpioChip => (by_kernel()?, None),
        Backend::Auto => match why_not_registers(wiring) {
            Some(why) => (by_kernel()?, Some(format!("the GPIO character device, since {why}"))),
            None => match rpi::Outputs::open(&wiring.outputs) {
                Ok(outputs) => (Box::new(outputs), Some("the registers, since this is a Raspberry Pi".to_owned())),
                Err(why) => (by_kernel()?, Some(format!("the GPIO character device, for the registers failed: {why}"))),
            },
        },
    })
}

fn why_not_registers(wiring: &Wiring) -> Option<String> {
    if !rpi::is_raspberry_pi() {
        Some("this is no Raspberry Pi that is known".to_owned())
    } else if wiring.chip.is_some() {
        Some("[line] chip names one".to_owned())
    } else {
        rpi::numbers(&wiring.outputs).err().map(|why| why.to_string())
    }
}

/// Opens the inputs; none if the wiring has none.
/// # Errors  `LineError`
pub fn open_inputs(wiring: &Wiring) -> Result<Option<Box<dyn LineInputs>>, LineError> {
    if wiring.inputs.is_empty() {
        return Ok(None);
    }
    if wiring.backend != Backend::DryRun {
        gpiochip::check_apart(wiring)?;
    }
    Ok(Some(Box::new(gpiochip::Inputs::open(wiring.chip.as_deref(), &wiring.inputs)?)))
}
