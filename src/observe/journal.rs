//! The log: what a person reads at 3 a.m. with `journalctl -u rejectd`.
//!
//! It goes to the journal with fields to search for, if stderr is connected to it or the configuration names it. Under
//! systemd, but with the journal's socket out of reach or `target = "stderr"`, it goes to stderr, and each line begins
//! with `<3>` or the like, which systemd takes for its priority. Else it goes to stderr with time and level.
//!
//! One priority scheme for all of them: error 3, warning 4, notice 5, info 6, debug 7. A fault, such as a part without
//! a decision, is an error; a reject is a notice, for it is the daemon's daily work and must not drown the warnings;
//! an accepted part is info. So `journalctl -p warning` shows what is wrong with the station, and `-p notice` the
//! rejects too. `log` has no notice: a record is one if it carries `VERDICT=reject`.
//!
//! Each part is one line with the fields `PART`, `VERDICT`, `LATENCY_US`, and where there are any `SCORE`, `THRESHOLD`,
//! `SEQUENCE` (the frame's number, as its source counts) and `REASON`: `journalctl VERDICT=reject`,
//! `journalctl PART=17`.
//!
//! Other crates are heard from warnings on, and below only at the level `trace`. Whoever logs waits for nothing: a thread of
//! its own writes the lines ([`super::queue`]).

use std::fmt::Write as _;
use std::io::Write as _;

use env_logger::fmt::Formatter;
use log::{Level, LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};

use super::queue::Queue;
use crate::config::LogTarget;
use crate::part::{Outcome, Verdict};

/// The name in the journal, whatever the file of the program is called (`journalctl -t rejectd`).
const IDENTIFIER: &str = "rejectd";

/// Where the log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    Journal,
    /// stderr, whose lines systemd sorts by the priority in front.
    StderrForSystemd,
    Stderr,
}

/// Starts the log of this process. If the journal was asked for and cannot be used, the log goes to stderr and its
/// first line is an error that says why: a station inspects parts even where it cannot log as it should.
///
/// # Errors  If the process has a log already.
pub fn start(level: LevelFilter, target: LogTarget) -> Result<Destination, log::SetLoggerError> {
    let connected = connected_to_journal();
    let on_stderr = if connected { Destination::StderrForSystemd } else { Destination::Stderr };
    let wanted = match target {
        LogTarget::Auto => connected,
        LogTarget::Journal => true,
        LogTarget::Stderr => false,
    };
    let journal = wanted.then(JournalLog::empty).transpose();
    let stderr = stderr_logger(level, on_stderr);
    let (logger, destination, reason): (Box<dyn Log>, _, _) = match journal {
        Ok(Some(journal)) => {
            let journal = journal.with_syslog_identifier(IDENTIFIER.to_owned());
            (Box::new(Journal { journal, stderr }), Destination::Journal, None)
        }
        Ok(None) => (Box::new(stderr), on_stderr, None),
        Err(reason) => (Box::new(stderr), on_stderr, Some(reason)),
    };
    log::set_boxed_logger(Box::new(Queue::before(logger)))?;
    log::set_max_level(level);
    if let Some(reason) = reason {
        log::error!(target: IDENTIFIER, "the systemd journal cannot be used: {reason}; logging to stderr instead");
    }
    Ok(destination)
}

/// Writes the line of one part.
pub fn log_outcome(outcome: &Outcome) {
    let level = level(&outcome.verdict);
    if level > log::max_level() {
        return;
    }
    let fields = fields(outcome);
    log::logger().log(
        &Record::builder()
            .level(level)
            .target(IDENTIFIER)
            .module_path_static(Some(module_path!()))
            .key_values(&fields)
            .args(format_args!("{}", message(outcome)))
            .build(),
    );
}

/// The line of one part, such as `part 17 reject: score 0.412 > threshold 0.388, 34 ms`.
///
/// Score and threshold have three significant digits, or as many more as it takes to tell them apart; the time is the
/// one from trigger to verdict.
pub fn message(outcome: &Outcome) -> String {
    let mut line = format!("part {} {}", outcome.part.id, outcome.verdict.word());
    let separator = if let Verdict::NoDecision(why) = &outcome.verdict {
        let _ = write!(line, ": {why}");
        "; "
    } else {
        ": "
    };
    if let Some(inspection) = &outcome.inspection {
        let (score, threshold) = apart(inspection.score, inspection.threshold);
        let relation = match inspection.score.partial_cmp(&inspection.threshold) {
            Some(std::cmp::Ordering::Greater) => ">",
            Some(_) => "<=",
            None => "cannot be compared with",
        };
        let _ = write!(line, "{separator}score {score} {relation} threshold {threshold}");
    }
    let latency = outcome.latency();
    let digits = if latency.as_millis() < 10 { 1 } else { 0 };
    let _ = write!(line, ", {:.digits$} ms", latency.as_secs_f64() * 1e3);
    line
}

