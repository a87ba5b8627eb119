//! Pictures in files, for teaching, inspecting and the folder source.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::{DecodeError, contain_panic, jpeg};
use crate::clock::Timestamp;
use crate::frame::{Frame, FrameError, MAX_PIXELS, check_size};

/// The longest JPEG file that is read: more than a picture of the most pixels needs at the best quality.
const MAX_JPEG_BYTES: u64 = 6 * MAX_PIXELS;

/// A decoded picture, 8-bit RGB.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    pub width: u32,
    pub height: u32,
    /// `3 · width · height` bytes, R, G, B, row by row.
    pub rgb: Vec<u8>,
}

/// Why a file is no picture. Every sentence begins with the file's name.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("{}: the file cannot be read: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: std::io::Error },
    #[error("{}: not a picture: {found}; expected a JPEG, PNG, BMP or TIFF file", path.display())]
    NotAPicture { path: PathBuf, found: String },
    #[error("{}: {reason}", path.display())]
    Size { path: PathBuf, reason: FrameError },
    #[error("{}: {reason}", path.display())]
    Jpeg { path: PathBuf, reason: DecodeError },
    #[error("{}: the {format} picture is damaged or of a kind that is not read: {reason}", path.display())]
    Damaged { path: PathBuf, format: &'static str, reason: String },
}

/// Reads the picture in the file at `path` as a frame that counts as captured at the origin of time.
/// # Errors  As [`decode_file`].
pub fn read_frame(path: &Path) -> Result<Frame, ImageError> {
    let Picture { width, height, rgb } = decode_file(path)?;
    let size = |reason| ImageError::Size { path: path.to_owned(), reason };
    Frame::new(width, height, rgb, Timestamp::default(), 0).map_err(size)
}

/// Reads the picture in the file at `path`.
///
/// The content decides the format, not the extension: JPEG (strictly, as from a camera, but any bytes may follow its
/// end, as phones append them), PNG, BMP or TIFF, of which the first page. Samples of 16 bits are reduced to 8, grey
/// is repeated into the three channels, and transparency is ignored: the colour below it counts. The orientation in a
/// JPEG's EXIF data is ignored too, since a camera over a belt does not turn: the pixels are taken as they are stored.
/// # Errors  See [`ImageError`]; a size that no frame may have is refused before memory is reserved for it.
pub fn decode_file(path: &Path) -> Result<Picture, ImageError> {
    let unreadable = |reason| ImageError::Unreadable { path: path.to_owned(), reason };
    let mut file = File::open(path).map_err(unreadable)?;
    let length = match file.metadata().map_err(unreadable)? {
        metadata if metadata.is_file() => metadata.len(),
        _ => return Err(ImageError::NotAPicture { path: path.to_owned(), found: "it is not a file".to_owned() }),
    };
    let mut start = Vec::new();
    (&mut file).take(8).read_to_end(&mut start).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    let (format, name) = match &start[..] {
        [0xFF, 0xD8, ..] => return read_jpeg(path, file, length),
        [0x89, b'P', b'N', b'G', ..] => (ImageFormat::Png, "PNG"),
        [b'B', b'M', ..] => (ImageFormat::Bmp, "BMP"),
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => (ImageFormat::Tiff, "TIFF"),
        [] => return Err(ImageError::NotAPicture { path: path.to_owned(), found: "it is empty".to_owned() }),
        _ => {
            let bytes: Vec<String> = start.iter().map(|byte| format!("{byte:02X}")).collect();
            let found = format!("it begins with the bytes {}", bytes.join(" "));
            return Err(ImageError::NotAPicture { path: path.to_owned(), found });
        }
    };
    read_other(BufReader::new(file), format).map_err(|reason| match reason {
        DecodeError::Frame(reason) => ImageError::Size { path: path.to_owned(), reason },
        reason => ImageError::Damaged { path: path.to_owned(), format: name, reason: inner_reason(reason) },
    })
}

fn inner_reason(error: DecodeError) -> String {
    match error {
        DecodeError::Damaged(reason) => reason,
        other => other.to_string(),
    }
}

