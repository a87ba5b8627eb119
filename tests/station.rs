//! Promise: whatever the source does, a part that was not proven good is rejected, and the lines end released.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rejectd::clock::{Clock, MonotonicClock, Timestamp};
use rejectd::config::{OnFault, TriggerSettings};
use rejectd::daemon::presence::PresenceGate;
use rejectd::daemon::{Control, Judge, Station, Summary, judge_by, run};
use rejectd::frame::Frame;
use rejectd::inspect::card::Model;
use rejectd::inspect::embedding::Embeddings;
use rejectd::inspect::metric::{Head, Metric, Projection};
use rejectd::inspect::{Extractor, Inspector};
use rejectd::line::schedule::{Delay, Ejection, Mode, Schedule};
use rejectd::line::{LineOutputs, Role};
use rejectd::part::{NoDecision, Outcome, Verdict};
use rejectd::source::{FrameSource, SourceError};
use rejectd::teach::{GoodParts, Options, teach_bank};

mod common;

const PULSE: Duration = Duration::from_millis(20);
/// A refusal with so many still to come is a panic.
const PANIC: usize = 2;
/// What one takes, on a busy machine.
const INSPECTION: Duration = Duration::from_millis(200);
const TIMEOUT: Duration = Duration::from_millis(400);

/// What the scripted source does at a grab.
#[derive(Clone, Debug)]
enum Step {
    Frame(Frame),
    Fail(SourceError),
    /// Blocks for so long, then gives a frame.
    Slow(Duration, Frame),
    Panic,
}

struct Scripted {
    steps: VecDeque<Step>,
    reopened: Arc<Mutex<usize>>,
}

impl FrameSource for Scripted {
    fn grab(&mut self, not_before: Timestamp, timeout: Duration) -> Result<Frame, SourceError> {
        let stamped = |mut frame: Frame| {
            frame.captured = not_before.max(MonotonicClock.now());
            frame
        };
        match self.steps.pop_front().ok_or(SourceError::Exhausted)? {
            Step::Frame(frame) => Ok(stamped(frame)),
            Step::Fail(error) => Err(error),
            Step::Panic => panic!("a bug in the source"),
            Step::Slow(time, frame) if time > timeout => {
                std::thread::sleep(timeout);
                self.steps.push_front(Step::Slow(time - timeout, frame));
                Err(SourceError::Timeout("silent".into()))
            }
            Step::Slow(time, frame) => {
                std::thread::sleep(time);
                Ok(stamped(frame))
            }
        }
    }

    fn reopen(&mut self) -> Result<(), SourceError> {
        *self.reopened.lock().unwrap() += 1;
        Ok(())
    }

    fn describe(&self) -> String {
        "scripted".into()
    }
}

type Moves = Arc<Mutex<Vec<(Role, bool, Timestamp)>>>;

/// Records every move of a line; the first `refusals` tries to set `refused` fail.
struct Recorded {
    moves: Moves,
    refused: (Role, bool),
    refusals: usize,
}

impl LineOutputs for Recorded {
    fn set(&mut self, role: Role, active: bool, now: Timestamp) -> Result<(), String> {
        if self.refusals > 0 && self.refused == (role, active) {
            self.refusals -= 1;
            assert!(self.refusals != PANIC, "a bug in the driver");
            return Err("the chip is gone".into());
        }
        self.moves.lock().unwrap().push((role, active, now));
        Ok(())
    }

    fn describe(&self) -> String {
        "recorded".into()
    }
}

/// An inspector that accepts what `threshold` says, from a bank of one good part.
fn judge(threshold: f32) -> Judge {
    let model = Model::built_in();
    let mut options = Options::for_model(&model);
    options.recipe.input_px = [32, 32];
    let belt = common::belt(32);
    let parts = GoodParts::read(vec!["good".into()], |_| Ok(belt.good_part(0))).unwrap();
    let learned = teach_bank(&model, &options, &parts, &|_, _, _| ()).unwrap();
    let extractor = Extractor::new(&model, &options.recipe).unwrap();
    judge_by(Inspector::assemble(extractor, learned.metric, learned.bank, threshold).unwrap(), INSPECTION)
}

