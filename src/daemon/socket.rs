//! The control socket: a person on the board triggers a part, or teaches from the camera that the daemon holds.
//!
//! A client sends one line, a [`Request`] word, and receives one line of JSON, `{"ok": …}` or `{"error": "sentence"}`; for
//! a frame the pixels follow. Whoever may write to the socket (the group of the service) may ask; there is no network.
//!
//! A client can be as slow as it likes: each has a thread of its own, and gives up nothing but its own answer.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use serde::{Deserialize, Serialize};

use super::Control;
use crate::clock::Timestamp;
use crate::config::Settings;
use crate::frame::Frame;
use crate::observe::journal;
use crate::part::Outcome;

/// The name in the folder that the service manager gives.
const NAME: &str = "rejectd.sock";
/// So many may ask at once.
const MOST_CLIENTS: usize = 16;
/// The longest that a part takes to its verdict, or that the next part is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a wait looks whether the run has ended.
const LOOK: Duration = Duration::from_millis(50);
/// A request is one short line.
const MOST_REQUEST: u64 = 64;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// A part is in front of the camera: judge it, and say how it ended.
    Trigger,
    /// The frame of the next part.
    Frame,
}

impl Request {
    fn word(self) -> &'static str {
        match self {
            Request::Trigger => "trigger",
            Request::Frame => "frame",
        }
    }

    fn of(word: &str) -> Option<Request> {
        [Request::Trigger, Request::Frame].into_iter().find(|request| request.word() == word)
    }
}

/// How a part ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    pub part: u64,
    /// `accept`, `reject` or `no-decision`.
    pub verdict: String,
    /// The line that the journal has.
    pub message: String,
}

/// What the pixels of a frame are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Picture {
    width: u32,
    height: u32,
    captured_ns: u64,
    sequence: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer<T> {
    Ok(T),
    Error(String),
}

/// Why the socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("the control socket {} cannot be made: {reason}; correct [control] socket, or leave it out", path.display())]
    Open { path: PathBuf, reason: std::io::Error },
    #[error("another rejectd already listens on the control socket {}; end it, or set another [control] socket", path.display())]
    Taken { path: PathBuf },
    #[error("no daemon answers on the control socket {}: {reason}; start it ('systemctl start rejectd')", path.display())]
    NoDaemon { path: PathBuf, reason: std::io::Error },
    #[error(
        "the control socket {} may not be used by this user; add the user to the group rejectd, and log in again",
        path.display()
    )]
    Denied { path: PathBuf },
    #[error("the daemon went away while it was asked")]
    GoneAway,
    #[error("{0}")]
    Refused(String),
}

/// Where the daemon of these settings listens: as configured, or in the folder that the service manager gives.
fn server_path(settings: &Settings) -> Option<PathBuf> {
    let given = || std::env::var_os("RUNTIME_DIRECTORY").map(|folder| Path::new(&folder).join(NAME));
    settings.control_socket.clone().or_else(given)
}

/// Where a client asks the daemon that runs by these settings, read from the file `config`: where they say, or where the
/// packaged service has it, `rejectd` for rejectd.toml and `rejectd@NAME` for NAME.toml.
pub fn client_path(settings: &Settings, config: &Path) -> PathBuf {
    settings.control_socket.clone().unwrap_or_else(|| {
        let folder = match config.file_stem().and_then(|name| name.to_str()) {
            None | Some("rejectd") => "rejectd".to_owned(),
            Some(name) => format!("rejectd-{name}"),
        };
        Path::new("/run").join(folder).join(NAME)
    })
}

/// The clients that wait for the outcome of their part.
#[derive(Default)]
pub(super) struct Waiting(Mutex<HashMap<u64, SyncSender<Ended>>>);

impl Waiting {
    /// Tells the client that waits for this part, if one does.
    pub fn tell(&self, outcome: &Outcome) {
        let id = outcome.part.id.0;
        if let Some(client) = self.0.lock().expect("no holder panics").remove(&id) {
            let verdict = outcome.verdict.word().to_owned();
            let _ = client.try_send(Ended { part: id, verdict, message: journal::message(outcome) });
        }
    }
}