fn read_jpeg(path: &Path, mut file: File, length: u64) -> Result<Picture, ImageError> {
    let damaged = |reason| ImageError::Jpeg { path: path.to_owned(), reason };
    if length > MAX_JPEG_BYTES {
        return Err(damaged(DecodeError::Unsupported(format!(
            "it is {length} bytes long, at most {MAX_JPEG_BYTES} are read"
        ))));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    file.read_to_end(&mut bytes).map_err(|reason| ImageError::Unreadable { path: path.to_owned(), reason })?;
    let structure = jpeg::walk(&bytes).map_err(|reason| match reason {
        DecodeError::Frame(reason) => ImageError::Size { path: path.to_owned(), reason },
        reason => damaged(reason),
    })?;
    let rgb = jpeg::decode(&structure, &bytes).map_err(damaged)?;
    Ok(Picture { width: structure.width, height: structure.height, rgb })
}

fn read_other(file: BufReader<File>, format: ImageFormat) -> Result<Picture, DecodeError> {
    let damaged = |error: image::ImageError| DecodeError::Damaged(error.to_string());
    contain_panic(|| {
        let mut reader = ImageReader::with_format(file, format);
        let mut limits = Limits::no_limits();
        // The most pixels, four channels of 16 bits each.
        limits.max_alloc = Some(8 * MAX_PIXELS);
        reader.limits(limits);
        let decoder = reader.into_decoder().map_err(damaged)?;
        let (width, height) = decoder.dimensions();
        check_size(width, height)?;
        let rgb = DynamicImage::from_decoder(decoder).map_err(damaged)?.into_rgb8().into_raw();
        Ok(Picture { width, height, rgb })
    })
}

#[cfg(test)]
mod tests {
    use image::{ImageBuffer, Luma, LumaA, Rgb, Rgba};

    use super::*;

    fn colors(x: u32, y: u32) -> [u8; 3] {
        [(7 * x) as u8, (11 * y) as u8, (x * y) as u8]
    }

    fn saved(image: DynamicImage, name: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        image.save(&path).unwrap();
        (folder, path)
    }

    fn rgb_image(width: u32, height: u32) -> DynamicImage {
        ImageBuffer::from_fn(width, height, |x, y| Rgb(colors(x, y))).into()
    }

    #[test]
    fn png_bmp_and_tiff_come_back_exactly_whatever_their_extension() {
        for (name, other_name) in [("a.png", "a.jpg"), ("a.bmp", "a.tif"), ("a.tiff", "a")] {
            let (folder, path) = saved(rgb_image(20, 17), name);
            let renamed = folder.path().join(other_name);
            std::fs::rename(path, &renamed).unwrap();
            let picture = decode_file(&renamed).unwrap();
            assert_eq!((picture.width, picture.height), (20, 17));
            assert_eq!(picture.rgb[3 * (5 * 20 + 9)..][..3], colors(9, 5), "{name}");
        }
    }

    #[test]
    fn grey_alpha_and_16_bit_pngs_become_8_bit_rgb() {
        let grey = |x: u32| (13 * x) as u8;
        let expected: Vec<u8> = (0..256).flat_map(|i| [grey(i % 16); 3]).collect();
        let images: [DynamicImage; 5] = [
            ImageBuffer::from_fn(16, 16, |x, _| Luma([grey(x)])).into(),
            ImageBuffer::from_fn(16, 16, |x, y| LumaA([grey(x), y as u8])).into(),
            ImageBuffer::from_fn(16, 16, |x, y| Rgba([grey(x), grey(x), grey(x), y as u8])).into(),
            ImageBuffer::from_fn(16, 16, |x, _| Luma([257 * grey(x) as u16])).into(),
            ImageBuffer::from_fn(16, 16, |x, y| {
                let grey = 257 * grey(x) as u16;
                Rgba([grey, grey, grey, y as u16])
            })
            .into(),
        ];
        for image in images {
            let kind = image.color();
            let (_folder, path) = saved(image, "a.png");
            assert_eq!(decode_file(&path).unwrap().rgb, expected, "{kind:?}");
        }
    }

    #[test]
    fn a_file_cut_off_at_every_64th_byte_is_an_error_that_names_it() {
        for name in ["a.png", "a.bmp", "a.tiff", "a.jpg"] {
            let (_folder, path) = saved(rgb_image(48, 40), name);
            let whole = std::fs::read(&path).unwrap();
            for cut in (0..whole.len() - 16).step_by(64) {
                std::fs::write(&path, &whole[..cut]).unwrap();
                let error = decode_file(&path).expect_err(&format!("{name} cut at {cut} of {}", whole.len()));
                assert!(error.to_string().starts_with(&*path.to_string_lossy()), "{error}");
            }
        }
    }

    #[test]
    fn bytes_after_the_end_of_a_jpeg_file_are_ignored() {
        let (_folder, path) = saved(rgb_image(24, 24), "a.jpg");
        let plain = decode_file(&path).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend(b"a phone's own notes");
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(decode_file(&path).unwrap(), plain);
    }

    #[test]
    fn a_picture_of_one_pixel_or_of_too_many_is_refused_by_its_size() {
        for name in ["a.png", "a.bmp", "a.tiff", "a.jpg"] {
            let (_folder, path) = saved(rgb_image(1, 1), name);
            let error = decode_file(&path).unwrap_err();
            assert!(matches!(error, ImageError::Size { reason: FrameError::TooSmall { .. }, .. }), "{error}");
        }
        // A PNG that says it is 30000 pixels wide and high, and holds none of them.
        let (_folder, path) = saved(rgb_image(16, 16), "a.png");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
        // The checksum of the header that was just changed.
        bytes[29..33].copy_from_slice(&0xE9456FED_u32.to_be_bytes());
        std::fs::write(&path, bytes).unwrap();
        let error = decode_file(&path).unwrap_err();
        assert!(matches!(error, ImageError::Size { reason: FrameError::TooLarge { .. }, .. }), "{error}");
    }

    #[test]
    fn what_is_no_picture_is_named_with_what_was_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.png");
        let name = path.display().to_string();
        let missing = decode_file(&path).unwrap_err().to_string();
        assert!(missing.starts_with(&format!("{name}: the file cannot be read: No such file")), "{missing}");
        std::fs::write(&path, "").unwrap();
        assert!(decode_file(&path).unwrap_err().to_string().contains("it is empty; expected a JPEG, PNG, BMP or TIFF"));
        std::fs::write(&path, "hello").unwrap();
        assert!(decode_file(&path).unwrap_err().to_string().contains("it begins with the bytes 68 65 6C 6C 6F;"));
        assert!(decode_file(folder.path()).unwrap_err().to_string().contains("it is not a file"));
    }
}
