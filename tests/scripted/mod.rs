//! A line whose camera, lines and inputs do as a script says, by simulated time, with the daemon's own threads.
#![allow(dead_code)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rejectd::clock::{Clock, SimulatedClock, Timestamp};
use rejectd::config::{OnFault, TriggerSettings};
use rejectd::daemon::lateness::Lateness;
use rejectd::daemon::{Control, Judge, Judges, Station, Summary, run};
use rejectd::frame::Frame;
use rejectd::line::schedule::{Delay, Ejection, Mode, Schedule};
use rejectd::line::{Edge, LineInputs, LineOutputs, Role, Sensor, Untrue};
use rejectd::part::{AnomalyMap, Inspection, NoDecision, Outcome, Part, StageTimings, Verdict};
use rejectd::source::{FrameSource, SourceError, Watched};

pub const DELAY: Duration = Duration::from_millis(500);
pub const PULSE: Duration = Duration::from_millis(20);
pub const TIMEOUT: Duration = Duration::from_millis(1000);
pub const FRAME: Duration = Duration::from_millis(33);
/// So many frames wait in a driver's buffers; older ones are lost.
const BUFFERS: u32 = 4;

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn at(ms: u64) -> Timestamp {
    Timestamp(ms * 1_000_000)
}

/// Edges at given times, and times at which the lines cannot be read.
struct ScriptedInputs {
    clock: SimulatedClock,
    edges: VecDeque<Edge>,
    /// When the chip goes, and when it is back; edges in between are lost.
    outages: VecDeque<(Timestamp, Timestamp)>,
    /// How late the thread comes to read an edge.
    lag: Box<dyn FnMut() -> Duration + Send>,
}

impl LineInputs for ScriptedInputs {
    fn next(&mut self, until: Timestamp) -> Result<Option<Edge>, String> {
        let until = match self.outages.front() {
            // What the kernel told before is still to be read.
            Some((gone, _)) if *gone <= self.clock.now() && self.edges.front().is_none_or(|edge| edge.at >= *gone) => {
                return Err("the chip is gone".into());
            }
            Some((gone, _)) => until.min(*gone),
            None => until,
        };
        match self.edges.front() {
            Some(edge) if edge.at <= until => {
                let told = edge.at + (self.lag)();
                self.clock.sleep_until(told);
                Ok(self.edges.pop_front())
            }
            _ => {
                self.clock.sleep_until(until);
                Ok(None)
            }
        }
    }

    fn reopen(&mut self) -> Result<(), String> {
        match self.outages.front() {
            Some((_, back)) if *back > self.clock.now() => Err("still gone".into()),
            _ => {
                if let Some((_, back)) = self.outages.pop_front() {
                    self.edges.drain(..self.edges.partition_point(|edge| edge.at < back));
                }
                Ok(())
            }
        }
    }

    fn has(&self, _sensor: Sensor) -> bool {
        true
    }

    fn describe(&self) -> String {
        "scripted".into()
    }
}

/// What the camera does wrong; drawn for each frame that is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CameraFault {
    None,
    Damaged,
    Unplugged,
    Silent,
    /// The frame comes late by so many periods.
    Late(u64),
    /// Its driver does not answer for so long, whatever it was told.
    Hangs(Duration),
}

/// A camera that streams every 33 ms. Each frame carries in its pixels when it was really exposed, which is somewhere in
/// between what can be told from outside, so that a judge can see whose it is.
struct ScriptedCamera {
    clock: SimulatedClock,
    draw: Box<dyn FnMut() -> CameraFault + Send>,
    gone_until: Option<Timestamp>,
    silent_until: Timestamp,
    sequence: u64,
}

fn gone() -> SourceError {
    SourceError::Disconnected("unplugged".into())
}

/// The start of the first frame at or after a moment.
fn next_frame(moment: Timestamp) -> Timestamp {
    let period = FRAME.as_nanos() as u64;
    Timestamp(moment.0.div_ceil(period) * period)
}

fn frame_of(captured: Timestamp, sequence: u64) -> Frame {
    let exposed = captured + FRAME.mul_f64((sequence % 7) as f64 / 6.0);
    let mut rgb = vec![0; 3 * 16 * 16];
    rgb[..8].copy_from_slice(&exposed.0.to_le_bytes());
    Frame::new(16, 16, rgb, captured, sequence).unwrap().lasting_until(captured + FRAME)
}

