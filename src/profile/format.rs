//! The bytes of a profile: a safetensors file, written so that equal profiles give equal bytes.
//!
//! The header is written here, for the safetensors crate orders metadata by chance; it is read with the crate. Its
//! first entry is the checksum, so that its 64 digits stand at a place that no damage can move. The checksum is the
//! SHA-256 of the whole file, length and header included, with these digits as zeros.

use std::ops::Range;

use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{About, FORMAT_VERSION, Profile, ProfileError, Projection};
use crate::clock::Timestamp;
use crate::frame::Frame;
use crate::inspect::card::hex;
use crate::inspect::embedding::Embeddings;
use crate::inspect::recipe::Distance;

/// What stands between the eight bytes of the header's length and the digits of the checksum.
const OPENING: &[u8] = br#"{"__metadata__":{"sha256":""#;
const DIGITS: Range<usize> = 8 + OPENING.len()..8 + OPENING.len() + 64;

impl Profile {
    /// The profile as a safetensors file; equal profiles give equal bytes. `from_bytes` reads it back, unless
    /// `Profile::check` finds fault with it.
    ///
    /// Tensors: `bank` (M, D), `head.mean` (C,), `head.weight` (D, C) and `whitening.weight` (D, D) in f32,
    /// `probe.rgb` (height, width, 3) in u8. Metadata: `sha256` and `rejectd`, which is `About` as JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (rows, width) = (self.bank.len(), self.bank.width());
        let mut tensors = vec![("bank", "F32", vec![rows, width], little_endian(self.bank.data()))];
        if let Some(head) = &self.head {
            let inputs = head.mean.len();
            tensors.push(("head.mean", "F32", vec![inputs], little_endian(&head.mean)));
            let shape = vec![head.weight.len() / inputs.max(1), inputs];
            tensors.push(("head.weight", "F32", shape, little_endian(&head.weight)));
        }
        if let Some(whitening) = &self.whitening {
            let shape = vec![whitening.len() / width, width];
            tensors.push(("whitening.weight", "F32", shape, little_endian(whitening)));
        }
        // Last, for its bytes may end anywhere, and f32 tensors must begin at a multiple of four.
        let shape = vec![self.probe.height() as usize, self.probe.width() as usize, 3];
        tensors.push(("probe.rgb", "U8", shape, self.probe.rgb().to_vec()));

        let about = serde_json::to_string(&self.about).expect("what a profile says of itself has only string keys");
        let mut header = String::from_utf8(OPENING.to_vec()).expect("the opening is ASCII");
        header.push_str(&"0".repeat(64));
        header.push_str(&format!(r#"","rejectd":{}}}"#, serde_json::Value::String(about)));
        let mut end = 0;
        for (name, dtype, shape, data) in &tensors {
            let start = end;
            end += data.len();
            header.push_str(&format!(
                r#","{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
            ));
        }
        header.push('}');
        header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));

        let mut bytes = Vec::with_capacity(8 + header.len() + end);
        bytes.extend_from_slice(&(header.len() as u64).to_le_bytes());
        bytes.extend_from_slice(header.as_bytes());
        for (_, _, _, data) in tensors {
            bytes.extend_from_slice(&data);
        }
        let digits = checksum(&bytes);
        bytes[DIGITS].copy_from_slice(digits.as_bytes());
        bytes
    }

    /// Reads what `to_bytes` wrote; `name` is the file's name in errors.
    /// # Errors  `Damaged` if a single byte is not as it was written; `Newer`, `Unknown` if another version wrote it;
    /// `Unfit` if it contradicts itself.
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Profile, ProfileError> {
        let file = || name.to_string();
        verify_checksum(bytes).map_err(|what| ProfileError::Damaged { file: file(), what })?;
        let unknown = |what: String| ProfileError::Unknown { file: file(), what, made_by: None };
        let not_safetensors = |e: SafeTensorError| unknown(format!("its header is not one of safetensors ({e})"));
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(not_safetensors)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(not_safetensors)?;
        let texts = header.metadata().as_ref().expect("the opening, which was verified, is metadata");

        let text = texts.get("rejectd").ok_or_else(|| unknown("its metadata lacks the key 'rejectd'".to_string()))?;
        let writer: Writer = serde_json::from_str(text).map_err(|e| unknown(without_position(&e)))?;
        if writer.format_version > FORMAT_VERSION {
            let found = writer.format_version;
            return Err(ProfileError::Newer { file: file(), made_by: writer.made_by, found });
        }
        let unknown =
            |what: String| ProfileError::Unknown { file: file(), what, made_by: Some(writer.made_by.clone()) };
        if writer.format_version != FORMAT_VERSION {
            return Err(unknown(format!("its format is {}, not {FORMAT_VERSION}", writer.format_version)));
        }
        if let Some(key) = texts.keys().filter(|key| !["sha256", "rejectd"].contains(&key.as_str())).min() {
            return Err(unknown(format!("the metadata '{key}'")));
        }
        let about: About = serde_json::from_str(text).map_err(|e| unknown(without_position(&e)))?;
        let parts = Parts::sort(&tensors).map_err(unknown)?;

        let unfit = |why: String| ProfileError::Unfit { file: file(), why };
        let profile = parts.assemble(about).map_err(unfit)?;
        profile.check().map_err(unfit)?;
        Ok(profile)
    }
}

/// What every format version says, whatever else it holds.
#[derive(Deserialize)]
struct Writer {
    format_version: u32,
    made_by: String,
}

