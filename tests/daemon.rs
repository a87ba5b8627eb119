//! Promise: the daemon gives every part exactly one outcome, takes over a reload from one part to the next, survives a
//! lost profile, and stays small.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rejectd::profile::generations;

mod common;

const PATIENCE: Duration = Duration::from_secs(60);

/// The daemon with its log, line by line.
struct Daemon {
    child: Child,
    lines: Receiver<String>,
}

impl Daemon {
    fn start(config: &Path) -> Daemon {
        let mut child = common::rejectd()
            .args(["run", "--config", config.to_str().unwrap()])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = child.stderr.take().expect("it is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Daemon { child, lines }
    }

    /// The next line, or none at the end of the log.
    fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("the daemon is silent"),
        }
    }

    /// All lines up to one that holds `text`, that one included.
    fn until(&self, text: &str) -> Vec<String> {
        let mut seen = Vec::new();
        while seen.last().is_none_or(|line: &String| !line.contains(text)) {
            seen.push(self.line().unwrap_or_else(|| panic!("the log ended before '{text}':\n{}", seen.join("\n"))));
        }
        seen
    }

    fn signal(&self, signal: &str) {
        let status = std::process::Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for the end and returns the exit code.
    fn end(mut self) -> Option<i32> {
        while self.line().is_some() {}
        self.child.wait().unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes `folder/rejectd.toml` for a simulated belt, as an editor or a deployment would: at once.
fn configure(folder: &Path, parts: &str, more: &str) -> std::path::PathBuf {
    let path = folder.join("rejectd.toml");
    let text = format!(
        "[profile]\nfile = \"product.profile\"\n[source]\nkind = \"simulated\"\n[source.simulated]\n{parts}\n\
         width_px = 128\nheight_px = 128\n{more}\n"
    );
    std::fs::write(folder.join("new.toml"), text).unwrap();
    std::fs::rename(folder.join("new.toml"), &path).unwrap();
    path
}

/// The part of a line such as `… part 17 accept: score 0.1 <= threshold 0.2, 3 ms`, with its threshold if it has one.
fn part(line: &str) -> Option<(u64, Option<f64>)> {
    let (_, rest) = line.split_once("part ")?;
    let number = rest.split(' ').next()?.parse().ok()?;
    let threshold = line.split_once("threshold ").and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
    Some((number, threshold))
}

#[test]
fn a_thousand_parts_with_twenty_reloads_have_a_thousand_outcomes_and_each_reload_holds_from_the_next_part() {
    let folder = tempfile::tempdir().unwrap();
    let profile = common::teach_small(folder.path(), 20);
    let fingerprint = generations::load(&profile).unwrap().fingerprint();
    let threshold = |k: u32| format!("[verdict]\nthreshold = {k}.0\nthreshold_for = \"{fingerprint}\"");
    let config = configure(folder.path(), "parts = 1000", &threshold(1));
    let daemon = Daemon::start(&config);
    let mut seen: Vec<(u64, f64)> = Vec::new();
    let mut reloads = 1;
    let mut reloaded_at = None;
    while let Some(line) = daemon.line() {
        if line.contains("reloaded: from the next part on") {
            reloaded_at = Some(seen.len());
        }
        let Some((number, Some(threshold_of_part))) = part(&line) else { continue };
        seen.push((number, threshold_of_part));
        if let Some(at) = reloaded_at {
            // One part may have been under inspection when the reload came.
            assert!(seen.len() <= at + 1 || threshold_of_part == f64::from(reloads), "part {number}: {line}");
        }
        if seen.len().is_multiple_of(45) && reloads <= 20 && (reloads == 1 || reloaded_at.is_some()) {
            reloads += 1;
            reloaded_at = None;
            configure(folder.path(), "parts = 1000", &threshold(reloads));
            daemon.signal("-HUP");
        }
    }
    assert_eq!(daemon.end(), Some(0));
    let numbers: Vec<u64> = seen.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=1000).collect::<Vec<_>>());
    assert!(seen.windows(2).all(|pair| pair[0].1 <= pair[1].1), "a threshold came back");
    assert_eq!(seen.last().unwrap().1, 21.0, "20 reloads");
}

