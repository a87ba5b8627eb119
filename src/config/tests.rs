use std::collections::HashSet;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::line::schedule::{Delay, Mode};
use crate::line::wiring::{Backend, Bias, Drive, InputLine, LineName, OutputLine};
use crate::line::{Role, Sensor};

const SHIPPED: &str = include_str!("../../config/rejectd.toml");
const NAME: &str = "rejectd.toml";

fn mistakes(text: &str) -> Vec<Mistake> {
    match parse(text, NAME) {
        Ok(_) => Vec::new(),
        Err(ConfigError::Mistakes(mistakes)) => mistakes,
        Err(other) => panic!("{other}"),
    }
}

/// `[profile]` and `[source]` as they must be, and `more`.
fn minimal(more: &str) -> String {
    format!("[profile]\nfile = \"a.profile\"\n[source]\nkind = \"simulated\"\n{more}")
}

/// The sentences about `more`, which begins at line 5.
fn complaints(more: &str) -> Vec<String> {
    mistakes(&minimal(more)).iter().map(Mistake::to_string).collect()
}

/// The shipped file with every key active.
fn all_active() -> String {
    SHIPPED.lines().map(|line| if is_hidden_key(line) { &line[1..] } else { line }.to_owned() + "\n").collect()
}

fn is_hidden_key(line: &str) -> bool {
    line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
}

/// One `key = value` line: its number from 0, its section, its key.
fn key_lines(text: &str) -> Vec<(usize, String, String)> {
    let mut section = String::new();
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = header.to_owned();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            keys.push((number, section.clone(), key.to_owned()));
        }
    }
    keys
}

fn with_line(text: &str, number: usize, line: &str) -> String {
    text.lines().enumerate().map(|(n, old)| format!("{}\n", if n == number { line } else { old })).collect()
}

#[test]
fn the_shipped_file_is_valid_and_says_nothing_but_the_defaults() {
    let settings = parse(SHIPPED, NAME).unwrap();
    let bare = "[profile]\nfile = \"/var/lib/rejectd/product.profile\"\n[source]\nkind = \"v4l2\"";
    assert_eq!(settings, parse(bare, NAME).unwrap());
    assert_eq!(settings.trigger, TriggerSettings::FreeRunning { interval: Duration::from_millis(200) });
    assert_eq!(settings.line.ejection.delay, Delay::Time(Duration::from_millis(500)));
    assert_eq!((settings.presence, settings.threshold, settings.roi), (None, None, None));
    parse(&all_active(), NAME).unwrap();
}

#[test]
fn the_shipped_file_documents_every_key_with_its_rule_and_its_default() {
    let active = all_active();
    let lines: Vec<&str> = active.lines().collect();
    let documented = key_lines(&active);
    let known = known_keys();
    for Known { key: (section, key), expected, default } in &known {
        let found: Vec<_> =
            documented.iter().filter(|(_, s, k)| (s.as_str(), k.as_str()) == (*section, *key)).collect();
        let [(number, ..)] = found[..] else { panic!("[{section}] {key} is documented {} times", found.len()) };
        let above = lines[..*number].iter().rev().take_while(|line| line.starts_with("# "));
        let mut comment: Vec<&str> = above.map(|line| &line[2..]).collect();
        comment.reverse();
        let comment = comment.join(" ");
        let rule = comment.get(..expected.len()).unwrap_or_default();
        assert!(rule.eq_ignore_ascii_case(expected), "[{section}] {key}: {expected:?} is not how {comment:?} begins");
        let rest = &comment[expected.len()..];
        let stated = rest.strip_prefix(&format!(". Default: {default}. "));
        assert!(stated.is_some_and(|why| why.len() > 20), "[{section}] {key}: default {default:?} and why in {rest:?}");
        let example = lines[*number].split_once(" = ").unwrap().1;
        if toml::de::DeValue::parse(default).is_ok() {
            assert_eq!(example, default, "[{section}] {key}: the line shows another value than the default");
        }
    }
    for (_, section, key) in &documented {
        let is_known = known.iter().any(|known| known.key == (section.as_str(), key.as_str()));
        assert!(is_known || section == "source.v4l2.controls", "[{section}] {key} is documented, but unknown");
    }
    let distinct: HashSet<_> = known.iter().map(|known| known.key).collect();
    assert_eq!(distinct.len(), known.len(), "a key is asked for twice");
}

