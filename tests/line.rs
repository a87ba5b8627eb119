//! Promise: each trigger has exactly one outcome, on time, and whatever goes wrong on the line is a fault that ends as it
//! should. The daemon's own threads run by a simulated clock, so that an hour on the line takes a second.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rejectd::clock::{Clock, SimulatedClock, Timestamp};
use rejectd::config::OnFault;
use rejectd::daemon::progress::Stage;
use rejectd::line::schedule::{Delay, Ejection, Mode};
use rejectd::line::{Edge, Role, Sensor};

use scripted::{CameraFault, DELAY, Ended, Line, LineFault, PULSE, Ran, TIMEOUT, at, every, is_good, judge, later, ms};

mod scripted;

fn edge(sensor: Sensor, when: u64) -> Edge {
    Edge { sensor, active: true, at: at(when), lost: 0 }
}

fn by_counts(counts: u64) -> Ejection {
    Ejection { mode: Mode::Eject, delay: Delay::Counts(counts), pulse: PULSE, min_gap: Duration::ZERO }
}

#[test]
fn a_triggered_part_is_judged_by_its_own_frame_and_ejected_at_trigger_plus_delay() {
    // 300 ms apart: good ones and bad ones alternate, several are on their way at once.
    let ran = Line::of(every(ms(300), 10)).run();
    ran.assert_sound(Duration::ZERO);
    let bad: Vec<Timestamp> = ran.triggers.iter().copied().filter(|trigger| !is_good(*trigger)).collect();
    assert!(bad.len() == 5 && ran.summary.rejected == 5 && ran.summary.accepted == 5, "{:?}", ran.summary);
    let expected: Vec<_> = bad.iter().map(|trigger| (*trigger + DELAY, *trigger + DELAY + PULSE)).collect();
    assert_eq!(ran.active(Role::Reject), expected, "to the nanosecond");
    assert_eq!(ran.active(Role::Busy).len(), 10);
}

#[test]
fn triggers_that_come_three_times_faster_than_parts_can_be_inspected_are_missed_counted_and_rejected() {
    let pace = Arc::new(Mutex::new(|| Some(ms(300))));
    let ejection = Ejection { delay: Delay::Time(ms(800)), ..by_counts(0) };
    let ran = Line { pace, ejection, ..Line::of(every(ms(101), 200)) }.run();
    ran.assert_sound(Duration::ZERO);
    assert!(ran.summary.missed > 100 && ran.summary.accepted > 10, "{:?}", ran.summary);
    assert_eq!(ran.count("missed") as u64, ran.summary.missed);
}

#[test]
fn a_camera_that_dies_between_two_parts_is_noticed_before_the_next_and_ready_falls() {
    let mut grabs = 0;
    let camera = Box::new(move || {
        grabs += 1;
        if grabs == 2 { CameraFault::Silent } else { CameraFault::None }
    });
    // The second part meets a camera that is silent for 2.5 s; the third comes after.
    let ran = Line { camera, ..Line::of(vec![at(1000), at(1400), at(6000)]) }.run();
    ran.assert_sound(Duration::ZERO);
    assert_eq!(ran.verdicts(), ["accept", "no frame", "accept"]);
    let ready = ran.active(Role::Ready);
    assert_eq!(ready.len(), 2, "{ready:?}");
    let fell = ready[0].1.since(ran.triggers[1]);
    assert!(fell <= TIMEOUT + ms(150), "ready fell {fell:?} after the last frame");
    assert_eq!(ran.active(Role::Fault).len(), 1);
}