impl FrameSource for ScriptedCamera {
    fn grab(&mut self, not_before: Timestamp, timeout: Duration) -> Result<Frame, SourceError> {
        if self.gone_until.is_some() {
            return Err(gone());
        }
        let now = self.clock.now();
        let until = now + timeout;
        let mut captured = next_frame(not_before.max(self.silent_until).max(now - BUFFERS * FRAME));
        if captured > until {
            self.clock.sleep_until(until);
            return Err(SourceError::Timeout("silent".into()));
        }
        match (self.draw)() {
            CameraFault::None => {}
            CameraFault::Damaged => return Err(SourceError::BadFrame("half a JPEG".into())),
            CameraFault::Unplugged => {
                self.gone_until = Some(now + ms(700));
                return Err(gone());
            }
            CameraFault::Silent => {
                self.silent_until = now + ms(2500);
                self.clock.sleep_until(until);
                return Err(SourceError::Timeout("silent".into()));
            }
            CameraFault::Late(periods) => captured = captured + FRAME * periods as u32,
            CameraFault::Hangs(time) => self.clock.sleep_until(now + time),
        }
        // A frame arrives when it is read out.
        self.clock.sleep_until(captured + FRAME + FRAME / 2);
        self.sequence += 1;
        Ok(frame_of(captured, self.sequence))
    }

    fn watch(&mut self, timeout: Duration) -> Result<Watched, SourceError> {
        if self.gone_until.is_some() {
            return Err(gone());
        }
        let until = self.clock.now() + timeout;
        let next = next_frame(self.clock.now().max(self.silent_until) + Duration::from_nanos(1)) + FRAME / 2;
        self.clock.sleep_until(next.min(until));
        Ok(if next <= until { Watched::Frame } else { Watched::Silence })
    }

    fn reopen(&mut self) -> Result<(), SourceError> {
        match self.gone_until {
            Some(back) if back > self.clock.now() => Err(gone()),
            _ => {
                self.gone_until = None;
                Ok(())
            }
        }
    }

    fn describe(&self) -> String {
        "scripted".into()
    }
}

type Moves = Arc<Mutex<Vec<(Role, bool, Timestamp)>>>;

/// Lines that take a little while to set, and fail now and then.
struct ScriptedLines {
    clock: SimulatedClock,
    moves: Moves,
    levels: BTreeMap<Role, bool>,
    draw: Box<dyn FnMut(Role, bool) -> LineFault + Send>,
    verify: Box<dyn FnMut(Timestamp) -> Option<Role> + Send>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum LineFault {
    None,
    Slow(Duration),
    Refused,
}

impl LineOutputs for ScriptedLines {
    fn set(&mut self, role: Role, active: bool, _now: Timestamp) -> Result<(), String> {
        match (self.draw)(role, active) {
            LineFault::None => {}
            LineFault::Slow(time) => self.clock.sleep_until(self.clock.now() + time),
            LineFault::Refused => return Err("EIO".into()),
        }
        if self.levels.insert(role, active) != Some(active) {
            self.moves.lock().unwrap().push((role, active, self.clock.now()));
        }
        Ok(())
    }

    fn verify(&mut self) -> Result<(), Untrue> {
        let untrue = (self.verify)(self.clock.now());
        untrue.map_or(Ok(()), |role| Err(Untrue { role, why: format!("the {role} line reads back wrongly") }))
    }

