//! JPEG, strictly: the markers are walked from the first to the last before anything is decoded.
//!
//! The walk knows the size before memory is reserved, finds a file that is cut off anywhere (a whole one ends in an
//! end marker, which cannot stand in the data by chance), counts restart markers, sees whether the Huffman tables are
//! there, which some cameras leave out, and finds a piece that is missing in the middle ([`entropy`]). The decoder
//! then runs in its strict mode.

use std::io::Cursor;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::entropy::{self, HuffmanTable, ScanComponent};
use super::{DecodeError, contain_panic};
use crate::frame::check_size;

const START_OF_IMAGE: u8 = 0xD8;
const END_OF_IMAGE: u8 = 0xD9;
const START_OF_SCAN: u8 = 0xDA;
const HUFFMAN_TABLES: u8 = 0xC4;
const RESTART_INTERVAL: u8 = 0xDD;

/// A component's number, and how many of its blocks lie side by side and below each other in one unit.
#[derive(Debug, PartialEq)]
struct Component {
    id: u8,
    across: u32,
    down: u32,
}

/// The Huffman tables in force, by class (DC, AC) and number.
type Tables = [[Option<HuffmanTable>; 4]; 2];

/// What the walk over the markers of a whole JPEG found.
#[derive(Debug, PartialEq)]
pub struct Structure {
    pub width: u32,
    pub height: u32,
    /// One is grey, three are colour.
    components: Vec<Component>,
    /// Every coefficient in one scan, Huffman-coded: what cameras send.
    sequential: bool,
    has_huffman_tables: bool,
    /// Where the first start-of-scan marker stands.
    scan: usize,
    /// The offset just after the end-of-image marker.
    end: usize,
    /// How many pixels one unit of the interleaved data covers.
    unit_width: u32,
    unit_height: u32,
}

impl Structure {
    pub fn refuse_other_size(&self, width: u32, height: u32) -> Result<(), DecodeError> {
        if (self.width, self.height) == (width, height) {
            return Ok(());
        }
        Err(DecodeError::Size { width, height, found_width: self.width, found_height: self.height })
    }

    /// Refuses anything but zeros after the end: some USB cameras pad their buffers with them, but other bytes there
    /// are the rest of another frame.
    pub fn refuse_trailing_bytes(&self, bytes: &[u8]) -> Result<(), DecodeError> {
        let rest = &bytes[self.end..];
        if rest.iter().all(|&byte| byte == 0) {
            return Ok(());
        }
        Err(DecodeError::Damaged(format!("{} bytes that are not padding follow its end", rest.len())))
    }
}