/// The daemon's end; the file goes when it is dropped.
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Socket {
    /// Listens; none where neither the configuration nor the service manager names a place. A socket file that nobody
    /// listens on any more is replaced.
    /// # Errors  `SocketError::Open`, `SocketError::Taken`
    pub fn open(settings: &Settings) -> Result<Option<Socket>, SocketError> {
        let Some(path) = server_path(settings) else { return Ok(None) };
        let refused = |reason| SocketError::Open { path: path.clone(), reason };
        if UnixStream::connect(&path).is_ok() {
            return Err(SocketError::Taken { path });
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(refused(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(refused)?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o660)).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        log::info!("control socket: {}", path.display());
        Ok(Some(Socket { listener, path }))
    }

    /// Answers clients until `ended`.
    pub fn serve(&self, control: &Control, waiting: &Waiting, ended: impl Fn() -> bool + Sync) {
        let clients = AtomicUsize::new(0);
        let ended = &ended;
        std::thread::scope(|scope| {
            while !ended() {
                if !self.has_client() {
                    continue;
                }
                match self.listener.accept() {
                    Ok((client, _)) if clients.load(Ordering::Relaxed) < MOST_CLIENTS => {
                        clients.fetch_add(1, Ordering::Relaxed);
                        let clients = &clients;
                        scope.spawn(move || {
                            // A client that goes away before its answer harms nobody.
                            let _ = answer(client, control, waiting, ended);
                            clients.fetch_sub(1, Ordering::Relaxed);
                        });
                    }
                    Ok(_) => log::warn!("a client of the control socket is sent away: {MOST_CLIENTS} ask already"),
                    Err(error) => log::debug!("a client of the control socket went away: {error}"),
                }
            }
        });
    }

    /// Waits for a client for a moment.
    fn has_client(&self) -> bool {
        let limit = Timespec { tv_sec: 0, tv_nsec: LOOK.subsec_nanos() as _ };
        poll(&mut [PollFd::new(&self.listener, PollFlags::IN)], Some(&limit)).is_ok_and(|ready| ready > 0)
    }
}

fn answer(
    client: UnixStream,
    control: &Control,
    waiting: &Waiting,
    ended: &(impl Fn() -> bool + Sync),
) -> std::io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(Duration::from_secs(5)))?;
    client.set_write_timeout(Some(Duration::from_secs(5)))?;
    let mut word = String::new();
    BufReader::new((&client).take(MOST_REQUEST)).read_line(&mut word)?;
    let mut client = &client;
    match Request::of(word.trim()) {
        Some(Request::Trigger) => say(client, &triggered(control, waiting, ended)),
        Some(Request::Frame) => {
            let (sender, frames) = sync_channel(1);
            control.want_frame(sender);
            match wait_for(&frames, ended, "no part came") {
                Ok(frame) => {
                    let (width, height) = (frame.width(), frame.height());
                    let picture = Picture { width, height, captured_ns: frame.captured.0, sequence: frame.sequence };
                    say(client, &Answer::Ok(picture))?;
                    client.write_all(frame.rgb())
                }
                Err(why) => say(client, &Answer::<Picture>::Error(why)),
            }
        }
        None => {
            say(client, &Answer::<()>::Error(format!("{:?} is no request; expected trigger or frame", word.trim())))
        }
    }
}

fn triggered(control: &Control, waiting: &Waiting, ended: &impl Fn() -> bool) -> Answer<Ended> {
    let (sender, outcomes) = sync_channel(1);
    // The observer finds the client although the part may end before its number is known here.
    let mut clients = waiting.0.lock().expect("no holder panics");
    match control.trigger() {
        Ok(id) => clients.insert(id.0, sender),
        Err(error) => return Answer::Error(error.to_string()),
    };
    drop(clients);
    match wait_for(&outcomes, ended, "the part has no outcome yet; the journal will have it") {
        Ok(outcome) => Answer::Ok(outcome),
        Err(why) => Answer::Error(why),
    }
}

fn wait_for<T>(from: &Receiver<T>, ended: &impl Fn() -> bool, nothing: &str) -> Result<T, String> {
    let until = Instant::now() + PATIENCE;
    loop {
        match from.recv_timeout(LOOK) {
            Ok(thing) => return Ok(thing),
            Err(RecvTimeoutError::Disconnected) => return Err("the line is stopping".into()),
            Err(RecvTimeoutError::Timeout) if ended() => return Err("the line is stopping".into()),
            Err(RecvTimeoutError::Timeout) if Instant::now() >= until => {
                return Err(format!("within {} s {nothing}", PATIENCE.as_secs()));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn say<T: Serialize>(mut client: &UnixStream, answer: &Answer<T>) -> std::io::Result<()> {
    let mut line = serde_json::to_string(answer).map_err(std::io::Error::other)?;
    line.push('\n');
    client.write_all(line.as_bytes())
}

/// Triggers a part in the daemon that listens at `path`, and waits for its outcome.
/// # Errors  `SocketError::NoDaemon`, `SocketError::GoneAway`, `SocketError::Refused`
pub fn trigger(path: &Path) -> Result<Ended, SocketError> {
    ask(path, Request::Trigger).map(|(ended, _)| ended)
}

/// The frame of the next part of the daemon that listens at `path`.
/// # Errors  as [`trigger`]
pub fn next_frame(path: &Path) -> Result<Frame, SocketError> {
    let (Picture { width, height, captured_ns, sequence }, mut rest) = ask(path, Request::Frame)?;
    let mut rgb = vec![0; 3 * width as usize * height as usize];
    rest.read_exact(&mut rgb).map_err(|_| SocketError::GoneAway)?;
    Frame::new(width, height, rgb, Timestamp(captured_ns), sequence)
        .map_err(|error| SocketError::Refused(error.to_string()))
}

/// Whether a daemon listens at `path`.
/// # Errors  `SocketError::Denied`
pub fn has_daemon(path: &Path) -> Result<bool, SocketError> {
    match connect(path) {
        Ok(_) => Ok(true),
        Err(SocketError::NoDaemon { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn connect(path: &Path) -> Result<UnixStream, SocketError> {
    UnixStream::connect(path).map_err(|reason| match reason.kind() {
        std::io::ErrorKind::PermissionDenied => SocketError::Denied { path: path.to_owned() },
        _ => SocketError::NoDaemon { path: path.to_owned(), reason },
    })
}

fn ask<T: for<'de> Deserialize<'de>>(path: &Path, request: Request) -> Result<(T, BufReader<UnixStream>), SocketError> {
    let no_daemon = |reason| SocketError::NoDaemon { path: path.to_owned(), reason };
    let mut stream = connect(path)?;
    stream.set_read_timeout(Some(PATIENCE + Duration::from_secs(5))).map_err(no_daemon)?;
    writeln!(stream, "{}", request.word()).map_err(no_daemon)?;
    let mut from = BufReader::new(stream);
    let mut line = String::new();
    from.read_line(&mut line).map_err(|_| SocketError::GoneAway)?;
    match serde_json::from_str(&line).map_err(|_| SocketError::GoneAway)? {
        Answer::Ok(thing) => Ok((thing, from)),
        Answer::Error(why) => Err(SocketError::Refused(why)),
    }
}