    fn describe(&self) -> String {
        "scripted".into()
    }
}

/// Which part a frame belongs to is told by its time; parts with an odd number of tenths of a second are bad.
pub fn is_good(triggered: Timestamp) -> bool {
    (triggered.0 / 100_000_000).is_multiple_of(2)
}

/// How long an inspection takes, drawn for each; none is a panic.
pub type Pace = Arc<Mutex<dyn FnMut() -> Option<Duration> + Send>>;

/// Judges a frame by the part that its pixels show: the last one that was in front of the camera at or before it.
///
/// * `parts` — when they were there, in the order of time
pub fn judge(clock: &SimulatedClock, parts: Arc<Vec<Timestamp>>, pace: Pace) -> Judge {
    let clock = clock.clone();
    let by = move |frame: &Frame| {
        let shown = u64::from_le_bytes(frame.rgb()[..8].try_into().unwrap());
        assert!((frame.captured.0..=frame.exposed_by.0).contains(&shown));
        let time = pace.lock().unwrap()();
        clock.sleep_until(clock.now() + time.expect("a bug in the network"));
        let before = parts.partition_point(|part| part.0 <= shown);
        let owner = before.checked_sub(1).map_or(frame.captured, |last| parts[last]);
        let score = if is_good(owner) { 0.0 } else { 2.0 };
        Ok(Inspection {
            score,
            threshold: 1.0,
            verdict: Verdict::of(score, 1.0),
            map: AnomalyMap { width: 1, height: 1, distances: vec![score] },
            timings: StageTimings::default(),
        })
    };
    Ok(Judges { by: Box::new(by), limit: ms(200) })
}

pub struct Line {
    pub clock: SimulatedClock,
    /// When parts pass the sensor.
    pub parts: Vec<Timestamp>,
    pub more_edges: Vec<Edge>,
    pub input_outages: VecDeque<(Timestamp, Timestamp)>,
    pub lag: Box<dyn FnMut() -> Duration + Send>,
    pub camera: Box<dyn FnMut() -> CameraFault + Send>,
    pub lines: Box<dyn FnMut(Role, bool) -> LineFault + Send>,
    /// Which line does not read back as it was set, at a moment.
    pub verify: Box<dyn FnMut(Timestamp) -> Option<Role> + Send>,
    pub pace: Pace,
    pub ejection: Ejection,
    pub confirm_within: Option<Duration>,
    pub on_fault: OnFault,
    /// How many outcomes may wait for the observer.
    pub backlog: usize,
    /// Whether the belt stops when ready falls.
    pub stops_with_ready: bool,
    /// When the line is told to stop, after the last part.
    pub rest: Duration,
}

impl Line {
    pub fn of(parts: Vec<Timestamp>) -> Line {
        Line {
            clock: SimulatedClock::default(),
            parts,
            more_edges: Vec::new(),
            input_outages: VecDeque::new(),
            lag: Box::new(|| Duration::ZERO),
            camera: Box::new(|| CameraFault::None),
            lines: Box::new(|_, _| LineFault::None),
            verify: Box::new(|_| None),
            pace: Arc::new(Mutex::new(|| Some(ms(40)))),
            ejection: Ejection { mode: Mode::Eject, delay: Delay::Time(DELAY), pulse: PULSE, min_gap: Duration::ZERO },
            confirm_within: None,
            on_fault: OnFault::Reject,
            backlog: 8192,
            stops_with_ready: false,
            rest: ms(3000),
        }
    }

    pub fn run(self) -> Ran {
        self.run_with(|_, _| ())
    }

    /// * `steer` — is called with the control and the clock, before the first part
    pub fn run_with(self, steer: impl FnOnce(Control, SimulatedClock)) -> Ran {
        self.run_fully(steer, |_| ())
    }

    /// * `observe` — is called with the count of the outcomes before, for each that the observer receives
    pub fn run_observed(self, observe: impl FnMut(usize)) -> Ran {
        self.run_fully(|_, _| (), observe)
    }