#[test]
fn a_reload_that_does_not_fit_is_refused_and_the_old_threshold_stays() {
    let folder = tempfile::tempdir().unwrap();
    common::teach_small(folder.path(), 20);
    let config = configure(folder.path(), "", "");
    let daemon = Daemon::start(&config);
    let before = daemon.until("part 3 ");
    let threshold = part(before.last().unwrap()).unwrap().1;
    configure(folder.path(), "", "[verdict]\nthreshold = 5.0\nthreshold_for = \"0123456789abcdef\"");
    daemon.signal("-HUP");
    let refusal = daemon.until("the reload is refused").pop().unwrap();
    assert!(refusal.contains("is meant for the profile 0123456789abcdef"), "{refusal}");
    configure(folder.path(), "", "[verdict]\nthreshhold = 5.0");
    daemon.signal("-HUP");
    let refusal = daemon.until("the reload is refused").pop().unwrap();
    assert!(refusal.contains("threshold"), "{refusal}");
    std::fs::write(folder.path().join("product.profile"), b"not a profile").unwrap();
    configure(folder.path(), "", "");
    daemon.signal("-HUP");
    daemon.until("the reload is refused");
    daemon.line();
    let after = daemon.until("part ");
    assert_eq!(part(after.last().unwrap()).unwrap().1, threshold);
    daemon.signal("-TERM");
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn a_damaged_profile_falls_back_to_its_last_good_generation_and_says_fault() {
    let folder = tempfile::tempdir().unwrap();
    let profile = common::teach_small(folder.path(), 20);
    let mut bytes = std::fs::read(&profile).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&profile, bytes).unwrap();
    let config = configure(folder.path(), "parts = 3", "");
    let check = common::run("check --config {}/rejectd.toml", folder.path());
    common::assert_code(&check, 65, "check refuses what run survives");
    let daemon = Daemon::start(&config);
    let fault = daemon.until("FAULT").pop().unwrap();
    assert!(fault.contains("inspecting by generation 1"), "{fault}");
    assert!(daemon.until("part 3 ").pop().unwrap().contains("score"));
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn without_any_profile_every_part_is_held_as_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let config = configure(folder.path(), "parts = 5", "");
    let daemon = Daemon::start(&config);
    let log = daemon.until("rejectd ends");
    assert!(
        log.iter().any(|line| line.contains("FAULT") && line.contains("every part is held as rejected")),
        "{log:?}"
    );
    assert!(log.last().unwrap().contains("5 parts, 0 accepted, 0 rejected, 5 without a decision"), "{log:?}");
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn with_the_default_profile_the_daemon_stays_under_150_mib() {
    let folder = tempfile::tempdir().unwrap();
    common::render_good(&folder.path().join("good"), 12);
    common::assert_code(
        &common::run("teach --from {}/good --profile {}/product.profile --metric none", folder.path()),
        0,
        "teach",
    );
    let config = configure(folder.path(), "", "");
    let daemon = Daemon::start(&config);
    daemon.until("part 40 ");
    daemon.signal("-HUP");
    daemon.until("reloaded");
    daemon.until("part 80 ");
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells the peak");
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").trim().parse().unwrap();
    println!("peak resident memory {} MiB", peak_kib / 1024);
    daemon.signal("-TERM");
    assert_eq!(daemon.end(), Some(0));
    assert!(peak_kib < 150 * 1024, "peak resident memory is {peak_kib} KiB");
}

#[test]
fn sigterm_ends_an_endless_belt_with_a_summary() {
    let folder = tempfile::tempdir().unwrap();
    common::teach_small(folder.path(), 20);
    let daemon = Daemon::start(&configure(folder.path(), "", "[trigger]\ninterval_ms = 20"));
    daemon.until("part 2 ");
    daemon.signal("-TERM");
    daemon.until("rejectd ends");
    assert_eq!(daemon.end(), Some(0));
}