/// The tensors of a file, each with its shape, sorted by their meaning.
#[derive(Default)]
struct Parts {
    bank: Option<(Vec<f32>, [usize; 2])>,
    mean: Option<(Vec<f32>, [usize; 1])>,
    weight: Option<(Vec<f32>, [usize; 2])>,
    whitening: Option<(Vec<f32>, [usize; 2])>,
    probe: Option<(Vec<u8>, [usize; 3])>,
}

impl Parts {
    /// # Errors  A clause, if there is a tensor of another name, type or number of dimensions.
    fn sort(tensors: &SafeTensors) -> Result<Parts, String> {
        let mut parts = Parts::default();
        let mut named = tensors.tensors();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, view) in named {
            match name.as_str() {
                "bank" => parts.bank = Some(floats(&name, &view)?),
                "head.mean" => parts.mean = Some(floats(&name, &view)?),
                "head.weight" => parts.weight = Some(floats(&name, &view)?),
                "whitening.weight" => parts.whitening = Some(floats(&name, &view)?),
                "probe.rgb" => parts.probe = Some((view.data().to_vec(), shape(&name, &view, Dtype::U8)?)),
                _ => return Err(format!("the tensor '{name}'")),
            }
        }
        Ok(parts)
    }

    /// # Errors  A clause with its next step, if a tensor is missing or its shape does not fit the others.
    fn assemble(self, about: About) -> Result<Profile, String> {
        let again = super::check::AGAIN;
        let missing = |tensor: &str| format!("lacks the tensor '{tensor}'; {again}");
        let (rows, [_, width]) = self.bank.ok_or_else(|| missing("bank"))?;
        if rows.is_empty() {
            return Err(format!("its bank is empty; {again}"));
        }
        let (rgb, [height_px, width_px, channels]) = self.probe.ok_or_else(|| missing("probe.rgb"))?;
        if channels != 3 {
            return Err(format!("its probe has {channels} channels, not 3; {again}"));
        }
        let side = |px: usize| u32::try_from(px).unwrap_or(u32::MAX);
        let probe = Frame::new(side(width_px), side(height_px), rgb, Timestamp(0), 0)
            .map_err(|e| format!("its probe is no picture: {e}; {again}"))?;
        let head = match (self.mean, self.weight) {
            (None, None) => None,
            (Some((mean, [inputs])), Some((weight, shape))) => {
                if shape != [width, inputs] {
                    return Err(format!(
                        "its head.weight is {shape:?}, but head.mean and bank ask for {:?}; {again}",
                        [width, inputs]
                    ));
                }
                Some(Projection { mean, weight })
            }
            (None, _) => return Err(missing("head.mean")),
            (_, None) => return Err(missing("head.weight")),
        };
        let whitening = match self.whitening {
            Some((_, shape)) if shape != [width, width] => {
                return Err(format!(
                    "its whitening.weight is {shape:?}, but the bank asks for {:?}; {again}",
                    [width, width]
                ));
            }
            whitening => whitening.map(|(weight, _)| weight),
        };
        let normalised = about.recipe.normalise && about.recipe.distance != Distance::Mahalanobis;
        Ok(Profile { bank: Embeddings::new(width, rows, normalised), about, head, whitening, probe })
    }
}

fn shape<const N: usize>(name: &str, view: &TensorView, dtype: Dtype) -> Result<[usize; N], String> {
    let found = (view.dtype(), view.shape());
    match view.shape().try_into() {
        Ok(shape) if view.dtype() == dtype => Ok(shape),
        _ => Err(format!("the tensor '{name}' is {:?} of {:?}, not {dtype:?} of {N} dimensions", found.0, found.1)),
    }
}

fn floats<const N: usize>(name: &str, view: &TensorView) -> Result<(Vec<f32>, [usize; N]), String> {
    let shape = shape(name, view, Dtype::F32)?;
    let (values, _) = view.data().as_chunks::<4>();
    Ok((values.iter().map(|&value| f32::from_le_bytes(value)).collect(), shape))
}

pub(super) fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// SHA-256 over `bytes` with zeros for the digits of the checksum; they must be there.
pub(super) fn checksum(bytes: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(&bytes[..DIGITS.start]);
    hash.update([b'0'; DIGITS.end - DIGITS.start]);
    hash.update(&bytes[DIGITS.end..]);
    hex(&hash.finalize())
}

/// # Errors  A clause that says what kind of damage it looks like.
fn verify_checksum(bytes: &[u8]) -> Result<(), String> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(match bytes.len() {
            0 => "it is empty".to_string(),
            found => format!("it is cut short: only {found} bytes are left"),
        });
    };
    if !rest.starts_with(&OPENING[..OPENING.len().min(rest.len())]) {
        return Err("it does not begin as a profile does".to_string());
    }
    if bytes.len() < DIGITS.end || u64::from_le_bytes(*length) > rest.len() as u64 {
        return Err(format!("it is cut short: only {} bytes are left, and its header ends later", bytes.len()));
    }
    if checksum(bytes).as_bytes() == &bytes[DIGITS] {
        return Ok(());
    }
    Err(match SafeTensors::read_metadata(bytes) {
        Err(SafeTensorError::MetadataIncompleteBuffer) => {
            format!("its length, {} bytes, is not what its header says", bytes.len())
        }
        _ => "its bytes do not match its checksum".to_string(),
    })
}

/// The message without line and column: they would be those of the JSON inside the header, which nobody sees.
fn without_position(error: &serde_json::Error) -> String {
    let message = error.to_string();
    match message.rfind(" at line ") {
        Some(end) => message[..end].to_string(),
        None => message,
    }
}