    fn run_fully(self, steer: impl FnOnce(Control, SimulatedClock), mut observe: impl FnMut(usize)) -> Ran {
        let clock = self.clock.clone();
        let parts = Arc::new(self.parts.clone());
        let lost = |part: &&Timestamp| self.input_outages.iter().any(|(gone, back)| (*gone..*back).contains(*part));
        let triggers: Vec<Timestamp> = self.parts.iter().filter(|part| !lost(part)).copied().collect();
        let trigger = |at: &Timestamp| Edge { sensor: Sensor::Trigger, active: true, at: *at, lost: 0 };
        let mut edges: Vec<Edge> = self.parts.iter().map(trigger).chain(self.more_edges).collect();
        edges.sort_by_key(|edge| edge.at);
        // Resident from the start, so that what grows later is the daemon's.
        let moves = Moves::new(Mutex::new(resident(12 * parts.len(), (Role::Busy, false, Timestamp(0)))));
        let mut outcomes: Vec<Ended> = resident(parts.len(), Ended::default());
        let station = Station {
            source: Box::new(ScriptedCamera {
                clock: clock.clone(),
                draw: self.camera,
                gone_until: None,
                silent_until: Timestamp(0),
                sequence: 0,
            }),
            timeout: TIMEOUT,
            frame_limit: Duration::ZERO,
            trigger: TriggerSettings::External { capture_delay: Duration::ZERO, frame_within: ms(100) },
            presence: None,
            judge: judge(&clock, parts.clone(), self.pace),
            on_fault: self.on_fault,
            schedule: Schedule::new(self.ejection),
            outputs: Box::new(ScriptedLines {
                clock: clock.clone(),
                moves: moves.clone(),
                levels: BTreeMap::new(),
                draw: self.lines,
                verify: self.verify,
            }),
            heartbeat: ms(50),
            stops_with_ready: self.stops_with_ready,
            inputs: Some(Box::new(ScriptedInputs {
                clock: clock.clone(),
                edges: edges.into(),
                outages: self.input_outages,
                lag: self.lag,
            })),
            confirm_within: self.confirm_within,
            clock: Arc::new(clock.clone()),
            observer_backlog: self.backlog,
        };
        let end = self.parts.last().copied().unwrap_or_default() + self.rest;
        let mut early = 0;
        let control_of_run = Mutex::new(None);
        let summary = run(
            station,
            |control| {
                *control_of_run.lock().unwrap() = Some(control.clone());
                later(&clock, end, {
                    let control = control.clone();
                    move || control.stop()
                });
                steer(control, clock.clone());
            },
            |outcome| {
                observe(outcomes.len());
                outcomes.push(Ended::of(&outcome));
                if outcomes.len() == triggers.len().div_ceil(10) {
                    early = resident_kib();
                }
            },
        );
        let lateness = control_of_run.lock().unwrap().take().unwrap().lateness();
        let grown = resident_kib().saturating_sub(early);
        let moves = moves.lock().unwrap().clone();
        outcomes.sort_by_key(|ended| ended.part.map(|part| part.id));
        Ran { triggers, ejection: self.ejection, summary, outcomes, grown_kib: grown, moves, lateness }
    }
}

/// Does something at a moment of simulated time, in a thread that takes part in it.
pub fn later(clock: &SimulatedClock, moment: Timestamp, what: impl FnOnce() + Send + 'static) {
    /// A panic must not stop the time of all others.
    struct Leaves(SimulatedClock);
    impl Drop for Leaves {
        fn drop(&mut self) {
            self.0.leave();
        }
    }
    clock.enter();
    let clock = clock.clone();
    std::thread::spawn(move || {
        let leaves = Leaves(clock);
        leaves.0.sleep_until(moment);
        what();
    });
}

fn resident<T: Clone>(length: usize, with: T) -> Vec<T> {
    let mut list = vec![with; length];
    list.clear();
    list
}

/// Resident kilobytes of this process.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    resident.trim().trim_end_matches(" kB").parse().unwrap()
}

/// How a part ended, without its pixels and sentences: a hundred thousand of them would hide a leak.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ended {
    pub part: Option<Part>,
    /// `accept`, `reject`, or why there is no decision.
    pub verdict: &'static str,
    pub captured: Option<Timestamp>,
    pub score: Option<f32>,
    pub decided: Timestamp,
}

impl Ended {
    fn of(outcome: &Outcome) -> Ended {
        Ended {
            part: Some(outcome.part),
            captured: outcome.frame.as_ref().map(|frame| frame.captured),
            score: outcome.inspection.as_ref().map(|inspection| inspection.score),
            decided: outcome.decided,
            verdict: match &outcome.verdict {
                Verdict::Accept => "accept",
                Verdict::Reject => "reject",
                Verdict::NoDecision(NoDecision::NoFrame(_)) => "no frame",
                Verdict::NoDecision(NoDecision::BadFrame(_)) => "damaged",
                Verdict::NoDecision(NoDecision::InspectionFailed(_)) => "failed",
                Verdict::NoDecision(NoDecision::Late { .. }) => "late",
                Verdict::NoDecision(NoDecision::Missed(_)) => "missed",
                Verdict::NoDecision(NoDecision::NoProfile(_)) => "no profile",
            },
        }
    }

    pub fn triggered(&self) -> Timestamp {
        self.part.expect("it is of a part").triggered
    }
}

pub struct Ran {
    /// When parts were triggered, as the daemon could know it.
    pub triggers: Vec<Timestamp>,
    pub ejection: Ejection,
    pub summary: Summary,
    /// In the order of their numbers.
    pub outcomes: Vec<Ended>,
    /// By how much the process grew from the first tenth of the parts to the end.
    pub grown_kib: usize,
    pub moves: Vec<(Role, bool, Timestamp)>,
    pub lateness: Lateness,
}

