//! rejectd.toml: `Config`, the file as written, becomes [`Settings`], checked and typed.
//!
//! Goal: a person at the machine corrects the file in one go. All mistakes are found in one run, each with file,
//! line, column, what was found, what was expected, and the nearest real key. An unknown key is a mistake, since a
//! mistyped `threshold` that is ignored lets bad parts pass.
//!
//! The functions below ask for each key once, section by section in the order of the flow, and say its rule and its
//! default; nothing else lists the keys. Defaults are written as TOML, so that a test can compare them with the
//! commented `config/rejectd.toml`.
//!
//! Rejected: serde's derive stops at the first mistake and knows neither the place of a contradiction nor the section
//! that a misplaced key belongs to. A table of keys with values fetched by name moves mistyped names to run time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::frame::{MAX_PIXELS, MIN_SIDE_PX, Roi};
use crate::line::schedule::Ejection;
use crate::line::wiring::Wiring;
use crate::source::decode::PixelFormat;

use rule::{MAX_SIDE_PX, boolean, control, device, fingerprint, integer, number, one_of, path, roi};
use written::{Config, Syntax};

pub use written::{Known, Mistake};

mod line;
mod rule;
#[cfg(test)]
mod tests;
mod written;

/// What the daemon runs with. Paths are ready to open: relative ones were taken from the folder of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The card of another backbone; the built-in one if absent.
    pub model_card: Option<PathBuf>,
    /// How many threads divide an inspection among them; as many as `inspect::threads::default_threads` says if absent.
    pub threads: Option<usize>,
    pub profile: PathBuf,
    pub source: SourceSettings,
    /// The region of the frame to inspect, of a part that lies inside it; the whole frame if absent.
    pub roi: Option<Roi>,
    pub trigger: TriggerSettings,
    /// Absent if the presence gate is switched off.
    pub presence: Option<PresenceSettings>,
    /// In place of the profile's own threshold.
    pub threshold: Option<ManualThreshold>,
    pub on_fault: OnFault,
    pub line: LineSettings,
    /// Where the daemon takes commands; where systemd gives a folder for it if absent.
    pub control_socket: Option<PathBuf>,
    pub log: LogSettings,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SourceSettings {
    V4l2(V4l2Settings),
    Folder {
        path: PathBuf,
        /// Whether it starts again after the last picture.
        looped: bool,
    },
    Simulated {
        seed: u64,
        /// The belt runs for ever if absent.
        parts: Option<u64>,
        /// In [0, 1].
        defect_fraction: f64,
        width_px: u32,
        height_px: u32,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct V4l2Settings {
    pub device: PathBuf,
    /// The best one that the camera offers if absent.
    pub format: Option<PixelFormat>,
    pub width_px: u32,
    pub height_px: u32,
    pub frames_per_second: u32,
    /// A camera that is silent for this long is a fault.
    pub timeout: Duration,
    /// In the order of the file, since some controls can be set only after others. A switch is 0 or 1.
    pub controls: Vec<(String, i64)>,
}

/// What makes a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerSettings {
    /// Each picture of the source is a part and none is lost; at least `interval` apart.
    EveryFrame { interval: Duration },
    /// The newest frame each `interval`, which is never zero; late ones are skipped and counted.
    FreeRunning { interval: Duration },
    /// An edge on a GPIO line, or a command on the control socket. The part is judged by the first frame captured at or
    /// after its trigger + `capture_delay`, if that frame comes no later than `frame_within` after.
    External { capture_delay: Duration, frame_within: Duration },
}

#[derive(Clone, Debug, PartialEq)]
pub struct PresenceSettings {
    /// Where to look for a part; the whole frame if absent.
    pub roi: Option<Roi>,
    /// Mean absolute difference of luminance from the empty belt, in grey levels, (0, 255].
    pub min_change: f32,
    /// A picture of the empty belt; the first frame after the start if absent.
    pub background: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ManualThreshold {
    /// Above 0, finite.
    pub value: f32,
    /// The profile that it was meant for: 16 hexadecimal digits, small letters.
    pub fingerprint: String,
}

/// What a part without a decision does. There is no third.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFault {
    Reject,
    Stop,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LineSettings {
    pub wiring: Wiring,
    pub ejection: Ejection,
    /// Whether the belt stops when ready falls or the heart does.
    pub stops_with_ready: bool,
    /// Half of the heartbeat's period.
    pub heartbeat: Duration,
    /// How long a rejected part may take from the ejector to the bin, where a sensor is there.
    pub confirm_within: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    pub level: log::LevelFilter,
    pub target: LogTarget,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// The journal when stderr is connected to it, else stderr.
    Auto,
    Journal,
    Stderr,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: the configuration cannot be read: {reason}; name another file with --config", path.display())]
    Unreadable { path: PathBuf, reason: std::io::Error },
    /// All mistakes, in the order of the file; one sentence a line.
    #[error("{}", .0.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n"))]
    Mistakes(Vec<Mistake>),
}

/// Reads and checks a configuration file.
///
/// # Errors  `ConfigError::Unreadable`; `ConfigError::Mistakes` with all of them, which name the file as `path` does.
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    let bytes = std::fs::read(path).map_err(|reason| ConfigError::Unreadable { path: path.to_owned(), reason })?;
    let name = path.display().to_string();
    match String::from_utf8(bytes) {
        Ok(text) => read(&text, &name, path.parent().unwrap_or(Path::new(""))),
        Err(error) => {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let valid = String::from_utf8_lossy(valid);
            let sentence = "not valid UTF-8: this byte belongs to no character; save the file as UTF-8".to_owned();
            let line = valid.matches('\n').count() + 1;
            let column = valid.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            Err(ConfigError::Mistakes(vec![Mistake { file: name, line, column, sentence }]))
        }
    }
}

/// Checks the text of a configuration file; `name` is its path, from whose folder relative paths are taken.
///
/// # Errors  `ConfigError::Mistakes` with all of them.
pub fn parse(text: &str, name: &str) -> Result<Settings, ConfigError> {
    read(text, name, Path::new(name).parent().unwrap_or(Path::new("")))
}

fn read(text: &str, name: &str, folder: &Path) -> Result<Settings, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let syntax = Syntax::check(text);
    let mut mistakes = syntax.mistakes(name, text);
    if !syntax.readable {
        return Err(ConfigError::Mistakes(mistakes));
    }
    let mut config = Config::new(&syntax);
    let settings = settings(&mut config, folder);
    mistakes.extend(config.finish(name));
    mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    match settings {
        Some(settings) if mistakes.is_empty() => Ok(settings),
        _ => Err(ConfigError::Mistakes(mistakes)),
    }
}

