//! What each verb prints and how it ends; the work itself is done in the rooms of the library.

use std::io::ErrorKind;
use std::process::ExitCode;

use crate::cli::Configured;
use crate::config::ConfigError;
use crate::daemon::judge::JudgeError;
use crate::daemon::serve::{PresenceError, serve};
use crate::daemon::socket::SocketError;
use crate::evaluate::compare::CompareError;
use crate::evaluate::dataset::{DatasetError, MaskError};
use crate::evaluate::run::EvaluateError;
use crate::frame::FrameError;
use crate::inspect::InspectError;
use crate::inspect::backbone::BackboneError;
use crate::inspect::card::CardError;
use crate::line::backend::LineError;
use crate::line::gpiochip::GpioError;
use crate::line::rpi::RpiError;
use crate::observe::heat_map::HeatMapError;
use crate::part::Verdict;
use crate::profile::ProfileError;
use crate::source::SourceError;
use crate::source::decode::ImageError;
use crate::source::folder::FolderError;
use crate::teach::TeachError;
use check::TooSlow;

pub mod check;
pub mod compare;
pub mod demo;
pub mod evaluate;
pub mod explain;
pub mod gpio;
pub mod inspect;
pub mod profile;
mod progress;
pub mod synth;
pub mod teach;
pub mod trigger;

/// A part was rejected.
pub const REJECTED: u8 = 1;
/// The command line is wrong, as of clap.
pub const USAGE: u8 = 2;
/// A picture, profile or set of parts cannot be used (EX_DATAERR).
pub const BAD_DATA: u8 = 65;
/// An input is not there (EX_NOINPUT).
pub const NO_INPUT: u8 = 66;
/// The camera, or another source, cannot be used (EX_UNAVAILABLE).
pub const UNAVAILABLE: u8 = 69;
/// A bug (EX_SOFTWARE).
pub const BUG: u8 = 70;
/// The result cannot be written (EX_CANTCREAT).
pub const CANNOT_WRITE: u8 = 73;
/// The configuration or the model card is wrong (EX_CONFIG); systemd must not restart the daemon.
pub const BAD_CONFIG: u8 = 78;

/// Arguments that do not belong together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// `rejectd run`.
/// # Errors  Those of [`serve`].
pub fn run(args: &Configured) -> anyhow::Result<ExitCode> {
    serve(&args.config)?;
    Ok(ExitCode::SUCCESS)
}

/// The exit code of an error, by the first cause in its chain that decides one.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    error.chain().find_map(code_of).unwrap_or(BUG)
}

