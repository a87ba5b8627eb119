//! A camera on V4L2: a USB camera, or any other device that captures to single-plane buffers.
//!
//! Goals: a part is never judged by a frame that is older than its trigger; a camera that is unplugged, stuck or sends
//! nonsense is an error within the time that was given, and never a hang, a panic or a picture; what the driver made of
//! the settings is read back and said. Non-goals: cameras that need libcamera or its like in front of them (offer
//! those as a V4L2 device through a loopback), multi-plane capture, audio, and a thread: the caller has one.
//!
//! `/dev/video0` may become `/dev/video1` when a camera is plugged in again; the links in `/dev/v4l/by-id` stay.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use v4l::buffer::Metadata;
use v4l::capability::Flags as Capability;
use v4l::device::Device;
use v4l::format::{Colorspace, FieldOrder, Format, Quantization};
use v4l::video::Capture;
use v4l::video::capture::Parameters;
use v4l::{Capabilities, FourCC};

use super::decode::{PixelFormat, decode, panic_text};
use super::{FrameSource, SourceError, Watched};
use crate::clock::{Clock, Timestamp};
use crate::frame::Frame;

mod buffer;
mod control;
mod ioctl;
mod offer;
mod stream;

use buffer::{Judgement, SequenceCounter, judge};
pub use control::CameraControl;
pub use offer::{OfferedFormat, OfferedSize};
use offer::{choose, offer_text, offered_formats, rate_of, rate_text};
use stream::Stream;

/// A picture that stays the same to the last bit for so long is none: the camera is stuck.
const STUCK: Duration = Duration::from_millis(800);
/// One whose pixels differ by no more than so many levels shows nothing, and may well stay the same: black between two
/// flashes of a strobe.
const FEATURELESS: u8 = 16;

/// What is asked of a camera.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraSettings {
    /// `/dev/video0`, or better its link in `/dev/v4l/by-id`.
    pub device: PathBuf,
    /// None takes the best that comes in this size at this rate: YUYV, NV12, RGB3, MJPG, GREY, in this order.
    pub format: Option<PixelFormat>,
    pub width_px: u32,
    pub height_px: u32,
    /// At least 1.
    pub frames_per_second: u32,
    /// Names as `v4l2-ctl -l` prints them, with their values; automatic ones are set first, whatever their place.
    pub controls: Vec<(String, i64)>,
}

/// A camera that streams.
pub struct Camera {
    settings: CameraSettings,
    clock: Arc<dyn Clock>,
    running: Option<Running>,
    sequence: SequenceCounter,
    latest: Option<Latest>,
    description: String,
}

/// The frame that the driver gave last.
struct Latest {
    /// As many as it says that it used.
    bytes: Vec<u8>,
    capacity: usize,
    metadata: Metadata,
    sequence: u64,
    /// Since when it has been the same to the last bit, if the one before was: noise makes no two frames alike that show a
    /// part.
    same_since: Option<Timestamp>,
    /// Shows nothing; known only of a picture that came twice.
    is_featureless: bool,
    /// Nobody has asked for it yet.
    is_new: bool,
}

struct Running {
    stream: Stream,
    format: PixelFormat,
    /// Bytes per line; 0 if lines follow each other, or for JPEG.
    stride: u32,
    /// From frame to frame.
    interval: Duration,
}

impl Camera {
    /// Opens the device, sets size, format, rate and controls, reads them back, and starts the stream.
    ///
    /// A rate or a control that the driver set otherwise is a warning in the log.
    /// * `clock` — the kernel's monotonic clock, which V4L2 stamps frames with; frames "from the future" are refused
    /// # Errors  `SourceError::Disconnected` with the reason: the device is missing, busy, forbidden or no camera;
    /// `SourceError::Unfit`: the size or format is not offered, or a control is not known.
    pub fn open(settings: CameraSettings, clock: Arc<dyn Clock>) -> Result<Camera, SourceError> {
        let mut camera = Camera::awaited(settings, clock);
        camera.reopen()?;
        Ok(camera)
    }

    /// A camera that is not there yet: it is opened by [`FrameSource::reopen`].
    pub fn awaited(settings: CameraSettings, clock: Arc<dyn Clock>) -> Camera {
        let description = format!("{}: not there yet", settings.device.display());
        Camera { settings, clock, running: None, sequence: SequenceCounter::default(), latest: None, description }
    }

