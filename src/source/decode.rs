//! From the bytes of a camera or a file to 8-bit RGB, and never from a part of them.
//!
//! The usual decoders paint what is missing of a truncated picture grey and call it a success; scored, that grey is
//! a defect, or worse, part of a good one. Here a picture is whole or it is an error: buffers are measured against
//! stride and height, and a JPEG is walked from its first marker to its last, and through its codes, before it is
//! decoded ([`jpeg`]). Bytes that were changed in the middle of a JPEG's data, and none lost, nobody can always find.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use yuv::{YuvBiPlanarImage, YuvConversionMode, YuvPackedImage, YuvRange, YuvStandardMatrix};

use crate::frame::{FrameError, check_size};

mod entropy;
mod file;
mod jpeg;

pub use file::{ImageError, Picture, decode_file, read_frame};

/// The pixel formats of cameras that can be decoded, each by V4L2's name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// One JPEG per frame, with or without its Huffman tables.
    Mjpeg,
    /// 4:2:2, packed as Y U Y V: 2 bytes a pixel.
    Yuyv,
    /// 4:2:0, a plane of Y and one of U V pairs at half the width and height: 1.5 bytes a pixel.
    Nv12,
    /// 8-bit grey.
    Grey,
    /// R, G, B: 3 bytes a pixel.
    Rgb24,
}

impl PixelFormat {
    pub const ALL: [PixelFormat; 5] =
        [PixelFormat::Mjpeg, PixelFormat::Yuyv, PixelFormat::Nv12, PixelFormat::Grey, PixelFormat::Rgb24];

    /// The kernel's four-character code.
    pub fn fourcc(self) -> [u8; 4] {
        match self {
            PixelFormat::Mjpeg => *b"MJPG",
            PixelFormat::Yuyv => *b"YUYV",
            PixelFormat::Nv12 => *b"NV12",
            PixelFormat::Grey => *b"GREY",
            PixelFormat::Rgb24 => *b"RGB3",
        }
    }

    /// The format of a four-character code, if it is one of ours.
    pub fn from_fourcc(code: [u8; 4]) -> Option<PixelFormat> {
        PixelFormat::ALL.into_iter().find(|format| format.fourcc() == code)
    }

    /// The shortest line of `width` pixels, in bytes; 0 for JPEG, which has no lines.
    fn line_bytes(self, width: u32) -> usize {
        let width = width as usize;
        match self {
            PixelFormat::Mjpeg => 0,
            PixelFormat::Yuyv => 2 * width,
            PixelFormat::Nv12 | PixelFormat::Grey => width,
            PixelFormat::Rgb24 => 3 * width,
        }
    }
}

/// Prints the four-character code, as `v4l2-ctl --list-formats` does.
impl std::fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(&self.fourcc()).expect("the codes are ASCII"))
    }
}

/// Reads a four-character code, in any case, as the configuration writes it.
impl std::str::FromStr for PixelFormat {
    type Err = String;
    fn from_str(text: &str) -> Result<PixelFormat, String> {
        PixelFormat::ALL.into_iter().find(|format| format.to_string().eq_ignore_ascii_case(text)).ok_or_else(|| {
            let known = PixelFormat::ALL.map(|format| format.to_string()).join(", ");
            format!("the pixel format '{text}' is not known; use one of {known}")
        })
    }
}

/// Why the bytes are no picture.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum DecodeError {
    #[error(
        "the buffer of a {width} × {height} {format} frame holds {found} bytes, expected {expected}; the frame is cut off"
    )]
    Short { format: PixelFormat, width: u32, height: u32, expected: usize, found: usize },
    #[error("a line of {found} bytes is too short for {width} pixels of {format}, which need {expected}")]
    Stride { format: PixelFormat, width: u32, expected: usize, found: usize },
    #[error("a {format} frame cannot be {width} pixels wide; pixels come in pairs, so choose an even width")]
    OddWidth { format: PixelFormat, width: u32 },
    #[error("the JPEG is {found_width} × {found_height} pixels, expected {width} × {height}")]
    Size { width: u32, height: u32, found_width: u32, found_height: u32 },
    #[error("the JPEG is cut off after {found} bytes: {missing}")]
    CutOff { found: usize, missing: &'static str },
    #[error("the JPEG is damaged: {0}")]
    Damaged(String),
    #[error("the JPEG is of a kind that is not read: {0}; save it as baseline or progressive, 8 bits, grey or YCbCr")]
    Unsupported(String),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the decoder gave up on the picture: {0}")]
    Panicked(String),
}