fn schedule(mode: Mode, delay: Duration, pulse: Duration) -> Schedule {
    Schedule::new(Ejection { mode, delay: Delay::Time(delay), pulse, min_gap: Duration::ZERO })
}

struct Run {
    summary: Summary,
    outcomes: Vec<Outcome>,
    moves: Vec<(Role, bool, Timestamp)>,
    reopened: usize,
}

impl Run {
    fn reject_pulses(&self) -> usize {
        self.moves.iter().filter(|(role, active, _)| *role == Role::Reject && *active).count()
    }

    /// The words of the verdicts, in order.
    fn verdicts(&self) -> Vec<&str> {
        self.outcomes.iter().map(|outcome| outcome.verdict.word()).collect()
    }
}

struct Line {
    steps: Vec<Step>,
    trigger: TriggerSettings,
    presence: Option<PresenceGate>,
    judge: Judge,
    on_fault: OnFault,
    mode: Mode,
    delay: Duration,
    pulse: Duration,
    refused: (Role, bool),
    refusals: usize,
    /// A judge that replaces the first after so long.
    replacement: Option<(Duration, Judge)>,
    /// The run is told to stop after so long.
    stop: Option<Duration>,
}

impl Line {
    fn of(steps: Vec<Step>) -> Line {
        Line {
            steps,
            trigger: TriggerSettings::EveryFrame { interval: Duration::ZERO },
            presence: None,
            judge: judge(f32::INFINITY),
            on_fault: OnFault::Reject,
            mode: Mode::Eject,
            delay: Duration::from_secs(2),
            pulse: PULSE,
            refused: (Role::Ready, true),
            refusals: 0,
            replacement: None,
            stop: None,
        }
    }

    fn run_until(self, stop: Duration) -> Run {
        Line { stop: Some(stop), ..self }.run()
    }

    fn run(self) -> Run {
        let (moves, reopened) = (Moves::default(), Arc::default());
        let station = Station {
            source: Box::new(Scripted { steps: self.steps.into(), reopened: Arc::clone(&reopened) }),
            timeout: TIMEOUT,
            frame_limit: Duration::ZERO,
            trigger: self.trigger,
            presence: self.presence,
            judge: self.judge,
            on_fault: self.on_fault,
            schedule: schedule(self.mode, self.delay, self.pulse),
            heartbeat: Duration::from_millis(50),
            stops_with_ready: false,
            inputs: None,
            confirm_within: None,
            outputs: Box::new(Recorded { moves: moves.clone(), refused: self.refused, refusals: self.refusals }),
            clock: Arc::new(MonotonicClock),
            observer_backlog: 1000,
        };
        let mut outcomes = Vec::new();
        let (replacement, on_fault, stop) = (self.replacement, self.on_fault, self.stop);
        let with_control = |control: Control| {
            if let Some(after) = stop {
                let control = control.clone();
                std::thread::spawn(move || {
                    std::thread::sleep(after);
                    control.stop();
                });
            }
            if let Some((after, judge)) = replacement {
                std::thread::spawn(move || {
                    std::thread::sleep(after);
                    control.replace_judge(judge, on_fault);
                });
            }
        };
        let summary = run(station, with_control, |outcome| outcomes.push(outcome));
        let moves = moves.lock().unwrap().clone();
        assert_eq!(summary.parts(), outcomes.len() as u64);
        for role in [Role::Reject, Role::Ready] {
            let last = moves.iter().rfind(|(moved, _, _)| *moved == role);
            assert!(matches!(last, Some((_, false, _))), "the {role} line is released at the end");
        }
        let reopened = *reopened.lock().unwrap();
        Run { summary, outcomes, moves, reopened }
    }
}

fn frame() -> Step {
    Step::Frame(common::belt(32).good_part(1))
}