    fn timed_out(&self, stale: u32) -> SourceError {
        let older = if stale == 0 { "" } else { ", only ones from before it was asked for" };
        SourceError::Timeout(format!(
            "{}: no frame came in time{older}; check the cable, the rate and the exposure time",
            self.settings.device.display()
        ))
    }

    fn not_open(&self) -> SourceError {
        let device = self.settings.device.display();
        SourceError::Disconnected(format!("{device}: the camera is not open; it is tried again"))
    }

    /// Lets go of the device: while it is held open, a camera that is plugged in again gets another name. Its last picture
    /// is only kept to be told from the next one.
    fn let_go(&mut self) {
        self.running = None;
        self.latest.iter_mut().for_each(|latest| (latest.is_new, latest.same_since) = (false, None));
    }

    fn disconnected(&mut self, error: &io::Error) -> SourceError {
        self.let_go();
        unavailable(&self.settings.device, "taking a frame", error)
    }

    /// Waits for a frame and takes it in; returns whether one came.
    /// # Errors  `SourceError::Disconnected`
    fn take(&mut self, timeout: Duration) -> Result<bool, SourceError> {
        let Some(running) = &mut self.running else { return Err(self.not_open()) };
        match running.stream.wait(timeout) {
            Err(error) => return Err(self.disconnected(&error)),
            Ok(false) => return Ok(false),
            Ok(true) => {}
        }
        match running.stream.take() {
            Err(error) => return Err(self.disconnected(&error)),
            // Some cameras send the first one damaged; it tells nothing.
            Ok(None) => return Ok(false),
            Ok(Some((buffer, metadata))) => {
                let used = &buffer[..buffer.len().min(metadata.bytesused as usize)];
                let before = self.latest.take();
                let same = before.as_ref().filter(|before| before.bytes == used);
                let (same_since, is_featureless) = match same {
                    None => (None, false),
                    Some(before) if before.same_since.is_some() => (before.same_since, before.is_featureless),
                    Some(_) => {
                        let (width, height) = (self.settings.width_px, self.settings.height_px);
                        let rgb = decode(running.format, width, height, running.stride, used);
                        (Some(self.clock.now()), rgb.is_ok_and(|rgb| is_featureless(&rgb)))
                    }
                };
                let mut bytes = before.map_or_else(Vec::new, |before| before.bytes);
                bytes.clear();
                bytes.extend_from_slice(used);
                let sequence = self.sequence.widen(metadata.sequence);
                let (capacity, metadata) = (buffer.len(), *metadata);
                let is_new = true;
                self.latest = Some(Latest { bytes, capacity, metadata, sequence, same_since, is_featureless, is_new });
            }
        }
        Ok(true)
    }

    /// The latest frame, if nobody has asked for it yet and it was captured at or after `not_before`.
    /// # Errors  `SourceError::BadFrame`
    fn picture(&mut self, not_before: Timestamp) -> Result<Option<Frame>, SourceError> {
        let (Some(latest), Some(running)) = (&mut self.latest, &self.running) else { return Ok(None) };
        if !std::mem::take(&mut latest.is_new) {
            return Ok(None);
        }
        let Latest { bytes, capacity, metadata, sequence, same_since, .. } = latest;
        let damaged = |reason: &dyn fmt::Display| {
            SourceError::BadFrame(format!("{}: frame {sequence}: {reason}", self.settings.device.display()))
        };
        let judgement = judge(metadata, *capacity, self.clock.now(), not_before, running.interval);
        let (captured, exposed_by) = match judgement {
            Judgement::Good { captured, exposed_by } => (captured, exposed_by),
            Judgement::Damaged(reason) => return Err(damaged(&reason)),
            Judgement::Stale => return Ok(None),
        };
        if same_since.is_some() {
            return Err(damaged(&"it is the one before to the last bit, so that the camera may be stuck"));
        }
        let (width, height) = (self.settings.width_px, self.settings.height_px);
        let rgb = decode(running.format, width, height, running.stride, bytes).map_err(|error| damaged(&error))?;
        let frame = Frame::new(width, height, rgb, captured, *sequence).map_err(|error| damaged(&error))?;
        Ok(Some(frame.lasting_until(exposed_by)))
    }
}