#[test]
fn a_camera_that_gives_only_damaged_frames_is_lost_and_back_with_a_whole_one_though_no_part_comes() {
    let mut grabs = 0;
    let camera = Box::new(move || {
        grabs += 1;
        if (2..6).contains(&grabs) { CameraFault::Damaged } else { CameraFault::None }
    });
    // Since ready is down after the third, the belt stands and brings no part; the camera is looked at all the same.
    let ran = Line { camera, ..Line::of(every(ms(1000), 4)) }.run();
    ran.assert_sound(Duration::ZERO);
    assert_eq!(ran.count("damaged"), 3);
    let ready = ran.active_ms(Role::Ready);
    assert!(ready.len() == 2 && (4000..4100).contains(&ready[0].1) && ready[1].0 < 5000, "{ready:?}");
    assert_eq!(ran.active_ms(Role::Fault).len(), 1);
}

/// Runs a line that stalls somewhere around 2 s for three seconds, and asserts what it does meanwhile.
fn assert_that_a_stall_shows(line: Line, stage: Stage, latest: Duration) {
    let told: Arc<Mutex<Option<Stage>>> = Arc::default();
    let seen = told.clone();
    let line = Line { parts: vec![at(2000)], rest: ms(6000), ..line };
    let ran = line.run_with(move |control, clock| {
        later(&clock, at(3500), move || *seen.lock().unwrap() = control.stalled());
    });
    assert_eq!(ran.summary.parts(), 1);
    assert_eq!(*told.lock().unwrap(), Some(stage));
    let beats: Vec<Timestamp> = ran.active(Role::Heartbeat).iter().map(|(on, _)| *on).collect();
    let gap = beats.windows(2).max_by_key(|pair| pair[1].since(pair[0])).unwrap();
    let stopped = gap[0].since(at(2000));
    assert!(stopped <= latest, "the heart stopped {stopped:?} after the stall");
    assert!(gap[1].since(gap[0]) >= ms(2500), "{gap:?}");
    let usual = beats.windows(2).filter(|pair| pair[1].since(pair[0]) == ms(100)).count();
    assert!(usual * 10 > beats.len() * 8, "10 Hz: {usual} of {}", beats.len());
    if stage != Stage::Output {
        let ready = ran.active(Role::Ready);
        assert!(ready.len() == 2 && ready[0].1.since(at(2000)) <= latest, "{ready:?}");
    }
}

#[test]
fn a_stalled_inspection_stops_the_heart_within_200_ms_of_its_limit_and_it_beats_again_after() {
    let pace = Arc::new(Mutex::new(|| Some(ms(3000))));
    // The inspection begins within a frame or two of the trigger, and may take 200 ms.
    let latest = ms(70) + ms(200) + ms(200);
    assert_that_a_stall_shows(Line { pace, ..Line::of(vec![]) }, Stage::Inspect, latest);
}

#[test]
fn a_camera_driver_that_hangs_stops_the_heart_within_200_ms() {
    let camera = Box::new(|| CameraFault::Hangs(ms(3000)));
    assert_that_a_stall_shows(Line { camera, ..Line::of(vec![]) }, Stage::Capture, ms(200));
}

#[test]
fn an_output_driver_that_hangs_stops_the_heart_at_once() {
    let clock = SimulatedClock::default();
    let now = clock.clone();
    let mut hung = false;
    let lines = Box::new(move |role, _| {
        if role == Role::Busy && now.now() >= at(2000) && !std::mem::replace(&mut hung, true) {
            return LineFault::Slow(ms(3000));
        }
        LineFault::None
    });
    assert_that_a_stall_shows(Line { clock, lines, ..Line::of(vec![]) }, Stage::Output, ms(200));
}

#[test]
fn an_input_driver_that_hangs_stops_the_heart_within_200_ms() {
    let lag = Box::new(|| ms(3000));
    // The part is told late, but long before it is at the ejector.
    let ejection = Ejection { delay: Delay::Time(ms(5000)), ..by_counts(0) };
    assert_that_a_stall_shows(Line { lag, ejection, ..Line::of(vec![]) }, Stage::Inputs, ms(200));
}