#[test]
fn accepted_parts_leave_the_line_at_rest_and_rejected_ones_are_thrown_out_on_time() {
    let line = Line { delay: Duration::from_millis(300), ..Line::of(vec![frame(), frame()]) };
    let run = line.run();
    assert_eq!((run.verdicts(), run.reject_pulses()), (vec!["accept"; 2], 0));
    let interval = Duration::from_millis(150);
    let trigger = TriggerSettings::EveryFrame { interval };
    let line =
        Line { delay: Duration::from_millis(300), judge: judge(-1.0), trigger, ..Line::of(vec![frame(), frame()]) };
    let run = line.run();
    assert_eq!((run.verdicts(), run.reject_pulses()), (vec!["reject"; 2], 2));
    let pulses = run.moves.iter().filter(|(role, active, _)| *role == Role::Reject && *active);
    for ((_, _, moved), outcome) in pulses.zip(&run.outcomes) {
        let due = outcome.part.triggered + Duration::from_millis(300);
        assert!(*moved >= due && moved.since(due) < Duration::from_millis(100), "{:?} late", moved.since(due));
    }
}

#[test]
fn in_pass_mode_an_accepted_part_is_let_through_and_nothing_else_moves_the_line() {
    let delay = Duration::from_millis(200);
    let run = Line { mode: Mode::Pass, delay, ..Line::of(vec![frame()]) }.run();
    assert_eq!(run.reject_pulses(), 1);
    let run = Line { mode: Mode::Pass, delay, judge: Err("none".into()), ..Line::of(vec![frame()]) }.run();
    assert_eq!((run.verdicts(), run.reject_pulses()), (vec!["no-decision"], 0));
}

#[test]
fn a_damaged_frame_is_a_part_without_a_decision_and_the_next_one_is_judged() {
    let bad = Step::Fail(SourceError::BadFrame("half a JPEG".into()));
    let run = Line { delay: Duration::from_millis(100), ..Line::of(vec![bad, frame()]) }.run();
    assert_eq!((run.verdicts(), run.reject_pulses()), (vec!["no-decision", "accept"], 1));
    assert_eq!(run.outcomes[0].verdict, Verdict::NoDecision(NoDecision::BadFrame("half a JPEG".into())));
}

/// The moves of the ready line, in order.
fn ready(run: &Run) -> Vec<bool> {
    run.moves.iter().filter(|(role, _, _)| *role == Role::Ready).map(|(_, active, _)| *active).collect()
}

#[test]
fn a_lost_camera_is_opened_again_though_it_wakes_slowly_and_its_ticks_are_rejected_meanwhile() {
    let lost = Step::Fail(SourceError::Disconnected("unplugged".into()));
    let interval = Duration::from_millis(50);
    // After it is opened again the camera needs six ticks for its first frame.
    let slow = Step::Slow(Duration::from_millis(300), common::belt(32).good_part(1));
    let steps = vec![frame(), lost, slow, frame()];
    let run = Line { trigger: TriggerSettings::FreeRunning { interval }, ..Line::of(steps) }.run();
    assert_eq!(run.reopened, 1);
    let unseen =
        run.outcomes.iter().filter(|outcome| matches!(outcome.verdict, Verdict::NoDecision(NoDecision::NoFrame(_))));
    // Lost at one tick, opened again 250 ms later, the next frame 300 ms after that: about five ticks in each.
    assert!((6..=16).contains(&unseen.count()), "{:?}", run.verdicts());
    assert_eq!(run.summary.accepted, 3);
    assert!(
        ready(&run).ends_with(&[true, false, true, false]),
        "ready goes while the camera is lost: {:?}",
        ready(&run)
    );
}