fn code_of(error: &(dyn std::error::Error + 'static)) -> Option<u8> {
    let missing = |reason: &std::io::Error| if reason.kind() == ErrorKind::NotFound { NO_INPUT } else { BAD_DATA };
    if let Some(error) = error.downcast_ref::<JudgeError>() {
        return match error {
            JudgeError::Card(_) | JudgeError::ForeignThreshold { .. } | JudgeError::OtherRoi { .. } => Some(BAD_CONFIG),
            JudgeError::Profile(error) => code_of(error),
            JudgeError::Unfit { source, .. } => code_of(&**source),
        };
    }
    if error.is::<Usage>() {
        return Some(USAGE);
    }
    if let Some(error) = error.downcast_ref::<ProfileError>() {
        return Some(match error {
            ProfileError::NotFound { .. } => NO_INPUT,
            ProfileError::Full { .. } | ProfileError::Write { .. } => CANNOT_WRITE,
            _ => BAD_DATA,
        });
    }
    if let Some(error) = error.downcast_ref::<TeachError>() {
        return match error {
            TeachError::Unusable(error) => code_of(error),
            _ => Some(BAD_DATA),
        };
    }
    if let Some(error) = error.downcast_ref::<EvaluateError>() {
        return match error {
            EvaluateError::Dataset(error) => code_of(error),
            EvaluateError::Mask(error) => code_of(error),
            EvaluateError::Picture(error) => code_of(error),
            EvaluateError::Inspect { source, .. } => code_of(&**source),
            EvaluateError::Unusable(error) => code_of(error),
            EvaluateError::Teach(error) => code_of(error),
        };
    }
    if let Some(error) = error.downcast_ref::<CompareError>() {
        return match error {
            CompareError::Dataset(error) => code_of(error),
            CompareError::Teach(error) => code_of(error),
            CompareError::NoDefects { .. } | CompareError::TooFew { .. } => Some(BAD_DATA),
        };
    }
    if let Some(error) = error.downcast_ref::<DatasetError>() {
        return Some(match error {
            DatasetError::NoFolder { .. } => NO_INPUT,
            DatasetError::Read { source, .. } => missing(source),
            _ => BAD_DATA,
        });
    }
    if let Some(error) = error.downcast_ref::<MaskError>() {
        return match error {
            MaskError::Picture(error) => code_of(error),
            _ => Some(BAD_DATA),
        };
    }
    if let Some(error) = error.downcast_ref::<InspectError>() {
        return match error {
            InspectError::Backbone(error) => code_of(error),
            _ => Some(BAD_DATA),
        };
    }
    if let Some(error) = error.downcast_ref::<BackboneError>() {
        return Some(match error {
            BackboneError::Malformed { .. } | BackboneError::Unfit { .. } => BAD_CONFIG,
            BackboneError::UnknownTap { .. } | BackboneError::Size { .. } => BAD_DATA,
            BackboneError::Run(_) => BUG,
        });
    }
    if let Some(error) = error.downcast_ref::<FolderError>() {
        return Some(match error {
            FolderError::Unreadable { reason, .. } => missing(reason),
            FolderError::Empty { .. } => NO_INPUT,
        });
    }
    if let Some(error) = error.downcast_ref::<ImageError>() {
        return Some(match error {
            ImageError::Unreadable { reason, .. } => missing(reason),
            _ => BAD_DATA,
        });
    }
    if let Some(error) = error.downcast_ref::<LineError>() {
        return match error {
            LineError::Gpio(error) => code_of(error),
            LineError::Rpi(RpiError::Failed(_)) => Some(UNAVAILABLE),
            LineError::Rpi(_) => Some(BAD_CONFIG),
        };
    }
    if let Some(error) = error.downcast_ref::<GpioError>() {
        return Some(match error {
            // A chip may come up later, with its lines, and a user of a line may go.
            GpioError::NoChip
            | GpioError::NoSuchChip { .. }
            | GpioError::NoSuchLine { .. }
            | GpioError::InUse { .. }
            | GpioError::Failed(_) => UNAVAILABLE,
            _ => BAD_CONFIG,
        });
    }
    if let Some(error) = error.downcast_ref::<SocketError>() {
        return Some(match error {
            SocketError::Open { .. } | SocketError::Denied { .. } => BAD_CONFIG,
            _ => UNAVAILABLE,
        });
    }
    let bad_config =
        error.is::<TooSlow>() || error.is::<ConfigError>() || error.is::<CardError>() || error.is::<PresenceError>();
    // Verbs wrap what they read, so a bare input or output error is one of writing to stdout.
    let unwritten = error.is::<HeatMapError>() || error.is::<NotWritten>() || error.is::<std::io::Error>();
    let by_kind = [
        (bad_config, BAD_CONFIG),
        (matches!(error.downcast_ref(), Some(SourceError::Unfit(_))), BAD_CONFIG),
        (error.is::<SourceError>(), UNAVAILABLE),
        (error.is::<FrameError>(), BAD_DATA),
        (unwritten, CANNOT_WRITE),
    ];
    by_kind.into_iter().find_map(|(is, code)| is.then_some(code))
}

/// A file or folder that a verb was to make.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be written: {source}; choose another place or make room", path.display())]
pub struct NotWritten {
    path: std::path::PathBuf,
    source: std::io::Error,
}

/// The verdicts of some pictures, counted.
#[derive(Default)]
struct Tally {
    accepted: usize,
    rejected: usize,
    failed: usize,
}

impl Tally {
    fn count(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Accept => self.accepted += 1,
            Verdict::Reject => self.rejected += 1,
            Verdict::NoDecision(_) => self.failed += 1,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Tally { failed: 1.., .. } => ExitCode::from(BAD_DATA),
            Tally { rejected: 1.., .. } => ExitCode::from(REJECTED),
            _ => ExitCode::SUCCESS,
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Tally { accepted, rejected, failed } = self;
        let pictures = accepted + rejected + failed;
        write!(f, "{pictures} pictures: {accepted} accepted, {rejected} rejected, {failed} without a decision")
    }
}

/// For `map_err`: names the path that could not be written.
fn not_written(path: &std::path::Path) -> impl Fn(std::io::Error) -> NotWritten + '_ {
    move |source| NotWritten { path: path.to_owned(), source }
}
