//! The model card: a TOML file beside an ONNX backbone that says what goes in, what comes out, and where it is from.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::profile::BackboneId;

/// The version of the card format that this code reads.
const FORMAT_VERSION: u32 = 1;
const BUILT_IN_CARD: &str = include_str!("../../models/efficientnet-lite0.toml");
const BUILT_IN_MODEL: &[u8] = include_bytes!("../../models/efficientnet-lite0.onnx");

/// What a card says. Every key must be there, and no other.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCard {
    pub format_version: u32,
    pub name: String,
    /// The ONNX file, beside the card.
    pub file: PathBuf,
    /// SHA-256 of that file, 64 hexadecimal digits.
    pub sha256: String,
    /// Where the weights come from.
    pub origin: String,
    pub licence: String,
    /// The graph's input: (1, 3, height, width) f32, RGB.
    pub input: String,
    /// Height and width must be multiples of this.
    pub size_multiple: usize,
    /// The side of the input where nobody asks for another, in pixels.
    pub default_size_px: usize,
    /// value = (pixel / 255 − mean) / std, for each of R, G, B.
    pub mean: [f32; 3],
    pub std: [f32; 3],
    pub taps: Vec<Tap>,
}

/// An output of the backbone: (1, channels, height / stride, width / stride) f32.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tap {
    pub name: String,
    pub channels: usize,
    /// In pixels of the input.
    pub stride: usize,
}

/// A card with the bytes of its model, which have the hash that the card says.
#[derive(Clone, Debug)]
pub struct Model {
    pub card: ModelCard,
    pub onnx: std::borrow::Cow<'static, [u8]>,
}

#[derive(Debug, thiserror::Error)]
pub enum CardError {
    #[error("cannot read {}: {source}; give the path of a model card, or leave it out for the built-in backbone", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{name}: {message}")]
    Syntax { name: String, message: String },
    #[error("{name}: {found}; {expected}")]
    Value { name: String, found: String, expected: String },
    #[error(
        "{name}: the model {file} has SHA-256 {found}, but the card says {expected}; restore the file or correct the card"
    )]
    Hash { name: String, file: String, found: String, expected: String },
}

impl Model {
    /// EfficientNet-Lite0 as built into the program.
    pub fn built_in() -> Model {
        let card = parse(BUILT_IN_CARD, "efficientnet-lite0.toml").expect("the built-in card is tested");
        Model { card, onnx: BUILT_IN_MODEL.into() }
    }

    /// The built-in backbone, or the one whose card is at `path`.
    /// # Errors  As [`Model::load`].
    pub fn open(path: Option<&Path>) -> Result<Model, CardError> {
        path.map_or_else(|| Ok(Model::built_in()), Model::load)
    }

    /// Reads the card at `path` and the ONNX file beside it.
    /// # Errors  `CardError`: one of the files cannot be read, the card does not parse or says something impossible, or
    /// the file's hash is not the card's.
    pub fn load(path: &Path) -> Result<Model, CardError> {
        let read_error = |path: &Path| {
            let path = path.to_owned();
            move |source| CardError::Read { path, source }
        };
        let text = std::fs::read_to_string(path).map_err(read_error(path))?;
        let name = path.display().to_string();
        let card = parse(&text, &name)?;
        let file = path.with_file_name(&card.file);
        let onnx = std::fs::read(&file).map_err(read_error(&file))?;
        let found = hex(&Sha256::digest(&onnx));
        if found != card.sha256 {
            let expected = card.sha256;
            return Err(CardError::Hash { name, file: file.display().to_string(), found, expected });
        }
        Ok(Model { card, onnx: onnx.into() })
    }

    /// What a profile remembers of the model that it was taught with.
    pub fn id(&self) -> BackboneId {
        BackboneId { name: self.card.name.clone(), fingerprint: self.fingerprint() }
    }

    /// SHA-256 over everything that decides what the backbone gives for a picture: the model's hash, its input, the
    /// normalisation and the taps; 64 hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        let card = &self.card;
        let mut hash = Sha256::new();
        hash.update(&card.sha256);
        hash.update(format!("|{}|{:?}|{:?}|", card.input, card.mean, card.std));
        for tap in &card.taps {
            hash.update(format!("{}:{}:{}|", tap.name, tap.channels, tap.stride));
        }
        hex(&hash.finalize())
    }
}

