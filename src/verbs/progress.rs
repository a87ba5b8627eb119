//! Teaching as a person sees it: a bar while a stage runs, and a line with its time when it is done.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::teach::Stage;

/// Shows one stage after another; on a terminal with a bar, elsewhere with lines only.
#[derive(Default)]
pub struct Bars {
    running: Mutex<Option<Running>>,
}

struct Running {
    stage: Stage,
    bar: ProgressBar,
    started: Instant,
    total: usize,
}

impl Bars {
    /// Takes in that `done` of `total` steps of `stage` are done; the first call for a stage ends the one before.
    pub fn step(&self, stage: Stage, done: usize, total: usize) {
        let mut running = self.running.lock().expect("drawing a bar does not panic");
        if running.as_ref().is_none_or(|running| running.stage != stage) {
            running.take().into_iter().for_each(Running::finish);
            let style = ProgressStyle::with_template("  {msg:<26} {wide_bar} {pos}/{len} {eta:>4}");
            let bar = ProgressBar::new(total as u64).with_style(style.expect("the template is valid"));
            bar.set_message(stage.to_string());
            bar.enable_steady_tick(Duration::from_millis(200));
            *running = Some(Running { stage, bar, started: Instant::now(), total });
        }
        if let Some(running) = &mut *running {
            running.total = total;
            running.bar.set_length(total as u64);
            running.bar.set_position(done as u64);
        }
    }

    /// Ends the last stage.
    pub fn finish(&self) {
        self.running.lock().expect("drawing a bar does not panic").take().into_iter().for_each(Running::finish);
    }
}

impl Running {
    fn finish(self) {
        self.bar.finish_and_clear();
        println!("  {:<26} {:>6}  {:>6.1} s", self.stage.to_string(), self.total, self.started.elapsed().as_secs_f32());
    }
}