impl FrameSource for Camera {
    /// The first frame whose exposure began at or after `not_before`; older ones are thrown away.
    ///
    /// Between two calls the driver fills its few buffers and then drops frames, so a call first takes those few.
    fn grab(&mut self, not_before: Timestamp, timeout: Duration) -> Result<Frame, SourceError> {
        let started = Instant::now();
        let mut stale = 0;
        loop {
            if let Some(frame) = self.picture(not_before)? {
                return Ok(frame);
            }
            // What is ready is taken even when the time is up.
            if self.take(timeout.saturating_sub(started.elapsed()))? {
                stale += 1;
            } else if started.elapsed() >= timeout {
                return Err(self.timed_out(stale));
            }
        }
    }

    fn watch(&mut self, timeout: Duration) -> Result<Watched, SourceError> {
        if !self.take(timeout)? {
            return Ok(Watched::Silence);
        }
        let latest = self.latest.as_ref().filter(|latest| !latest.is_featureless);
        let Some(since) = latest.and_then(|latest| latest.same_since) else { return Ok(Watched::Frame) };
        let same_for = self.clock.now().since(since);
        if same_for < STUCK {
            return Ok(Watched::Silence);
        }
        self.let_go();
        Err(SourceError::Disconnected(format!(
            "{}: for {} ms all frames are the same to the last bit; the camera is stuck and is opened again",
            self.settings.device.display(),
            same_for.as_millis()
        )))
    }

    fn reopen(&mut self) -> Result<(), SourceError> {
        self.let_go();
        self.sequence.restart();
        let (running, description) = start(&self.settings)?;
        // The same format again after an unplugged camera is back, even if another was put in its place.
        self.settings.format = Some(running.format);
        self.running = Some(running);
        self.description = description;
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.running.is_some()
    }

    fn describe(&self) -> String {
        self.description.clone()
    }
}

/// Whether the levels of a picture, of any channel, are all about the same.
fn is_featureless(rgb: &[u8]) -> bool {
    let darkest = rgb.iter().min().unwrap_or(&0);
    rgb.iter().max().unwrap_or(&0) - darkest <= FEATURELESS
}

/// What a device is and what it offers, for a person to read.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceDescription {
    pub device: PathBuf,
    /// The product's name.
    pub card: String,
    pub driver: String,
    pub bus: String,
    pub formats: Vec<OfferedFormat>,
    pub controls: Vec<CameraControl>,
}

impl fmt::Display for DeviceDescription {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {} (driver {}, {})", self.device.display(), self.card, self.driver, self.bus)?;
        for format in &self.formats {
            let readable = PixelFormat::from_fourcc(format.fourcc).is_some();
            write!(f, "\n  {format}{}", if readable { "" } else { " (cannot be read)" })?;
        }
        for control in &self.controls {
            write!(f, "\n  {control}")?;
        }
        Ok(())
    }
}

/// Asks the device at `path` what it is and what it offers; a process that streams from it is not disturbed.
/// # Errors  `SourceError::Disconnected` if it is missing, forbidden or no camera.
pub fn describe_device(path: &Path) -> Result<DeviceDescription, SourceError> {
    let (device, capabilities) = open_device(path)?;
    Ok(DeviceDescription {
        device: path.to_owned(),
        card: capabilities.card,
        driver: capabilities.driver,
        bus: capabilities.bus,
        formats: contained(path, "listing its formats", || offered_formats(&device))?,
        controls: contained(path, "listing its controls", || control::controls(&device))?,
    })
}

fn open_device(path: &Path) -> Result<(Device, Capabilities), SourceError> {
    let device = contained(path, "opening it", || Device::with_path(path))?;
    let capabilities = contained(path, "asking what it is", || device.query_caps())?;
    let offers = capabilities.capabilities;
    let what = if offers.contains(Capability::VIDEO_CAPTURE | Capability::STREAMING) {
        return Ok((device, capabilities));
    } else if offers.contains(Capability::VIDEO_CAPTURE_MPLANE) {
        "captures to several planes, which is not supported; use a USB camera, or libcamera with a loopback device"
    } else {
        "does not capture pictures; a camera may own several devices, try its others ('v4l2-ctl --list-devices')"
    };
    Err(SourceError::Disconnected(format!("{}: {} {what}", path.display(), capabilities.card)))
}

