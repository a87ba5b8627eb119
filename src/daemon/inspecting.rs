//! The inspect thread: one part at a time, from frame to verdict.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::post::{Closes, Received};
use super::progress::{GRACE, NAP, Stage};
use super::shared::{Job, Shared, lock};
use super::{Judge, Judging, LEAST_LIMIT};
use crate::frame::Frame;
use crate::part::{Inspection, NoDecision, Outcome, TriggerId, Verdict};

pub(super) struct Inspecting<'a> {
    pub judge: Judge,
    pub shared: &'a Shared,
}

impl Inspecting<'_> {
    /// Judges parts until none will come any more.
    pub fn run(mut self) {
        let shared = self.shared;
        let _gone = Closes(&shared.jobs);
        loop {
            let now = shared.clock.now();
            shared.progress.nap(Stage::Inspect, now);
            match shared.jobs.receive(now + NAP) {
                Received::Nothing => {}
                Received::Closed => return shared.progress.end(Stage::Inspect),
                Received::Letter(job) => {
                    shared.progress.promise(Stage::Inspect, shared.clock.now() + self.limit());
                    self.judge(job);
                }
            }
        }
    }

    /// How long an inspection may take.
    fn limit(&self) -> Duration {
        self.judge.as_ref().map_or(LEAST_LIMIT, |judge| judge.limit)
    }

    fn judge(&mut self, job: Job) {
        let id = job.part.id;
        let is_replaced = self.take_over_judge();
        self.shared.set_busy(true);
        let outcome = self.decide(job);
        self.shared.set_busy(false);
        self.shared.finish(outcome);
        if is_replaced {
            log_first(id);
        }
    }

    fn take_over_judge(&mut self) -> bool {
        let next = lock(&self.shared.next_judge).take();
        next.is_some_and(|(judge, on_fault)| {
            self.judge = judge;
            self.shared.progress.promise(Stage::Inspect, self.shared.clock.now() + self.limit());
            self.shared.report(|health| health.on_fault = Some(on_fault));
            true
        })
    }

    fn decide(&mut self, Job { part, frame }: Job) -> Outcome {
        let (frame, inspection) = match frame {
            Ok(frame) => {
                let inspection = match &mut self.judge {
                    Ok(judge) => inspect_contained(&mut judge.by, &frame),
                    Err(because) => Err(NoDecision::NoProfile(because.clone())),
                };
                (Some(frame), inspection)
            }
            Err(why) => (None, Err(why)),
        };
        let verdict = match (&inspection, &frame) {
            (Ok(inspection), Some(frame)) if inspection.verdict == Verdict::Accept && !self.are_edges_told(frame) => {
                let why = "the input lines were not read up to the time of its frame, which may show another part";
                Verdict::NoDecision(NoDecision::NoFrame(why.into()))
            }
            (Ok(_), Some(frame)) if self.shared.shows_another(part, frame.exposed_by) => {
                let why = "its first frame may show the next part too; parts follow faster than frames";
                Verdict::NoDecision(NoDecision::NoFrame(why.into()))
            }
            (Ok(inspection), _) => inspection.verdict.clone(),
            (Err(why), _) => Verdict::NoDecision(why.clone()),
        };
        let decided = self.shared.clock.now();
        let verdict = self.shared.decide(part, verdict, decided);
        Outcome { part, verdict, inspection: inspection.ok(), frame, decided }
    }

    /// Whether no edge up to the end of this frame's exposure can still be told.
    fn are_edges_told(&self, frame: &Frame) -> bool {
        let until = self.shared.clock.now() + EDGES_LIMIT;
        self.shared.progress.promise(Stage::Inspect, until + GRACE);
        self.shared.await_edges(frame.exposed_by, until)
    }
}

/// The inputs are silent for a nap at most, unless they are stalled.
const EDGES_LIMIT: Duration = Duration::from_millis(2 * NAP.as_millis() as u64);

fn log_first(id: TriggerId) {
    log::info!("part {id} is the first after the reload");
}

/// Inspects the frame; a panic in the network costs this part its decision, and no other.
fn inspect_contained(judging: &mut Judging, frame: &Frame) -> Result<Inspection, NoDecision> {
    catch_unwind(AssertUnwindSafe(|| judging(frame)))
        .map_err(|_| NoDecision::InspectionFailed("it panicked; this is a bug, report it with the log".into()))?
        .map_err(|e| NoDecision::InspectionFailed(e.to_string()))
}
