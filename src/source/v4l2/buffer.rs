//! Whether a buffer is the frame that was asked for.

use std::time::Duration;

use v4l::buffer::{Flags, Metadata};

use crate::clock::Timestamp;

/// What a buffer is worth.
#[derive(Debug, PartialEq)]
pub enum Judgement {
    /// Captured before the moment that was asked for.
    Stale,
    /// A sentence's end: why nobody can look at it.
    Damaged(String),
    /// Whole, as far as the driver knows; its exposure began at `captured` at the earliest, and had ended by `exposed_by`.
    Good { captured: Timestamp, exposed_by: Timestamp },
}

/// Judges a buffer by what the kernel says of it.
///
/// A frame counts as captured when its exposure began, which no driver stamps. One that says it stamps the start of the
/// exposure (uvcvideo) stamps the arrival of the first byte, which comes after the exposure, at most a frame interval
/// later; one that stamps the end has read the frame out since, for another interval. So the stamp is also the moment by
/// which the exposure, of the first lines at least, had ended. A buffer that is both stale and damaged is stale.
/// * `capacity` — bytes of the buffer
/// * `now` — a moment after the buffer was taken
/// * `interval` — from frame to frame
pub fn judge(
    buffer: &Metadata,
    capacity: usize,
    now: Timestamp,
    not_before: Timestamp,
    interval: Duration,
) -> Judgement {
    if buffer.flags & Flags::TIMESTAMP_MASK != Flags::TIMESTAMP_MONOTONIC {
        let reason = "its driver does not stamp frames with the monotonic clock, so nobody knows if it shows this part";
        return Judgement::Damaged(reason.to_owned());
    }
    let stamp = stamp_of(buffer);
    let stamps_end = buffer.flags & Flags::TSTAMP_SRC_MASK == Flags::TSTAMP_SRC_EOF;
    let captured = stamp - if stamps_end { 2 * interval } else { interval };
    if captured < not_before {
        return Judgement::Stale;
    }
    let reason = match buffer.bytesused as usize {
        _ if captured > now => {
            let ahead = captured.since(now).as_millis();
            format!("its time lies {ahead} ms in the future, so nobody knows if it shows this part")
        }
        _ if buffer.flags.contains(Flags::ERROR) => "the driver marked it as damaged".to_owned(),
        0 => "it is empty".to_owned(),
        used if used > capacity => format!("it claims {used} bytes of a buffer of {capacity}"),
        _ => return Judgement::Good { captured, exposed_by: stamp },
    };
    Judgement::Damaged(reason)
}

/// A time that is negative or too large, as a broken driver may send it, counts as the clock's origin or end.
fn stamp_of(buffer: &Metadata) -> Timestamp {
    let seconds = u64::try_from(buffer.timestamp.sec).unwrap_or(0);
    let microseconds = u64::try_from(buffer.timestamp.usec).unwrap_or(0);
    Timestamp(seconds.saturating_mul(1_000_000_000).saturating_add(microseconds.saturating_mul(1_000)))
}

/// Widens the kernel's 32-bit frame count, which begins at 0 with each start of the stream, to one that never repeats.
#[derive(Clone, Copy, Debug, Default)]
pub struct SequenceCounter {
    last: u64,
    kernel: Option<u32>,
}

impl SequenceCounter {
    /// The frame's number; a gap to the one before is a gap in the kernel's count.
    pub fn widen(&mut self, sequence: u32) -> u64 {
        self.last += self.kernel.map_or(1, |last| u64::from(sequence.wrapping_sub(last)));
        self.kernel = Some(sequence);
        self.last
    }

    /// To be told when the stream starts anew.
    pub fn restart(&mut self) {
        self.kernel = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(33);
    const NOW: Timestamp = Timestamp(9_000_000_000);

    fn buffer(flags: Flags) -> Metadata {
        let timestamp = v4l::Timestamp::new(8, 500_000);
        Metadata { bytesused: 100, flags: Flags::TIMESTAMP_MONOTONIC | flags, timestamp, ..Metadata::default() }
    }

    fn judge_at(buffer: &Metadata, not_before: u64) -> Judgement {
        judge(buffer, 100, NOW, Timestamp(not_before), INTERVAL)
    }

    #[test]
    fn a_frame_older_than_the_trigger_is_stale_even_if_it_is_damaged() {
        let good = buffer(Flags::TSTAMP_SRC_SOE);
        let (captured, exposed_by) = (Timestamp(8_467_000_000), Timestamp(8_500_000_000));
        assert_eq!(judge_at(&good, 8_467_000_000), Judgement::Good { captured, exposed_by });
        assert_eq!(judge_at(&good, 8_467_000_001), Judgement::Stale);
        assert_eq!(judge_at(&buffer(Flags::TSTAMP_SRC_SOE | Flags::ERROR), 8_467_000_001), Judgement::Stale);
    }

    #[test]
    fn a_frame_stamped_at_its_end_began_two_intervals_earlier() {
        let end = buffer(Flags::TSTAMP_SRC_EOF);
        let (captured, exposed_by) = (Timestamp(8_434_000_000), Timestamp(8_500_000_000));
        assert_eq!(judge_at(&end, 8_434_000_000), Judgement::Good { captured, exposed_by });
        assert_eq!(judge_at(&end, 8_467_000_000), Judgement::Stale);
    }

    #[test]
    fn what_the_driver_marks_empty_oversized_or_of_another_clock_is_damaged() {
        let cases = [
            (buffer(Flags::TSTAMP_SRC_SOE | Flags::ERROR), "marked it as damaged"),
            (Metadata { bytesused: 0, ..buffer(Flags::TSTAMP_SRC_SOE) }, "it is empty"),
            (Metadata { bytesused: 101, ..buffer(Flags::TSTAMP_SRC_SOE) }, "101 bytes of a buffer of 100"),
            (Metadata { flags: Flags::TIMESTAMP_COPY, ..buffer(Flags::empty()) }, "monotonic clock"),
            (Metadata { flags: Flags::empty(), ..buffer(Flags::empty()) }, "monotonic clock"),
        ];
        for (buffer, expected) in cases {
            match judge_at(&buffer, 0) {
                Judgement::Damaged(reason) => assert!(reason.contains(expected), "{reason}"),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_time_in_the_future_is_not_believed_and_a_negative_one_is_stale() {
        let mut ahead = buffer(Flags::TSTAMP_SRC_SOE);
        ahead.timestamp.sec = 10;
        assert!(matches!(judge_at(&ahead, 0), Judgement::Damaged(reason) if reason.contains("1467 ms in the future")));
        ahead.timestamp.sec = -1;
        assert_eq!(judge_at(&ahead, 1_000_000_000), Judgement::Stale);
    }

    #[test]
    fn the_sequence_keeps_gaps_and_goes_on_over_a_wrap_and_a_restart() {
        let mut counter = SequenceCounter::default();
        assert_eq!([u32::MAX - 1, u32::MAX, 0, 3].map(|sequence| counter.widen(sequence)), [1, 2, 3, 6]);
        counter.restart();
        assert_eq!([0, 1].map(|sequence| counter.widen(sequence)), [7, 8]);
    }
}