#[test]
fn every_key_arrives_in_the_settings() {
    let text = r#"
        [model]
        card = "cards/resnet.toml"
        threads = 3
        [profile]
        file = "/srv/a.profile"
        [source]
        kind = "v4l2"
        roi_px = [8, 4, 600, 400]
        [source.v4l2]
        device = "/dev/video2"
        format = "yuyv"
        width_px = 800
        height_px = 0x258
        frames_per_second = 15
        timeout_ms = 2_000
        [source.v4l2.controls]
        white_balance_automatic = false
        exposure_time_absolute = 80
        [source.folder]
        path = "pictures"
        [trigger]
        kind = "free_running"
        interval_ms = 150
        [presence]
        enabled = true
        min_change = 12
        background = "empty.png"
        [verdict]
        threshold = 0.5
        threshold_for = "0123456789ABCDEF"
        on_fault = "stop"
        [trigger.encoder]
        line = "PQ.06"
        edge = "falling"
        bias = "pull_up"
        debounce_us = 20
        [line]
        backend = "gpiochip"
        chip = "tegra234-gpio"
        mode = "pass"
        delay_counts = 700
        pulse_ms = 80
        min_gap_ms = 15
        [line.reject]
        line = "PQ.05"
        active = "low"
        bias = "pull_up"
        drive = "open_drain"
        [line.heartbeat]
        line = 9
        frequency_hz = 5
        [inputs.confirm]
        line = 10
        active = "low"
        within_ms = 300
        [control]
        socket = "/run/r.sock"
        [log]
        level = "debug"
        target = "stderr"
    "#;
    let roi = Some(Roi { x: 8, y: 4, width: 600, height: 400 });
    let expected = Settings {
        model_card: Some("etc/cards/resnet.toml".into()),
        threads: Some(3),
        profile: "/srv/a.profile".into(),
        source: SourceSettings::V4l2(V4l2Settings {
            device: "/dev/video2".into(),
            format: Some(PixelFormat::Yuyv),
            width_px: 800,
            height_px: 600,
            frames_per_second: 15,
            timeout: Duration::from_secs(2),
            controls: vec![("white_balance_automatic".into(), 0), ("exposure_time_absolute".into(), 80)],
        }),
        roi,
        trigger: TriggerSettings::FreeRunning { interval: Duration::from_millis(150) },
        presence: Some(PresenceSettings { roi, min_change: 12.0, background: Some("etc/empty.png".into()) }),
        threshold: Some(ManualThreshold { value: 0.5, fingerprint: "0123456789abcdef".into() }),
        on_fault: OnFault::Stop,
        line: LineSettings {
            wiring: Wiring {
                backend: Backend::GpioChip,
                chip: Some("tegra234-gpio".into()),
                outputs: [
                    (
                        Role::Reject,
                        OutputLine {
                            line: LineName::Name("PQ.05".into()),
                            active_low: true,
                            bias: Some(Bias::PullUp),
                            drive: Drive::OpenDrain,
                        },
                    ),
                    (
                        Role::Heartbeat,
                        OutputLine { line: LineName::Number(9), active_low: false, bias: None, drive: Drive::PushPull },
                    ),
                ]
                .into(),
                inputs: [
                    (
                        Sensor::Encoder,
                        InputLine {
                            line: LineName::Name("PQ.06".into()),
                            active_low: true,
                            bias: Some(Bias::PullUp),
                            debounce: Duration::from_micros(20),
                        },
                    ),
                    (
                        Sensor::Confirm,
                        InputLine {
                            line: LineName::Number(10),
                            active_low: true,
                            bias: None,
                            debounce: Duration::from_millis(10),
                        },
                    ),
                ]
                .into(),
            },
            ejection: Ejection {
                mode: Mode::Pass,
                delay: Delay::Counts(700),
                pulse: Duration::from_millis(80),
                min_gap: Duration::from_millis(15),
            },
            heartbeat: Duration::from_millis(100),
            stops_with_ready: true,
            confirm_within: Duration::from_millis(300),
        },
        control_socket: Some("/run/r.sock".into()),
        log: LogSettings { level: log::LevelFilter::Debug, target: LogTarget::Stderr },
    };
    assert_eq!(parse(text, "etc/rejectd.toml").unwrap(), expected);

    let folder = "[profile]\nfile='a'\n[source]\nkind='folder'\n[source.folder]\npath='in'\nloop=true";
    let settings = parse(folder, "/etc/rejectd/rejectd.toml").unwrap();
    assert_eq!(settings.source, SourceSettings::Folder { path: "/etc/rejectd/in".into(), looped: true });
    assert_eq!(settings.trigger, TriggerSettings::EveryFrame { interval: Duration::ZERO });
}

