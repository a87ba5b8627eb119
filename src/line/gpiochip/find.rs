//! From the name of a line to its place on a chip, and from the kernel's refusals to sentences.

use std::path::{Path, PathBuf};

use gpiocdev::chip::Chip;
use gpiocdev::line::{Info, Offset};
use rustix::io::Errno;

use crate::line::wiring::LineName;

/// A chip and all of its lines.
#[derive(Clone, Debug, Default)]
pub struct ChipLines {
    /// `/dev/gpiochip0`
    pub path: PathBuf,
    /// `gpiochip0`
    pub name: String,
    /// What the driver calls it.
    pub label: String,
    pub lines: Vec<Info>,
}

/// A line that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub chip: PathBuf,
    pub offset: Offset,
    /// Empty if the board names it not.
    pub name: String,
}

impl Found {
    pub fn is_same_line(&self, other: &Found) -> bool {
        (&self.chip, self.offset) == (&other.chip, other.offset)
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let chip = self.chip.file_name().unwrap_or_default().to_string_lossy();
        write!(f, "{chip} line {}", self.offset)?;
        if self.name.is_empty() { Ok(()) } else { write!(f, " ({})", self.name) }
    }
}

/// Why a line cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpioError {
    #[error(
        "there is no GPIO chip (/dev/gpiochip*); load the driver of the board's chip, or set [line] backend = \"dry_run\""
    )]
    NoChip,
    #[error("there is no GPIO chip {asked:?}; expected one of {there} ('rejectd gpio list' shows their lines)")]
    NoSuchChip { asked: String, there: String },
    #[error("there is no line {asked} on {on}; expected one of {there}")]
    NoSuchLine { asked: String, on: String, there: String },
    #[error(
        "the line {asked} is a number, and there are several GPIO chips: {there}; name the chip with [line] chip, or the \
         line by its name"
    )]
    WhichChip { asked: u32, there: String },
    #[error("the line name {asked:?} stands for several lines: {there}; choose the chip with [line] chip")]
    Ambiguous { asked: String, there: String },
    #[error("{line} is in use by {by:?}; end that, or use another line")]
    InUse { line: String, by: String },
    #[error("{line} is used for {roles}; each needs a line of its own")]
    Shared { line: String, roles: String },
    #[error(
        "{} may not be opened by this user; add the user to the group gpio, or install the udev rule 60-rejectd.rules, \
         which gives the chips to that group", chip.display()
    )]
    Denied { chip: PathBuf },
    #[error("{0}")]
    Failed(String),
}

/// All chips that can be opened, with their lines, in the order of their numbers.
/// # Errors  `GpioError::NoChip`, `GpioError::Denied`, `GpioError::Failed`
pub fn survey() -> Result<Vec<ChipLines>, GpioError> {
    let paths = gpiocdev::chip::chips().map_err(|error| match error {
        gpiocdev::Error::NoGpioChips() => GpioError::NoChip,
        error => GpioError::Failed(format!("the GPIO chips cannot be listed: {error}")),
    })?;
    if paths.is_empty() {
        return Err(GpioError::NoChip);
    }
    paths.into_iter().map(|path| read_chip(&path).map_err(|error| refused(&path, &[], &error))).collect()
}

fn read_chip(path: &Path) -> gpiocdev::Result<ChipLines> {
    let chip = Chip::from_path(path)?;
    let info = chip.info()?;
    let lines = chip.line_info_iter()?.collect::<gpiocdev::Result<Vec<_>>>()?;
    Ok(ChipLines { path: path.to_owned(), name: info.name, label: info.label, lines })
}