fn level(verdict: &Verdict) -> Level {
    match verdict {
        Verdict::Accept | Verdict::Reject => Level::Info,
        Verdict::NoDecision(_) => Level::Error,
    }
}

/// The fields of one part's record. The names arrive in the journal as they stand here.
fn fields(outcome: &Outcome) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("PART", outcome.part.id.to_string()),
        ("VERDICT", outcome.verdict.word().to_owned()),
        ("LATENCY_US", outcome.latency().as_micros().to_string()),
    ];
    if let Some(inspection) = &outcome.inspection {
        fields.push(("SCORE", inspection.score.to_string()));
        fields.push(("THRESHOLD", inspection.threshold.to_string()));
    }
    if let Some(frame) = &outcome.frame {
        fields.push(("SEQUENCE", frame.sequence.to_string()));
    }
    if let Verdict::NoDecision(why) = &outcome.verdict {
        fields.push(("REASON", why.to_string()));
    }
    fields
}

/// Both numbers with three significant digits, or more where they would look equal and are not.
fn apart(score: f32, threshold: f32) -> (String, String) {
    let mut digits = 3;
    loop {
        let pair = (significant(score, digits), significant(threshold, digits));
        if pair.0 != pair.1 || score == threshold || digits >= 9 {
            return pair;
        }
        digits += 1;
    }
}

/// A number with so many significant digits, never in the form 1e-5.
fn significant(number: f32, digits: i32) -> String {
    if number == 0.0 || !number.is_finite() {
        return number.to_string();
    }
    let decimals = (digits - 1 - number.abs().log10().floor() as i32).max(0) as usize;
    format!("{number:.decimals$}")
}

