//! Where frames come from: a camera, a folder of pictures, or a simulated belt.
//!
//! A source is asked for the first frame captured at or after a moment (the trigger). A camera throws older
//! frames away; a folder and the simulated belt take their next picture at that moment. So one question serves
//! triggered and free-running lines, and no part is ever judged by a frame that is older than its trigger.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::frame::Frame;

pub mod decode;
pub mod folder;
pub mod simulated;
pub mod v4l2;

/// A source of frames. It lives in a thread of its own and may block, but never longer than it was told to.
pub trait FrameSource: Send {
    /// The first frame captured at or after `not_before`, waiting for it at most `timeout`.
    ///
    /// # Errors  See [`SourceError`]; after `Timeout` and `BadFrame` the next call may succeed, after `Disconnected`
    /// only once [`FrameSource::reopen`] has, after `Exhausted` never.
    fn grab(&mut self, not_before: Timestamp, timeout: Duration) -> Result<Frame, SourceError>;

    /// Lets frames that nobody asked for pass, waiting for one at most `timeout`, so that a source that streams stays fresh
    /// between parts and its loss is noticed before the next one. The last of them is kept, for a [`FrameSource::grab`]
    /// whose moment it fits.
    /// # Errors  `SourceError::Disconnected`
    fn watch(&mut self, _timeout: Duration) -> Result<Watched, SourceError> {
        Ok(Watched::NotNeeded)
    }

    /// Opens the device again after `SourceError::Disconnected`, with the settings that it had.
    /// # Errors  `SourceError::Disconnected` with the reason while the device is not there.
    fn reopen(&mut self) -> Result<(), SourceError>;

    /// Whether the device is open; one that is not was not there at the start, or was lost.
    fn is_open(&self) -> bool {
        true
    }

    /// One line for the log: what it is, and the size, format and rate that it runs at.
    fn describe(&self) -> String;
}

/// What watching a source gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    Frame,
    /// None came in time.
    Silence,
    /// The source does not stream: it has a frame when it is asked for one, and did not wait.
    NotNeeded,
}

/// Why there is no frame.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SourceError {
    /// None came in time.
    #[error("{0}")]
    Timeout(String),
    /// One came and is damaged: truncated, corrupt, or of the wrong size.
    #[error("{0}")]
    BadFrame(String),
    /// The device is gone or was never there.
    #[error("{0}")]
    Disconnected(String),
    /// The device is there, but cannot be set to what the configuration asks for.
    #[error("{0}")]
    Unfit(String),
    /// The source has no more frames and never will: the end of a folder or of a simulated run.
    #[error("the source has no more frames")]
    Exhausted,
}