#[test]
fn a_part_that_is_told_when_it_has_passed_the_ejector_keeps_the_line_stopped_without_a_moment_of_ready() {
    let ran = Line { lag: Box::new(|| ms(3000)), ..Line::of(vec![at(2000)]) }.run();
    let ready = ran.active_ms(Role::Ready);
    assert!(ready.len() == 1 && (2000..2200).contains(&ready[0].1), "{ready:?}");
    assert!(ran.active_ms(Role::Heartbeat).iter().all(|(on, _)| *on < 2200));
}

#[test]
fn by_encoder_counts_the_reject_follows_the_belt_through_a_stop() {
    // 50 counts a second; the belt stands still from 2 s to 12 s, with the parts of 1.5 s and 1.7 s on it.
    let counts = (0..700).map(|i| 20 * i + 7).filter(|when| !(2000..12_000).contains(when));
    let more_edges = counts.map(|when| edge(Sensor::Encoder, when)).collect();
    let line = Line { more_edges, ejection: by_counts(50), rest: ms(13_000), ..Line::of(vec![at(1500), at(1700)]) };
    let ran = line.run();
    assert_eq!(ran.verdicts(), ["reject", "reject"]);
    // 25 counts (0.5 s) before the stop and 25 after, from 12.007 s on.
    let starts: Vec<u64> = ran.active_ms(Role::Reject).iter().map(|(on, _)| *on).collect();
    assert_eq!(starts, [12_487, 12_687]);
}

#[test]
fn a_line_that_is_told_to_stop_still_serves_the_parts_on_a_moving_belt() {
    let more_edges = (0..200).map(|i| edge(Sensor::Encoder, 20 * i + 7)).collect();
    // The part of 1.5 s is 50 counts before the ejector when the line is told to stop at 1.7 s.
    let ran = Line { more_edges, ejection: by_counts(50), rest: ms(200), ..Line::of(vec![at(1500)]) }.run();
    assert_eq!(ran.active_ms(Role::Reject), [(2487, 2507)]);
    assert_eq!(ran.active_ms(Role::Ready), [(0, 1700)], "ready falls at once");
}

#[test]
fn parts_without_encoder_counts_between_them_stop_the_line_until_a_reload() {
    let more_edges = [0, 4000].map(|when| edge(Sensor::Encoder, when)).to_vec();
    let ran = Line { more_edges, ejection: by_counts(1), ..Line::of(every(ms(1000), 3)) }.run();
    assert_eq!(ran.active_ms(Role::Ready), [(0, 2000)], "parts on the belt are at unknown places");
}

#[test]
fn a_rejected_part_that_does_not_reach_the_bin_a_full_bin_and_low_air_make_the_station_not_ready() {
    let ended = |sensor, when| Edge { active: false, ..edge(sensor, when) };
    let more_edges = vec![
        edge(Sensor::BinFull, 100),
        ended(Sensor::BinFull, 300),
        edge(Sensor::AirLow, 500),
        ended(Sensor::AirLow, 700),
        // The part of 1.1 s is ejected at 1.6 s and seen at 1.8 s; that of 3.1 s never is.
        edge(Sensor::Confirm, 1800),
    ];
    let ran = Line { more_edges, confirm_within: Some(ms(400)), ..Line::of(vec![at(1100), at(3100)]) }.run();
    let faults: Vec<_> = ran.active_ms(Role::Fault).iter().map(|(on, _)| *on).collect();
    assert_eq!(faults, [100, 500, 4000]);
    assert_eq!(ran.active_ms(Role::Ready), [(0, 100), (300, 500), (700, 4000)]);
}

/// Has a person look and reload at a moment.
fn reloaded_at(line: Line, moment: Timestamp) -> Ran {
    let (parts, pace) = (Arc::new(line.parts.clone()), line.pace.clone());
    line.run_with(move |control, clock| {
        let judge = judge(&clock, parts, pace);
        later(&clock, moment, move || control.replace_judge(judge, OnFault::Reject));
    })
}

