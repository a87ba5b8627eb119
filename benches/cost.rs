//! What an inspection costs by rows of the bank, size of the input and threads, and how many parts a second that allows:
//! prints tables and draws them.
//!
//! `cargo bench --bench cost [-- FILE.svg]`

use std::fmt::Write;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rejectd::frame::Frame;
use rejectd::inspect::card::Model;
use rejectd::inspect::embedding::Embeddings;
use rejectd::inspect::metric::Metric;
use rejectd::inspect::{Extractor, Inspector};
use rejectd::source::simulated::{Belt, BeltSettings};
use rejectd::teach::Options;

const ROUNDS: usize = 15;
/// How long parts are counted for.
const COUNTED: Duration = Duration::from_secs(2);

fn main() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads: Vec<usize> = [1, 2, 4].into_iter().filter(|threads| *threads <= cores).collect();
    let by_rows = [500, 1000, 2000, 4000, 8000, 16_000];
    let by_size = [128, 192, 256, 320, 384, 448];
    let rows = panel("bank rows, input of 256 px", &by_rows, &threads, |rows, threads| median(256, rows, threads));
    let size = panel("input px, bank of 2000 rows", &by_size, &threads, |px, threads| median(px, 2000, threads));
    let mut rates = Vec::new();
    for threads in threads {
        rates.push((format!("one part at a time, {}", of_threads(threads)), parts_a_second(1, threads)));
        if threads > 1 {
            rates.push((format!("{threads} parts in flight, a thread each"), parts_a_second(threads, 1)));
        }
    }
    println!("| 256 px, 2000 rows | parts a second |\n|---|---|");
    rates.iter().for_each(|(how, rate)| println!("| {how} | {rate:.0} |"));
    if let Some(file) = std::env::args().skip(1).find(|argument| argument.ends_with(".svg")) {
        std::fs::write(&file, picture(&[rows, size], &rates)).expect("the file can be written");
    }
}

fn inspector(px: usize, rows: usize, threads: usize) -> Inspector {
    let model = Model::built_in();
    let mut recipe = Options::for_model(&model).recipe;
    recipe.input_px = [px; 2];
    let extractor = Extractor::new(&model, &recipe).expect("a multiple of 32");
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let width = extractor.channels();
    let rows = (0..rows * width).map(|_| rng.random_range(-1.0..1.0)).collect();
    let bank = Embeddings::new(width, rows, false).normalise();
    Inspector::assemble(extractor, Metric::default(), bank, 1.0).expect("the bank has its width").on_threads(threads)
}

fn frame() -> Frame {
    Belt::new(BeltSettings { width: 640, height: 480, ..BeltSettings::default() }).good_part(0)
}