/// Walks the markers of `bytes` to the end of the image; what follows it is not looked at.
/// # Errors  `CutOff`, `Damaged`, `Unsupported`; `Frame` for a size that no frame may have.
pub fn walk(bytes: &[u8]) -> Result<Structure, DecodeError> {
    let cut_off = |missing| DecodeError::CutOff { found: bytes.len(), missing };
    match bytes {
        [0xFF, START_OF_IMAGE, ..] => {}
        [] | [0xFF] => return Err(cut_off("it holds no picture at all")),
        _ => return Err(DecodeError::Damaged("it does not begin with the bytes FF D8".to_owned())),
    }
    let mut frame: Option<Structure> = None;
    let mut has_huffman_tables = false;
    let mut tables = Tables::default();
    let mut restart_interval = 0;
    let mut at = 2;
    loop {
        let marker_at = at;
        let code = next_marker(bytes, &mut at)?;
        if code == END_OF_IMAGE {
            return match frame {
                Some(frame) if frame.scan > 0 => Ok(Structure { end: at, ..frame }),
                _ => Err(DecodeError::Damaged("it ends before its pixels begin".to_owned())),
            };
        }
        if matches!(code, 0x01 | 0xD0..=START_OF_IMAGE) {
            return Err(DecodeError::Damaged(format!(
                "the marker FF {code:02X} stands among its headers, at byte {marker_at}"
            )));
        }
        let segment = segment(bytes, at).ok_or_else(|| cut_off("a header is not complete"))?;
        at += 2 + segment.len();
        match code {
            HUFFMAN_TABLES => {
                has_huffman_tables = true;
                read_tables(segment, &mut tables)?;
            }
            RESTART_INTERVAL => match segment {
                [high, low] => restart_interval = u32::from(u16::from_be_bytes([*high, *low])),
                _ => return Err(DecodeError::Damaged("its restart interval is not a number".to_owned())),
            },
            0xC0..=0xC2 if frame.is_some() => return Err(DecodeError::Damaged("it has two frame headers".to_owned())),
            0xC0..=0xC2 => frame = Some(frame_header(segment, code < 0xC2)?),
            0xC3..=0xCF => {
                return Err(DecodeError::Unsupported(format!(
                    "its coding is lossless, hierarchical or arithmetic (FF {code:02X})"
                )));
            }
            START_OF_SCAN => {
                let Some(frame) = &mut frame else {
                    return Err(DecodeError::Damaged("its pixels begin before its frame header".to_owned()));
                };
                if frame.scan == 0 {
                    frame.scan = marker_at;
                    frame.has_huffman_tables = has_huffman_tables;
                    if !has_huffman_tables {
                        read_tables(&STANDARD_HUFFMAN_TABLES[4..], &mut tables)?;
                    }
                }
                let stretches = split_scan(bytes, &mut at)?;
                check_scan(frame, segment, &tables, restart_interval, &stretches)?;
            }
            _ => {}
        }
    }
}

/// Reads the marker at `at`, fill bytes before it included, and moves `at` behind it.
fn next_marker(bytes: &[u8], at: &mut usize) -> Result<u8, DecodeError> {
    if bytes.get(*at).is_some_and(|&byte| byte != 0xFF) {
        return Err(DecodeError::Damaged(format!("a marker is missing at byte {at}")));
    }
    while bytes.get(*at) == Some(&0xFF) {
        *at += 1;
    }
    let missing = "its end marker (FF D9) is missing";
    let code = *bytes.get(*at).ok_or(DecodeError::CutOff { found: bytes.len(), missing })?;
    *at += 1;
    Ok(code)
}

/// The content of the segment whose length stands at `at`; none if it is not all there, or too short for its length.
fn segment(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let length = u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]) as usize;
    bytes.get(at + 2..at + length)
}

fn frame_header(segment: &[u8], sequential: bool) -> Result<Structure, DecodeError> {
    let [precision, h1, h0, w1, w0, count, rest @ ..] = segment else {
        return Err(DecodeError::Damaged("its frame header is too short".to_owned()));
    };
    if *precision != 8 {
        return Err(DecodeError::Unsupported(format!("it has {precision} bits per sample")));
    }
    if !matches!(count, 1 | 3) {
        let kind = if *count == 4 { " (CMYK)" } else { "" };
        return Err(DecodeError::Unsupported(format!("it has {count} colour components{kind}")));
    }
    let mut components: Vec<Component> = rest
        .chunks_exact(3)
        .map(|part| Component { id: part[0], across: u32::from(part[1] >> 4), down: u32::from(part[1] & 15) })
        .collect();
    let valid = |component: &Component| matches!((component.across, component.down), (1..=4, 1..=4));
    if components.len() != *count as usize || !components.iter().all(valid) {
        return Err(DecodeError::Damaged("its frame header does not describe its components".to_owned()));
    }
    if let [alone] = &mut components[..] {
        // With one component the sampling factors mean nothing.
        (alone.across, alone.down) = (1, 1);
    }
    let (width, height) = (u16::from_be_bytes([*w1, *w0]).into(), u16::from_be_bytes([*h1, *h0]).into());
    check_size(width, height)?;
    let unit_width = 8 * components.iter().map(|component| component.across).max().unwrap_or(1);
    let unit_height = 8 * components.iter().map(|component| component.down).max().unwrap_or(1);
    let (has_huffman_tables, scan, end) = (false, 0, 0);
    Ok(Structure { width, height, components, sequential, has_huffman_tables, scan, end, unit_width, unit_height })
}