/// Asks for every key. `None` only after an objection.
fn settings(config: &mut Config, folder: &Path) -> Option<Settings> {
    let mut section = config.section("model");
    let model_card = section.optional("card", path("a model card", folder), "the built-in backbone");
    let threads =
        section.optional("threads", integer(1..=64, "").map(|threads| threads as usize), "one a core, at most 4");
    let profile = config.section("profile").required("file", path("a taught profile", folder));
    let (kind, roi) = source_kind(config);
    let source = source(config, kind, folder);
    check_roi(config, "source", roi, source.as_ref());
    let (trigger, lines) = line::trigger(config, kind, source.as_ref());
    let presence = presence(config, trigger, roi, source.as_ref(), folder);
    let (threshold, on_fault) = verdict(config);
    let line = line::line(config, trigger, presence.is_some(), lines);
    let (control_socket, log) = (control_socket(config, folder), log(config));
    Some(Settings {
        model_card,
        threads,
        profile: profile?,
        source: source?,
        roi,
        trigger,
        presence,
        threshold,
        on_fault,
        line,
        control_socket,
        log,
    })
}

#[derive(Clone, Copy, PartialEq)]
enum SourceKind {
    V4l2,
    Folder,
    Simulated,
}

fn source_kind(config: &mut Config) -> (Option<SourceKind>, Option<Roi>) {
    let mut section = config.section("source");
    let kinds = &[("v4l2", SourceKind::V4l2), ("folder", SourceKind::Folder), ("simulated", SourceKind::Simulated)];
    let kind = section.required("kind", one_of(kinds));
    (kind, section.optional("roi_px", roi(), "the whole frame"))
}