/// Milliseconds of an inspection.
fn median(px: usize, rows: usize, threads: usize) -> f64 {
    let (mut inspector, frame) = (inspector(px, rows, threads), frame());
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            std::hint::black_box(inspector.inspect(&frame).expect("frames are whole"));
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

/// By `at_once` inspectors, each on so many threads.
fn parts_a_second(at_once: usize, threads: usize) -> f64 {
    let (inspector, frame) = (inspector(256, 2000, 1), frame());
    let started = Instant::now();
    let count: usize = std::thread::scope(|scope| {
        let inspectors: Vec<_> = (0..at_once)
            .map(|_| {
                let (mut inspector, frame) = (inspector.fork().on_threads(threads), &frame);
                scope.spawn(move || {
                    let mut count = 0;
                    while started.elapsed() < COUNTED {
                        std::hint::black_box(inspector.inspect(frame).expect("frames are whole"));
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        inspectors.into_iter().map(|inspector| inspector.join().expect("it does not panic")).sum()
    });
    count as f64 / started.elapsed().as_secs_f64()
}

struct Panel {
    title: &'static str,
    at: Vec<usize>,
    /// For each number of threads the milliseconds.
    lines: Vec<(usize, Vec<f64>)>,
}

fn panel(title: &'static str, at: &[usize], threads: &[usize], cost: impl Fn(usize, usize) -> f64) -> Panel {
    let line = |&threads: &usize| (threads, at.iter().map(|&at| cost(at, threads)).collect());
    let panel = Panel { title, at: at.to_vec(), lines: threads.iter().map(line).collect() };
    println!("| {title} | {} |", at.iter().map(usize::to_string).collect::<Vec<_>>().join(" | "));
    println!("|---{}|", "|---".repeat(at.len()));
    for (threads, times) in &panel.lines {
        let times: Vec<String> = times.iter().map(|ms| format!("{ms:.1}")).collect();
        println!("| ms, {} | {} |", of_threads(*threads), times.join(" | "));
    }
    println!();
    panel
}

fn of_threads(threads: usize) -> String {
    if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") }
}

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 260.0;
/// Room for a number below an axis.
const LABEL: f64 = 38.0;
const COLOURS: [&str; 3] = ["#0b62a4", "#d1495b", "#3a7d44"];

/// The panels side by side, milliseconds upwards, and below them a bar for each rate.
fn picture(panels: &[Panel], rates: &[(String, f64)]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        WIDTH * panels.len() as f64,
        HEIGHT + 80.0 + 22.0 * rates.len() as f64
    );
    for (number, panel) in panels.iter().enumerate() {
        let left = number as f64 * WIDTH + 50.0;
        let (right, top, bottom) = (left + WIDTH - 80.0, 30.0, 30.0 + HEIGHT - 30.0);
        let most = panel.lines.iter().flat_map(|(_, times)| times).copied().fold(0.0, f64::max) * 1.05;
        let last = *panel.at.last().expect("a panel has points") as f64;
        let place =
            |at: usize, ms: f64| (left + (right - left) * at as f64 / last, bottom - (bottom - top) * ms / most);
        let mut text = |x: f64, y: f64, anchor: &str, words: &str| {
            writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>").expect("a string");
        };
        text(left, 18.0, "start", &format!("ms an inspection by {}", panel.title));
        let mut free = 0.0;
        for &at in &panel.at {
            let x = place(at, 0.0).0;
            if x >= free {
                text(x, bottom + 15.0, "middle", &at.to_string());
                free = x + LABEL;
            }
        }
        let step =
            [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0].into_iter().find(|step| most / step <= 6.0).unwrap_or(200.0);
        let ticks: Vec<f64> = (0..).map(|tick| tick as f64 * step).take_while(|ms| *ms <= most).collect();
        for ms in &ticks {
            text(left - 6.0, place(0, *ms).1 + 4.0, "end", &format!("{ms:.0}"));
        }
        for (line, (threads, _)) in panel.lines.iter().enumerate() {
            text(left + 12.0 + 90.0 * line as f64, bottom + 34.0, "start", &of_threads(*threads));
        }
        for ms in ticks {
            let y = place(0, ms).1;
            writeln!(svg, "<path d=\"M{left:.1} {y:.1}H{right:.1}\" stroke=\"#ddd\"/>").expect("a string");
        }
        for (line, ((_, times), colour)) in panel.lines.iter().zip(COLOURS).enumerate() {
            let points: Vec<String> = panel
                .at
                .iter()
                .zip(times)
                .map(|(&at, &ms)| {
                    let (x, y) = place(at, ms);
                    format!("{x:.1},{y:.1}")
                })
                .collect();
            let (points, x, y) = (points.join(" "), left + 90.0 * line as f64, bottom + 30.0);
            writeln!(svg, "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>")
                .and_then(|()| writeln!(svg, "<path d=\"M{x:.1} {y:.1}h9\" stroke=\"{colour}\" stroke-width=\"2\"/>"))
                .expect("a string");
        }
    }
    let most = rates.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    let title = HEIGHT + 58.0;
    writeln!(svg, "<text x=\"50\" y=\"{title:.1}\">parts a second, 256 px, 2000 rows</text>").expect("a string");
    for (number, (how, rate)) in rates.iter().enumerate() {
        let (y, length) = (title + 8.0 + 22.0 * number as f64, (WIDTH - 40.0) * rate / most);
        writeln!(
            svg,
            "<rect x=\"240\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"16\" fill=\"{}\"/>\
             <text x=\"232\" y=\"{:.1}\" text-anchor=\"end\">{how}</text><text x=\"{:.1}\" y=\"{:.1}\">{rate:.0}</text>",
            COLOURS[0],
            y + 12.0,
            246.0 + length,
            y + 12.0
        )
        .expect("a string");
    }
    svg + "</svg>\n"
}