/// Opens, sets, reads back, starts. Returns the running stream and one line that describes it.
fn start(settings: &CameraSettings) -> Result<(Running, String), SourceError> {
    let path = &settings.device;
    let refused = |reason: String| SourceError::Unfit(format!("{}: {reason}", path.display()));
    let (device, capabilities) = open_device(path)?;
    let offered = contained(path, "listing its formats", || offered_formats(&device))?;
    let size = (settings.width_px, settings.height_px);
    let format = choose(settings.format, size, settings.frames_per_second, &offered).map_err(refused)?;

    let wanted = Format::new(size.0, size.1, FourCC::new(&format.fourcc()));
    let granted = contained(path, "setting size and format", || device.set_format(&wanted))?;
    if (granted.width, granted.height, granted.fourcc.repr) != (size.0, size.1, format.fourcc()) {
        let (asked, got) = (
            format!("{format} {} × {}", size.0, size.1),
            format!("{} {} × {}", granted.fourcc, granted.width, granted.height),
        );
        return Err(refused(format!("{asked} was asked for, but the driver set {got}; {}", offer_text(&offered))));
    }
    check_fields(granted.field_order).map_err(refused)?;
    if let Some(warning) = color_warning(format, &granted) {
        log::warn!("{}: {warning}", path.display());
    }

    let rate = set_rate(&device, settings);
    let asked = f64::from(settings.frames_per_second);
    if rate.is_none_or(|rate| (rate - asked).abs() > 0.01 * asked) {
        let found = rate.map_or("does not tell its rate".to_owned(), |rate| format!("runs at {}", rate_text(rate)));
        log::warn!("{}: the driver {found}, though {asked} frames per second were asked for", path.display());
    }

    let known = contained(path, "listing its controls", || control::controls(&device))?;
    let planned = control::plan(&settings.controls, &known).map_err(refused)?;
    for difference in contained(path, "setting its controls", || control::apply(&device, &planned))? {
        log::warn!("{}: {difference}", path.display());
    }

    let stream = contained(path, "starting the stream", || Stream::start(&device, path))?;
    let rate = rate.unwrap_or(asked.max(1.0));
    let Capabilities { card, driver, .. } = capabilities;
    let description = format!(
        "{}: {card} ({driver}), {format} {} × {} at {} frames per second, {} controls set",
        path.display(),
        size.0,
        size.1,
        rate_text(rate),
        planned.len()
    );
    let stride = if format == PixelFormat::Mjpeg { 0 } else { granted.stride };
    Ok((Running { stream, format, stride, interval: Duration::from_secs_f64(1.0 / rate) }, description))
}

/// The rate in force after asking for the one wanted, in frames per second; none if the driver does not tell.
fn set_rate(device: &Device, settings: &CameraSettings) -> Option<f64> {
    let wanted = Parameters::with_fps(settings.frames_per_second);
    let granted = device.set_params(&wanted).or_else(|_| device.params()).ok()?;
    rate_of(granted.interval).filter(|rate| *rate >= 0.001)
}

fn check_fields(order: FieldOrder) -> Result<(), String> {
    match order {
        FieldOrder::Any | FieldOrder::Progressive => Ok(()),
        other => Err(format!(
            "its picture is not progressive ({other}), so that a moving part would look like a comb; choose a \
             progressive size or another camera"
        )),
    }
}

fn color_warning(format: PixelFormat, granted: &Format) -> Option<String> {
    let is_yuv = matches!(format, PixelFormat::Yuyv | PixelFormat::Nv12);
    let is_full = matches!(granted.quantization, Quantization::FullRange);
    let is_other = matches!(granted.colorspace, Colorspace::Rec709 | Colorspace::Rec2020 | Colorspace::JPEG);
    (is_yuv && (is_full || is_other)).then(|| {
        format!(
            "the driver names {} colours with {} for {format}; they are read as BT.601, limited range, so they are a \
             little off, always in the same way",
            granted.colorspace, granted.quantization
        )
    })
}

