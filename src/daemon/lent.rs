//! The camera of a running daemon as a source: who teaches while the line runs is given the frames of its parts.

use std::path::PathBuf;
use std::time::Duration;

use super::socket::{SocketError, next_frame};
use crate::clock::Timestamp;
use crate::frame::Frame;
use crate::source::{FrameSource, SourceError};

/// Frames of the parts that pass the daemon listening at `socket`; the daemon judges them all the same.
pub struct LentCamera {
    pub socket: PathBuf,
}

impl FrameSource for LentCamera {
    /// Waits for the next part, however long `timeout` is: parts come when they come.
    fn grab(&mut self, not_before: Timestamp, _timeout: Duration) -> Result<Frame, SourceError> {
        loop {
            let frame = next_frame(&self.socket).map_err(|error| match error {
                SocketError::Refused(why) => SourceError::Timeout(format!("the daemon gave no frame: {why}")),
                error => SourceError::Disconnected(error.to_string()),
            })?;
            if frame.captured >= not_before {
                return Ok(frame);
            }
        }
    }

    fn reopen(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    fn describe(&self) -> String {
        format!("the camera of the daemon at {}: a frame of each part that passes", self.socket.display())
    }
}
