//! Ten thousand inspections one after another, each beside a loop of about as long that touches no memory: how late the
//! latest are, and how much of that is the machine's.
//!
//! `cargo bench --bench steady [-- COUNT]`; the bank's rows and the pictures are seeded.

use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rejectd::frame::Frame;
use rejectd::inspect::card::Model;
use rejectd::inspect::embedding::Embeddings;
use rejectd::inspect::metric::Metric;
use rejectd::inspect::{Extractor, Inspector};
use rejectd::source::simulated::{Belt, BeltSettings};
use rejectd::teach::Options;

const PARTS: u64 = 50;
const BANK_ROWS: usize = 2000;

fn main() {
    let count = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(10_000);
    let model = Model::built_in();
    let extractor = Extractor::new(&model, &Options::for_model(&model).recipe).expect("it is built in");
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let width = extractor.channels();
    let rows = (0..BANK_ROWS * width).map(|_| rng.random_range(-1.0..1.0)).collect();
    let bank = Embeddings::new(width, rows, false).normalise();
    let mut inspector = Inspector::assemble(extractor, Metric::default(), bank, 1.0).expect("the bank has its width");
    let belt = Belt::new(BeltSettings { width: 640, height: 480, ..BeltSettings::default() });
    let frames: Vec<Frame> = (0..PARTS).map(|part| belt.good_part(part)).collect();
    let mut inspect = |i: usize| {
        std::hint::black_box(inspector.inspect(&frames[i % frames.len()]).expect("frames are whole"));
    };
    let median = middle((0..50).map(|i| timed(|| inspect(i))).collect());
    let turns = turns_for(median);
    let (mut inspections, mut loops) = (Vec::new(), Vec::new());
    for i in 0..count {
        inspections.push(timed(|| inspect(i)));
        loops.push(timed(|| spin(turns)));
    }
    println!("| {count} times | median | p99 | p99.9 | longest | p99.9 / median |");
    println!("|---|---|---|---|---|---|");
    for (name, mut times) in [("inspection, one thread", inspections), ("a loop without memory", loops)] {
        times.sort();
        let ms = |share: f64| times[((count as f64 * share) as usize).min(count - 1)].as_secs_f64() * 1e3;
        let (median, late) = (ms(0.5), ms(0.999));
        println!("| {name} | {median:.2} ms | {:.2} | {late:.2} | {:.2} | {:.2} |", ms(0.99), ms(1.0), late / median);
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// How many turns of the loop take about as long.
fn turns_for(time: Duration) -> u64 {
    const TRIAL: u64 = 1_000_000;
    let trial = middle((0..9).map(|_| timed(|| spin(TRIAL))).collect());
    (TRIAL as f64 * time.as_secs_f64() / trial.as_secs_f64()) as u64
}

fn spin(turns: u64) {
    let mut value = 1u64;
    for _ in 0..turns {
        value = std::hint::black_box(value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}