#[test]
fn all_mistakes_come_in_one_run_each_with_its_place() {
    let text = "\
[profil]
file = \"a.profile\"
[source]
kind = \"simulate\"
[source.simulated]
defect_fraction = 1.5
parts = \"20\"
pulse_ms = 50
[line]
  puls_ms = 50
delay_ms = 0
mode = \"accept\"
wibble = 1
";
    let found: Vec<String> = mistakes(text).iter().map(Mistake::to_string).collect();
    let expected = [
        "rejectd.toml:1:2: there is no section [profil]; did you mean [profile]?",
        "rejectd.toml:4:8: [source] kind is \"simulate\"; expected one of \"v4l2\", \"folder\", \"simulated\"; did you \
         mean \"simulated\"?",
        "rejectd.toml:6:19: [source.simulated] defect_fraction is 1.5; expected a number from 0 to 1",
        "rejectd.toml:7:9: [source.simulated] parts is \"20\"; expected an integer from 1; remove the quotes",
        "rejectd.toml:8:1: [source.simulated] has no key pulse_ms; pulse_ms belongs to [line]",
        "rejectd.toml:10:3: [line] has no key puls_ms; did you mean pulse_ms?",
        "rejectd.toml:11:12: [line] delay_ms is 0; expected an integer from 1 to 600000, in milliseconds",
        "rejectd.toml:12:8: [line] mode is \"accept\"; expected one of \"eject\", \"pass\"",
        "rejectd.toml:13:1: [line] has no key wibble; expected one of backend, chip, mode, delay_ms, delay_counts, \
         pulse_ms, min_gap_ms, stops_with_ready",
    ];
    assert_eq!(found, expected);
}

