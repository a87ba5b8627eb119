//! Promise: the daemon gives every part exactly one outcome, takes over a reload from one part to the next, survives a
//! lost profile, and stays small.

use rejectd::profile::generations;

mod common;

use common::daemon::{Daemon, configure};

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
    // The first part of each reload, as the daemon says it: the observer may lag behind, but numbers do not.
    let mut firsts = vec![1];
    let mut reloads = 1;
    while let Some(line) = daemon.line() {
        if let Some(first) = first_after_reload(&line) {
            firsts.push(first);
        }
        let Some((number, Some(threshold_of_part))) = part(&line) else { continue };
        seen.push((number, threshold_of_part));
        if seen.len().is_multiple_of(45) && reloads <= 20 && firsts.len() == reloads {
            reloads += 1;
            configure(folder.path(), "parts = 1000", &threshold(reloads as u32));
            daemon.signal("-HUP");
        }
    }
    assert_eq!(daemon.end(), Some(0));
    let numbers: Vec<u64> = seen.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=1000).collect::<Vec<_>>());
    for (number, threshold) in &seen {
        let reloaded = firsts.iter().filter(|first| *first <= number).count();
        assert_eq!(*threshold, reloaded as f64, "part {number}, reloads from the parts {firsts:?}");
    }
    assert_eq!(firsts.len(), 21, "20 reloads");
}

/// The number in `… part 17 is the first after the reload`.
fn first_after_reload(line: &str) -> Option<u64> {
    line.strip_suffix(" is the first after the reload")?.rsplit(' ').next()?.parse().ok()
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
