//! One inspection of the default recipe, stage by stage: preprocess, backbone, embeddings, search, and the whole.
//!
//! `cargo bench --bench inspection`

use criterion::{Criterion, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};
use rejectd::inspect::backbone::Backbone;
use rejectd::inspect::bank::Bank;
use rejectd::inspect::card::Model;
use rejectd::inspect::embedding::{Embeddings, concatenate};
use rejectd::inspect::metric::Metric;
use rejectd::inspect::preprocess::Preprocess;
use rejectd::inspect::recipe::Distance;
use rejectd::inspect::{Extractor, Inspector};
use rejectd::source::simulated::{Belt, BeltSettings};
use rejectd::teach::Options;

const PATCHES: usize = 1024;
const BANK_ROWS: usize = 2000;
const WIDTH: usize = 152;

fn unit_rows(rows: usize, seed: u64) -> Embeddings {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    Embeddings::new(WIDTH, (0..rows * WIDTH).map(|_| rng.random_range(-1.0..1.0)).collect(), false).normalise()
}

fn inspection(criterion: &mut Criterion) {
    let model = Model::built_in();
    let recipe = Options::for_model(&model).recipe;
    let frame = Belt::new(BeltSettings { width: 640, height: 480, ..BeltSettings::default() }).good_part(0);

    let mut preprocess = Preprocess::new(&model.card, None, recipe.input_px);
    criterion.bench_function("preprocess, 640 x 480 to 256 x 256", |b| b.iter(|| preprocess.run(&frame).unwrap()));

    let backbone = Backbone::load(&model, recipe.input_px, &recipe.taps).unwrap();
    let input = preprocess.run(&frame).unwrap();
    criterion.bench_function("backbone, 256 px to stage 5", |b| b.iter(|| backbone.run(&input).unwrap()));

    let (taps, grid) = (backbone.run(&input).unwrap(), recipe.grid());
    criterion.bench_function("embeddings, pooled and of unit length", |b| {
        b.iter(|| concatenate(&taps, recipe.pool, grid, recipe.granularity).normalise())
    });

    let bank = Bank::new(unit_rows(BANK_ROWS, 1), Distance::Cosine, None);
    let queries = unit_rows(PATCHES, 2);
    criterion.bench_function("search, 1024 x 2000 x 152", |b| b.iter(|| bank.distances(&queries, 1)));

    let extractor = Extractor::new(&model, &recipe).unwrap();
    let mut inspector = Inspector::assemble(extractor, Metric::default(), unit_rows(BANK_ROWS, 1), 1.0).unwrap();
    criterion.bench_function("inspection, frame to verdict", |b| b.iter(|| inspector.inspect(&frame).unwrap()));
}

criterion_group!(benches, inspection);
criterion_main!(benches);