#[test]
fn wrong_types_say_what_to_write_instead() {
    let cases = [
        (
            "[line]\npulse_ms = 50.0",
            "6:12: [line] pulse_ms is 50.0; expected an integer from 1 to 10000, in milliseconds; write it \
             without a decimal point",
        ),
        ("[line]\nmode = 5", "6:8: [line] mode is 5; expected one of \"eject\", \"pass\"; put it in quotes"),
        ("[presence]\nenabled = 1", "6:11: [presence] enabled is 1; expected true or false; this is an integer"),
        ("wibble = 5", "5:1: [source] has no key wibble; expected one of kind, roi_px"),
        ("line = 5", "5:1: [source] has no key line; line belongs to [trigger.gpio]"),
        (
            "[line.reject]\nline = \"17\"",
            "6:8: [line.reject] line is \"17\"; expected the number of a GPIO line from 0 to 1023, or its name in quotes; \
             remove the quotes",
        ),
        ("[[log]]\nlevel = \"info\"", "5:1: log is [[log]]; expected a section with the header [log]"),
        (
            "[line.pulse_ms]\nx = 1",
            "5:1: [line] pulse_ms is [line.pulse_ms]; expected an integer from 1 to 10000, in milliseconds; \
             this is a table",
        ),
        (
            "[line]\npulse_ms = 99999999999999999999",
            "6:12: [line] pulse_ms is 99999999999999999999; expected an integer from 1 to 10000, in milliseconds",
        ),
        (
            "[source.v4l2]\ndevice = \"video0\"",
            "6:10: [source.v4l2] device is \"video0\"; expected the path of a device from the root \
             folder on; write it with /dev/ in front",
        ),
        (
            "[source.v4l2.controls]\ngain = \"high\"",
            "6:8: [source.v4l2.controls] gain is \"high\"; expected an integer, true or false; this is a string",
        ),
        (
            "[verdict]\nthreshold = nan\nthreshold_for = 1234567890123456",
            "6:13: [verdict] threshold is nan; expected a number above 0",
        ),
        (
            "roi_px = [0, 0, 8, 100]",
            "5:10: [source] roi_px is [0, 0, 8, 100]; expected [x, y, width, height] in \
             pixels of the frame, x and y from 0, width and height from 16, none above 16384; correct width",
        ),
    ];
    for (text, expected) in cases {
        let found = complaints(text);
        assert_eq!(found.first().map(String::as_str), Some(format!("rejectd.toml:{expected}").as_str()), "{found:?}");
    }
    assert!(complaints("threshold = 0.4").iter().any(|line| line.ends_with("threshold belongs to [verdict]")));
    assert!(complaints("[v4l2]\ndevice = '/dev/video1'")[0].ends_with("[v4l2]; did you mean [source.v4l2]?"));
    assert!(complaints("[line]\npulse = 5")[0].ends_with("did you mean pulse_ms?"));
    assert!(complaints("[log]\n\"a b\" = 5")[0].contains("[log] has no key \"a b\"; expected one of level, target"));
    assert!(complaints("[line]\nPulse-MS = 5")[0].ends_with("did you mean pulse_ms?"));
}

#[test]
fn contradictions_are_refused() {
    let cases = [
        ("[trigger]\nkind = \"free_running\"\ninterval_ms = 0", "7:15: [trigger] interval_ms is 0"),
        ("[presence]\nenabled = true", "6:11: [presence] enabled is true, but with the trigger every_frame"),
        ("[verdict]\nthreshold = 0.4", "6:13: [verdict] threshold is set, but threshold_for is missing"),
        ("[verdict]\nthreshold_for = \"0123456789abcdef\"", "6:17: [verdict] threshold_for is set, but threshold"),
        ("roi_px = [300, 0, 32, 32]", "5:10: [source] roi_px [300, 0, 32, 32] reaches outside the frame of 320 × 320"),
        ("[source.v4l2]\nwidth_px = 16000\nheight_px = 16000", "6:12: [source.v4l2] width_px = 16000 and height_px"),
    ];
    for (text, expected) in cases {
        let found = complaints(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("rejectd.toml:{expected}")), "{found:?}");
    }
    let folder = "[profile]\nfile = \"a\"\n[source]\nkind = \"folder\"";
    assert!(mistakes(folder)[0].to_string().starts_with("rejectd.toml:4:8: [source] kind is \"folder\", but"));
}

#[test]
fn one_mistake_is_reported_once() {
    for (text, expected) in [
        ("[trigger]\nknd = \"free_running\"\n[presence]\nenabled = true", "did you mean kind?"),
        ("[trigger]\nkind = \"free_runing\"\n[presence]\nenabled = true", "did you mean \"free_running\"?"),
        ("[verdict]\nthreshold = 0.4\ntreshold_for = \"0123456789abcdef\"", "did you mean threshold_for?"),
        ("[verdict]\nthreshold = 0,4\nthreshold_for = \"0123456789abcdef\"", "write a decimal point"),
    ] {
        let found = complaints(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].ends_with(expected), "{found:?}");
    }
    let found = mistakes("[profile]\nfile = \"a\"\n[source]\n[presence]\nenabled = true");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].sentence.starts_with("[source] kind is missing"));
}

