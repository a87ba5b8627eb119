//! What a camera offers, and which of it is taken.

use std::fmt;

use v4l::device::Device;
use v4l::frameinterval::FrameIntervalEnum;
use v4l::framesize::FrameSizeEnum;
use v4l::video::Capture;
use v4l::{FourCC, Fraction};

use crate::source::decode::PixelFormat;

/// The formats to choose from when none is named, the best first: the camera's own pixels before compressed ones,
/// whose artefacts are a texture of their own to an anomaly detector, and colour before grey.
const PREFERENCE: [PixelFormat; 5] =
    [PixelFormat::Yuyv, PixelFormat::Nv12, PixelFormat::Rgb24, PixelFormat::Mjpeg, PixelFormat::Grey];

/// A pixel format with the sizes that it comes in.
#[derive(Clone, Debug, PartialEq)]
pub struct OfferedFormat {
    pub fourcc: [u8; 4],
    pub description: String,
    /// Empty if the driver does not tell.
    pub sizes: Vec<OfferedSize>,
}

/// A size, or a range of them, with its rates.
#[derive(Clone, Debug, PartialEq)]
pub struct OfferedSize {
    /// Width and height in pixels.
    pub smallest: (u32, u32),
    /// The same as `smallest` if there is one size only.
    pub largest: (u32, u32),
    /// The steps between them, at least 1.
    pub step: (u32, u32),
    /// Frames per second; of a range of rates the ends; empty if the driver does not tell.
    pub rates: Vec<f64>,
}

impl OfferedSize {
    fn holds(&self, width: u32, height: u32) -> bool {
        let within = |value: u32, smallest: u32, largest: u32, step: u32| {
            (smallest..=largest).contains(&value) && (value - smallest).is_multiple_of(step.max(1))
        };
        within(width, self.smallest.0, self.largest.0, self.step.0)
            && within(height, self.smallest.1, self.largest.1, self.step.1)
    }

    fn fastest(&self) -> f64 {
        self.rates.iter().copied().reduce(f64::max).unwrap_or(f64::INFINITY)
    }
}

impl OfferedFormat {
    /// The highest rate at a size; infinite if the driver does not tell, none if it does not come in that size.
    fn fastest(&self, width: u32, height: u32) -> Option<f64> {
        if self.sizes.is_empty() {
            return Some(f64::INFINITY);
        }
        self.sizes.iter().filter(|size| size.holds(width, height)).map(OfferedSize::fastest).reduce(f64::max)
    }
}

