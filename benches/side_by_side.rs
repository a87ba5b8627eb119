//! Our half of benches/side_by_side: reads a line of work, does it once, prints how many milliseconds it took.
//!
//! `backbone PX THREADS` · `stock PX 1` (by tract's own operations) · `search ROWS WIDTH THREADS` · `inspect FOLDER BANK_ROWS THREADS` · `teach FOLDER RATIO THREADS` ·
//! `render FOLDER COUNT PX`. What a line needs is made when it comes for the first time, and is not timed.

use std::collections::HashMap;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::Instant;

use image::RgbImage;
use rand::{RngExt, SeedableRng};
use rejectd::frame::Frame;
use rejectd::inspect::backbone::Backbone;
use rejectd::inspect::bank::Bank;
use rejectd::inspect::card::Model;
use rejectd::inspect::embedding::Embeddings;
use rejectd::inspect::metric::Metric;
use rejectd::inspect::recipe::Distance;
use rejectd::inspect::{Extractor, Inspector};
use rejectd::source::decode::read_frame;
use rejectd::source::folder::list_images;
use rejectd::source::simulated::{Belt, BeltSettings};
use rejectd::teach::{GoodParts, Options, teach};

const PATCHES: usize = 1024;

type Work = Box<dyn FnMut()>;

fn main() {
    let mut prepared: HashMap<String, Work> = HashMap::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("lines of text");
        let work = prepared.entry(line).or_insert_with_key(|line| prepare(line));
        let started = Instant::now();
        work();
        println!("{}", started.elapsed().as_secs_f64() * 1e3);
    }
}

fn prepare(line: &str) -> Work {
    let number = |word: &str| word.parse::<usize>().unwrap_or_else(|_| panic!("{line}: '{word}' is no number"));
    match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["backbone", px, threads] => backbone(number(px), number(threads)),
        ["stock", px, "1"] => stock(number(px)),
        ["search", rows, width, threads] => search(number(rows), number(width), number(threads)),
        ["inspect", folder, rows, threads] => inspect(Path::new(folder), number(rows), number(threads)),
        ["teach", folder, ratio, threads] => {
            teach_folder(Path::new(folder), ratio.parse().expect("a ratio"), number(threads))
        }
        ["render", folder, count, px] => render(PathBuf::from(folder), number(count), number(px) as u32),
        _ => panic!("'{line}' is no work that is known"),
    }
}

/// The work on as many threads, as an inspector runs it.
fn on(threads: usize, mut work: impl FnMut() + Send + 'static) -> Work {
    if threads == 1 {
        return Box::new(work);
    }
    let pool = rejectd::inspect::threads::pool(threads).expect("the system grants threads");
    Box::new(move || rejectd::inspect::threads::together(&pool, &mut work))
}

fn backbone(px: usize, threads: usize) -> Work {
    let model = Model::built_in();
    let backbone = Backbone::load(&model, [px; 2], &Options::for_model(&model).recipe.taps).expect("it is built in");
    let input = vec![0.25; 3 * px * px];
    on(threads, move || drop(std::hint::black_box(backbone.run(&input).expect("it is built in"))))
}

/// The backbone as tract runs it without the kernels.
fn stock(px: usize) -> Work {
    use tract_onnx::prelude::*;
    let model = Model::built_in();
    let taps = Options::for_model(&model).recipe.taps;
    let plan = tract_onnx::onnx()
        .model_for_read(&mut &*model.onnx)
        .and_then(|graph| graph.with_outputs_by_name(&taps))
        .and_then(|graph| graph.with_input_fact(0, f32::fact([1, 3, px, px]).into()))
        .and_then(|graph| graph.into_optimized()?.into_runnable())
        .expect("it is built in");
    let input = tract_ndarray::Array4::from_elem((1, 3, px, px), 0.25f32).into_tensor();
    on(1, move || drop(std::hint::black_box(plan.run(tvec!(input.clone().into())).expect("it is built in"))))
}

fn unit_rows(rows: usize, width: usize, seed: u64) -> Embeddings {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    Embeddings::new(width, (0..rows * width).map(|_| rng.random_range(-1.0..1.0)).collect(), false).normalise()
}

fn search(rows: usize, width: usize, threads: usize) -> Work {
    let (bank, queries) = (Bank::new(unit_rows(rows, width, 1), Distance::Cosine, None), unit_rows(PATCHES, width, 2));
    on(threads, move || drop(std::hint::black_box(bank.distances(&queries, 1))))
}

fn inspect(folder: &Path, rows: usize, threads: usize) -> Work {
    let frames: Vec<Frame> = frames(folder);
    let (model, mut at) = (Model::built_in(), 0);
    let extractor = Extractor::new(&model, &Options::for_model(&model).recipe).expect("it is built in");
    let bank = unit_rows(rows, extractor.channels(), 1);
    let inspector = Inspector::assemble(extractor, Metric::default(), bank, 1.0).expect("the bank has its width");
    let mut inspector = inspector.on_threads(threads);
    Box::new(move || {
        at = (at + 1) % frames.len();
        std::hint::black_box(inspector.inspect(&frames[at]).expect("frames are whole"));
    })
}

/// The default recipe without a search for another one; the coreset keeps `ratio` of all embeddings.
fn teach_folder(folder: &Path, ratio: f64, threads: usize) -> Work {
    let (model, folder) = (Model::built_in(), folder.to_owned());
    let rows = (ratio * (PATCHES * list_images(&folder).expect("it was rendered").len()) as f64) as usize;
    let mut options = Options::for_model(&model);
    (options.threads, options.bank_rows, options.bank_bytes) = (threads, rows, usize::MAX);
    Box::new(move || {
        let files = list_images(&folder).expect("it was rendered");
        let names = files.iter().map(|file| file.display().to_string()).collect();
        let parts =
            GoodParts::read(names, |part| read_frame(&files[part]).map_err(|e| e.to_string())).expect("pictures");
        std::hint::black_box(teach(&model, &options, &parts, &|_, _, _| ()).expect("enough parts"));
    })
}

fn frames(folder: &Path) -> Vec<Frame> {
    let files = list_images(folder).expect("it was rendered");
    files.iter().map(|file| read_frame(file).expect("a picture")).collect()
}

fn render(folder: PathBuf, count: usize, px: u32) -> Work {
    Box::new(move || {
        std::fs::create_dir_all(&folder).expect("a folder that can be made");
        let belt = Belt::new(BeltSettings { width: px, height: px, ..BeltSettings::default() });
        for part in 0..count {
            let frame = belt.good_part(part as u64);
            let picture = RgbImage::from_raw(px, px, frame.rgb().to_vec()).expect("a frame is whole");
            picture.save(folder.join(format!("good-{part:03}.png"))).expect("room for pictures");
        }
    })
}