/// Reads the tables of a segment, each a byte of class and number, 16 counts, and the values.
fn read_tables(mut segment: &[u8], tables: &mut Tables) -> Result<(), DecodeError> {
    let damaged = || DecodeError::Damaged("one of its Huffman tables is not one".to_owned());
    while let Some((&name, rest)) = segment.split_first() {
        let (counts, rest) = rest.split_first_chunk::<16>().ok_or_else(damaged)?;
        let length = counts.iter().map(|&count| usize::from(count)).sum();
        let (values, rest) = rest.split_at_checked(length).ok_or_else(damaged)?;
        let class = tables.get_mut(usize::from(name >> 4)).ok_or_else(damaged)?;
        *class.get_mut(usize::from(name & 15)).ok_or_else(damaged)? =
            Some(HuffmanTable::new(counts, values).ok_or_else(damaged)?);
        segment = rest;
    }
    Ok(())
}

/// Moves `at` from the data of a scan to the marker behind it.
///
/// Returns the stretches of data between the restart markers.
/// # Errors  `Damaged` if the restart markers are out of order, `CutOff` if the data do not end.
fn split_scan<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Vec<&'a [u8]>, DecodeError> {
    let mut stretches = Vec::new();
    let mut start = *at;
    while let Some(gap) = bytes[*at..].iter().position(|&byte| byte == 0xFF) {
        *at += gap;
        match bytes.get(*at + 1) {
            Some(0x00) => *at += 2,
            Some(0xFF) => *at += 1,
            Some(&restart @ 0xD0..=0xD7) => {
                if usize::from(restart - 0xD0) != stretches.len() % 8 {
                    let reason = format!("a piece of it is missing before byte {at}: restart markers are out of order");
                    return Err(DecodeError::Damaged(reason));
                }
                stretches.push(&bytes[start..*at]);
                *at += 2;
                start = *at;
            }
            Some(_) => {
                stretches.push(&bytes[start..*at]);
                return Ok(stretches);
            }
            None => break,
        }
    }
    Err(DecodeError::CutOff { found: bytes.len(), missing: "its end marker (FF D9) is missing" })
}

/// Refuses a scan that lost a piece: with too few restart markers, or whose codes do not end where its data end.
fn check_scan(
    frame: &Structure,
    segment: &[u8],
    tables: &Tables,
    restart_interval: u32,
    stretches: &[&[u8]],
) -> Result<(), DecodeError> {
    let missing = |reason: &str| DecodeError::Damaged(format!("a piece of it is missing or changed: {reason}"));
    let names = segment.get(1..).unwrap_or_default().chunks_exact(2).take(usize::from(*segment.first().unwrap_or(&0)));
    let mut parts = Vec::new();
    for name in names {
        let component = frame.components.iter().find(|component| component.id == name[0]);
        parts.push((component.ok_or_else(|| missing("a scan is of a component that does not exist"))?, name[1]));
    }
    if frame.sequential && parts.len() != frame.components.len() {
        return Err(DecodeError::Unsupported("its colour components come one after the other".to_owned()));
    }
    let units = match &parts[..] {
        [(alone, _)] => {
            blocks(frame.width, alone.across, frame.unit_width) * blocks(frame.height, alone.down, frame.unit_height)
        }
        _ => frame.width.div_ceil(frame.unit_width) * frame.height.div_ceil(frame.unit_height),
    };
    let stretch_units = if restart_interval == 0 { units } else { restart_interval };
    let (found, expected) = (stretches.len() as u32 - 1, units.div_ceil(stretch_units) - 1);
    if found != expected {
        return Err(missing(&format!("{found} restart markers were found, expected {expected}")));
    }
    if !frame.sequential {
        return Ok(());
    }
    let table = |class: usize, number: u8| tables[class].get(usize::from(number)).and_then(Option::as_ref);
    let mut components = Vec::new();
    for (component, numbers) in &parts {
        let (Some(dc), Some(ac)) = (table(0, numbers >> 4), table(1, numbers & 15)) else {
            return Err(missing("a scan names a Huffman table that is not there"));
        };
        components.push(ScanComponent { dc, ac, blocks: component.across * component.down });
    }
    let mut left = units;
    for stretch in stretches {
        entropy::check(stretch, &components, left.min(stretch_units)).map_err(missing)?;
        left = left.saturating_sub(stretch_units);
    }
    Ok(())
}