impl fmt::Display for OfferedSize {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} × {}", self.smallest.0, self.smallest.1)?;
        if self.largest != self.smallest {
            write!(f, " to {} × {}", self.largest.0, self.largest.1)?;
        }
        if !self.rates.is_empty() {
            let rates: Vec<String> = self.rates.iter().map(|rate| rate_text(*rate)).collect();
            write!(f, " at {} fps", rates.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for OfferedFormat {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let sizes: Vec<String> = self.sizes.iter().map(OfferedSize::to_string).collect();
        let sizes = if sizes.is_empty() { "sizes not told".to_owned() } else { sizes.join("; ") };
        write!(f, "{}: {sizes}", String::from_utf8_lossy(&self.fourcc))
    }
}

/// A rate without needless digits: 30, 29.97.
pub fn rate_text(rate: f64) -> String {
    let text = format!("{rate:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// All that `device` offers, asked of the driver.
/// # Errors  The kernel's.
pub fn offered_formats(device: &Device) -> std::io::Result<Vec<OfferedFormat>> {
    let formats = device.enum_formats()?.into_iter().map(|format| OfferedFormat {
        fourcc: format.fourcc.repr,
        description: format.description,
        sizes: offered_sizes(device, format.fourcc),
    });
    Ok(formats.collect())
}

/// None if the driver does not tell.
fn offered_sizes(device: &Device, fourcc: FourCC) -> Vec<OfferedSize> {
    let sizes = device.enum_framesizes(fourcc).unwrap_or_default();
    let offered = sizes.into_iter().map(|size| match size.size {
        FrameSizeEnum::Discrete(size) => {
            let rates = offered_rates(device, fourcc, size.width, size.height);
            let only = (size.width, size.height);
            OfferedSize { smallest: only, largest: only, step: (1, 1), rates }
        }
        FrameSizeEnum::Stepwise(range) => OfferedSize {
            smallest: (range.min_width, range.min_height),
            largest: (range.max_width, range.max_height),
            step: (range.step_width, range.step_height),
            rates: offered_rates(device, fourcc, range.max_width, range.max_height),
        },
    });
    offered.collect()
}

fn offered_rates(device: &Device, fourcc: FourCC, width: u32, height: u32) -> Vec<f64> {
    let intervals = device.enum_frameintervals(fourcc, width, height).unwrap_or_default();
    let rates = intervals.into_iter().flat_map(|interval| match interval.interval {
        FrameIntervalEnum::Discrete(interval) => vec![rate_of(interval)],
        FrameIntervalEnum::Stepwise(range) => vec![rate_of(range.max), rate_of(range.min)],
    });
    rates.flatten().collect()
}

/// The rate of a frame interval, in frames per second.
pub fn rate_of(interval: Fraction) -> Option<f64> {
    (interval.numerator > 0 && interval.denominator > 0)
        .then(|| f64::from(interval.denominator) / f64::from(interval.numerator))
}

/// The pixel format to ask the driver for.
///
/// If one is wanted, that one. If not, the first of [`PREFERENCE`] that comes in this size at this rate, or else the
/// one that comes nearest to the rate in this size.
/// # Errors  A sentence's end with all that is offered, if nothing fits the size.
pub fn choose(
    wanted: Option<PixelFormat>,
    (width, height): (u32, u32),
    frames_per_second: u32,
    offered: &[OfferedFormat],
) -> Result<PixelFormat, String> {
    let candidates = match wanted {
        Some(format) => vec![format],
        None => PREFERENCE.to_vec(),
    };
    let mut best: Option<(PixelFormat, f64)> = None;
    for format in candidates {
        let offer = offered.iter().find(|offer| offer.fourcc == format.fourcc());
        let Some(rate) = offer.and_then(|offer| offer.fastest(width, height)) else { continue };
        // Rates such as 30000/1001 pass for 30.
        let rate = rate.min(f64::from(frames_per_second) * 0.99);
        if best.is_none_or(|(_, best_rate)| rate > best_rate) {
            best = Some((format, rate));
        }
    }
    best.map(|(format, _)| format).ok_or_else(|| {
        let name = wanted.map_or("a format that can be read".to_owned(), |format| format.to_string());
        format!("it does not offer {name} of {width} × {height} pixels; {}", offer_text(offered))
    })
}

/// What is offered that can be read: "it offers YUYV: 640 × 480 at 30 fps | …"
pub fn offer_text(offered: &[OfferedFormat]) -> String {
    let (readable, other): (Vec<_>, Vec<_>) =
        offered.iter().partition(|offer| PixelFormat::from_fourcc(offer.fourcc).is_some());
    if readable.is_empty() {
        let codes: Vec<_> = other.iter().map(|offer| String::from_utf8_lossy(&offer.fourcc)).collect();
        let codes = if codes.is_empty() { "nothing".to_owned() } else { codes.join(", ") };
        return format!("it offers {codes}, none of which can be read");
    }
    let formats: Vec<String> = readable.iter().map(|offer| offer.to_string()).collect();
    format!("it offers {}", formats.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(format: PixelFormat, size: (u32, u32), rates: &[f64]) -> OfferedFormat {
        let sizes = vec![OfferedSize { smallest: size, largest: size, step: (1, 1), rates: rates.to_vec() }];
        OfferedFormat { fourcc: format.fourcc(), description: String::new(), sizes }
    }

    #[test]
    fn raw_pixels_are_chosen_unless_only_jpeg_is_fast_enough() {
        let offered = [
            offer(PixelFormat::Mjpeg, (1280, 720), &[30.0]),
            offer(PixelFormat::Yuyv, (1280, 720), &[10.0]),
            offer(PixelFormat::Grey, (1280, 720), &[60.0]),
        ];
        assert_eq!(choose(None, (1280, 720), 10, &offered), Ok(PixelFormat::Yuyv));
        assert_eq!(choose(None, (1280, 720), 30, &offered), Ok(PixelFormat::Mjpeg));
        assert_eq!(choose(None, (1280, 720), 60, &offered), Ok(PixelFormat::Grey));
        assert_eq!(choose(Some(PixelFormat::Yuyv), (1280, 720), 60, &offered), Ok(PixelFormat::Yuyv));
    }

    #[test]
    fn a_rate_of_29_97_passes_for_30() {
        let offered = [offer(PixelFormat::Yuyv, (64, 64), &[29.97]), offer(PixelFormat::Mjpeg, (64, 64), &[30.0])];
        assert_eq!(choose(None, (64, 64), 30, &offered), Ok(PixelFormat::Yuyv));
    }

    #[test]
    fn a_size_that_is_not_offered_is_refused_with_those_that_are() {
        let offered =
            [offer(PixelFormat::Yuyv, (640, 480), &[30.0, 29.97]), offer(PixelFormat::Mjpeg, (800, 600), &[])];
        let error = choose(None, (641, 480), 30, &offered).unwrap_err();
        let expected = "it does not offer a format that can be read of 641 × 480 pixels; it offers YUYV: 640 × 480 at 30, \
                        29.97 fps | MJPG: 800 × 600";
        assert_eq!(error, expected);
        let raw = OfferedFormat { fourcc: *b"H264", ..offered[0].clone() };
        assert!(!offer_text(&[raw.clone(), offered[0].clone()]).contains("H264"));
        assert_eq!(offer_text(&[raw]), "it offers H264, none of which can be read");
        assert!(choose(Some(PixelFormat::Nv12), (640, 480), 30, &offered).unwrap_err().contains("does not offer NV12"));
    }

    #[test]
    fn a_range_of_sizes_holds_its_steps_only() {
        let range = OfferedSize { smallest: (16, 16), largest: (640, 480), step: (16, 8), rates: vec![] };
        assert!(range.holds(320, 240) && range.holds(640, 480));
        assert!(!range.holds(328, 240) && !range.holds(320, 244) && !range.holds(656, 480) && !range.holds(8, 16));
    }
}