/// Calls into `v4l`, whose functions panic at names that are not UTF-8 and at numbers that it does not know.
fn contained<T>(path: &Path, doing: &str, call: impl FnOnce() -> io::Result<T>) -> Result<T, SourceError> {
    // Nothing outlives the panic but the device, which is closed.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| unavailable(path, doing, &error)),
        Err(panic) => {
            let reason = panic_text(&*panic);
            Err(SourceError::Disconnected(format!("{}: v4l gave up while {doing}: {reason}", path.display())))
        }
    }
}

/// The sentence for what the kernel said.
fn unavailable(path: &Path, doing: &str, error: &io::Error) -> SourceError {
    let device = path.display();
    SourceError::Disconnected(match Errno::from_io_error(error) {
        Some(Errno::NOENT) => {
            format!(
                "{device} is not there; plug the camera in, or name another ('ls /dev/v4l/by-id' shows those there are)"
            )
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            format!("{device} may not be opened by this user; add the user to the group video")
        }
        Some(Errno::BUSY) => {
            format!("{device} is busy: another process holds the camera ('fuser {device}' names it); end that one")
        }
        Some(Errno::NODEV | Errno::NXIO) => {
            format!("{device} is gone while {doing}: the camera was unplugged or lost power; plug it in again")
        }
        Some(Errno::NOTTY) => format!("{device} is not a camera: it does not answer V4L2; name another device"),
        _ => format!("{device} failed while {doing}: {error}; unplug the camera and plug it in again"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MonotonicClock;

    fn settings(device: &Path) -> CameraSettings {
        CameraSettings {
            device: device.to_owned(),
            format: None,
            width_px: 640,
            height_px: 480,
            frames_per_second: 30,
            controls: vec![],
        }
    }

    fn reason(result: Result<Camera, SourceError>) -> String {
        match result {
            Err(SourceError::Disconnected(reason)) => reason,
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("it opened"),
        }
    }

    #[test]
    fn a_missing_camera_is_said_to_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("video0");
        let found = reason(Camera::open(settings(&device), Arc::new(MonotonicClock)));
        assert!(found.starts_with(&format!("{} is not there; plug the camera in", device.display())), "{found}");
        assert!(matches!(describe_device(&device), Err(SourceError::Disconnected(_))));
    }

    #[test]
    fn a_file_is_not_a_camera() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let found = reason(Camera::open(settings(file.path()), Arc::new(MonotonicClock)));
        assert!(found.contains("is not a camera: it does not answer V4L2"), "{found}");
    }

    #[test]
    fn a_panic_in_v4l_is_a_sentence() {
        let device = Path::new("a\0b");
        let found = reason(Camera::open(settings(device), Arc::new(MonotonicClock)));
        assert!(found.contains("v4l gave up while opening it"), "{found}");
    }

    #[test]
    fn what_the_kernel_says_becomes_a_sentence_with_a_way_out() {
        for (code, expected) in [
            (13, "add the user to the group video"),
            (16, "another process holds the camera"),
            (19, "is gone while taking a frame"),
            (5, "failed while taking a frame: Input/output error"),
        ] {
            let error = unavailable(Path::new("/dev/video9"), "taking a frame", &io::Error::from_raw_os_error(code));
            let text = error.to_string();
            assert!(text.starts_with("/dev/video9 ") && text.contains(expected), "{text}");
        }
    }

    #[test]
    fn a_picture_that_shows_nothing_may_come_twice() {
        assert!(is_featureless(&[3, 0, 16, 5]) && is_featureless(&[]));
        assert!(!is_featureless(&[3, 0, 17, 5]));
    }

    #[test]
    fn interlaced_pictures_are_refused() {
        assert_eq!(check_fields(FieldOrder::Progressive), Ok(()));
        assert!(check_fields(FieldOrder::Interlaced).unwrap_err().contains("like a comb"));
    }

    #[test]
    fn colours_that_are_read_with_another_matrix_are_told_and_only_for_yuv() {
        let mut granted = Format::new(640, 480, FourCC::new(b"YUYV"));
        assert_eq!(color_warning(PixelFormat::Yuyv, &granted), None);
        granted.colorspace = Colorspace::Rec709;
        assert!(color_warning(PixelFormat::Yuyv, &granted).unwrap().contains("Rec. 709"));
        assert_eq!(color_warning(PixelFormat::Mjpeg, &granted), None);
    }
}
