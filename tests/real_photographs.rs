//! Promise: on real photographs the figures of docs/results.md come out. `REJECTD_DATA` names the folder of the data sets.

use std::path::PathBuf;

use rejectd::evaluate::dataset::Dataset;
use rejectd::evaluate::metrics::auroc;
use rejectd::frame::Frame;
use rejectd::inspect::card::Model;
use rejectd::inspect::{Extractor, Inspector};
use rejectd::source::decode::read_frame;
use rejectd::teach::{GoodParts, Options, teach_bank};

/// The data set, or nothing, said aloud, where there is none; `REJECTD_DATA` set and no data is a failure.
fn dataset(name: &str) -> Option<Dataset> {
    let Some(root) = std::env::var_os("REJECTD_DATA") else {
        eprintln!("SKIPPED {name}: REJECTD_DATA does not name a folder of data sets");
        return None;
    };
    Some(Dataset::open(&PathBuf::from(root).join(name)).unwrap_or_else(|e| panic!("{e}")))
}

fn load(path: &std::path::Path) -> Result<Frame, String> {
    read_frame(path).map_err(|e| e.to_string())
}

/// Image AUROC of the default recipe at 256 px, with all good parts in the bank.
fn image_auroc(dataset: &Dataset) -> f64 {
    let model = Model::built_in();
    let options = Options::for_model(&model);
    let names = dataset.train_good.iter().map(|path| path.display().to_string()).collect();
    let parts = GoodParts::read(names, |part| load(&dataset.train_good[part])).unwrap();
    let learned = teach_bank(&model, &options, &parts, &|_, _, _| ()).unwrap();
    let extractor = Extractor::new(&model, &options.recipe).unwrap();
    let inspector = Inspector::assemble(extractor, learned.metric, learned.bank, f32::INFINITY).unwrap();
    let halves: Vec<_> = dataset.test.chunks(dataset.test.len().div_ceil(2)).collect();
    let scores: Vec<Vec<f32>> = std::thread::scope(|scope| {
        let score = |half: &[_]| {
            let mut inspector = inspector.fork();
            let score = |image: &rejectd::evaluate::dataset::LabelledImage| {
                inspector.inspect(&load(&image.path).unwrap()).unwrap().score
            };
            half.iter().map(score).collect::<Vec<_>>()
        };
        let threads: Vec<_> = halves.iter().map(|half| scope.spawn(move || score(half))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let scored = || dataset.test.iter().zip(scores.iter().flatten());
    let of = |anomalous: bool| {
        scored()
            .filter(|(image, _)| image.defect_type.is_some() == anomalous)
            .map(|(_, score)| *score)
            .collect::<Vec<_>>()
    };
    auroc(&of(false), &of(true))
}

#[test]
fn bottle_at_256_px_reaches_an_image_auroc_of_0_99() {
    let Some(dataset) = dataset("mvtec_ad/bottle") else { return };
    let auroc = image_auroc(&dataset);
    println!("bottle: image AUROC {auroc:.4}");
    assert!(auroc >= 0.99, "{auroc}");
}

#[test]
fn magnetic_tile_at_256_px_reaches_an_image_auroc_of_0_905() {
    let Some(dataset) = dataset("magnetic_tile") else { return };
    let auroc = image_auroc(&dataset);
    println!("magnetic tile: image AUROC {auroc:.4}");
    assert!(auroc >= 0.905, "{auroc}");
}
