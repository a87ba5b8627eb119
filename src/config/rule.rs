//! Rules: what the value of one key must be, in words and in code.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::written::distance;
use crate::frame::{MIN_SIDE_PX, Roi};
use crate::line::wiring::LineName;

/// The largest side of a picture that can be configured, in pixels.
pub(super) const MAX_SIDE_PX: i64 = 16_384;

/// What a value must be.
pub(super) struct Rule<T> {
    /// In words, to complete "expected …".
    pub expected: String,
    /// The TOML types that fit, by the names of toml.
    types: &'static [&'static str],
    read: Reader<T>,
}

/// Makes the value of one of the rule's types, or refuses it with a hint, which may be empty.
type Reader<T> = Box<dyn Fn(&DeValue) -> Result<T, String>>;

impl<T: 'static> Rule<T> {
    fn new(
        expected: impl Into<String>,
        types: &'static [&'static str],
        read: impl Fn(&DeValue) -> Result<T, String> + 'static,
    ) -> Rule<T> {
        Rule { expected: expected.into(), types, read: Box::new(read) }
    }

    /// Gives a value that the rule refuses a sentence of its own, as the hint.
    pub fn refuse(self, word: &'static str, why: &'static str) -> Rule<T> {
        let read = self.read;
        Rule {
            read: Box::new(move |value| if value.as_str() == Some(word) { Err(why.into()) } else { read(value) }),
            ..self
        }
    }

    pub fn map<U: 'static>(self, make: impl Fn(T) -> U + 'static) -> Rule<U> {
        let read = self.read;
        Rule { expected: self.expected, types: self.types, read: Box::new(move |value| read(value).map(&make)) }
    }
}

impl<T> Rule<T> {
    /// The value, or a hint that says what to do about it (and may be empty).
    pub fn read(&self, value: &DeValue) -> Result<T, String> {
        let found = value.type_str();
        if self.types.contains(&found) {
            return (self.read)(value);
        }
        let quoted = match value.as_str().map(DeValue::parse) {
            Some(Ok(inner)) => self.types.contains(&inner.get_ref().type_str()),
            _ => false,
        };
        let whole = value.as_float().is_some_and(|number| number.as_str().ends_with(".0"));
        Err(if quoted {
            "remove the quotes".to_owned()
        } else if self.types.contains(&"string") && matches!(found, "integer" | "float" | "boolean" | "datetime") {
            "put it in quotes".to_owned()
        } else if self.types.contains(&"integer") && whole {
            "write it without a decimal point".to_owned()
        } else {
            format!("this is {} {found}", if matches!(found, "integer" | "array") { "an" } else { "a" })
        })
    }
}

/// An integer; `unit` completes "in …" and may be empty.
pub(super) fn integer(range: RangeInclusive<i64>, unit: &str) -> Rule<i64> {
    let unit = if unit.is_empty() { String::new() } else { format!(", in {unit}") };
    let expected = match (*range.start(), *range.end()) {
        (low, i64::MAX) => format!("an integer from {low}{unit}"),
        (low, high) => format!("an integer from {low} to {high}{unit}"),
    };
    Rule::new(expected, &["integer"], move |value| {
        as_i64(value).filter(|number| range.contains(number)).ok_or_else(String::new)
    })
}

/// A number for which `fits` holds; an integer will do. `expected` says which numbers those are.
pub(super) fn number(expected: &str, fits: impl Fn(f64) -> bool + 'static) -> Rule<f64> {
    Rule::new(expected, &["float", "integer"], move |value| {
        let number = match value {
            DeValue::Float(number) => number.as_str().parse().ok(),
            other => as_i64(other).map(|number| number as f64),
        };
        number.filter(|number: &f64| number.is_finite() && fits(*number)).ok_or_else(String::new)
    })
}

pub(super) fn boolean() -> Rule<bool> {
    Rule::new("true or false", &["boolean"], |value| value.as_bool().ok_or_else(String::new))
}

