//! Promise: the service manager hears how the station does and whether it makes progress, people of the group reach it
//! through its socket, and it waits for a camera that is not there.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use rejectd::daemon::socket::next_frame;

mod common;

use common::daemon::{Daemon, PATIENCE, configure};
use common::{assert_code, run, text};

/// As long as a frozen process is listened to: several pings' time.
const SILENCE: Duration = Duration::from_millis(1_000);

/// What the service manager has of a daemon: a socket that it is told on.
struct Manager(UnixDatagram);

impl Manager {
    fn start(folder: &Path, config: &Path, watchdog: Duration) -> (Manager, Daemon) {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let microseconds = watchdog.as_micros().to_string();
        let daemon =
            Daemon::start_with(config, &[("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", &microseconds)]);
        (Manager(socket), daemon)
    }

    /// The next word, if one comes in time.
    fn hears(&self, limit: Duration) -> Option<String> {
        let mut buffer = [0; 4096];
        self.0.set_read_timeout(Some(limit)).unwrap();
        let length = self.0.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// Listens until a word holds `text`, and returns it.
    fn until(&self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let word = self.hears(until - Instant::now()).unwrap_or_else(|| panic!("'{text}' was never told"));
            if word.contains(text) {
                return word;
            }
        }
    }
}

#[test]
fn the_service_manager_hears_ready_status_pings_while_there_is_progress_and_how_long_a_stop_takes() {
    let folder = tempfile::tempdir().unwrap();
    common::teach_small(folder.path(), 20);
    let config = configure(folder.path(), "", "[trigger]\nkind = \"software\"\n[line]\ndelay_ms = 1500");
    let (manager, daemon) = Manager::start(folder.path(), &config, Duration::from_millis(600));
    assert!(manager.until("READY=1").contains("STATUS="), "ready comes with a status");
    manager.until("STATUS=ready; 0 accepted");
    (0..3).for_each(|_| assert!(manager.until("WATCHDOG=1").contains("WATCHDOG=1")));
    daemon.signal("-STOP");
    while manager.hears(Duration::from_millis(100)).is_some() {}
    assert_eq!(manager.hears(SILENCE), None, "a frozen process tells nothing");
    daemon.signal("-CONT");
    manager.until("WATCHDOG=1");
    daemon.signal("-TERM");
    let stopping = manager.until("STOPPING=1");
    let takes = stopping.lines().find_map(|line| line.strip_prefix("EXTEND_TIMEOUT_USEC=")).unwrap();
    let (way, most) = (1_500_000, 60_000_000);
    assert!((way..most).contains(&takes.parse::<u64>().unwrap()), "{stopping}");
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn a_stage_that_hangs_stops_the_pings_until_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    common::teach_small(path, 20);
    let pictures = common::render_good(&path.join("line"), 2);
    let config = path.join("rejectd.toml");
    let text = "[profile]\nfile = \"product.profile\"\n[source]\nkind = \"folder\"\n[source.folder]\npath = \"line\"\n\
                [trigger]\ninterval_ms = 2000\n";
    std::fs::write(&config, text).unwrap();
    let (manager, daemon) = Manager::start(path, &config, Duration::from_millis(600));
    daemon.until("part 1 ");
    // The second picture is now a pipe, which nobody writes to: as a dead network drive, reading it never ends.
    let (pipe, second) = (path.join("pipe"), pictures.join("good-001.png"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::fs::rename(&pipe, &second).unwrap();
    manager.until("WATCHDOG=1");
    let until = Instant::now() + PATIENCE;
    while !daemon.lines.try_iter().any(|line| line.contains("FAULT the capture stage makes no progress")) {
        assert!(Instant::now() < until, "the stall is never told");
        manager.hears(Duration::from_millis(50));
    }
    while manager.hears(Duration::from_millis(50)).is_some_and(|word| !word.contains("NOT READY")) {}
    let heard = manager.hears(SILENCE);
    assert!(heard.as_ref().is_none_or(|word| !word.contains("WATCHDOG")), "{heard:?}");
    // Whoever reads sees that it is no picture, and may be gone before all is written.
    let _ = std::fs::write(&second, b"no picture");
    manager.until("WATCHDOG=1");
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn a_person_on_the_board_triggers_a_part_gets_its_frame_and_cannot_start_a_second_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    common::teach_small(path, 20);
    let socket = path.join("s");
    let control = format!("[trigger]\nkind = \"software\"\n[control]\nsocket = {socket:?}");
    let config = configure(path, "defect_fraction = 0.0", &control);
    let nobody = run("trigger --config {}/rejectd.toml", path);
    assert_code(&nobody, 69, "no daemon");
    assert!(text(&nobody).contains("no daemon answers on the control socket"), "{}", text(&nobody));
    let daemon = Daemon::start(&config);
    daemon.until("control socket");
    let waiting = std::thread::spawn(move || next_frame(&socket));
    std::thread::sleep(Duration::from_millis(300));
    let part = run("trigger --config {}/rejectd.toml", path);
    assert_code(&part, 0, "a good part");
    assert!(text(&part).starts_with("part 1 accept: score"), "{}", text(&part));
    let frame = waiting.join().unwrap().unwrap();
    assert_eq!((frame.width(), frame.height()), (128, 128));
    let check = run("check --config {}/rejectd.toml", path);
    assert_code(&check, 0, "check beside a daemon");
    assert!(text(&check).contains("held by the daemon at"), "{}", text(&check));
    let second = run("run --config {}/rejectd.toml", path);
    assert_code(&second, 69, "a second daemon");
    assert!(text(&second).contains("another rejectd already listens"), "{}", text(&second));
    daemon.signal("-TERM");
    assert_eq!(daemon.end(), Some(0));
    assert!(!path.join("s").exists(), "the socket goes with the daemon");
}

#[test]
fn without_its_camera_the_daemon_says_fault_is_not_ready_and_waits() {
    let folder = tempfile::tempdir().unwrap();
    common::teach_small(folder.path(), 20);
    let config = folder.path().join("rejectd.toml");
    let camera = folder.path().join("video0");
    std::fs::write(
        &config,
        format!(
            "[profile]\nfile = \"product.profile\"\n[source]\nkind = \"v4l2\"\n[source.v4l2]\ndevice = {camera:?}\n\
             [trigger]\nkind = \"software\"\n"
        ),
    )
    .unwrap();
    let (manager, daemon) = Manager::start(folder.path(), &config, Duration::from_millis(600));
    let fault = daemon.until("FAULT no frames").pop().unwrap();
    assert!(fault.contains("video0 is not there; plug the camera in"), "{fault}");
    manager.until("READY=1");
    manager.until("WATCHDOG=1");
    manager.until("WATCHDOG=1");
    daemon.signal("-TERM");
    manager.until("STOPPING=1");
    let end = daemon.until("rejectd ends").pop().unwrap();
    assert!(end.contains("0 parts"), "{end}");
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn the_unit_of_a_further_camera_is_that_of_the_first_but_for_the_names() {
    let first = include_str!("../systemd/rejectd.service");
    let named = include_str!("../systemd/rejectd@.service");
    let without_heading = |unit: &str| unit.split_once("[Unit]").unwrap().1.to_owned();
    let expected = without_heading(first)
        .replace("Description=rejectd, ", "Description=rejectd for %i, ")
        .replace("/etc/rejectd/rejectd.toml", "/etc/rejectd/%i.toml")
        .replace("RuntimeDirectory=rejectd\n", "RuntimeDirectory=rejectd-%i\n");
    assert_eq!(without_heading(named), expected);
}
