//! Promise: what an inspection asks for of memory is counted, small, and the same from one part to the next.

use rejectd::frame::Frame;
use rejectd::inspect::backbone::Backbone;
use rejectd::inspect::card::Model;
use rejectd::inspect::embedding::Embeddings;
use rejectd::inspect::metric::Metric;
use rejectd::inspect::preprocess::Preprocess;
use rejectd::inspect::{Extractor, Inspector};
use rejectd::source::simulated::{Belt, BeltSettings};
use rejectd::teach::Options;

/// Beside tract's and the resizing library's: the network's input, pooling and resizing of two taps, embeddings, search and
/// the result.
const OWN: u64 = 17;

fn frame(width: u32, height: u32) -> Frame {
    Belt::new(BeltSettings { width, height, ..BeltSettings::default() }).good_part(0)
}

/// How often `work` asks for memory, once it has run for a while.
fn count(work: &mut dyn FnMut()) -> u64 {
    (0..3).for_each(|_| work());
    let counts: Vec<u64> = (0..5).map(|_| allocation_counter::measure(&mut *work).count_total).collect();
    assert!(counts.windows(2).all(|pair| pair[0] == pair[1]), "it differs from one time to the next: {counts:?}");
    counts[0]
}

#[test]
fn an_inspection_asks_for_memory_as_often_as_is_said_and_no_more() {
    let model = Model::built_in();
    let recipe = Options::for_model(&model).recipe;
    let [height, width] = recipe.input_px.map(|px| px as u32);
    let backbone = Backbone::load(&model, recipe.input_px, &recipe.taps).unwrap();
    let input = Preprocess::new(&model.card, None, recipe.input_px).run(&frame(width, height)).unwrap();
    let extractor = Extractor::new(&model, &recipe).unwrap();
    let channels = extractor.channels();
    let value = |row: usize, k: usize| ((row * 31 + k * 17) % 101) as f32 - 50.0;
    let rows = (0..500).flat_map(|row| (0..channels).map(move |k| value(row, k))).collect();
    let bank = Embeddings::new(channels, rows, false).normalise();
    let mut inspector = Inspector::assemble(extractor, Metric::default(), bank, 1.0).unwrap();
    let by_tract = count(&mut || drop(backbone.run(&input).unwrap()));
    let mut inspection = |frame: Frame| count(&mut || drop(inspector.inspect(&frame).unwrap()));
    let (as_it_is, resized) = (inspection(frame(width, height)), inspection(frame(640, 480)));
    println!("tract's run {by_tract}, an inspection {as_it_is}, with resizing {resized}");
    assert!(as_it_is <= by_tract + OWN, "{as_it_is} with {by_tract} of tract's");
    // fast_image_resize makes a list of weights for each row and each column of the result, every time.
    assert!(resized <= as_it_is + u64::from(height + width) + 10, "{resized}");
}
