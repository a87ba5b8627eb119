//! What the service manager hears: that the station is ready, that it makes progress, and how it does.
//!
//! The watchdog is pinged only while every stage keeps its promise: a stalled driver or network stops the pings, and
//! systemd starts the process anew. A lost camera is no stall: the station says so and waits for it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

use super::{Control, Summary};

/// How often the status is told.
const STATUS: Duration = Duration::from_secs(1);
/// Pings that come faster than this would only be a load.
const LEAST_PING: Duration = Duration::from_millis(100);
/// How often the thread looks whether the run has ended.
const LOOK: Duration = Duration::from_millis(50);

/// The way to the service manager; without one it leads nowhere.
pub(super) struct Service {
    /// Between two pings: a third of what the service manager waits, or none if it does not.
    ping: Option<Duration>,
    ended: AtomicBool,
    last_status: Mutex<String>,
}

/// Ends the service when it is dropped.
pub(super) struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Service {
    pub fn new() -> Service {
        let ping = sd_notify::watchdog_enabled().map(|limit| (limit / 3).max(LEAST_PING));
        Service { ping, ended: AtomicBool::new(false), last_status: Mutex::new(String::new()) }
    }

    pub fn ended(&self) -> Ended<'_> {
        Ended(&self.ended)
    }

    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Tells that the station is there, then how it does, until it ends.
    pub fn attend(&self, control: &Control) {
        notify(&[NotifyState::Ready, NotifyState::Status(&status(control))]);
        let every = self.ping.unwrap_or(STATUS).min(STATUS);
        let mut is_stalled = false;
        while !self.wait(every) {
            match control.stalled() {
                None => {
                    if std::mem::take(&mut is_stalled) {
                        log::info!("every stage makes progress again");
                    }
                    if self.ping.is_some() {
                        notify(&[NotifyState::Watchdog]);
                    }
                }
                Some(stage) if !is_stalled => {
                    log::error!(
                        "FAULT the {stage} stage makes no progress; the heartbeat and the watchdog's pings stop"
                    );
                    is_stalled = true;
                }
                Some(_) => {}
            }
            self.tell_status(status(control));
        }
    }

    /// Waits, and returns whether the run has ended meanwhile.
    fn wait(&self, time: Duration) -> bool {
        let mut left = time;
        while !self.has_ended() && !left.is_zero() {
            let look = left.min(LOOK);
            std::thread::sleep(look);
            left -= look;
        }
        self.has_ended()
    }

    fn tell_status(&self, status: String) {
        let mut last = self.last_status.lock().expect("telling the status does not panic");
        if *last != status {
            notify(&[NotifyState::Status(&status)]);
            *last = status;
        }
    }
}

/// One line for `systemctl status`.
fn status(control: &Control) -> String {
    let Summary { accepted, rejected, no_decision, missed, .. } = control.summary();
    let ready = if control.is_ready() { "ready" } else { "NOT READY" };
    let lateness = control.lateness();
    let timing = if lateness.moves() == 0 { String::new() } else { format!("; {lateness}") };
    format!(
        "{ready}; {accepted} accepted, {rejected} rejected, {no_decision} without a decision, {missed} of them \
         missed{timing}"
    )
}

/// Tells that the station stops, and that this takes so long.
pub(super) fn stopping(takes: Duration) {
    let takes = u32::try_from(takes.as_micros()).unwrap_or(u32::MAX);
    notify(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(takes)]);
}

fn notify(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        log::debug!("the service manager cannot be told: {error}");
    }
}
