//! The presence gate of a free-running line: is there a part, or only the belt?

use crate::frame::{Frame, FrameError, Roi};

/// Tells a part from the empty belt by the mean change of luminance in a region.
pub struct PresenceGate {
    roi: Option<Roi>,
    min_change: f32,
    /// The luminance of the empty belt in the region; the first frame if none was given.
    background: Option<Vec<u8>>,
}

impl PresenceGate {
    /// * `min_change` — grey levels, (0, 255]; from this mean absolute difference on there is a part
    /// * `background` — a frame of the empty belt
    ///
    /// # Errors  `FrameError::RoiOutside` if the region is not inside the background.
    pub fn new(roi: Option<Roi>, min_change: f32, background: Option<&Frame>) -> Result<PresenceGate, FrameError> {
        let background = background.map(|frame| luminance(frame, roi)).transpose()?;
        Ok(PresenceGate { roi, min_change, background })
    }

    /// Whether the frame shows a part. The first frame of a gate without a background is the empty belt. A frame of
    /// another size than the background cannot be compared and counts as a part.
    /// # Errors  `FrameError::RoiOutside`
    pub fn sees_part(&mut self, frame: &Frame) -> Result<bool, FrameError> {
        let seen = luminance(frame, self.roi)?;
        let background = self.background.get_or_insert_with(|| seen.clone());
        if background.len() != seen.len() {
            return Ok(true);
        }
        let change: u64 = background.iter().zip(&seen).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        Ok(change as f32 / seen.len() as f32 >= self.min_change)
    }
}

/// Rec. 601 luminance of the region, one byte a pixel.
fn luminance(frame: &Frame, roi: Option<Roi>) -> Result<Vec<u8>, FrameError> {
    let frame = match roi {
        Some(roi) => &frame.crop(roi)?,
        None => frame,
    };
    let luminance = |pixel: &[u8]| {
        let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
        ((299 * r + 587 * g + 114 * b + 500) / 1000) as u8
    };
    Ok(frame.rgb().chunks_exact(3).map(luminance).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn belt(part: Option<Roi>) -> Frame {
        let grey = |i: u32| {
            let inside = part.is_some_and(|roi| {
                (roi.x..roi.x + roi.width).contains(&(i % 64)) && (roi.y..roi.y + roi.height).contains(&(i / 64))
            });
            if inside { [90u8; 3] } else { [50; 3] }
        };
        Frame::new(64, 64, (0..64 * 64).flat_map(grey).collect::<Vec<u8>>(), Timestamp(0), 0).unwrap()
    }

    #[test]
    fn a_part_is_seen_when_the_mean_change_reaches_the_limit_and_only_in_the_region() {
        let quarter = Roi { x: 0, y: 0, width: 32, height: 32 };
        // A quarter of the frame changes by 40 levels: a mean of 10 over the frame, 40 in the region, 0 beside it.
        let cases = [(None, 10.0, true), (None, 10.1, false), (Some(quarter), 40.0, true)];
        let beside = (Some(Roi { x: 32, ..quarter }), 0.1, false);
        for (roi, min_change, expected) in cases.into_iter().chain([beside]) {
            let mut gate = PresenceGate::new(roi, min_change, None).unwrap();
            assert!(!gate.sees_part(&belt(None)).unwrap(), "the first frame is the empty belt");
            assert_eq!(gate.sees_part(&belt(Some(quarter))).unwrap(), expected, "{roi:?} {min_change}");
            assert!(!gate.sees_part(&belt(None)).unwrap());
        }
    }

    #[test]
    fn a_given_background_holds_although_the_first_frame_shows_a_part() {
        let quarter = Roi { x: 0, y: 0, width: 32, height: 32 };
        let mut gate = PresenceGate::new(None, 8.0, Some(&belt(None))).unwrap();
        assert!(gate.sees_part(&belt(Some(quarter))).unwrap());
    }
}