#[test]
fn a_fault_never_accepts_a_part() {
    let found = complaints("[verdict]\non_fault = \"accept\"");
    assert_eq!(
        found,
        ["rejectd.toml:6:12: [verdict] on_fault is \"accept\"; expected one of \"reject\", \"stop\"; a part \
             that nobody could judge is never accepted, or a dead camera would let every bad part pass"]
    );
}

#[test]
fn missing_keys_are_named_with_the_place_where_they_belong() {
    let found: Vec<String> = mistakes("").iter().map(Mistake::to_string).collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("rejectd.toml:1:1: [profile] file is missing; expected the path of a taught profile"));
    let found = mistakes("\n[profile]\n[source]\nkind = \"simulated\"");
    assert_eq!((found[0].line, found[0].column), (2, 1));
}

#[test]
fn a_syntax_error_has_its_place_and_does_not_hide_the_other_mistakes() {
    let found = complaints("[line]\npulse_ms = 50 ms\ndelay = 3\n[log]\nlevel = debug\n");
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("rejectd.toml:6:12: not valid TOML: 50 ms: "), "{found:?}");
    assert_eq!(found[1], "rejectd.toml:7:1: [line] has no key delay; did you mean delay_ms?");
    assert!(found[2].starts_with("rejectd.toml:9:9: not valid TOML: debug: string values must be quoted"), "{found:?}");
    let found = complaints("roi_px = [0, 0,\n[line]\npulse = 4\n");
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn files_that_are_no_text_or_not_there_are_refused_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(NAME);
    assert!(load(&file).unwrap_err().to_string().contains("the configuration cannot be read: No such file"));
    std::fs::write(&file, b"[line]\nmode = \"\xff\"").unwrap();
    assert!(load(&file).unwrap_err().to_string().contains("rejectd.toml:2:9: not valid UTF-8"));
    std::fs::write(&file, format!("\u{feff}{}", minimal("[log]\r\nlevel = \"warn\"\r\n"))).unwrap();
    assert_eq!(load(&file).unwrap().profile, folder.path().join("a.profile"));
}

/// Every text at a distance of one slip: a letter lost, doubled, added or replaced, two letters swapped.
fn slips(word: &str) -> HashSet<String> {
    let letters: Vec<char> = word.chars().collect();
    let alphabet: Vec<char> = ('a'..='z').chain('0'..='9').chain(['_', '-', 'P']).collect();
    let mut slips = HashSet::new();
    for at in 0..=letters.len() {
        let (before, after) = letters.split_at(at);
        let mut add = |middle: &[char], after: &[char]| slips.insert([before, middle, after].concat().iter().collect());
        for &letter in &alphabet {
            add(&[letter], after);
            if let [_, rest @ ..] = after {
                add(&[letter], rest);
            }
        }
        if let [_, rest @ ..] = after {
            add(&[], rest);
        }
        if let [first, second, rest @ ..] = after {
            add(&[*second, *first], rest);
        }
    }
    slips.remove(word);
    slips.remove("");
    slips
}

#[test]
fn every_key_with_one_slip_gets_the_right_suggestion() {
    let active: String = all_active().lines().filter(|line| !line.starts_with('#')).flat_map(|l| [l, "\n"]).collect();
    let keys = key_lines(&active);
    let (mut typed, mut wrong) = (0, Vec::new());
    for (number, section, key) in keys.iter().filter(|(_, section, _)| section != "source.v4l2.controls") {
        let value = active.lines().nth(*number).unwrap().split_once(" = ").unwrap().1;
        for slip in slips(key) {
            let found = mistakes(&with_line(&active, *number, &format!("{slip} = {value}")));
            let expected = format!("[{section}] has no key {slip}; did you mean {key}?");
            typed += 1;
            let right = found.len() == 1 && (found[0].line, found[0].column) == (number + 1, 1);
            if !right || found[0].sentence != expected {
                wrong.push((section, key, slip, found));
            }
        }
    }
    assert!(typed > 19_000, "{typed}");
    println!("{} of {typed} keys with one slip have no right suggestion", wrong.len());
    assert!(wrong.is_empty(), "{} of {typed}, for instance {:?}", wrong.len(), wrong[0]);
}

