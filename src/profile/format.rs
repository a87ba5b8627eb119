//! The bytes of a profile: a safetensors file, written so that equal profiles give equal bytes.
//!
//! The header is written here, for the safetensors crate orders metadata by chance; it is read with the crate. Its
//! first entry is the checksum, so that its 64 digits stand at a place that no damage can move. The checksum is the
//! SHA-256 of the whole file, length and header included, with these digits as zeros.

use std::collections::BTreeMap;
use std::ops::Range;

use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{About, FORMAT_VERSION, Profile, ProfileError};
use crate::clock::Timestamp;
use crate::frame::Frame;
use crate::inspect::card::hex;
use crate::inspect::embedding::Embeddings;
use crate::inspect::metric::{Head, Metric, Normality, Projection};

/// What stands between the eight bytes of the header's length and the digits of the checksum.
const OPENING: &[u8] = br#"{"__metadata__":{"sha256":""#;
const DIGITS: Range<usize> = 8 + OPENING.len()..8 + OPENING.len() + 64;

impl Profile {
    /// The profile as a safetensors file; equal profiles give equal bytes. `from_bytes` reads it back, unless
    /// `Profile::check` finds fault with it.
    ///
    /// Tensors: `bank` (M, D) and those of [`metric_tensors`] in f32, `probe.rgb` (height, width, 3) in u8. Metadata:
    /// `sha256` and `rejectd`, which is `About` as JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (rows, width) = (self.bank.len(), self.bank.width());
        let mut tensors = vec![("bank", "F32", vec![rows, width], little_endian(self.bank.data()))];
        for tensor in metric_tensors(&self.metric, width) {
            tensors.push((tensor.name, "F32", tensor.shape, little_endian(tensor.values)));
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

/// A tensor of f32 values of the metric, by its name in the file.
pub(super) struct MetricTensor<'a> {
    pub name: &'static str,
    pub shape: Vec<usize>,
    pub values: &'a [f32],
}

/// The names of a head's tensors: mean (C,), weight (H, C), and for an MLP output (D, H) and bias (D,).
type HeadNames = [&'static str; 4];
const HEAD: HeadNames = ["head.mean", "head.weight", "head.output", "head.bias"];
const NORMALITY: HeadNames = ["normality.mean", "normality.weight", "normality.output", "normality.bias"];
const SHARE: &str = "normality.share";
const DEVIATION: &str = "scaling.deviation";
const WHITENING: &str = "whitening.weight";
const SPREAD: &str = "bank.spread";

/// The tensors of the learned steps: `head.*`, `scaling.deviation` (D,), `whitening.weight` (D, D) or (P, D, D),
/// `bank.spread` (M,), `normality.*` with `normality.share` (1,).
/// * `width` — D
pub(super) fn metric_tensors(metric: &Metric, width: usize) -> Vec<MetricTensor<'_>> {
    let mut tensors = Vec::new();
    if let Some(head) = &metric.head {
        push_head(head, HEAD, &mut tensors);
    }
    if let Some(values) = &metric.deviation {
        tensors.push(MetricTensor { name: DEVIATION, shape: vec![values.len()], values });
    }
    if let Some(values) = &metric.whitening {
        let square = width * width;
        let shape = match values.len() / square.max(1) {
            0 | 1 => vec![values.len() / width, width],
            positions => vec![positions, width, width],
        };
        tensors.push(MetricTensor { name: WHITENING, shape, values });
    }
    if let Some(values) = &metric.spread {
        tensors.push(MetricTensor { name: SPREAD, shape: vec![values.len()], values });
    }
    if let Some(normality) = &metric.normality {
        push_head(&normality.head, NORMALITY, &mut tensors);
        tensors.push(MetricTensor { name: SHARE, shape: vec![1], values: std::slice::from_ref(&normality.weight) });
    }
    tensors
}

fn push_head<'a>(head: &'a Head, [mean, weight, output, bias]: HeadNames, tensors: &mut Vec<MetricTensor<'a>>) {
    let first = head.first();
    let inputs = first.mean.len();
    let outputs = first.weight.len() / inputs.max(1);
    tensors.push(MetricTensor { name: mean, shape: vec![inputs], values: &first.mean });
    tensors.push(MetricTensor { name: weight, shape: vec![outputs, inputs], values: &first.weight });
    if let Head::Mlp { weight: output_weight, bias: output_bias, .. } = head {
        let width = output_bias.len();
        let shape = vec![width, output_weight.len() / width.max(1)];
        tensors.push(MetricTensor { name: output, shape, values: output_weight });
        tensors.push(MetricTensor { name: bias, shape: vec![width], values: output_bias });
    }
}

/// The tensors of a file, each with its shape.
#[derive(Default)]
struct Parts {
    floats: BTreeMap<String, (Vec<f32>, Vec<usize>)>,
    probe: Option<(Vec<u8>, [usize; 3])>,
}