#[test]
fn lost_input_lines_stop_the_line_until_they_are_back_and_a_person_has_looked() {
    let input_outages = VecDeque::from([(at(1000), at(3000))]);
    // The part of 2 s passes unseen.
    let line = Line { input_outages, ..Line::of(vec![at(600), at(2000), at(5600)]) };
    let ran = reloaded_at(line, at(5000));
    ran.assert_sound(Duration::ZERO);
    assert_eq!(ran.verdicts(), ["accept", "accept"]);
    let ready = ran.active_ms(Role::Ready);
    assert!(ready.len() == 2 && ready[0].1 <= 1100 && ready[1].0 == 5000, "within 100 ms: {ready:?}");
}

#[test]
fn lost_edges_of_the_sensor_stop_the_line_until_a_person_has_looked() {
    let lost = Edge { lost: 2, ..edge(Sensor::Trigger, 2000) };
    let line = Line { more_edges: vec![lost], ..Line::of(vec![at(600), at(4600)]) };
    let ran = reloaded_at(line, at(4000));
    assert_eq!(ran.active_ms(Role::Ready)[..2].iter().map(|(_, off)| *off).next(), Some(2000));
    assert_eq!(ran.active_ms(Role::Ready)[1].0, 4000);
    assert_eq!(ran.summary.parts(), 3, "the edge itself is a part");
}

#[test]
fn a_frame_saves_no_part_while_a_later_edge_may_still_be_told() {
    // A bad part at 595 ms and a good one at 625 ms: the first frame after both shows the good one, whose edge is read 150 ms
    // late.
    let mut lags = VecDeque::from([Duration::ZERO, ms(150)]);
    let lag = Box::new(move || lags.pop_front().unwrap_or_default());
    let ran = Line { lag, ..Line::of(vec![at(595), at(625)]) }.run();
    assert_eq!(ran.verdicts(), ["no frame", "accept"], "the second by a frame of its own: {:?}", ran.outcomes);
    assert_eq!(ran.active(Role::Reject), [(at(595) + DELAY, at(595) + DELAY + PULSE)]);
}

#[test]
fn a_command_triggers_a_part_as_the_sensor_does() {
    let triggered: Arc<Mutex<Option<Timestamp>>> = Arc::default();
    let noted = triggered.clone();
    let ran = Line::of(vec![]).run_with(move |control, clock| {
        let now = clock.clone();
        later(&clock, at(1100), move || {
            control.trigger().unwrap();
            *noted.lock().unwrap() = Some(now.now());
        });
    });
    assert_eq!(ran.verdicts(), ["reject"], "no part was triggered before, so that the frame shows a bad one");
    assert_eq!(Some(ran.outcomes[0].triggered()), *triggered.lock().unwrap());
    assert_eq!(ran.active(Role::Reject)[0].0, ran.outcomes[0].triggered() + DELAY);
}

#[test]
fn a_line_that_reads_back_wrongly_keeps_the_station_not_ready_until_it_reads_right() {
    let verify = Box::new(|now| (at(2000)..at(3000)).contains(&now).then_some(Role::Ready));
    let ran = Line { verify, rest: ms(4000), ..Line::of(vec![at(600)]) }.run();
    let ready = ran.active_ms(Role::Ready);
    assert_eq!(ready.len(), 2, "it does not come back in between: {ready:?}");
    assert!((2000..=2100).contains(&ready[0].1) && (3000..=3150).contains(&ready[1].0), "{ready:?}");
    assert_eq!(ran.active(Role::Fault).len(), 1);
}

#[test]
fn a_reject_line_that_reads_back_wrongly_during_a_pulse_stops_the_line_until_a_person_has_looked() {
    // Shorted to its resting level: only while it should be active does that show.
    let verify = Box::new(|now| (at(1600)..at(1620)).contains(&now).then_some(Role::Reject));
    let ran = reloaded_at(Line { verify, ..Line::of(vec![at(1100), at(5600)]) }, at(5000));
    let ready = ran.active_ms(Role::Ready);
    assert!(ready.len() == 2 && ready[0].1 == 1600 && ready[1].0 == 5000, "{ready:?}");
}

