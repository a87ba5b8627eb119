//! The stream of `v4l` 0.14 with its traps closed.
//!
//! Its wait has no limit unless told, and after a limit was reached it queues a buffer twice and fails for ever; so
//! the wait is ours, and it is asked only for a frame that is ready. Its first frame cannot be taken otherwise, so
//! that one is thrown away, which is no loss: many cameras send it damaged. Dropping it panics when the kernel does
//! not let go of the device; that is contained, and ends in a line of the log.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use v4l::buffer::{Metadata, Type};
use v4l::device::Device;
use v4l::io::mmap::Stream as MappedStream;
use v4l::io::traits::{CaptureStream, Stream as _};

/// One frame is being looked at, one is being filled, and one is ready when the belt is fast.
const BUFFERS: u32 = 4;
/// No driver hands out more.
const MOST_BUFFERS: usize = 64;
const POLL_READABLE: i16 = 1;
const INVALID_ARGUMENT: i32 = 22;
/// Never reached, since a frame is ready before it is asked for; only a wait without a limit would be worse.
const READY_LIMIT: Duration = Duration::from_millis(200);

/// A running stream of mapped buffers.
pub struct Stream {
    mapped: Option<MappedStream<'static>>,
    primed: bool,
    path: PathBuf,
}

impl Stream {
    /// Asks the driver for buffers, hands all of them over and starts the camera.
    /// # Errors  The kernel's: EBUSY if another process streams from the device.
    pub fn start(device: &Device, path: &Path) -> io::Result<Stream> {
        let mut mapped = MappedStream::with_buffers(device, Type::VideoCapture, BUFFERS)?;
        mapped.set_timeout(READY_LIMIT);
        let mut stream = Stream { mapped: Some(mapped), primed: false, path: path.to_owned() };
        let mapped = stream.mapped();
        for index in 0..MOST_BUFFERS {
            match CaptureStream::queue(mapped, index) {
                // There are only as many as the driver granted, a number that v4l keeps to itself.
                Err(error) if index > 0 && error.raw_os_error() == Some(INVALID_ARGUMENT) => break,
                result => result?,
            }
        }
        mapped.start()?;
        Ok(stream)
    }

    /// Waits until a frame is ready, at most `limit`; false if none is, or if a signal came in between.
    /// # Errors  The kernel's.
    pub fn wait(&mut self, limit: Duration) -> io::Result<bool> {
        let ms = limit.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(i32::MAX);
        match self.mapped().handle().poll(POLL_READABLE, ms) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            result => Ok(result? > 0),
        }
    }

    /// Takes the frame that is ready, with its whole buffer; none if it was the first. The one before goes back to
    /// the driver.
    /// # Errors  The kernel's: ENODEV when the camera is gone. After an error the stream must be dropped.
    pub fn take(&mut self) -> io::Result<Option<(&[u8], &Metadata)>> {
        if !self.primed {
            CaptureStream::dequeue(self.mapped())?;
            self.primed = true;
            return Ok(None);
        }
        CaptureStream::next(self.mapped()).map(Some)
    }

    fn mapped(&mut self) -> &mut MappedStream<'static> {
        self.mapped.as_mut().expect("the stream is there until it is dropped")
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mapped = self.mapped.take();
        if catch_unwind(AssertUnwindSafe(|| drop(mapped))).is_err() {
            log::error!("{}: the kernel would not stop the stream; it may stay busy", self.path.display());
        }
    }
}