impl Parts {
    /// # Errors  A clause, if there is a tensor of another name, type or number of dimensions.
    fn sort(tensors: &SafeTensors) -> Result<Parts, String> {
        let mut parts = Parts::default();
        let mut named = tensors.tensors();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, view) in named {
            let dimensions: &[usize] = match name.as_str() {
                "probe.rgb" => {
                    parts.probe = Some((view.data().to_vec(), shape(&name, &view, Dtype::U8)?));
                    continue;
                }
                WHITENING => &[2, 3],
                "bank" | "head.weight" | "head.output" | "normality.weight" | "normality.output" => &[2],
                "head.mean" | "head.bias" | "normality.mean" | "normality.bias" | SHARE | DEVIATION | SPREAD => &[1],
                _ => return Err(format!("the tensor '{name}'")),
            };
            parts.floats.insert(name.clone(), floats(&name, &view, dimensions)?);
        }
        Ok(parts)
    }

    /// # Errors  A clause with its next step, if a tensor is missing or its shape does not fit the others.
    fn assemble(mut self, about: About) -> Result<Profile, String> {
        let again = super::check::AGAIN;
        let missing = |tensor: &str| format!("lacks the tensor '{tensor}'; {again}");
        let (rows, shape) = self.floats.remove("bank").ok_or_else(|| missing("bank"))?;
        let width = shape[1];
        if rows.is_empty() {
            return Err(format!("its bank is empty; {again}"));
        }
        let (rgb, [height_px, width_px, channels]) = self.probe.take().ok_or_else(|| missing("probe.rgb"))?;
        if channels != 3 {
            return Err(format!("its probe has {channels} channels, not 3; {again}"));
        }
        let side = |px: usize| u32::try_from(px).unwrap_or(u32::MAX);
        let probe = Frame::new(side(width_px), side(height_px), rgb, Timestamp(0), 0)
            .map_err(|e| format!("its probe is no picture: {e}; {again}"))?;
        let head = self.head(HEAD)?;
        if let Some(head) = &head
            && head.width() != width
        {
            return Err(format!("its head gives width {}, but its bank has {width}; {again}", head.width()));
        }
        let whitening = self.floats.remove(WHITENING);
        if let Some((_, shape)) = &whitening
            && shape[shape.len() - 2..] != [width, width]
        {
            let found = shape;
            return Err(format!("its {WHITENING} is {found:?}, but the bank asks for {:?}; {again}", [width, width]));
        }
        let normality = match (self.head(NORMALITY)?, self.floats.remove(SHARE)) {
            (None, None) => None,
            (Some(head), Some((share, shape))) if shape == [1] => Some(Normality { head, weight: share[0] }),
            _ => return Err(format!("its tensors normality.* do not belong together; {again}")),
        };
        let metric = Metric {
            head,
            deviation: self.floats.remove(DEVIATION).map(|(values, _)| values),
            whitening: whitening.map(|(values, _)| values),
            spread: self.floats.remove(SPREAD).map(|(values, _)| values),
            normality,
        };
        let normalised = about.recipe.normalise && !about.recipe.distance.is_gaussian();
        Ok(Profile { bank: Embeddings::new(width, rows, normalised), about, metric, probe })
    }

    /// Takes out the head of these names.
    /// # Errors  A clause with its next step, if one of its tensors is missing or their shapes do not fit.
    fn head(&mut self, names: HeadNames) -> Result<Option<Head>, String> {
        let again = super::check::AGAIN;
        let [mean, weight, output, bias] = names.map(|name| self.floats.remove(name));
        let missing = |at: usize| format!("lacks the tensor '{}'; {again}", names[at]);
        let (mean, weight) = match (mean, weight) {
            (None, None) if output.is_none() && bias.is_none() => return Ok(None),
            (None, _) => return Err(missing(0)),
            (_, None) => return Err(missing(1)),
            (Some(mean), Some(weight)) => (mean, weight),
        };
        if weight.1[1] != mean.0.len() || mean.0.is_empty() || weight.0.is_empty() {
            let ([_, inputs], found) = ([0, mean.0.len()], &weight.1);
            return Err(format!("its {} is {found:?}, but {} has {inputs} values; {again}", names[1], names[0]));
        }
        let hidden = Projection { mean: mean.0, weight: weight.0 };
        match (output, bias) {
            (None, None) => Ok(Some(Head::Linear(hidden))),
            (None, _) => Err(missing(2)),
            (_, None) => Err(missing(3)),
            (Some((output, shape)), Some((bias, _))) => {
                let expected = [bias.len(), weight.1[0]];
                if shape != expected || bias.is_empty() {
                    return Err(format!(
                        "its {} is {shape:?}, but the other tensors ask for {expected:?}; {again}",
                        names[2]
                    ));
                }
                Ok(Some(Head::Mlp { hidden, weight: output, bias }))
            }
        }
    }
}

fn shape<const N: usize>(name: &str, view: &TensorView, dtype: Dtype) -> Result<[usize; N], String> {
    let found = (view.dtype(), view.shape());
    match view.shape().try_into() {
        Ok(shape) if view.dtype() == dtype => Ok(shape),
        _ => Err(format!("the tensor '{name}' is {:?} of {:?}, not {dtype:?} of {N} dimensions", found.0, found.1)),
    }
}

/// * `dimensions` — how many the tensor may have
fn floats(name: &str, view: &TensorView, dimensions: &[usize]) -> Result<(Vec<f32>, Vec<usize>), String> {
    if view.dtype() != Dtype::F32 || !dimensions.contains(&view.shape().len()) {
        let (dtype, shape, wanted) = (view.dtype(), view.shape(), dimensions[0]);
        return Err(format!("the tensor '{name}' is {dtype:?} of {shape:?}, not F32 of {wanted} dimensions"));
    }
    let (values, _) = view.data().as_chunks::<4>();
    Ok((values.iter().map(|&value| f32::from_le_bytes(value)).collect(), view.shape().to_vec()))
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