#[test]
fn every_section_with_one_slip_gets_the_right_suggestion() {
    let mut headers: HashSet<&str> = known_keys().iter().map(|known| known.key.0).collect();
    headers.insert("source.v4l2.controls");
    assert_eq!(headers.len(), 23);
    for header in headers {
        let (outer, name) = header.rsplit_once('.').map_or((String::new(), header), |(o, n)| (format!("{o}."), n));
        for slip in slips(name).into_iter().map(|slip| outer.clone() + &slip) {
            let text = SHIPPED.replace(&format!("[{header}]\n"), &format!("[{slip}]\n"));
            let expected = format!("there is no section [{slip}]; did you mean [{header}]?");
            assert!(mistakes(&text).iter().any(|mistake| mistake.sentence == expected), "{:?}", mistakes(&text));
        }
    }
}

/// What no accepted file may lead to, said once more without the reader.
fn assert_lawful(settings: &Settings, text: &str) {
    let within = |duration: Duration, least: u64, most: u64| (least..=most).contains(&(duration.as_millis() as u64));
    let side = |side: u32| (16..=16_384).contains(&side);
    let Ejection { delay, pulse, min_gap, .. } = settings.line.ejection;
    let mut lawful = within(pulse, 1, 10_000) && within(min_gap, 0, 10_000);
    let encoder = settings.line.wiring.inputs.contains_key(&Sensor::Encoder);
    lawful &= match delay {
        Delay::Time(delay) => within(delay, 1, 600_000),
        Delay::Counts(counts) => counts > 0 && encoder,
    };
    lawful &= !settings.profile.as_os_str().is_empty();
    lawful &= settings
        .threshold
        .as_ref()
        .is_none_or(|manual| manual.value > 0.0 && manual.value.is_finite() && manual.fingerprint.len() == 16);
    lawful &= match settings.trigger {
        TriggerSettings::FreeRunning { interval } => within(interval, 1, 3_600_000),
        TriggerSettings::EveryFrame { interval } => within(interval, 0, 3_600_000) && settings.presence.is_none(),
        TriggerSettings::External { capture_delay, frame_within } => {
            within(capture_delay, 0, 60_000) && within(frame_within, 1, 60_000) && settings.presence.is_none()
        }
    };
    lawful &= settings.presence.as_ref().is_none_or(|gate| gate.min_change > 0.0 && gate.min_change <= 255.0);
    lawful &= settings.roi.is_none_or(|roi| side(roi.width) && side(roi.height));
    lawful &= match &settings.source {
        SourceSettings::V4l2(camera) => {
            let rate = (1..=1000).contains(&camera.frames_per_second) && within(camera.timeout, 1, 60_000);
            rate && camera.device.is_absolute() && side(camera.width_px) && side(camera.height_px)
        }
        SourceSettings::Folder { path, .. } => !path.as_os_str().is_empty(),
        SourceSettings::Simulated { defect_fraction, width_px, height_px, parts, .. } => {
            (0.0..=1.0).contains(defect_fraction) && side(*width_px) && side(*height_px) && *parts != Some(0)
        }
    };
    let table: toml::Table = text.parse().expect("an accepted file is TOML");
    let known = known_keys();
    let mut left = vec![(String::new(), &table)];
    while let Some((path, table)) = left.pop() {
        for (name, value) in table {
            let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match value.as_table() {
                _ if path == "source.v4l2.controls" => {}
                Some(table) => left.push((inner, table)),
                None => lawful &= known.iter().any(|known| known.key == (path.as_str(), name.as_str())),
            }
        }
    }
    assert!(lawful, "accepted against the rules: {settings:?}\n{text}");
}