/// Decodes one camera buffer.
///
/// YUYV and NV12 are read as BT.601, limited range (Y 16–235, U V 16–240), which is what V4L2 means by default for
/// webcams and what the UVC standard says; JPEG as JFIF, full range; grey is repeated into the three channels.
/// * `width`, `height` — the negotiated size, in pixels; NV12 may have an odd height, its last chroma line serves one
/// * `stride` — bytes per line as the driver gave it, 0 if lines follow each other without padding; ignored for JPEG
/// * `bytes` — the used part of the buffer; raw formats may have more than they need at the end, JPEG only zeros
///
/// Returns `3 · width · height` bytes, R, G, B, row by row.
/// # Errors  See [`DecodeError`]: a buffer shorter than stride · height, a JPEG that is cut off, damaged, or not of
/// the negotiated size. Never panics.
pub fn decode(format: PixelFormat, width: u32, height: u32, stride: u32, bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    check_size(width, height)?;
    if format == PixelFormat::Mjpeg {
        let structure = jpeg::walk(bytes)?;
        structure.refuse_other_size(width, height)?;
        structure.refuse_trailing_bytes(bytes)?;
        return jpeg::decode(&structure, bytes);
    }
    let line = format.line_bytes(width);
    let stride = if stride == 0 { line } else { stride as usize };
    if stride < line {
        return Err(DecodeError::Stride { format, width, expected: line, found: stride });
    }
    if matches!(format, PixelFormat::Yuyv | PixelFormat::Nv12) && !width.is_multiple_of(2) {
        return Err(DecodeError::OddWidth { format, width });
    }
    let luma_bytes = stride * height as usize;
    let expected = match format {
        PixelFormat::Nv12 => luma_bytes + stride * height.div_ceil(2) as usize,
        _ => luma_bytes,
    };
    let Some(bytes) = bytes.get(..expected) else {
        return Err(DecodeError::Short { format, width, height, expected, found: bytes.len() });
    };
    contain_panic(|| match format {
        PixelFormat::Yuyv => yuyv_to_rgb(width, height, stride, bytes),
        PixelFormat::Nv12 => nv12_to_rgb(width, height, stride, bytes),
        PixelFormat::Grey => {
            Ok(bytes.chunks(stride).flat_map(|row| &row[..line]).flat_map(|&grey| [grey; 3]).collect())
        }
        PixelFormat::Rgb24 => Ok(bytes.chunks(stride).flat_map(|row| &row[..line]).copied().collect()),
        PixelFormat::Mjpeg => unreachable!("JPEG was decoded above"),
    })
}

fn yuyv_to_rgb(width: u32, height: u32, stride: usize, bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut rgb = vec![0; 3 * width as usize * height as usize];
    let packed = YuvPackedImage { yuy: bytes, yuy_stride: stride as u32, width, height };
    yuv::yuyv422_to_rgb(&packed, &mut rgb, 3 * width, YuvRange::Limited, YuvStandardMatrix::Bt601)
        .map_err(|error| DecodeError::Panicked(format!("{error:?}")))?;
    Ok(rgb)
}

fn nv12_to_rgb(width: u32, height: u32, stride: usize, bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut rgb = vec![0; 3 * width as usize * height as usize];
    let (y_plane, uv_plane) = bytes.split_at(stride * height as usize);
    let (y_stride, uv_stride) = (stride as u32, stride as u32);
    let planes = YuvBiPlanarImage { y_plane, y_stride, uv_plane, uv_stride, width, height };
    let mode = YuvConversionMode::Balanced;
    yuv::yuv_nv12_to_rgb(&planes, &mut rgb, 3 * width, YuvRange::Limited, YuvStandardMatrix::Bt601, mode)
        .map_err(|error| DecodeError::Panicked(format!("{error:?}")))?;
    Ok(rgb)
}

