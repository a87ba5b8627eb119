//! A camera frame: pixels, when they were captured, and which one it was.

use std::sync::Arc;

use crate::clock::Timestamp;

/// The most pixels that a frame may have; a larger picture is refused before it is decoded.
pub const MAX_PIXELS: u64 = 64_000_000;
/// The smallest side of a frame, in pixels; below it there is nothing to look at.
pub const MIN_SIDE_PX: u32 = 16;

/// One picture, 8-bit RGB, interleaved, rows from the top, no padding. Cloning shares the pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    width: u32,
    height: u32,
    rgb: Arc<[u8]>,
    /// Not before this did its exposure begin, on the monotonic clock.
    pub captured: Timestamp,
    /// And by this it had ended, as far as the source can tell; [`Frame::captured`] where nothing else is known.
    pub exposed_by: Timestamp,
    /// The source's own count; a gap tells of frames that the source dropped.
    pub sequence: u64,
}

#[derive(Debug, thiserror::Error, PartialEq)]
pub enum FrameError {
    #[error("a frame of {width} × {height} pixels needs {expected} bytes of RGB, but {found} came")]
    Length { width: u32, height: u32, expected: usize, found: usize },
    #[error("a frame of {width} × {height} pixels is too small; each side must be at least {MIN_SIDE_PX} pixels")]
    TooSmall { width: u32, height: u32 },
    #[error("a frame of {width} × {height} pixels is too large; at most {MAX_PIXELS} pixels are accepted")]
    TooLarge { width: u32, height: u32 },
    #[error(
        "the region of interest {roi} reaches outside the frame of {width} × {height} pixels; correct roi_px or the \
         camera's size"
    )]
    RoiOutside { roi: Roi, width: u32, height: u32 },
}

impl Frame {
    /// Takes `rgb`, `3 · width · height` bytes.
    /// # Errors  `FrameError::Length` if the bytes do not fit the size; `TooSmall`, `TooLarge` if the size is not one
    /// to inspect.
    pub fn new(
        width: u32,
        height: u32,
        rgb: impl Into<Arc<[u8]>>,
        captured: Timestamp,
        sequence: u64,
    ) -> Result<Frame, FrameError> {
        check_size(width, height)?;
        let rgb = rgb.into();
        let expected = 3 * width as usize * height as usize;
        if rgb.len() != expected {
            return Err(FrameError::Length { width, height, expected, found: rgb.len() });
        }
        Ok(Frame { width, height, rgb, captured, exposed_by: captured, sequence })
    }

    /// The same frame, taken at this moment as the source's `sequence`th.
    pub fn taken(self, captured: Timestamp, sequence: u64) -> Frame {
        Frame { captured, exposed_by: captured, sequence, ..self }
    }

    /// The same frame, whose exposure may have lasted until `exposed_by`.
    pub fn lasting_until(self, exposed_by: Timestamp) -> Frame {
        Frame { exposed_by, ..self }
    }

    pub fn width(&self) -> u32 {
        self.width
    }

    pub fn height(&self) -> u32 {
        self.height
    }

    /// The pixels: `3 · width · height` bytes, R, G, B, row by row.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The part of the frame inside `roi`.
    ///
    /// ```
    /// use rejectd::frame::{Frame, Roi};
    /// let columns: Vec<u8> = (0..32 * 16).flat_map(|i| [i as u8 % 32; 3]).collect();
    /// let frame = Frame::new(32, 16, columns, Default::default(), 0).unwrap();
    /// let right = frame.crop(Roi { x: 16, y: 0, width: 16, height: 16 }).unwrap();
    /// assert_eq!(right.rgb()[0], 16);
    /// ```
    /// # Errors  `FrameError::RoiOutside` if `roi` is not wholly inside the frame.
    pub fn crop(&self, roi: Roi) -> Result<Frame, FrameError> {
        let (width, height) = (self.width, self.height);
        if !roi.fits(width, height) {
            return Err(FrameError::RoiOutside { roi, width, height });
        }
        let mut rgb = Vec::with_capacity(3 * roi.width as usize * roi.height as usize);
        for y in roi.y..roi.y + roi.height {
            let start = 3 * (y as usize * width as usize + roi.x as usize);
            rgb.extend_from_slice(&self.rgb[start..start + 3 * roi.width as usize]);
        }
        let cropped = Frame::new(roi.width, roi.height, rgb, self.captured, self.sequence)?;
        Ok(cropped.lasting_until(self.exposed_by))
    }
}

/// Refuses a size that no frame may have; for decoders, before they reserve memory for it.
/// # Errors  `FrameError::TooSmall`, `FrameError::TooLarge`
pub fn check_size(width: u32, height: u32) -> Result<(), FrameError> {
    if width < MIN_SIDE_PX || height < MIN_SIDE_PX {
        return Err(FrameError::TooSmall { width, height });
    }
    if width as u64 * height as u64 > MAX_PIXELS {
        return Err(FrameError::TooLarge { width, height });
    }
    Ok(())
}

/// A region of interest in pixels of the frame, `x` and `y` counted from the upper left corner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roi {
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

impl Roi {
    /// Whether it lies wholly inside a frame of this size.
    pub(crate) fn fits(self, width: u32, height: u32) -> bool {
        let inside = |start: u32, length: u32, whole: u32| start.checked_add(length).is_some_and(|end| end <= whole);
        inside(self.x, self.width, width) && inside(self.y, self.height, height)
    }
}

impl std::fmt::Display for Roi {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "[{}, {}, {}, {}]", self.x, self.y, self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(width: u32, height: u32) -> Frame {
        let rgb: Vec<u8> = (0..width * height).flat_map(|i| [i as u8, 0, 0]).collect();
        Frame::new(width, height, rgb, Timestamp(0), 0).unwrap()
    }

    #[test]
    fn a_crop_keeps_the_pixels_of_its_region() {
        let crop = numbered(32, 20).crop(Roi { x: 3, y: 2, width: 16, height: 17 }).unwrap();
        assert_eq!((crop.width(), crop.height()), (16, 17));
        assert_eq!(crop.rgb()[0], 2 * 32 + 3);
        assert_eq!(crop.rgb()[3 * 16], 3 * 32 + 3);
    }

    #[test]
    fn a_region_outside_the_frame_is_refused_even_where_its_numbers_overflow() {
        let frame = numbered(32, 20);
        for roi in [Roi { x: 17, y: 0, width: 16, height: 20 }, Roi { x: u32::MAX, y: 0, width: 16, height: 16 }] {
            assert!(matches!(frame.crop(roi), Err(FrameError::RoiOutside { .. })));
        }
    }

    #[test]
    fn bytes_that_do_not_fit_the_size_are_refused() {
        assert!(matches!(Frame::new(16, 16, vec![0; 767], Timestamp(0), 0), Err(FrameError::Length { .. })));
        assert!(matches!(Frame::new(1, 1, vec![0; 3], Timestamp(0), 0), Err(FrameError::TooSmall { .. })));
    }
}