/// The blocks along one side of a component that stands alone in its scan.
fn blocks(pixels: u32, factor: u32, unit: u32) -> u32 {
    (pixels * factor).div_ceil(unit / 8).div_ceil(8)
}

/// Decodes a JPEG that was walked.
///
/// Returns `3 · width · height` bytes of RGB; grey is repeated into the three channels.
/// # Errors  `Damaged`, `Panicked`
pub fn decode(structure: &Structure, bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let whole = &bytes[..structure.end];
    if structure.has_huffman_tables {
        return decode_strictly(structure, whole);
    }
    let (headers, scan) = whole.split_at(structure.scan);
    decode_strictly(structure, &[headers, &STANDARD_HUFFMAN_TABLES, scan].concat())
}

fn decode_strictly(structure: &Structure, bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let colors = if structure.components.len() == 1 { ColorSpace::Luma } else { ColorSpace::RGB };
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(colors);
    let pixels = contain_panic(|| {
        JpegDecoder::new_with_options(Cursor::new(bytes), options)
            .decode()
            .map_err(|error| DecodeError::Damaged(format!("{error:?}").trim_matches(['"', ' ']).to_owned()))
    })?;
    let rgb = match colors {
        ColorSpace::Luma => pixels.iter().flat_map(|&grey| [grey; 3]).collect(),
        _ => pixels,
    };
    let expected = 3 * structure.width as usize * structure.height as usize;
    if rgb.len() != expected {
        return Err(DecodeError::Damaged(format!("it gave {} bytes of RGB, expected {expected}", rgb.len())));
    }
    Ok(rgb)
}

