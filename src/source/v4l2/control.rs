//! A camera's controls: exposure, gain, white balance, focus.

use std::fmt;
use std::io;

use v4l::control::{Control, Value};
use v4l::device::Device;

use super::ioctl::{self, RawControl};

const BOOLEAN: u32 = 2;
const MENU: u32 = 3;
const INTEGER_64: u32 = 5;
const BIT_MASK: u32 = 8;
const MENU_OF_NUMBERS: u32 = 9;
/// Integer, boolean, menu, 64-bit integer, bit mask, menu of numbers: the ones whose value is a number.
const KINDS: [u32; 6] = [1, BOOLEAN, MENU, INTEGER_64, BIT_MASK, MENU_OF_NUMBERS];

const DISABLED: u32 = 0x01;
const READ_ONLY: u32 = 0x04;
const INACTIVE: u32 = 0x10;

/// One control of a camera, by the name that `v4l2-ctl -l` prints.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CameraControl {
    id: u32,
    kind: u32,
    pub name: String,
    pub minimum: i64,
    pub maximum: i64,
    pub step: u64,
    pub default: i64,
    /// The value in force; none if the driver does not tell.
    pub value: Option<i64>,
    /// Another control, an automatic one as a rule, holds this one at present.
    pub inactive: bool,
    pub read_only: bool,
    /// The numbers of a menu's items and what they mean.
    pub items: Vec<(i64, String)>,
}

impl fmt::Display for CameraControl {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {} to {}", self.name, self.minimum, self.maximum)?;
        if self.step > 1 {
            write!(f, " in steps of {}", self.step)?;
        }
        write!(f, ", default {}", self.default)?;
        if let Some(value) = self.value {
            write!(f, ", now {value}")?;
        }
        if self.inactive {
            write!(f, ", held by an automatic control")?;
        }
        if self.read_only {
            write!(f, ", cannot be set")?;
        }
        for (at, (number, meaning)) in self.items.iter().enumerate() {
            write!(f, "{}{number} = {meaning}", if at == 0 { "; " } else { ", " })?;
        }
        Ok(())
    }
}

/// The controls of `device` whose value is a number, in the kernel's order.
/// # Errors  The kernel's.
pub fn controls(device: &Device) -> io::Result<Vec<CameraControl>> {
    let handle = device.handle();
    let mut controls = Vec::new();
    let mut id = 0;
    while let Some(raw) = ioctl::next_control(&handle, id)? {
        id = raw.id;
        if KINDS.contains(&raw.kind) && raw.flags & DISABLED == 0 {
            controls.push(with_value(device, raw));
        }
    }
    Ok(controls)
}

fn with_value(device: &Device, raw: RawControl) -> CameraControl {
    let of_numbers = raw.kind == MENU_OF_NUMBERS;
    let is_menu = of_numbers || raw.kind == MENU;
    let item = |index: i64| Some((index, ioctl::menu_item(&device.handle(), raw.id, index as u32, of_numbers).ok()?));
    CameraControl {
        id: raw.id,
        kind: raw.kind,
        name: name_of(&raw.name),
        minimum: raw.minimum,
        maximum: raw.maximum,
        step: raw.step,
        default: raw.default,
        value: value(device, raw.id, raw.kind).ok(),
        inactive: raw.flags & INACTIVE != 0,
        read_only: raw.flags & READ_ONLY != 0,
        items: if is_menu { (raw.minimum..=raw.maximum).filter_map(item).collect() } else { Vec::new() },
    }
}

fn value(device: &Device, id: u32, kind: u32) -> io::Result<i64> {
    match kind {
        INTEGER_64 => {}
        BIT_MASK => return Ok(i64::from(ioctl::control_value(&device.handle(), id)? as u32)),
        _ => return ioctl::control_value(&device.handle(), id).map(i64::from),
    }
    match device.control(id)?.value {
        Value::Integer(value) => Ok(value),
        other => Err(io::Error::other(format!("a 64-bit control holds {other:?}"))),
    }
}