#[test]
fn a_single_refusal_of_the_reject_line_costs_nothing() {
    let mut refused = false;
    let lines = Box::new(move |role, active| match role {
        Role::Reject if active && !std::mem::replace(&mut refused, true) => LineFault::Refused,
        _ => LineFault::None,
    });
    let ran = Line { lines, ..Line::of(vec![at(1100)]) }.run();
    ran.assert_sound(Duration::ZERO);
    assert_eq!(ran.active(Role::Ready).len(), 1);
}

#[test]
fn a_reject_that_could_not_be_carried_out_stops_the_line_until_a_person_has_looked() {
    let clock = SimulatedClock::default();
    let now = clock.clone();
    let lines = Box::new(move |role, active| {
        // From before the pulse until after it.
        let broken = (at(1590)..at(1700)).contains(&now.now());
        if role == Role::Reject && active && broken { LineFault::Refused } else { LineFault::None }
    });
    let ran = reloaded_at(Line { clock, lines, ..Line::of(vec![at(1100), at(5600)]) }, at(5000));
    assert_eq!(ran.verdicts(), ["reject", "accept"]);
    assert!(ran.active(Role::Reject).is_empty());
    let ready = ran.active_ms(Role::Ready);
    assert!(ready.len() == 2 && ready[0].1 == 1600 && ready[1].0 == 5000, "{ready:?}");
}

/// From when to when a line was ready, on which the camera was unplugged for a moment while a rejected part was on its way.
fn ready_around_a_lost_camera(stops_with_ready: bool) -> Vec<(u64, u64)> {
    let mut grabs = 0;
    let camera = Box::new(move || {
        grabs += 1;
        if grabs == 2 { CameraFault::Unplugged } else { CameraFault::None }
    });
    let line = Line { camera, stops_with_ready, ..Line::of(vec![at(1100), at(1300), at(6600)]) };
    let ran = reloaded_at(line, at(6000));
    assert_eq!(ran.verdicts(), ["reject", "no frame", "accept"]);
    ran.active_ms(Role::Ready)
}

#[test]
fn parts_that_were_on_their_way_when_the_belt_stopped_keep_the_line_stopped_until_a_person_has_looked() {
    let ready = ready_around_a_lost_camera(true);
    assert!(ready.len() == 2 && (1300..1450).contains(&ready[0].1) && ready[1].0 == 6000, "{ready:?}");
    // A belt that runs on carries them where the time says.
    let ready = ready_around_a_lost_camera(false);
    assert!(ready.len() == 2 && (2000..3000).contains(&ready[1].0), "{ready:?}");
}

#[test]
fn a_belt_that_stopped_with_no_part_on_its_way_goes_on_by_itself() {
    let ended = |sensor, when| Edge { active: false, ..edge(sensor, when) };
    let more_edges = vec![edge(Sensor::BinFull, 2000), ended(Sensor::BinFull, 3000)];
    // The bad part of 1.1 s is past the ejector at 2 s, the good one of 1.8 s is accepted.
    let line = Line { more_edges, stops_with_ready: true, ..Line::of(vec![at(1100), at(1800)]) };
    assert_eq!(line.run().active_ms(Role::Ready)[..], [(0, 2000), (3000, 4800)]);
}

#[test]
fn a_part_that_comes_while_the_belt_runs_down_keeps_the_line_stopped_too() {
    let ended = |sensor, when| Edge { active: false, ..edge(sensor, when) };
    let more_edges = vec![edge(Sensor::BinFull, 2000), ended(Sensor::BinFull, 3000)];
    // The bad part of 2.1 s crosses the sensor when ready has fallen already.
    let line = Line { more_edges, stops_with_ready: true, ..Line::of(vec![at(1200), at(2100)]) };
    assert_eq!(line.run().active_ms(Role::Ready)[..], [(0, 2000)]);
}