impl ModelCard {
    pub fn tap(&self, name: &str) -> Option<&Tap> {
        self.taps.iter().find(|tap| tap.name == name)
    }

    /// The column at which each tap but the first begins, of the concatenated ones; none of those that are not known.
    pub fn nested(&self, taps: &[String]) -> Vec<usize> {
        let channels = taps.iter().filter_map(|name| self.tap(name)).map(|tap| tap.channels);
        let ends = channels.scan(0, |end, channels| {
            *end += channels;
            Some(*end)
        });
        ends.take(taps.len().saturating_sub(1)).collect()
    }
}

fn parse(text: &str, name: &str) -> Result<ModelCard, CardError> {
    let card: ModelCard = toml::from_str(text).map_err(|e| CardError::Syntax {
        name: name.to_owned(),
        message: format!("{}; see the built-in card in models/ for an example", e.to_string().trim_end()),
    })?;
    let refuse = |found: String, expected: &str| {
        Err(CardError::Value { name: name.to_owned(), found, expected: expected.to_owned() })
    };
    if card.format_version != FORMAT_VERSION {
        let expected = format!("this version of rejectd reads format {FORMAT_VERSION}");
        return refuse(format!("format_version is {}", card.format_version), &expected);
    }
    if card.taps.is_empty() {
        return refuse("the card has no taps".into(), "list at least one output of the graph as [[taps]]");
    }
    if card.size_multiple == 0 || card.default_size_px == 0 || !card.default_size_px.is_multiple_of(card.size_multiple)
    {
        let found = format!("default_size_px is {}, size_multiple is {}", card.default_size_px, card.size_multiple);
        return refuse(found, "the first must be a multiple of the second, and both above 0");
    }
    if card.std.iter().any(|std| !(std.is_finite() && *std > 0.0)) || card.mean.iter().any(|mean| !mean.is_finite()) {
        let found = format!("mean is {:?} and std is {:?}", card.mean, card.std);
        return refuse(found, "means must be finite and standard deviations above 0");
    }
    for (i, tap) in card.taps.iter().enumerate() {
        let impossible = tap.channels == 0 || tap.stride == 0 || !card.size_multiple.is_multiple_of(tap.stride);
        if impossible || card.taps[..i].iter().any(|other| other.name == tap.name) {
            let found = format!("tap '{}' has {} channels at stride {}", tap.name, tap.channels, tap.stride);
            return refuse(found, "a tap needs a name of its own, channels, and a stride that divides size_multiple");
        }
    }
    Ok(card)
}

/// The bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_model_is_the_one_that_its_card_describes() {
        let model = Model::built_in();
        assert_eq!(hex(&Sha256::digest(&model.onnx)), model.card.sha256);
        assert_eq!(model.card.taps.iter().map(|tap| tap.channels).collect::<Vec<_>>(), [24, 40, 112]);
        let nested = |taps: &[&str]| model.card.nested(&taps.iter().map(|tap| tap.to_string()).collect::<Vec<_>>());
        assert_eq!(nested(&["stage2", "stage3", "stage5"]), [24, 64]);
        assert_eq!((nested(&["stage5", "stage3"]), nested(&["stage5"])), (vec![112], vec![]));
    }

    #[test]
    fn a_card_that_says_something_impossible_is_refused_with_what_it_says() {
        for (from, to, expected) in [
            ("format_version = 1", "format_version = 2", "format_version is 2"),
            ("size_multiple = 32", "size_multiple = 33", "size_multiple is 33"),
            ("stride = 4", "stride = 5", "stride 5"),
            ("channels = 24", "channels = 0", "0 channels"),
            ("licence", "license", "unknown field `license`"),
        ] {
            let error = parse(&BUILT_IN_CARD.replacen(from, to, 1), "card.toml").unwrap_err().to_string();
            assert!(error.starts_with("card.toml: ") && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_fingerprint_changes_with_the_normalisation() {
        let model = Model::built_in();
        let mut other = model.clone();
        other.card.std[1] = 0.25;
        assert_ne!(model.fingerprint(), other.fingerprint());
    }
}