/// A syslog priority, of which a smaller one is graver.
fn priority(record: &Record) -> u8 {
    match record.level() {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info
            if record.key_values().get("VERDICT".into()).is_some_and(|verdict| verdict.to_string() == "reject") =>
        {
            5
        }
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// The record's message for systemd: each of its lines is an entry of its own there and needs the priority.
fn prefixed(priority: u8, message: &str) -> String {
    message.lines().map(|line| format!("<{priority}>{line}\n")).collect()
}

fn stderr_logger(level: LevelFilter, destination: Destination) -> env_logger::Logger {
    let others = if level == LevelFilter::Trace { level } else { level.min(LevelFilter::Warn) };
    let mut builder = env_logger::Builder::new();
    builder.filter_level(others).filter_module(IDENTIFIER, level);
    match destination {
        Destination::Stderr => builder.format(write_for_people),
        Destination::Journal | Destination::StderrForSystemd => builder
            .format(|out, record| out.write_all(prefixed(priority(record), &record.args().to_string()).as_bytes())),
    };
    builder.build()
}

fn write_for_people(out: &mut Formatter, record: &Record) -> std::io::Result<()> {
    writeln!(out, "{} {:5} {}", out.timestamp_millis(), record.level(), record.args())
}

/// Sends records to the journal, and to stderr those that it does not take.
struct Journal {
    journal: JournalLog,
    stderr: env_logger::Logger,
}

impl Log for Journal {
    fn enabled(&self, metadata: &Metadata) -> bool {
        self.stderr.enabled(metadata)
    }

    fn log(&self, record: &Record) {
        if !self.stderr.matches(record) {
            return;
        }
        let journal_record = record.to_builder().level(journal_level(priority(record))).build();
        if self.journal.journal_send(&journal_record).is_err() {
            self.stderr.log(record);
        }
    }

    fn flush(&self) {}
}

/// The level that systemd-journal-logger sends with this priority: it makes a notice of info, and info of debug.
fn journal_level(priority: u8) -> Level {
    match priority {
        3 => Level::Error,
        4 => Level::Warn,
        5 => Level::Info,
        6 => Level::Debug,
        _ => Level::Trace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::frame::Frame;
    use crate::part::{AnomalyMap, Inspection, NoDecision, Part, StageTimings, TriggerId};

    fn outcome(verdict: Verdict, score: Option<(f32, f32)>, latency_us: u64) -> Outcome {
        let inspection = score.map(|(score, threshold)| Inspection {
            score,
            threshold,
            verdict: verdict.clone(),
            map: AnomalyMap { width: 1, height: 1, distances: vec![score] },
            timings: StageTimings::default(),
        });
        Outcome {
            part: Part { id: TriggerId(17), triggered: Timestamp(1_000_000) },
            verdict,
            inspection,
            frame: score.map(|_| Frame::new(16, 16, vec![0; 768], Timestamp(2_000_000), 41).unwrap()),
            decided: Timestamp(1_000_000 + latency_us * 1_000),
        }
    }

    #[test]
    fn a_part_is_one_line() {
        let cases = [
            (Verdict::Accept, Some((0.3121, 0.388)), 34_400, "part 17 accept: score 0.312 <= threshold 0.388, 34 ms"),
            (Verdict::Reject, Some((0.41234, 0.388)), 34_400, "part 17 reject: score 0.412 > threshold 0.388, 34 ms"),
            (Verdict::Reject, Some((153.26, 20.0)), 5_432, "part 17 reject: score 153 > threshold 20.0, 5.4 ms"),
            (
                Verdict::Reject,
                Some((0.38804, 0.38801)),
                999_000,
                "part 17 reject: score 0.38804 > threshold 0.38801, 999 ms",
            ),
            (Verdict::Accept, Some((0.5, 0.5)), 0, "part 17 accept: score 0.500 <= threshold 0.500, 0.0 ms"),
            (Verdict::Accept, Some((0.0, 0.00012)), 0, "part 17 accept: score 0 <= threshold 0.000120, 0.0 ms"),
            (
                Verdict::Reject,
                Some((f32::NAN, 0.388)),
                34_000,
                "part 17 reject: score NaN cannot be compared with threshold 0.388, 34 ms",
            ),
            (
                Verdict::NoDecision(NoDecision::NoFrame("/dev/video0 was silent for 1000 ms".into())),
                None,
                1_000_000,
                "part 17 no-decision: no frame came: /dev/video0 was silent for 1000 ms, 1000 ms",
            ),
        ];
        for (verdict, score, latency_us, line) in cases {
            assert_eq!(message(&outcome(verdict, score, latency_us)), line);
        }
    }

    #[test]
    fn the_fields_have_the_names_that_journalctl_is_asked_for() {
        let fields = fields(&outcome(Verdict::Reject, Some((0.412, 0.388)), 34_567));
        let expected = [
            ("PART", "17"),
            ("VERDICT", "reject"),
            ("LATENCY_US", "34567"),
            ("SCORE", "0.412"),
            ("THRESHOLD", "0.388"),
            ("SEQUENCE", "41"),
        ];
        assert_eq!(fields.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>(), expected);
        // systemd-journal-logger changes every other name.
        let stays = |name: &str| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') && !name.starts_with('_');
        assert!(fields.iter().all(|(name, _)| stays(name)));
        let fault = super::fields(&outcome(Verdict::NoDecision(NoDecision::NoFrame("unplugged".into())), None, 1));
        assert_eq!(fault.last().unwrap(), &("REASON", "no frame came: unplugged".to_owned()));
        assert!(fault.iter().all(|(name, _)| !["SCORE", "SEQUENCE"].contains(name)));
    }

    #[test]
    fn a_reject_is_a_notice_a_part_without_decision_an_error_and_an_accepted_one_info() {
        let priority_of = |verdict: Verdict| {
            let fields = fields(&outcome(verdict.clone(), None, 1));
            priority(&Record::builder().level(level(&verdict)).key_values(&fields).build())
        };
        assert_eq!(priority_of(Verdict::NoDecision(NoDecision::NoFrame("unplugged".into()))), 3);
        assert_eq!(priority_of(Verdict::Reject), 5);
        assert_eq!(priority_of(Verdict::Accept), 6);
        let plain = |level: Level| priority(&Record::builder().level(level).build());
        assert_eq!([Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace].map(plain), [3, 4, 6, 7, 7]);
    }

    #[test]
    fn each_line_of_a_message_carries_its_priority() {
        assert_eq!(prefixed(3, "the profile is damaged:\nit was cut"), "<3>the profile is damaged:\n<3>it was cut\n");
    }

    #[test]
    fn other_crates_are_heard_from_warnings_on() {
        let heard = |level: LevelFilter, target: &str, record: Level| {
            let logger = stderr_logger(level, Destination::Stderr);
            logger.enabled(&Metadata::builder().target(target).level(record).build())
        };
        assert!(heard(LevelFilter::Info, "rejectd::daemon", Level::Info));
        assert!(!heard(LevelFilter::Info, "rejectd::daemon", Level::Debug));
        assert!(heard(LevelFilter::Debug, "tract_core::model", Level::Warn));
        assert!(!heard(LevelFilter::Debug, "tract_core::model", Level::Info));
        assert!(!heard(LevelFilter::Error, "tract_core::model", Level::Warn));
        assert!(heard(LevelFilter::Trace, "tract_core::model", Level::Trace));
    }
}