#[test]
fn a_gate_opens_for_no_part_while_the_belt_may_stand() {
    let ended = |sensor, when| Edge { active: false, ..edge(sensor, when) };
    let more_edges = vec![edge(Sensor::BinFull, 1400), ended(Sensor::BinFull, 1450)];
    let ejection = Ejection { mode: Mode::Pass, ..by_counts(0) };
    let ejection = Ejection { delay: Delay::Time(DELAY), ..ejection };
    // The good part of 1.2 s would be let through at 1.7 s.
    let line = Line { more_edges, ejection, stops_with_ready: true, ..Line::of(vec![at(1200), at(5600)]) };
    let ran = reloaded_at(line, at(5000));
    assert_eq!(ran.active_ms(Role::Ready)[1].0, 5000);
    assert_eq!(ran.active_ms(Role::Reject), [(6100, 6120)]);
}

#[test]
fn a_reject_that_comes_when_the_part_has_passed_stops_the_line_until_a_person_has_looked() {
    let clock = SimulatedClock::default();
    let now = clock.clone();
    let mut hung = false;
    // Another line's driver hangs from before the bad part's due moment until long after.
    let lines = Box::new(move |role, _| {
        if role == Role::Busy && now.now() >= at(1100) && !std::mem::replace(&mut hung, true) {
            return LineFault::Slow(ms(3000));
        }
        LineFault::None
    });
    let ran = reloaded_at(Line { clock, lines, ..Line::of(vec![at(1100), at(6600)]) }, at(6000));
    assert_eq!(ran.verdicts(), ["reject", "accept"]);
    let ready = ran.active_ms(Role::Ready);
    assert!(ready.len() == 2 && (4100..4300).contains(&ready[0].1) && ready[1].0 == 6000, "{ready:?}");
}

#[test]
fn a_gate_that_closes_late_stops_the_line_until_a_person_has_looked() {
    let mut hung = false;
    let lines = Box::new(move |role, active| {
        if role == Role::Reject && active {
            hung = true;
        }
        if role == Role::Reject && !active && std::mem::take(&mut hung) {
            return LineFault::Slow(ms(300));
        }
        LineFault::None
    });
    let ejection = Ejection { mode: Mode::Pass, delay: Delay::Time(DELAY), pulse: PULSE, min_gap: Duration::ZERO };
    let ran = reloaded_at(Line { lines, ejection, ..Line::of(vec![at(1200), at(5600)]) }, at(5000));
    assert_eq!(ran.verdicts(), ["accept", "accept"]);
    let ready = ran.active_ms(Role::Ready);
    assert!(ready.len() >= 2 && (2000..2100).contains(&ready[0].1) && ready[1].0 == 5000, "{ready:?}");
}

#[test]
fn an_observer_that_hangs_loses_outcomes_and_holds_up_no_reject() {
    // The journal hangs for three seconds of real time, far longer than the run; its queue holds 1024.
    let slow = Line { backlog: 1024, ..Line::of(every(ms(300), 1200)) }.run_observed(|count| {
        if count == 0 {
            std::thread::sleep(Duration::from_secs(3));
        }
    });
    assert_eq!(slow.summary.parts(), 1200);
    assert!(slow.summary.unobserved > 100, "{:?}", slow.summary);
    assert_eq!(slow.active(Role::Reject).len(), 600, "every bad part was thrown out");
    assert_eq!(slow.lateness.most(), Duration::ZERO);
    assert!(slow.outcomes.iter().all(|ended: &Ended| ended.part.is_some()));
}

#[test]
fn no_room_between_trigger_and_ejector_reads_the_wall_clock() {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![source.join("clock.rs"), source.join("daemon.rs")];
    let mut folders = ["daemon", "line", "source", "inspect"].map(|room| source.join(room)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    assert!(files.len() > 60);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains("SystemTime") && !text.contains("ClockId::Realtime"), "{}", file.display());
    }
}
