//! Long work as a person sees it: a bar while a stage runs, and a line with its time when it is done.

use std::fmt::Display;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Shows one stage after another; on a terminal with a bar, elsewhere with lines only.
#[derive(Default)]
pub struct Bars {
    running: Mutex<Option<Running>>,
    quiet: bool,
}

struct Running {
    stage: String,
    bar: ProgressBar,
    started: Instant,
    total: usize,
}

impl Bars {
    /// Without the lines, for what is done many times over.
    pub fn quiet() -> Bars {
        Bars { quiet: true, ..Bars::default() }
    }

    /// Takes in that `done` of `total` steps of `stage` are done; the first call for a stage ends the one before.
    pub fn step(&self, stage: impl Display, done: usize, total: usize) {
        let stage = stage.to_string();
        let mut running = self.running.lock().expect("drawing a bar does not panic");
        if running.as_ref().is_none_or(|running| running.stage != stage) {
            self.end(running.take());
            let style = ProgressStyle::with_template("  {msg:<26} {wide_bar} {pos}/{len} {eta:>4}");
            let bar = ProgressBar::new(total as u64).with_style(style.expect("the template is valid"));
            bar.set_message(stage.clone());
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
        let running = self.running.lock().expect("drawing a bar does not panic").take();
        self.end(running);
    }

    fn end(&self, running: Option<Running>) {
        let Some(Running { stage, bar, started, total }) = running else { return };
        bar.finish_and_clear();
        if !self.quiet {
            println!("  {stage:<26} {total:>6}  {:>6.1} s", started.elapsed().as_secs_f32());
        }
    }
}