/// Runs a decoder, and makes an error of a panic in it: foreign bytes must not end the thread that reads them.
fn contain_panic<T>(decoder: impl FnOnce() -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    // What the closures hold is read-only or thrown away with the error, so nothing half-done survives.
    catch_unwind(AssertUnwindSafe(decoder)).unwrap_or_else(|panic| Err(DecodeError::Panicked(panic_text(&*panic))))
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BT.601, limited range, in floating point.
    fn reference(y: u8, u: u8, v: u8) -> [u8; 3] {
        let (y, u, v) = (255.0 / 219.0 * (y as f64 - 16.0), u as f64 - 128.0, v as f64 - 128.0);
        let (u, v) = (255.0 / 224.0 * u, 255.0 / 224.0 * v);
        [y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u].map(|c| c.round().clamp(0.0, 255.0) as u8)
    }

    /// The integer arithmetic of the conversion is off by up to two.
    fn assert_near(found: &[u8], expected: [u8; 3], place: &str) {
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.abs_diff(expected) <= 2, "{place}: {found} is not {expected} ± 2");
        }
    }

    /// Bytes within the limited range; below and above it the conversion may clip sooner or later than the formula.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1u32;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            16 + (((state >> 24) * 220) >> 8) as u8
        })
        .take(length)
        .collect()
    }

    #[test]
    fn yuyv_becomes_rgb_within_two_of_the_formula_and_padding_is_skipped() {
        for (width, stride) in [(16, 0), (34, 0), (66, 160)] {
            let line = if stride == 0 { 2 * width } else { stride };
            let bytes = noise(line * 20);
            let rgb = decode(PixelFormat::Yuyv, width as u32, 20, stride as u32, &bytes).unwrap();
            for (x, y) in (0..20).flat_map(|y| (0..width).map(move |x| (x, y))) {
                let pair = &bytes[y * line + x / 2 * 4..][..4];
                let at = 3 * (y * width + x);
                assert_near(&rgb[at..at + 3], reference(pair[2 * (x % 2)], pair[1], pair[3]), &format!("({x}, {y})"));
            }
        }
    }

    #[test]
    fn nv12_becomes_rgb_within_two_of_the_formula_even_with_an_odd_height() {
        for (width, height, stride) in [(16, 16, 0), (34, 21, 0), (66, 18, 128)] {
            let line = if stride == 0 { width } else { stride };
            let bytes = noise(line * (height + usize::div_ceil(height, 2)));
            let rgb = decode(PixelFormat::Nv12, width as u32, height as u32, stride as u32, &bytes).unwrap();
            for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
                let chroma = &bytes[line * (height + y / 2) + x / 2 * 2..][..2];
                let at = 3 * (y * width + x);
                assert_near(
                    &rgb[at..at + 3],
                    reference(bytes[y * line + x], chroma[0], chroma[1]),
                    &format!("({x}, {y})"),
                );
            }
        }
    }

    #[test]
    fn grey_and_rgb_keep_their_values_and_lose_their_padding() {
        let bytes = noise(20 * 16);
        let rgb = decode(PixelFormat::Grey, 16, 16, 20, &bytes).unwrap();
        assert_eq!((rgb[0], rgb[1], rgb[2]), (bytes[0], bytes[0], bytes[0]));
        assert_eq!(rgb[3 * 16], bytes[20]);
        let bytes = noise(64 * 16);
        let rgb = decode(PixelFormat::Rgb24, 16, 16, 64, &bytes).unwrap();
        assert_eq!((&rgb[..48], &rgb[48..96]), (&bytes[..48], &bytes[64..112]));
    }

    #[test]
    fn a_raw_buffer_one_byte_short_is_refused_and_a_longer_one_is_not() {
        for (format, length) in [
            (PixelFormat::Yuyv, 2 * 32 * 18),
            (PixelFormat::Nv12, 32 * 27),
            (PixelFormat::Grey, 32 * 18),
            (PixelFormat::Rgb24, 3 * 32 * 18),
        ] {
            let found = length - 1;
            let error = decode(format, 32, 18, 0, &noise(found)).unwrap_err();
            assert_eq!(error, DecodeError::Short { format, width: 32, height: 18, expected: length, found });
            assert_eq!(decode(format, 32, 18, 0, &noise(length + 7)).unwrap().len(), 3 * 32 * 18);
        }
        assert!(matches!(decode(PixelFormat::Yuyv, 32, 18, 63, &noise(4000)), Err(DecodeError::Stride { .. })));
        assert!(matches!(decode(PixelFormat::Yuyv, 33, 18, 0, &noise(4000)), Err(DecodeError::OddWidth { .. })));
    }

    #[test]
    fn sizes_that_no_frame_may_have_are_refused_before_their_buffer_is_looked_at() {
        for (width, height) in [(1, 1), (u32::MAX, u32::MAX), (8_001, 8_000)] {
            assert!(matches!(decode(PixelFormat::Rgb24, width, height, 0, &[]), Err(DecodeError::Frame(_))));
        }
    }

    #[test]
    fn a_format_is_written_and_read_by_its_four_characters() {
        for format in PixelFormat::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
            assert_eq!(PixelFormat::from_fourcc(format.fourcc()), Some(format));
        }
        assert_eq!("mjpg".parse(), Ok(PixelFormat::Mjpeg));
        assert!("H264".parse::<PixelFormat>().unwrap_err().contains("use one of MJPG, YUYV"));
    }

    #[test]
    fn a_panic_in_a_decoder_is_an_error() {
        let result: Result<(), DecodeError> = contain_panic(|| panic!("row {} is missing", 7));
        assert_eq!(result, Err(DecodeError::Panicked("row 7 is missing".to_owned())));
    }
}