/// Folds the name that a driver gives a control as `v4l2-ctl` does: small letters and digits, and one `_` for what
/// stands between them, so that "Exposure Time, Absolute" is `exposure_time_absolute`.
pub fn name_of(label: &str) -> String {
    let mut name = String::new();
    let mut gap = false;
    for letter in label.chars() {
        if !letter.is_ascii_alphanumeric() {
            gap = !name.is_empty();
            continue;
        }
        if gap {
            name.push('_');
        }
        gap = false;
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// The wanted values with their controls, in the order to set them: the automatic ones first, since a camera refuses
/// or forgets a manual exposure as long as the automatic one is on; the rest as written.
/// # Errors  A sentence's end: a name that the camera does not have, with those that it has, or a value that it
/// cannot take.
pub fn plan(wanted: &[(String, i64)], known: &[CameraControl]) -> Result<Vec<(CameraControl, i64)>, String> {
    let mut planned = Vec::new();
    for (name, value) in wanted {
        let Some(control) = known.iter().find(|control| control.name == *name) else {
            let names: Vec<&str> = known.iter().map(|control| control.name.as_str()).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(format!("the camera has no control '{name}'; it has {names}"));
        };
        if *value < control.minimum || *value > control.maximum {
            let (minimum, maximum) = (control.minimum, control.maximum);
            return Err(format!("the control {name} cannot be {value}; choose {minimum} to {maximum}"));
        }
        if control.read_only {
            return Err(format!("the control {name} cannot be set, only read; leave it out"));
        }
        planned.push((control.clone(), *value));
    }
    planned.sort_by_key(|(control, _)| !control.name.contains("auto"));
    Ok(planned)
}

/// Sets the planned controls one by one, then reads all of them back.
///
/// Returns a sentence's end for each that does not have the value that was asked for.
/// # Errors  The kernel's, when the device is gone.
pub fn apply(device: &Device, planned: &[(CameraControl, i64)]) -> io::Result<Vec<String>> {
    let mut refusals = Vec::new();
    for (control, value) in planned {
        let result = device.set_control(Control { id: control.id, value: Value::Integer(*value) });
        match result {
            Err(error) if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::NODEV) => {
                return Err(error);
            }
            other => refusals.push(other.err()),
        }
    }
    let mut differences = Vec::new();
    for ((control, wanted), refusal) in planned.iter().zip(refusals) {
        let found = value(device, control.id, control.kind).ok();
        differences.extend(difference(&control.name, *wanted, found, refusal));
    }
    Ok(differences)
}

fn difference(name: &str, wanted: i64, found: Option<i64>, refusal: Option<io::Error>) -> Option<String> {
    let why = refusal.map(|error| format!(" ({error})")).unwrap_or_default();
    match found {
        Some(found) if found == wanted => None,
        Some(found) => Some(format!(
            "the control {name} is {found}{why}, though {wanted} was asked for; is it held by an automatic control?"
        )),
        None if why.is_empty() => None,
        None => Some(format!("the control {name} could not be set to {wanted}{why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(name: &str, maximum: i64) -> CameraControl {
        CameraControl { name: name.to_owned(), minimum: 1, maximum, ..CameraControl::default() }
    }

    #[test]
    fn names_are_folded_as_v4l2_ctl_does() {
        for (label, name) in [
            ("Exposure Time, Absolute", "exposure_time_absolute"),
            ("White Balance, Automatic", "white_balance_automatic"),
            ("  Gain (dB)", "gain_db"),
            ("LED1 Mode", "led1_mode"),
        ] {
            assert_eq!(name_of(label), name);
        }
    }

    #[test]
    fn automatic_controls_are_set_before_the_manual_ones_that_they_hold() {
        let known =
            ["exposure_time_absolute", "gain", "auto_exposure", "white_balance_automatic"].map(|n| control(n, 10));
        let wanted = ["exposure_time_absolute", "white_balance_automatic", "gain", "auto_exposure"]
            .map(|name| (name.to_owned(), 2));
        let order: Vec<String> = plan(&wanted, &known).unwrap().into_iter().map(|(control, _)| control.name).collect();
        assert_eq!(order, ["white_balance_automatic", "auto_exposure", "exposure_time_absolute", "gain"]);
    }

    #[test]
    fn an_unknown_control_and_an_impossible_value_are_refused_with_what_is_possible() {
        let known = [control("gain", 10), control("focus", 5)];
        let error = plan(&[("gian".to_owned(), 3)], &known).unwrap_err();
        assert_eq!(error, "the camera has no control 'gian'; it has gain, focus");
        let error = plan(&[("gain".to_owned(), 11)], &known).unwrap_err();
        assert_eq!(error, "the control gain cannot be 11; choose 1 to 10");
    }

    #[test]
    fn a_control_that_kept_another_value_is_told() {
        assert_eq!(difference("gain", 3, Some(3), None), None);
        let text = difference("gain", 3, Some(7), None).unwrap();
        assert_eq!(text, "the control gain is 7, though 3 was asked for; is it held by an automatic control?");
        assert!(
            difference("gain", 3, None, Some(io::Error::other("EIO"))).unwrap().contains("could not be set to 3 (EIO)")
        );
    }
}