/// One of the given words.
pub(super) fn one_of<T: Clone + 'static>(words: &'static [(&'static str, T)]) -> Rule<T> {
    let list = words.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(", ");
    let expected = if words.len() == 1 { list } else { format!("one of {list}") };
    Rule::new(expected, &["string"], move |value| {
        let found = value.as_str().unwrap_or_default();
        if let Some((_, meant)) = words.iter().find(|(word, _)| *word == found) {
            return Ok(meant.clone());
        }
        let near = words.iter().filter_map(|(word, _)| Some((distance(found, word)?, *word))).min();
        Err(near.map_or_else(String::new, |(_, word)| format!("did you mean {word:?}?")))
    })
}

/// A path; a relative one is taken from `folder`. `what` completes "the path of …".
pub(super) fn path(what: &str, folder: &Path) -> Rule<PathBuf> {
    let folder = folder.to_owned();
    Rule::new(format!("the path of {what}"), &["string"], move |value| match value.as_str() {
        Some("") | None => Err("it must not be empty".to_owned()),
        Some(text) => Ok(folder.join(text)),
    })
}

/// Text that is not empty; `what` says what it is.
pub(super) fn text(what: &str) -> Rule<String> {
    Rule::new(what, &["string"], |value| match value.as_str() {
        Some("") | None => Err("it must not be empty".to_owned()),
        Some(text) => Ok(text.to_owned()),
    })
}

/// A GPIO line.
pub(super) fn line_name() -> Rule<LineName> {
    Rule::new("the number of a GPIO line from 0 to 1023, or its name in quotes", &["integer", "string"], |value| {
        match value.as_str() {
            Some("") => Err("it must not be empty".to_owned()),
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Err("remove the quotes".to_owned()),
            Some(name) => Ok(LineName::Name(name.to_owned())),
            None => {
                let number = as_i64(value).filter(|number| (0..=1023).contains(number));
                number.map(|number| LineName::Number(number as u32)).ok_or_else(String::new)
            }
        }
    })
}

/// A device file.
pub(super) fn device() -> Rule<PathBuf> {
    Rule::new("the path of a device from the root folder on", &["string"], |value| {
        let path = PathBuf::from(value.as_str().unwrap_or_default());
        if path.is_absolute() { Ok(path) } else { Err("write it with /dev/ in front".to_owned()) }
    })
}

/// `[x, y, width, height]`.
pub(super) fn roi() -> Rule<Roi> {
    let expected = format!(
        "[x, y, width, height] in pixels of the frame, x and y from 0, width and height from {MIN_SIDE_PX}, none above \
         {MAX_SIDE_PX}"
    );
    Rule::new(expected, &["array"], |value| {
        let values = value.as_array().ok_or_else(String::new)?;
        if values.len() != 4 {
            return Err(format!("these are {} values", values.len()));
        }
        let mut sides = [0; 4];
        for (index, name) in ["x", "y", "width", "height"].into_iter().enumerate() {
            let least = if index < 2 { 0 } else { MIN_SIDE_PX as i64 };
            let number = as_i64(values[index].get_ref()).filter(|number| (least..=MAX_SIDE_PX).contains(number));
            sides[index] = number.ok_or_else(|| format!("correct {name}"))? as u32;
        }
        let [x, y, width, height] = sides;
        Ok(Roi { x, y, width, height })
    })
}

/// The first 16 digits of a fingerprint; capital letters will do.
pub(super) fn fingerprint() -> Rule<String> {
    Rule::new("16 hexadecimal digits in quotes", &["string"], |value| {
        let text = value.as_str().unwrap_or_default();
        let fits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if fits { Ok(text.to_ascii_lowercase()) } else { Err("'rejectd profile show' prints it".to_owned()) }
    })
}

/// What a camera control takes.
pub(super) fn control() -> Rule<i64> {
    Rule::new("an integer, true or false", &["integer", "boolean"], |value| {
        value.as_bool().map(i64::from).or_else(|| as_i64(value)).ok_or_else(String::new)
    })
}

fn as_i64(value: &DeValue) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}