/// The tables of the JPEG standard's Annex K.3.3, as one segment: the ones that a camera means when it sends none.
#[rustfmt::skip]
static STANDARD_HUFFMAN_TABLES: [u8; 420] = [
    0xFF, HUFFMAN_TABLES, 0x01, 0xA2,
    // Table K.3, brightness, DC.
    0x00, 0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0,
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
    // Table K.5, brightness, AC.
    0x10, 0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7D,
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22, 0x71,
    0x14, 0x32, 0x81, 0x91, 0xA1, 0x08, 0x23, 0x42, 0xB1, 0xC1, 0x15, 0x52, 0xD1, 0xF0, 0x24, 0x33, 0x62, 0x72,
    0x82, 0x09, 0x0A, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A, 0x34, 0x35, 0x36, 0x37,
    0x38, 0x39, 0x3A, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59,
    0x5A, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A, 0x83,
    0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0xA2, 0xA3,
    0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA, 0xC2, 0xC3,
    0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xE1, 0xE2,
    0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA,
    // Table K.4, colour, DC.
    0x01, 0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0,
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
    // Table K.6, colour, AC.
    0x11, 0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77,
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71, 0x13, 0x22,
    0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xA1, 0xB1, 0xC1, 0x09, 0x23, 0x33, 0x52, 0xF0, 0x15, 0x62, 0x72, 0xD1,
    0x0A, 0x16, 0x24, 0x34, 0xE1, 0x25, 0xF1, 0x17, 0x18, 0x19, 0x1A, 0x26, 0x27, 0x28, 0x29, 0x2A, 0x35, 0x36,
    0x37, 0x38, 0x39, 0x3A, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58,
    0x59, 0x5A, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A,
    0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A,
    0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA,
    0xC2, 0xC3, 0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA,
    0xE2, 0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA,
];

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;
    use image::{ExtendedColorType, ImageEncoder};

    use super::super::{DecodeError, PixelFormat, decode as decode_buffer};
    use super::*;

    const WIDTH: u32 = 67;
    const HEIGHT: u32 = 43;

    /// A ramp in red and green with a chequered blue, which leaves no block empty.
    fn picture() -> Vec<u8> {
        (0..WIDTH * HEIGHT)
            .flat_map(|i| {
                let (x, y) = (i % WIDTH, i / WIDTH);
                [(3 * x) as u8, (5 * y) as u8, if (x / 5 + y / 5) % 2 == 0 { 60 } else { 190 }]
            })
            .collect()
    }

    fn encode(pixels: &[u8], color: ExtendedColorType) -> Vec<u8> {
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 95).write_image(pixels, WIDTH, HEIGHT, color).unwrap();
        bytes
    }

    fn whole() -> Vec<u8> {
        encode(&picture(), ExtendedColorType::Rgb8)
    }

    fn read(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
        decode_buffer(PixelFormat::Mjpeg, WIDTH, HEIGHT, 0, bytes)
    }

    /// The bytes without the segments of `kind`, which stand before the first scan.
    fn without_segments(bytes: &[u8], kind: u8) -> Vec<u8> {
        let mut kept = bytes[..2].to_vec();
        let mut at = 2;
        while bytes[at + 1] != START_OF_SCAN {
            let end = at + 2 + u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]) as usize;
            if bytes[at + 1] != kind {
                kept.extend_from_slice(&bytes[at..end]);
            }
            at = end;
        }
        kept.extend_from_slice(&bytes[at..]);
        kept
    }

    #[test]
    fn a_whole_jpeg_comes_back_as_it_was_encoded() {
        let found = read(&whole()).unwrap();
        let error: u32 = found.iter().zip(picture()).map(|(found, expected)| found.abs_diff(expected) as u32).sum();
        assert!((error as f64) < 3.0 * found.len() as f64, "the mean error is above 3 of 255");
    }

    #[test]
    fn a_grey_jpeg_is_repeated_into_three_channels() {
        let grey: Vec<u8> = picture().chunks(3).map(|rgb| rgb[0]).collect();
        let found = read(&encode(&grey, ExtendedColorType::L8)).unwrap();
        assert_eq!(found.len(), 3 * grey.len());
        for (rgb, grey) in found.chunks(3).zip(grey) {
            assert!(rgb[0] == rgb[1] && rgb[1] == rgb[2] && rgb[0].abs_diff(grey) < 16);
        }
    }

    #[test]
    fn a_jpeg_cut_off_anywhere_is_an_error() {
        let whole = whole();
        let cuts = (0..whole.len()).step_by(64).chain(whole.len() - 4..whole.len());
        for cut in cuts {
            let error = read(&whole[..cut]).unwrap_err();
            assert!(matches!(error, DecodeError::CutOff { .. }), "cut at {cut} of {}: {error}", whole.len());
        }
    }

    #[test]
    fn a_jpeg_cut_off_and_padded_with_zeros_is_an_error() {
        let whole = whole();
        for cut in (0..whole.len()).step_by(64) {
            let mut bytes = whole[..cut].to_vec();
            bytes.resize(whole.len() + 100, 0);
            assert!(read(&bytes).is_err(), "cut at {cut} and padded");
        }
    }

    #[test]
    fn zeros_may_follow_the_end_and_other_bytes_may_not() {
        let mut bytes = whole();
        let plain = read(&bytes).unwrap();
        bytes.extend([0; 300]);
        assert_eq!(read(&bytes).unwrap(), plain);
        bytes.push(7);
        assert!(read(&bytes).unwrap_err().to_string().contains("301 bytes that are not padding"));
    }

    #[test]
    fn a_jpeg_without_its_huffman_tables_is_read_with_the_standard_ones() {
        let whole = whole();
        let bare = without_segments(&whole, HUFFMAN_TABLES);
        assert!(bare.len() + 400 < whole.len());
        assert_eq!(read(&bare).unwrap(), read(&whole).unwrap());
    }

    #[test]
    fn a_jpeg_of_another_size_is_an_error_that_tells_both() {
        let error = decode_buffer(PixelFormat::Mjpeg, 640, 480, 0, &whole()).unwrap_err();
        assert_eq!(error.to_string(), "the JPEG is 67 × 43 pixels, expected 640 × 480");
    }

    #[test]
    fn a_sequential_jpeg_whose_components_come_one_after_the_other_is_refused_since_the_decoder_mixes_them_up() {
        let mut bytes = whole();
        let scan = bytes.windows(2).position(|pair| pair == [0xFF, START_OF_SCAN]).unwrap();
        bytes.splice(scan..scan + 14, [0xFF, START_OF_SCAN, 0, 8, 1, 1, 0, 0, 63, 0]);
        assert!(matches!(walk(&bytes), Err(DecodeError::Unsupported(_))));
    }

    #[test]
    fn a_piece_lost_in_the_middle_is_noticed() {
        let whole = whole();
        let data = whole.windows(2).position(|pair| pair == [0xFF, START_OF_SCAN]).unwrap() + 14;
        let mut unnoticed = 0;
        for at in data..whole.len() - 258 {
            let bytes = [&whole[..at], &whole[at + 256..]].concat();
            unnoticed += usize::from(read(&bytes).is_ok());
        }
        assert!(unnoticed * 100 <= whole.len() - data, "{unnoticed} of {} losses were not noticed", whole.len() - data);
    }

    #[test]
    fn flipped_bytes_never_panic() {
        let whole = whole();
        for at in 0..whole.len() {
            for flip in [0x01, 0x80, 0xFF] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                let result = read(&bytes);
                assert!(!matches!(result, Err(DecodeError::Panicked(_))), "byte {at} ^ {flip:02X}: {result:?}");
            }
        }
    }

    #[test]
    fn a_size_over_the_limit_is_refused_before_anything_is_decoded() {
        let mut bytes = whole();
        let frame = bytes.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
        bytes[frame + 5..frame + 9].fill(0xFF);
        assert!(matches!(walk(&bytes), Err(DecodeError::Frame(_))));
    }

    #[test]
    fn a_jpeg_of_four_components_is_refused_with_a_way_out() {
        let mut bytes = whole();
        let frame = bytes.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
        bytes[frame + 9] = 4;
        let error = walk(&bytes).unwrap_err().to_string();
        assert!(error.contains("(CMYK)") && error.contains("save it as"), "{error}");
    }

    /// A progressive JPEG of 32 × 16 grey pixels, so 8 units, with the restart markers `restarts` between bytes of data.
    fn with_restarts(restarts: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xFF, START_OF_IMAGE, 0xFF, RESTART_INTERVAL, 0, 4, 0, 2];
        bytes.extend([0xFF, 0xC2, 0, 11, 8, 0, 16, 0, 32, 1, 1, 0x11, 0]);
        bytes.extend([0xFF, START_OF_SCAN, 0, 8, 1, 1, 0, 0, 63, 0, 0x55]);
        for restart in restarts {
            bytes.extend([0xFF, 0xD0 + restart, 0x55]);
        }
        bytes.extend([0xFF, END_OF_IMAGE]);
        bytes
    }

    #[test]
    fn a_piece_lost_between_restart_markers_is_noticed() {
        assert!(walk(&with_restarts(&[0, 1, 2])).is_ok());
        assert!(walk(&with_restarts(&[0, 2])).unwrap_err().to_string().contains("out of order"));
        assert!(
            walk(&with_restarts(&[0, 1])).unwrap_err().to_string().contains("2 restart markers were found, expected 3")
        );
    }
}
