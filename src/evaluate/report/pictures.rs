//! Pictures inside the page.

use base64::Engine;
use image::{GrayImage, RgbImage, Rgba, RgbaImage};

use super::ReportPart;

/// The longer side of the largest picture on the page, px.
pub const THUMBNAIL_PX: u32 = 480;
/// What all pictures together may take, as base64; with charts and text the page stays below 6 MB.
pub(super) const PICTURE_BUDGET_BYTES: usize = 5_300_000;
const SMALLEST_PX: u32 = 96;
const JPEG_QUALITY: u8 = 85;
pub(super) const OUTLINE: Rgba<u8> = Rgba([0, 229, 255, 255]);

/// `picture`, made small enough for the page: its longer side becomes `THUMBNAIL_PX` if it is larger.
pub fn thumbnail(picture: &RgbImage) -> RgbImage {
    shrink(picture, THUMBNAIL_PX)
}

/// Picture, heat map and outline of the true defect of each part as `data:` addresses, together of no
/// more than `budget` bytes, unless they would be tiny.
pub(super) fn embed(parts: &[&ReportPart], budget: usize) -> Vec<[Option<String>; 3]> {
    let pictures = parts.iter().filter_map(|part| part.picture.as_ref());
    let largest = pictures.map(|picture| picture.width().max(picture.height())).max();
    let mut longest = largest.unwrap_or(THUMBNAIL_PX).clamp(SMALLEST_PX, THUMBNAIL_PX);
    // What fits every eighth part mostly fits all, and is found in an eighth of the time.
    let mut stride = 8;
    loop {
        let pictures: Vec<_> = parts.iter().step_by(stride).map(|part| embed_part(part, longest)).collect();
        let bytes: usize = pictures.iter().flatten().flatten().map(String::len).sum();
        let bytes = bytes * parts.len() / pictures.len().max(1);
        if bytes > budget && longest > SMALLEST_PX {
            let factor = (budget as f64 / bytes as f64).sqrt().min(0.97);
            longest = ((longest as f64 * factor) as u32).max(SMALLEST_PX);
        } else if stride > 1 {
            stride = 1;
        } else {
            return pictures;
        }
    }
}

fn embed_part(part: &ReportPart, longest: u32) -> [Option<String>; 3] {
    let plain = part.verdict == "accept" && !part.is_false();
    let longest = if plain { (longest * 2 / 3).max(SMALLEST_PX) } else { longest };
    let small = |picture: &Option<RgbImage>| {
        picture.as_ref().filter(|picture| !picture.is_empty()).map(|picture| shrink(picture, longest))
    };
    let picture = small(&part.picture);
    let outline = part.mask.as_ref().zip(picture.as_ref()).filter(|(mask, _)| !mask.is_empty());
    let outline = outline.and_then(|(mask, picture)| outline_uri(mask, picture.dimensions()));
    [picture.as_ref().map(jpeg_uri), small(&part.heat_map).as_ref().map(jpeg_uri), outline]
}

/// `picture` with its longer side at most `longest` px.
pub fn shrink(picture: &RgbImage, longest: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let side = width.max(height);
    if side <= longest {
        return picture.clone();
    }
    let scaled = |length: u32| ((length as u64 * longest as u64 + side as u64 / 2) / side as u64).max(1) as u32;
    image::imageops::thumbnail(picture, scaled(width), scaled(height))
}

fn jpeg_uri(picture: &RgbImage) -> String {
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY)
        .encode_image(picture)
        .expect("a small picture that is not empty can be written to memory as a JPEG");
    format!("data:image/jpeg;base64,{}", base64::engine::general_purpose::STANDARD.encode(jpeg))
}

/// A line just outside the defect, on a transparent picture of `size`; `None` if the mask is all black.
pub(super) fn outline_uri(mask: &GrayImage, size: (u32, u32)) -> Option<String> {
    let (width, height) = size;
    let whole = mask.dimensions();
    // A defect of one pixel must survive, so a small pixel is in the mask if any of the large ones under it is.
    let mut inside = GrayImage::new(width, height);
    for (x, y, pixel) in mask.enumerate_pixels().filter(|(_, _, pixel)| pixel.0[0] > 0) {
        let scaled = |place: u32, from: u32, to: u32| (place as u64 * to as u64 / from as u64) as u32;
        let (left, right) = (scaled(x, whole.0, width), scaled(x + 1, whole.0, width).max(1));
        let (top, below) = (scaled(y, whole.1, height), scaled(y + 1, whole.1, height).max(1));
        for y in top..below.max(top + 1) {
            for x in left..right.max(left + 1) {
                inside.put_pixel(x, y, *pixel);
            }
        }
    }
    if inside.pixels().all(|pixel| pixel.0[0] == 0) {
        return None;
    }
    let mut outline = RgbaImage::new(width, height);
    let around = |x: u32, y: u32, reach: u32| {
        let columns = x.saturating_sub(reach)..(x + reach + 1).min(width);
        (y.saturating_sub(reach)..(y + reach + 1).min(height)).flat_map(move |y| columns.clone().map(move |x| (x, y)))
    };
    // First the defect and a rim of 3 px all in colour, then the defect and a rim of 1 px clear again.
    for (reach, colour) in [(3, OUTLINE), (1, Rgba([0; 4]))] {
        for (x, y, _) in inside.enumerate_pixels().filter(|(_, _, pixel)| pixel.0[0] > 0) {
            for (x, y) in around(x, y, reach) {
                outline.put_pixel(x, y, colour);
            }
        }
    }
    let mut png = std::io::Cursor::new(Vec::new());
    outline.write_to(&mut png, image::ImageFormat::Png).expect("a picture that is not empty can be written as a PNG");
    Some(format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(png.into_inner())))
}