/// Values of which none fits any key that has another type, and some fit none at all.
fn wrong_value(old: &str, rng: &mut ChaCha8Rng) -> &'static str {
    let wrong: &[&str] = match old.as_bytes()[0] {
        b'"' => &["17", "true", "[1]", "\"\"", "{ a = 1 }", "1979-05-27", "\"accept\""],
        b't' | b'f' => &["1", "\"true\"", "0.0", "[]", "maybe"],
        b'[' => &["[1, 2, 3]", "[0, 0, -1, 20]", "\"0, 0, 64, 64\"", "[0, 0, 16, 99999]", "640", "[[1, 2, 3, 4]]"],
        _ => &["-1", "\"5\"", "true", "1e300", "nan", "-inf", "[5]", "99999999999999999999", "0,5", "5 ms"],
    };
    wrong[rng.random_range(..wrong.len())]
}

#[test]
fn a_hundred_mutated_files_are_accepted_by_the_rules_or_refused_with_their_place() {
    let reference = all_active();
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..100 {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let keys = key_lines(&reference);
        let (number, section, key) = &keys[rng.random_range(..keys.len())];
        let line = reference.lines().nth(*number).unwrap();
        let (_, value) = line.split_once(" = ").unwrap();
        // The first forty have a value that cannot be right; it must be refused on its own line.
        let takes_any_text = ["card", "background", "file", "path", "socket", "chip"].contains(&key.as_str());
        let planned = seed < 40 && section != "source.v4l2.controls" && !takes_any_text;
        let mutated = if planned {
            with_line(&reference, *number, &format!("{key} = {}", wrong_value(value, rng)))
        } else {
            let mut letters: Vec<char> = line.chars().collect();
            let printable: Vec<char> = (' '..='~').chain(['é', '\u{0}', '\t', '\n']).collect();
            for _ in 0..rng.random_range(1..=3) {
                let at = rng.random_range(..letters.len());
                let letter = printable[rng.random_range(..printable.len())];
                match rng.random_range(0..4) {
                    0 if letters.len() > 1 => drop(letters.remove(at)),
                    1 => letters.insert(at, letters[at]),
                    2 => letters.insert(at, letter),
                    _ => letters[at] = letter,
                }
            }
            with_line(&reference, *number, &letters.iter().collect::<String>())
        };
        match parse(&mutated, NAME) {
            Ok(settings) => {
                assert!(!planned, "seed {seed}: [{section}] {key} was accepted");
                assert_lawful(&settings, &mutated);
                accepted += 1;
            }
            Err(ConfigError::Mistakes(mistakes)) => {
                assert!(!mistakes.is_empty(), "seed {seed}");
                let lines: Vec<&str> = mutated.split('\n').collect();
                for mistake in &mistakes {
                    let inside =
                        lines.get(mistake.line - 1).is_some_and(|line| mistake.column <= line.chars().count() + 1);
                    assert!(inside && mistake.column > 0, "seed {seed}: {mistake}");
                    assert!(mistake.sentence.len() > 20 && !mistake.sentence.contains('\n'), "seed {seed}: {mistake}");
                    println!("{mistake}");
                }
                let there = mistakes.iter().any(|mistake| mistake.line == number + 1);
                assert!(!planned || there, "seed {seed}: [{section}] {key}: {mistakes:?}");
                refused += 1;
            }
            Err(other) => panic!("seed {seed}: {other}"),
        }
    }
    println!("{accepted} accepted, {refused} refused");
    assert!(accepted >= 5 && refused >= 50, "{accepted} accepted, {refused} refused");
}