/// The place of a line.
/// * `chip` — name, path or label of its chip; if absent, any for a line with a name, the header's for a number
///
/// # Errors  `GpioError` with what is there instead.
pub fn find(chips: &[ChipLines], chip: Option<&str>, line: &LineName) -> Result<Found, GpioError> {
    let chosen: Vec<&ChipLines> = match (chip, line) {
        (Some(asked), _) => vec![named_chip(chips, asked)?],
        (None, LineName::Number(number)) => vec![header(chips, *number)?],
        (None, LineName::Name(_)) => chips.iter().collect(),
    };
    let fits = |info: &&Info| match line {
        LineName::Number(number) => info.offset == *number,
        LineName::Name(name) => info.name == *name,
    };
    let on_chip = |chip: &&ChipLines| -> Vec<Found> {
        let found = |info: &Info| Found { chip: chip.path.clone(), offset: info.offset, name: info.name.clone() };
        chip.lines.iter().filter(fits).map(found).collect()
    };
    let found: Vec<Found> = chosen.iter().flat_map(on_chip).collect();
    match <[Found; 1]>::try_from(found) {
        Ok([only]) => Ok(only),
        Err(several) if several.is_empty() => Err(GpioError::NoSuchLine {
            asked: line.to_string(),
            on: chip_list(&chosen),
            there: line_list(&chosen, matches!(line, LineName::Name(_))),
        }),
        Err(several) => Err(GpioError::Ambiguous {
            asked: line.to_string(),
            there: several.iter().map(Found::to_string).collect::<Vec<_>>().join(", "),
        }),
    }
}

/// The chip of that name, path or label.
/// # Errors  `GpioError::NoSuchChip`
pub fn named_chip<'a>(chips: &'a [ChipLines], asked: &str) -> Result<&'a ChipLines, GpioError> {
    let is_asked = |chip: &&ChipLines| chip.name == asked || chip.label == asked || chip.path == Path::new(asked);
    let there = || chip_list(&chips.iter().collect::<Vec<_>>());
    chips.iter().find(is_asked).ok_or_else(|| GpioError::NoSuchChip { asked: asked.to_owned(), there: there() })
}

/// The chip of the pin header: the only one, or the one of a Raspberry Pi.
fn header(chips: &[ChipLines], asked: u32) -> Result<&ChipLines, GpioError> {
    let is_header = |chip: &&ChipLines| chip.label.starts_with("pinctrl-bcm2") || chip.label == "pinctrl-rp1";
    match chips {
        [only] => Ok(only),
        several => several
            .iter()
            .find(is_header)
            .ok_or_else(|| GpioError::WhichChip { asked, there: chip_list(&several.iter().collect::<Vec<_>>()) }),
    }
}

fn chip_list(chips: &[&ChipLines]) -> String {
    chips.iter().map(|chip| format!("{} ({})", chip.name, chip.label)).collect::<Vec<_>>().join(", ")
}

/// The lines that there are: their names, or the range of their numbers.
fn line_list(chips: &[&ChipLines], names: bool) -> String {
    let named: Vec<&str> = chips
        .iter()
        .flat_map(|chip| chip.lines.iter().map(|line| line.name.as_str()))
        .filter(|name| !name.is_empty() && *name != "-")
        .collect();
    match names {
        true if named.is_empty() => "numbers, for no line there has a name".to_owned(),
        true => named.join(", "),
        false => {
            let last = chips.iter().map(|chip| chip.lines.len()).max().unwrap_or(0);
            format!("0 to {}", last.saturating_sub(1))
        }
    }
}

/// The sentence for what the kernel refused; for lines in use, by whom.
/// * `asked` — the lines that were asked for, if any
pub fn refused(path: &Path, asked: &[Offset], error: &gpiocdev::Error) -> GpioError {
    match errno(error) {
        Some(Errno::ACCESS | Errno::PERM) => GpioError::Denied { chip: path.to_owned() },
        Some(Errno::BUSY) => in_use(path, read_chip(path).unwrap_or_default(), asked),
        _ => GpioError::Failed(explain(path, error)),
    }
}

fn in_use(path: &Path, chip: ChipLines, asked: &[Offset]) -> GpioError {
    let used = chip.lines.into_iter().find(|line| line.used && asked.contains(&line.offset));
    let used = used.unwrap_or_default();
    let found = Found { chip: path.to_owned(), offset: used.offset, name: used.name };
    let by = if used.consumer.is_empty() { "the kernel".to_owned() } else { used.consumer };
    GpioError::InUse { line: found.to_string(), by }
}

/// The sentence for an error while a line is used.
pub fn explain(path: &Path, error: &gpiocdev::Error) -> String {
    let chip = path.display();
    match errno(error) {
        Some(Errno::NODEV | Errno::NXIO) => format!("{chip} is gone; plug the chip in again, or restart the board"),
        Some(Errno::INVAL) => {
            format!("{chip} cannot do what is asked of a line (bias, drive or debounce); leave that out")
        }
        _ => format!("{chip}: {error}"),
    }
}