#[test]
fn a_silent_camera_is_a_fault_and_the_parts_of_its_ticks_are_thrown_out_at_their_own_time() {
    let silent = Step::Slow(Duration::from_secs(9), common::belt(32).good_part(1));
    let delay = Duration::from_millis(200);
    let trigger = TriggerSettings::FreeRunning { interval: Duration::from_millis(50) };
    let run = Line { trigger, delay, ..Line::of(vec![silent]) }.run_until(Duration::from_millis(700));
    let unseen =
        run.outcomes.iter().filter(|outcome| matches!(outcome.verdict, Verdict::NoDecision(NoDecision::NoFrame(_))));
    // The source is silent for 400 ms, eight ticks, and the parts of all of them are thrown out when they are due.
    assert!(unseen.count() >= 7, "{:?}", run.verdicts());
    let pulses: Vec<Timestamp> =
        run.moves.iter().filter(|(role, active, _)| *role == Role::Reject && *active).map(|(_, _, at)| *at).collect();
    assert!(pulses.len() >= 7, "{}", pulses.len());
    for pulse in pulses {
        let due = |outcome: &Outcome| outcome.part.triggered + delay;
        let on_time =
            |outcome: &Outcome| pulse >= due(outcome) && pulse.since(due(outcome)) < Duration::from_millis(45);
        assert!(run.outcomes.iter().any(on_time), "a pulse belongs to no part");
    }
}

#[test]
fn a_verdict_that_comes_too_late_does_not_save_the_part() {
    let run = Line { delay: Duration::from_micros(1), ..Line::of(vec![frame()]) }.run();
    assert!(matches!(run.outcomes[0].verdict, Verdict::NoDecision(NoDecision::Late { .. })), "{:?}", run.verdicts());
    assert_eq!(run.reject_pulses(), 1);
}

#[test]
fn on_fault_stop_releases_ready_at_once_and_until_a_reload() {
    let bad = || Step::Fail(SourceError::BadFrame("half a JPEG".into()));
    let slow = || Step::Slow(Duration::from_millis(300), common::belt(32).good_part(2));
    let line = || Line { on_fault: OnFault::Stop, ..Line::of(vec![frame(), bad(), slow(), slow(), frame()]) };
    let run = line().run();
    assert_eq!(ready(&run).iter().filter(|active| **active).count(), 1, "ready never comes back: {:?}", ready(&run));
    let released = run.moves.iter().rfind(|(role, active, _)| *role == Role::Ready && !*active).unwrap().2;
    assert!(released < run.outcomes[3].decided, "it falls at the fault, not at the end");
    // The reload comes in the middle of a pause, and does not wait for the next part.
    let run = Line { replacement: Some((Duration::from_millis(450), judge(f32::INFINITY))), ..line() }.run();
    assert!(ready(&run).ends_with(&[true, false, true, false]), "{:?}", ready(&run));
    let freed = run.moves.iter().rfind(|(role, active, _)| *role == Role::Ready && *active).unwrap().2;
    assert!(freed < run.outcomes[3].part.triggered, "the part after the reload came later");
}

#[test]
fn an_inspector_that_panics_costs_its_part_the_decision_and_nothing_else() {
    let model = Model::built_in();
    let mut options = Options::for_model(&model);
    options.recipe.input_px = [32, 32];
    let extractor = Extractor::new(&model, &options.recipe).unwrap();
    let channels = extractor.channels();
    let bank = Embeddings::new(1, vec![0.0], false);
    // An output layer without weights is no matrix; only a bug could bring such a head here.
    let hidden = Projection { mean: vec![0.0; channels], weight: vec![0.0; channels] };
    let head = Head::Mlp { hidden, weight: vec![], bias: vec![0.0] };
    let metric = Metric { head: Some(head), ..Metric::default() };
    let broken = Inspector::assemble(extractor, metric, bank, 1.0).unwrap();
    let delay = Duration::from_millis(200);
    let run = Line { judge: judge_by(broken, INSPECTION), delay, ..Line::of(vec![frame(), frame()]) }.run();
    assert_eq!(run.verdicts(), ["no-decision"; 2]);
    assert!(run.reject_pulses() >= 1);
}

