//! Promise: each pixel format that the kernel's test camera (vivid) offers is captured and decoded to its test pattern.
//!
//! Where there is no vivid this says so and tests nothing; tests/board/run brings one. REJECTD_CAMERA names its device,
//! /dev/video0 unless it is set.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rejectd::clock::{Clock, MonotonicClock};
use rejectd::frame::Frame;
use rejectd::source::FrameSource;
use rejectd::source::decode::PixelFormat;
use rejectd::source::v4l2::{Camera, CameraSettings, describe_device};

/// The pattern's bars from left to right, in full RGB.
const BARS: [[f64; 3]; 8] = [
    [191.0, 191.0, 191.0],
    [191.0, 191.0, 0.0],
    [0.0, 191.0, 191.0],
    [0.0, 191.0, 0.0],
    [191.0, 0.0, 191.0],
    [191.0, 0.0, 0.0],
    [0.0, 0.0, 191.0],
    [0.0, 0.0, 0.0],
];
/// Levels of 255 by which the mean of a bar may be off: rounding of the pattern to limited-range YUV, and back.
const TOLERANCE: f64 = 4.0;
const PATIENCE: Duration = Duration::from_secs(10);

fn settings(device: &str, format: PixelFormat) -> CameraSettings {
    // The counters at the top make each frame another one, as noise does in a real camera.
    let controls = [("test_pattern", 0), ("osd_text_mode", 1)];
    CameraSettings {
        device: PathBuf::from(device),
        format: Some(format),
        width_px: 640,
        height_px: 360,
        frames_per_second: 10,
        controls: controls.map(|(name, value)| (name.to_owned(), value)).to_vec(),
    }
}

/// The mean colour of the inner half of bar `index`.
fn bar(frame: &Frame, index: usize) -> [f64; 3] {
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    let columns = width * (4 * index + 1) / 32..width * (4 * index + 3) / 32;
    let mut sum = [0.0; 3];
    for y in height / 4..height * 3 / 4 {
        for x in columns.clone() {
            (0..3).for_each(|c| sum[c] += f64::from(frame.rgb()[3 * (y * width + x) + c]));
        }
    }
    sum.map(|sum| sum / (columns.len() * (height * 3 / 4 - height / 4)) as f64)
}

/// The luminance of BT.709, as this driver makes its one grey channel of sRGB.
fn grey([r, g, b]: [f64; 3]) -> [f64; 3] {
    [0.2126 * r + 0.7152 * g + 0.0722 * b; 3]
}

#[test]
fn every_format_of_the_test_camera_is_decoded_to_its_test_pattern() {
    let device = std::env::var("REJECTD_CAMERA").unwrap_or_else(|_| "/dev/video0".to_owned());
    let description = match describe_device(device.as_ref()) {
        Ok(description) if description.driver == "vivid" => description,
        _ => return println!("SKIPPED: {device} is no vivid; tests/board/run brings one"),
    };
    let offered: Vec<PixelFormat> =
        description.formats.iter().filter_map(|format| PixelFormat::from_fourcc(format.fourcc)).collect();
    let expected = [PixelFormat::Yuyv, PixelFormat::Nv12, PixelFormat::Grey, PixelFormat::Rgb24];
    assert!(expected.iter().all(|format| offered.contains(format)), "vivid offers only {offered:?}");
    for format in offered {
        let mut camera = Camera::open(settings(&device, format), Arc::new(MonotonicClock)).unwrap();
        let asked = MonotonicClock.now();
        let frame = camera.grab(asked, PATIENCE).unwrap_or_else(|error| panic!("{format}: {error}"));
        assert!(frame.captured >= asked, "{format}: the frame is older than its trigger");
        let worst = (0..8)
            .flat_map(|index| {
                let wanted = if format == PixelFormat::Grey { grey(BARS[index]) } else { BARS[index] };
                let found = bar(&frame, index);
                (0..3).map(move |c| (found[c] - wanted[c]).abs())
            })
            .fold(0.0, f64::max);
        println!("{format}: the bars are off by {worst:.1} levels at most");
        assert!(worst <= TOLERANCE, "{format}: a bar is off by {worst:.1} levels; the bars are {:?}", {
            (0..8).map(|index| bar(&frame, index).map(f64::round)).collect::<Vec<_>>()
        });
    }
}