fn errno(error: &gpiocdev::Error) -> Option<Errno> {
    match error {
        gpiocdev::Error::Os(errno) | gpiocdev::Error::Uapi(_, gpiocdev_uapi::Error::Os(errno)) => {
            Some(Errno::from_raw_os_error(errno.0))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chip(number: usize, label: &str, names: &[&str]) -> ChipLines {
        let line = |(offset, name): (usize, &&str)| Info {
            offset: offset as Offset,
            name: (*name).to_owned(),
            ..Info::default()
        };
        ChipLines {
            path: format!("/dev/gpiochip{number}").into(),
            name: format!("gpiochip{number}"),
            label: label.into(),
            lines: names.iter().enumerate().map(line).collect(),
        }
    }

    fn name(name: &str) -> LineName {
        LineName::Name(name.into())
    }

    #[test]
    fn a_line_is_found_by_name_on_any_chip_and_by_number_on_the_header() {
        let chips = [chip(0, "gpio-brcmstb", &["", "PWR"]), chip(4, "pinctrl-rp1", &["GPIO0", "GPIO1"])];
        let found = find(&chips, None, &name("GPIO1")).unwrap();
        assert_eq!((found.to_string().as_str(), found.offset), ("gpiochip4 line 1 (GPIO1)", 1));
        assert_eq!(find(&chips, None, &LineName::Number(0)).unwrap().chip, Path::new("/dev/gpiochip4"));
        for asked in ["gpiochip0", "/dev/gpiochip0", "gpio-brcmstb"] {
            assert_eq!(find(&chips, Some(asked), &LineName::Number(0)).unwrap().chip, Path::new("/dev/gpiochip0"));
        }
    }

    #[test]
    fn a_line_that_is_not_there_is_answered_with_those_that_are() {
        let chips = [chip(0, "tegra234-gpio", &["PA.00", "PA.01"]), chip(1, "tegra234-gpio-aon", &["PAA.00", "PA.01"])];
        let sentence = |chip, line| find(&chips, chip, &line).unwrap_err().to_string();
        assert_eq!(
            sentence(None, name("PB.00")),
            "there is no line PB.00 on gpiochip0 (tegra234-gpio), gpiochip1 (tegra234-gpio-aon); expected one of PA.00, \
             PA.01, PAA.00, PA.01"
        );
        assert_eq!(
            sentence(Some("gpiochip0"), LineName::Number(7)),
            "there is no line 7 on gpiochip0 (tegra234-gpio); expected one of 0 to 1"
        );
        assert!(
            sentence(Some("gpiochip9"), name("PA.00")).starts_with("there is no GPIO chip \"gpiochip9\"; expected")
        );
        assert!(sentence(None, LineName::Number(0)).contains("name the chip with [line] chip"));
        assert!(sentence(None, name("PA.01")).contains("gpiochip0 line 1 (PA.01), gpiochip1 line 1 (PA.01)"));
    }

    #[test]
    fn a_line_in_use_is_told_with_its_user() {
        let mut chip = chip(0, "sim", &["A", "B", "C"]);
        for (offset, consumer) in [(0, "spi0 CS0"), (2, "gpiomon")] {
            (chip.lines[offset].used, chip.lines[offset].consumer) = (true, consumer.into());
        }
        let sentence = in_use(Path::new("/dev/gpiochip0"), chip, &[1, 2]).to_string();
        assert_eq!(sentence, "gpiochip0 line 2 (C) is in use by \"gpiomon\"; end that, or use another line");
    }

    #[test]
    fn what_the_kernel_refuses_becomes_a_sentence_with_a_way_out() {
        let path = Path::new("/dev/gpiochip0");
        let error = |code| gpiocdev::Error::from(std::io::Error::from_raw_os_error(code));
        assert!(refused(path, &[], &error(13)).to_string().contains("add the user to the group gpio"));
        assert!(explain(path, &error(19)).contains("/dev/gpiochip0 is gone"));
        assert!(explain(path, &error(22)).contains("bias, drive or debounce"));
    }
}
