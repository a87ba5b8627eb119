//! Known defects for teaching: labelled pictures with masks, if somebody painted some.

use std::path::Path;

use super::dataset::LabelledImage;
use crate::source::decode::read_frame;
use crate::teach::defects::Mask;
use crate::teach::known::{KnownDefect, KnownDefects};
use crate::teach::{GoodParts, TeachError};

/// Reads known defects of the product of `good`.
/// # Errors  As [`KnownDefects::read`]
pub fn read<'a>(images: &'a [LabelledImage], good: &GoodParts) -> Result<KnownDefects<'a>, TeachError> {
    let names = images.iter().map(|image| name(&image.path)).collect();
    KnownDefects::read(names, |at| load(&images[at]), good)
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

fn load(image: &LabelledImage) -> Result<KnownDefect, String> {
    let frame = read_frame(&image.path).map_err(|e| e.to_string())?;
    let mask = image.read_mask(frame.width(), frame.height()).map_err(|e| e.to_string())?;
    let mask = mask.map(|mask| Mask { width: mask.width, height: mask.height, data: mask.pixels });
    Ok(KnownDefect { frame, mask })
}
