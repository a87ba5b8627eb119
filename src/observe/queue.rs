//! A log that nobody waits for: whoever logs puts the line into a queue, and a thread writes it.
//!
//! A journal or a terminal that hangs must hold up no reject. When the queue is full, lines are lost; how many is told as
//! soon as there is room again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, Log, Metadata, Record};

/// So many lines may wait: some minutes of parts.
const WAITING: usize = 1024;
/// The longest that the end waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);
/// How often it is tried to get in line.
const LOOK: Duration = Duration::from_millis(5);

/// A logger before which lines wait.
pub struct Queue {
    logger: Arc<dyn Log>,
    lines: SyncSender<Sent>,
    lost: AtomicUsize,
}

enum Sent {
    Line(Line),
    /// Answered when all before it is written.
    Flush(SyncSender<()>),
}

/// A record that owns what it says.
struct Line {
    level: Level,
    target: String,
    module: Option<String>,
    fields: Vec<(String, String)>,
    message: String,
}

impl Queue {
    /// Starts the thread that writes to `logger`.
    pub fn before(logger: Box<dyn Log>) -> Queue {
        let logger: Arc<dyn Log> = logger.into();
        let (lines, waiting) = sync_channel(WAITING);
        let writer = logger.clone();
        let thread = std::thread::Builder::new().name("log".into());
        thread.spawn(move || write(&*writer, &waiting)).expect("the system starts a thread");
        Queue { logger, lines, lost: AtomicUsize::new(0) }
    }

    /// Puts a line into the queue, which stands for so many; without room those are lost.
    fn put(&self, line: Line, count: usize) {
        if self.lines.try_send(Sent::Line(line)).is_err() {
            self.lost.fetch_add(count, Ordering::Relaxed);
        }
    }
}

impl Log for Queue {
    fn enabled(&self, metadata: &Metadata) -> bool {
        self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            self.put(Line::lost(lost), lost);
        }
        self.put(Line::of(record), 1);
    }

    fn flush(&self) {
        let until = Instant::now() + LAST_LINES;
        let (written, answer) = sync_channel(1);
        while self.lines.try_send(Sent::Flush(written.clone())).is_err() && Instant::now() < until {
            std::thread::sleep(LOOK);
        }
        let _ = answer.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

impl Line {
    fn of(record: &Record) -> Line {
        let mut fields = Fields(Vec::new());
        // A field that cannot be read costs only itself.
        let _ = record.key_values().visit(&mut fields);
        Line {
            level: record.level(),
            target: record.target().to_owned(),
            module: record.module_path().map(str::to_owned),
            fields: fields.0,
            message: record.args().to_string(),
        }
    }

    fn lost(count: usize) -> Line {
        Line {
            level: Level::Warn,
            target: "rejectd".to_owned(),
            module: None,
            fields: Vec::new(),
            message: format!("{count} lines are lost here, for the log was not written as fast as they came"),
        }
    }

    fn write(&self, logger: &dyn Log) {
        let mut record = Record::builder();
        record.level(self.level).target(&self.target).module_path(self.module.as_deref()).key_values(&self.fields);
        logger.log(&record.args(format_args!("{}", self.message)).build());
    }
}

fn write(logger: &dyn Log, waiting: &Receiver<Sent>) {
    for sent in waiting {
        match sent {
            Sent::Line(line) => line.write(logger),
            Sent::Flush(written) => {
                logger.flush();
                let _ = written.try_send(());
            }
        }
    }
}

struct Fields(Vec<(String, String)>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        self.0.push((key.to_string(), value.to_string()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A log that takes a line only when it is let.
    struct Gated {
        gate: Mutex<Receiver<()>>,
        written: Arc<Mutex<Vec<String>>>,
    }

    impl Log for Gated {
        fn enabled(&self, metadata: &Metadata) -> bool {
            metadata.level() <= Level::Info
        }

        fn log(&self, record: &Record) {
            let _ = self.gate.lock().unwrap().recv();
            let verdict = record.key_values().get("VERDICT".into()).map(|verdict| verdict.to_string());
            self.written.lock().unwrap().push(format!("{} {} {verdict:?}", record.level(), record.args()));
        }

        fn flush(&self) {}
    }

    fn say(queue: &Queue, level: Level, number: usize) {
        let fields = [("VERDICT", "reject")];
        queue.log(&Record::builder().level(level).key_values(&fields).args(format_args!("line {number}")).build());
    }

    #[test]
    fn a_log_that_hangs_holds_nobody_up_and_says_afterwards_how_many_lines_it_lost() {
        let (open, gate) = std::sync::mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let queue = Queue::before(Box::new(Gated { gate: Mutex::new(gate), written: written.clone() }));
        let started = Instant::now();
        // One is being written, so many wait.
        (0..2 * WAITING).for_each(|number| say(&queue, Level::Info, number));
        say(&queue, Level::Debug, 0);
        assert!(started.elapsed() < Duration::from_secs(1), "nobody waits for it");
        drop(open);
        queue.flush();
        while written.lock().unwrap().len() < WAITING {
            std::thread::yield_now();
        }
        say(&queue, Level::Error, 9999);
        queue.flush();
        let written = written.lock().unwrap();
        assert_eq!(written[0], "INFO line 0 Some(\"reject\")");
        assert_eq!(written.last().unwrap(), "ERROR line 9999 Some(\"reject\")");
        let lost = 2 * WAITING - (written.len() - 2);
        assert_eq!(
            written[written.len() - 2],
            format!("WARN {lost} lines are lost here, for the log was not written as fast as they came None")
        );
    }
}