/// The settings of the chosen kind; the sections of the others are checked all the same.
fn source(config: &mut Config, kind: Option<SourceKind>, folder: &Path) -> Option<SourceSettings> {
    let v4l2 = v4l2(config);

    let mut section = config.section("source.folder");
    let pictures = section.optional("path", path("a folder of pictures", folder), "none, required for kind \"folder\"");
    let looped = section.with_default("loop", boolean(), "false");
    if kind == Some(SourceKind::Folder) && pictures.is_none() {
        let about = &[("source", "kind"), ("source.folder", "path")];
        config.contradiction(
            about,
            "[source] kind is \"folder\", but [source.folder] path is missing; expected the path of a folder of \
             pictures; add a line path = … below [source.folder]",
        );
    }

    let mut section = config.section("source.simulated");
    let seed = section.with_default("seed", integer(0..=i64::MAX, "").map(|seed| seed as u64), "7");
    let parts = section.optional("parts", integer(1..=i64::MAX, "").map(|parts| parts as u64), "no end");
    let fraction = number("a number from 0 to 1", |number| (0.0..=1.0).contains(&number));
    let defect_fraction = section.with_default("defect_fraction", fraction, "0.2");
    let (width_px, height_px) =
        (section.with_default("width_px", side(), "320"), section.with_default("height_px", side(), "320"));
    check_pixels(config, "source.simulated", width_px, height_px);

    match kind? {
        SourceKind::V4l2 => Some(SourceSettings::V4l2(v4l2)),
        SourceKind::Folder => pictures.map(|path| SourceSettings::Folder { path, looped }),
        SourceKind::Simulated => Some(SourceSettings::Simulated { seed, parts, defect_fraction, width_px, height_px }),
    }
}

fn v4l2(config: &mut Config) -> V4l2Settings {
    let mut section = config.section("source.v4l2");
    let formats = &[
        ("auto", None),
        ("mjpeg", Some(PixelFormat::Mjpeg)),
        ("yuyv", Some(PixelFormat::Yuyv)),
        ("nv12", Some(PixelFormat::Nv12)),
        ("grey", Some(PixelFormat::Grey)),
        ("rgb24", Some(PixelFormat::Rgb24)),
    ];
    let mut settings = V4l2Settings {
        device: section.with_default("device", device(), "\"/dev/video0\""),
        format: section.with_default("format", one_of(formats), "\"auto\""),
        width_px: section.with_default("width_px", side(), "640"),
        height_px: section.with_default("height_px", side(), "480"),
        frames_per_second: section.with_default(
            "frames_per_second",
            integer(1..=1000, "").map(|rate| rate as u32),
            "30",
        ),
        timeout: section.with_default("timeout_ms", milliseconds(1..=60_000), "1000"),
        controls: Vec::new(),
    };
    settings.controls = config.section("source.v4l2.controls").free(control());
    check_pixels(config, "source.v4l2", settings.width_px, settings.height_px);
    settings
}

fn presence(
    config: &mut Config,
    trigger: TriggerSettings,
    source_roi: Option<Roi>,
    source: Option<&SourceSettings>,
    folder: &Path,
) -> Option<PresenceSettings> {
    let mut section = config.section("presence");
    let enabled = section.with_default("enabled", boolean(), "false");
    let own_roi = section.optional("roi_px", roi(), "the region of [source]");
    let levels =
        number("a number above 0 and at most 255, in grey levels", |number| number as f32 > 0.0 && number <= 255.0);
    let min_change = section.with_default("min_change", levels, "8.0") as f32;
    let empty_belt = path("a picture of the empty belt", folder);
    let background = section.optional("background", empty_belt, "the first frame after the start");
    check_roi(config, "presence", own_roi, source);
    if enabled && !matches!(trigger, TriggerSettings::FreeRunning { .. }) {
        let why = match trigger {
            TriggerSettings::EveryFrame { .. } => "with the trigger every_frame each picture is a part",
            _ => "the trigger says when there is a part",
        };
        config.contradiction(
            &[("presence", "enabled"), ("trigger", "kind"), ("source", "kind")],
            format!("[presence] enabled is true, but {why}; switch it off, or set [trigger] kind = \"free_running\""),
        );
    }
    enabled.then_some(PresenceSettings { roi: own_roi.or(source_roi), min_change, background })
}