impl Ran {
    /// From when to when a line was active.
    pub fn active(&self, role: Role) -> Vec<(Timestamp, Timestamp)> {
        let moves: Vec<_> =
            self.moves.iter().filter(|(moved, ..)| *moved == role).skip_while(|(_, on, _)| !on).collect();
        moves.chunks(2).map(|pair| (pair[0].2, pair.get(1).map_or(Timestamp(u64::MAX), |off| off.2))).collect()
    }

    /// The same in whole milliseconds.
    pub fn active_ms(&self, role: Role) -> Vec<(u64, u64)> {
        self.active(role).iter().map(|(on, off)| (on.0 / 1_000_000, off.0 / 1_000_000)).collect()
    }

    pub fn verdicts(&self) -> Vec<&str> {
        self.outcomes.iter().map(|ended| ended.verdict).collect()
    }

    pub fn count(&self, verdict: &str) -> usize {
        self.outcomes.iter().filter(|ended| ended.verdict == verdict).count()
    }

    fn delay(&self) -> Duration {
        match self.ejection.delay {
            Delay::Time(delay) => delay,
            Delay::Counts(_) => panic!("this line goes by counts"),
        }
    }

    /// Every trigger has exactly one outcome; an accepted part was judged good by a frame of its own, in time; and the
    /// reject line did for each part what its outcome says, within `tolerance` of its due time.
    pub fn assert_sound(&self, tolerance: Duration) {
        assert_eq!(self.summary.parts(), self.outcomes.len() as u64);
        assert_eq!(self.summary.unobserved, 0);
        let mut triggers: Vec<Timestamp> = self.outcomes.iter().map(Ended::triggered).collect();
        triggers.sort_unstable();
        assert_eq!(triggers, self.triggers, "every trigger has one outcome");
        for ended in self.outcomes.iter().filter(|ended| ended.verdict == "accept") {
            let (captured, triggered) = (ended.captured.expect("an accepted part has a frame"), ended.triggered());
            assert!(captured >= triggered && captured.since(triggered) <= ms(100), "a frame of its own: {ended:?}");
            assert!(is_good(triggered), "{ended:?} is bad");
            assert!(ended.decided < triggered + self.delay());
            assert!(ended.score.is_some_and(|score| score <= 1.0));
        }
        match self.ejection.mode {
            Mode::Eject => self.assert_ejected(tolerance),
            Mode::Pass => self.assert_closed(tolerance),
        }
    }

    /// Each part that was not accepted meets the ejector at work; each pulse begins for such a part.
    fn assert_ejected(&self, tolerance: Duration) {
        let pulses = self.active(Role::Reject);
        let mut guilty: Vec<Timestamp> = Vec::new();
        for ended in self.outcomes.iter().filter(|ended| ended.verdict != "accept") {
            let due = ended.triggered() + self.delay();
            guilty.push(due);
            let first = pulses.partition_point(|(_, off)| *off <= due);
            let met = pulses.get(first).is_some_and(|(on, _)| *on <= due + tolerance);
            assert!(met, "{ended:?} passed at {due:?}; the next pulse is {:?}", pulses.get(first));
        }
        guilty.sort_unstable();
        for (on, off) in &pulses {
            let next = guilty.partition_point(|due| *due + tolerance < *on);
            assert!(guilty.get(next).is_some_and(|due| *due <= *on), "a pulse from {on:?} to {off:?} for nobody");
        }
    }

    /// The gate is open for no part that was not accepted.
    fn assert_closed(&self, tolerance: Duration) {
        let open = self.active(Role::Reject);
        for ended in self.outcomes.iter().filter(|ended| ended.verdict != "accept") {
            let due = ended.triggered() + self.delay();
            let first = open.partition_point(|(_, off)| *off <= due + tolerance);
            let is_open = open.get(first).is_some_and(|(on, _)| *on <= due);
            assert!(!is_open, "{ended:?} passed the gate that was open for {:?}", open.get(first));
        }
    }
}

pub fn every(period: Duration, count: u64) -> Vec<Timestamp> {
    (1..=count).map(|i| Timestamp(i * period.as_nanos() as u64)).collect()
}