/// Cuts and flips anywhere in the file, far more than can be looked at: no panic, and a place for every mistake.
#[test]
fn no_damage_to_the_file_makes_the_reader_panic() {
    let reference = all_active();
    let letters: Vec<char> = reference.chars().collect();
    for seed in 0..1000 {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let mut damaged = letters.clone();
        for _ in 0..rng.random_range(1..=20) {
            let at = rng.random_range(..damaged.len());
            match rng.random_range(0..3) {
                0 => damaged[at] = char::from(rng.random_range(0..128u8)),
                1 => drop(damaged.remove(at)),
                _ if rng.random_ratio(1, 8) => damaged.truncate(at.max(1)),
                _ => damaged.swap(at, at / 2),
            }
        }
        let damaged: String = damaged.into_iter().collect();
        match parse(&damaged, NAME) {
            Ok(settings) => assert_lawful(&settings, &damaged),
            Err(error) => assert!(error.to_string().lines().all(|line| line.starts_with("rejectd.toml:")), "{error}"),
        }
    }
}

#[test]
fn a_sensor_line_makes_the_trigger_unless_another_kind_is_named() {
    let trigger = |more: &str| parse(&minimal(more), NAME).unwrap();
    let settings = trigger("[trigger.gpio]\nline = 5\nedge = \"falling\"");
    assert!(matches!(settings.trigger, TriggerSettings::External { .. }));
    assert!(settings.line.wiring.inputs[&Sensor::Trigger].active_low);
    let settings = trigger("[trigger]\nkind = \"software\"");
    assert!(matches!(settings.trigger, TriggerSettings::External { .. }));
    let settings = trigger("[trigger]\nkind = \"every_frame\"\n[trigger.gpio]\nline = 5\n[line.reject]\nline = 5");
    assert!(matches!(settings.trigger, TriggerSettings::EveryFrame { .. }));
    assert!(settings.line.wiring.inputs.is_empty(), "nobody listens to it");
}

#[test]
fn the_ten_lines_of_the_installation_page_are_a_configuration() {
    let page = include_str!("../../docs/install.md");
    let text = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let settings = parse(text, NAME).unwrap();
    assert_eq!(settings.line.ejection.delay, Delay::Time(Duration::from_millis(800)));
    assert!(settings.line.wiring.inputs[&Sensor::Trigger].active_low);
}

#[test]
fn wirings_that_cannot_work_are_told() {
    let cases = [
        ("[trigger]\nkind = \"gpio\"", "6:8: [trigger] kind is \"gpio\", but [trigger.gpio] line is missing"),
        ("[trigger]\ninterval_ms = 9\n[trigger.gpio]\nline = 5", "6:15: [trigger] interval_ms is set, but parts come"),
        (
            "[line.reject]\nline = 17\n[line.ready]\nline = 17",
            "8:8: [line.reject] and [line.ready] are both on line 17",
        ),
        (
            "[trigger.gpio]\nline = \"A\"\n[line.fault]\nline = \"A\"",
            "[trigger.gpio] and [line.fault] are both on line A",
        ),
        ("[line]\ndelay_counts = 40", "6:16: [line] delay_counts is set, but [trigger.encoder] line is missing"),
        (
            "[line]\npulse_ms = 90\nmin_gap_ms = 20\n[trigger]\nkind = \"free_running\"\ninterval_ms = 100",
            "6:12: [line] pulse_ms = 90 with min_gap_ms = 20 lasts into the next part, which comes after interval_ms = 100",
        ),
        (
            "[line.reject]\nline = 2000",
            "6:8: [line.reject] line is 2000; expected the number of a GPIO line from 0 to 1023",
        ),
        ("[line.reject]\nactive = \"hihg\"", "did you mean \"high\"?"),
        ("[line.rejct]\nline = 1", "there is no section [line.rejct]; did you mean [line.reject]?"),
    ];
    for (more, expected) in cases {
        let found = complaints(more);
        assert!(found.len() == 1 && found[0].contains(expected), "{more}: {found:?}");
    }
    let camera = "[profile]\nfile = \"a\"\n[source]\nkind = \"v4l2\"\n[source.v4l2]\nframes_per_second = 5\n[trigger]\nkind \
                  = \"software\"";
    let found = mistakes(camera);
    assert!(
        found[0].sentence.contains("frame_within_ms is 100, but at 5 frames per second a frame comes every 200 ms")
    );
}