#[test]
fn a_reject_line_that_cannot_be_set_makes_the_station_not_ready_until_it_can() {
    let (delay, pulse) = (Duration::from_millis(100), Duration::from_millis(400));
    let slow = Step::Slow(Duration::from_millis(350), common::belt(32).good_part(2));
    let refused = (Role::Reject, true);
    let line = Line { judge: judge(-1.0), delay, pulse, refused, refusals: 3, ..Line::of(vec![frame(), slow]) };
    let run = line.run();
    assert!(ready(&run).ends_with(&[true, false, true, false]), "{:?}", ready(&run));
    assert!(run.reject_pulses() >= 1, "it is tried again within the pulse");
}

#[test]
fn an_empty_belt_is_no_part_and_does_not_reject_for_ever() {
    let empty = || Step::Frame(Frame::new(32, 32, vec![40; 3 * 32 * 32], Timestamp(0), 0).unwrap());
    let steps = vec![empty(), empty(), frame(), empty(), frame()];
    let trigger = TriggerSettings::FreeRunning { interval: Duration::from_millis(40) };
    let presence = Some(PresenceGate::new(None, 8.0, None).unwrap());
    let run = Line { trigger, presence, ..Line::of(steps) }.run();
    assert_eq!((run.summary.parts(), run.summary.empty), (2, 3));
}

#[test]
fn ticks_that_find_the_inspector_busy_are_skipped_and_counted() {
    let slow = || Step::Slow(Duration::from_millis(1), common::belt(32).good_part(2));
    let trigger = TriggerSettings::FreeRunning { interval: Duration::from_micros(200) };
    let run = Line { trigger, ..Line::of((0..20).map(|_| slow()).collect()) }.run();
    let seen = || run.outcomes.iter().filter_map(|outcome| Some((outcome, outcome.frame.as_ref()?)));
    assert_eq!(seen().count(), 20, "what was taken has an outcome");
    assert!(run.summary.no_decision > 0, "nobody saw what passed before a slow frame");
    assert!(seen().all(|(outcome, frame)| frame.captured <= outcome.decided));
    assert!(seen().all(|(outcome, frame)| outcome.part.triggered <= frame.captured));
}

#[test]
fn a_thread_that_panics_ends_the_run_with_the_lines_released_instead_of_hanging() {
    let moves = Moves::default();
    let station = Station {
        source: Box::new(Scripted { steps: vec![frame(), Step::Panic].into(), reopened: Arc::default() }),
        timeout: Duration::from_millis(100),
        frame_limit: Duration::ZERO,
        trigger: TriggerSettings::FreeRunning { interval: Duration::from_millis(10) },
        presence: None,
        judge: judge(f32::INFINITY),
        on_fault: OnFault::Reject,
        schedule: schedule(Mode::Eject, Duration::from_millis(300), PULSE),
        heartbeat: Duration::from_millis(50),
        stops_with_ready: false,
        inputs: None,
        confirm_within: None,
        outputs: Box::new(Recorded { moves: moves.clone(), refused: (Role::Ready, true), refusals: 0 }),
        clock: Arc::new(MonotonicClock),
        observer_backlog: 10,
    };
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(station, |_| (), |_| ())));
    assert!(ran.is_err());
    let last = moves.lock().unwrap().iter().rfind(|(role, _, _)| *role == Role::Ready).copied();
    assert!(matches!(last, Some((Role::Ready, false, _))), "{last:?}");
}

#[test]
fn a_line_that_cannot_be_released_at_the_end_is_tried_again() {
    let run = Line { refused: (Role::Ready, false), refusals: 5, ..Line::of(vec![frame()]) }.run();
    assert_eq!(ready(&run).last(), Some(&false));
}

#[test]
fn a_line_that_cannot_be_set_is_tried_again() {
    let run = Line {
        refusals: 3,
        ..Line::of(vec![frame(), Step::Slow(Duration::from_millis(1500), common::belt(32).good_part(2))])
    }
    .run();
    assert!(run.moves.iter().any(|(role, active, _)| *role == Role::Ready && *active));
}