fn verdict(config: &mut Config) -> (Option<ManualThreshold>, OnFault) {
    let mut section = config.section("verdict");
    let positive = number("a number above 0", |number| number as f32 > 0.0 && (number as f32).is_finite());
    let threshold = section.optional("threshold", positive, "the profile's own");
    let meant_for = section.optional("threshold_for", fingerprint(), "none, required with threshold");
    let kinds = &[("reject", OnFault::Reject), ("stop", OnFault::Stop)];
    let on_fault = one_of(kinds).refuse(
        "accept",
        "a part that nobody could judge is never accepted, or a dead camera would let every bad part pass",
    );
    let on_fault = section.with_default("on_fault", on_fault, "\"reject\"");
    let threshold_keys = &[("verdict", "threshold"), ("verdict", "threshold_for")];
    if threshold.is_some() && meant_for.is_none() {
        config.contradiction(
            threshold_keys,
            "[verdict] threshold is set, but threshold_for is missing; expected the fingerprint of the profile that it \
             is meant for, because scores of different profiles have different scales; 'rejectd profile show' prints \
             it",
        );
    }
    if threshold.is_none() && meant_for.is_some() {
        config.contradiction(
            threshold_keys,
            "[verdict] threshold_for is set, but threshold is missing; set both, or neither to use the profile's own",
        );
    }
    let manual = threshold.zip(meant_for);
    (manual.map(|(value, fingerprint)| ManualThreshold { value: value as f32, fingerprint }), on_fault)
}

fn control_socket(config: &mut Config, folder: &Path) -> Option<PathBuf> {
    let rule = path("a socket to make", folder);
    config.section("control").optional(
        "socket",
        rule,
        "rejectd.sock in the RUNTIME_DIRECTORY that systemd gives, else none",
    )
}

fn log(config: &mut Config) -> LogSettings {
    use log::LevelFilter;
    let mut section = config.section("log");
    let levels = &[
        ("error", LevelFilter::Error),
        ("warn", LevelFilter::Warn),
        ("info", LevelFilter::Info),
        ("debug", LevelFilter::Debug),
        ("trace", LevelFilter::Trace),
    ];
    let targets = &[("auto", LogTarget::Auto), ("journal", LogTarget::Journal), ("stderr", LogTarget::Stderr)];
    LogSettings {
        level: section.with_default("level", one_of(levels), "\"info\""),
        target: section.with_default("target", one_of(targets), "\"auto\""),
    }
}

fn milliseconds(range: std::ops::RangeInclusive<i64>) -> rule::Rule<Duration> {
    integer(range, "milliseconds").map(|number| Duration::from_millis(number as u64))
}

fn side() -> rule::Rule<u32> {
    integer(MIN_SIDE_PX as i64..=MAX_SIDE_PX, "pixels").map(|side| side as u32)
}

fn check_pixels(config: &mut Config, section: &'static str, width: u32, height: u32) {
    if width as u64 * height as u64 > MAX_PIXELS {
        let sentence = format!(
            "[{section}] width_px = {width} and height_px = {height} make {} pixels; expected at most {MAX_PIXELS}",
            width as u64 * height as u64
        );
        config.contradiction(&[(section, "width_px"), (section, "height_px")], sentence);
    }
}

/// A region that lies outside of the frame that the same file asks for would fail at every part.
fn check_roi(config: &mut Config, section: &'static str, roi: Option<Roi>, source: Option<&SourceSettings>) {
    let (home, width, height) = match source {
        Some(SourceSettings::V4l2(camera)) => ("source.v4l2", camera.width_px, camera.height_px),
        Some(&SourceSettings::Simulated { width_px, height_px, .. }) => ("source.simulated", width_px, height_px),
        _ => return,
    };
    if let Some(roi) = roi.filter(|roi| roi.x + roi.width > width || roi.y + roi.height > height) {
        let about = &[(section, "roi_px"), (home, "width_px"), (home, "height_px"), ("source", "kind")];
        let sentence = format!(
            "[{section}] roi_px {roi} reaches outside the frame of {width} × {height} pixels that [{home}] asks for; \
             correct one of them"
        );
        config.contradiction(about, sentence);
    }
}

/// Every key of the file, in the order of the flow, with what its value must be and its default.
pub fn known_keys() -> Vec<Known> {
    let syntax = Syntax::check("");
    let mut config = Config::new(&syntax);
    settings(&mut config, Path::new(""));
    config.known
}
