//! The kernels against tract's own operations, on graphs drawn at random.

use pulp::Arch;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::math::{add, max, min, mul, tanh};
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::fuse::fuse;

const GRAPHS: u64 = 60;

/// A graph that grows by one operation after another.
struct Grown {
    model: TypedModel,
    rng: ChaCha8Rng,
    names: usize,
}

impl Grown {
    fn one_of(&mut self, choices: &[usize]) -> usize {
        choices[self.rng.random_range(0..choices.len())]
    }

    fn wire(&mut self, op: impl Into<Box<dyn TypedOp>>, inputs: &[OutletId]) -> OutletId {
        self.names += 1;
        self.model.wire_node(format!("node{}", self.names), op, inputs).unwrap()[0]
    }

    fn constant(&mut self, shape: &[usize], around: f32, spread: f32) -> OutletId {
        self.names += 1;
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| around + self.rng.random_range(-spread..spread)).collect();
        self.model.add_const(format!("constant{}", self.names), Tensor::from_shape(shape, &values).unwrap()).unwrap()
    }

    fn shape(&self, of: OutletId) -> [usize; 4] {
        self.model.outlet_fact(of).unwrap().shape.as_concrete().unwrap().try_into().unwrap()
    }

    fn conv(&mut self, from: OutletId, kernel: usize, stride: usize, outputs: Option<usize>) -> OutletId {
        let inputs = self.shape(from)[1];
        let (outputs, group) = outputs.map_or((inputs, inputs), |outputs| (outputs, 1));
        let pads: [usize; 4] = std::array::from_fn(|_| self.rng.random_range(0..=kernel / 2));
        let pool_spec = PoolSpec {
            data_format: DataFormat::NCHW,
            kernel_shape: tvec!(kernel, kernel),
            padding: PaddingSpec::Explicit(tvec!(pads[0], pads[1]), tvec!(pads[2], pads[3])),
            dilations: None,
            strides: Some(tvec!(stride, stride)),
            input_channels: inputs,
            output_channels: outputs,
        };
        // So that values stay near one, however many are summed.
        let spread = 1.5 / ((inputs / group * kernel * kernel) as f32).sqrt();
        let weights = self.constant(&[outputs, inputs / group, kernel, kernel], 0.0, spread);
        let bias = self.constant(&[outputs], 0.0, 0.4);
        self.wire(Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group, q_params: None }, &[from, weights, bias])
    }

    fn limit(&mut self, from: OutletId, value: f32, is_high: bool) -> OutletId {
        self.names += 1;
        let limit = Tensor::from_shape(&[1, 1, 1, 1], &[value]).unwrap();
        let limit = self.model.add_const(format!("limit{}", self.names), limit).unwrap();
        if is_high { self.wire(min(), &[from, limit]) } else { self.wire(max(), &[limit, from]) }
    }

    /// Perhaps batch norm, perhaps limits on one or both sides.
    fn finish(&mut self, mut from: OutletId) -> OutletId {
        let channels = self.shape(from)[1];
        if self.rng.random_bool(0.3) {
            let (factor, summand) =
                (self.constant(&[1, channels, 1, 1], 1.0, 0.4), self.constant(&[1, channels, 1, 1], 0.0, 0.4));
            from = self.wire(mul(), &[from, factor]);
            from = self.wire(add(), &[summand, from]);
        }
        if self.rng.random_bool(0.7) {
            from = self.limit(from, 0.0, false);
        }
        if self.rng.random_bool(0.5) { self.limit(from, 0.5, true) } else { from }
    }

    fn dense(&mut self, from: OutletId, kernels: &[usize]) -> OutletId {
        let (kernel, stride) = (self.one_of(kernels), self.one_of(&[1, 1, 2]));
        let outputs = self.rng.random_range(1..70);
        let conv = self.conv(from, kernel, stride, Some(outputs));
        self.finish(conv)
    }

    fn depthwise(&mut self, from: OutletId) -> OutletId {
        let (kernel, stride) = (self.one_of(&[3, 5, 7]), self.one_of(&[1, 2]));
        let conv = self.conv(from, kernel, stride, None);
        self.finish(conv)
    }

    fn pointwise(&mut self, from: OutletId, outputs: usize) -> OutletId {
        let conv = self.conv(from, 1, 1, Some(outputs));
        self.finish(conv)
    }

    /// Expand, depthwise, project, and the sum with what went in where the shapes allow it.
    fn block(&mut self, from: OutletId) -> OutletId {
        let channels = self.shape(from)[1];
        let (wide, outputs) = (self.rng.random_range(1..100), self.one_of(&[channels, 24]));
        let expanded = self.pointwise(from, wide);
        let filtered = self.depthwise(expanded);
        let projected = self.conv(filtered, 1, 1, Some(outputs));
        if self.shape(projected) == self.shape(from) { self.wire(add(), &[from, projected]) } else { projected }
    }
}

/// A graph of some of the operations that backbones have, with outputs in the middle and, in some, one that the kernels
/// do not know.
fn grown(seed: u64) -> TypedModel {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let size: [usize; 2] = std::array::from_fn(|_| rng.random_range(24..80));
    let mut model = TypedModel::default();
    let mut last = model.add_source("picture", f32::fact([1, 3, size[0], size[1]])).unwrap();
    let mut grown = Grown { model, rng, names: 0 };
    last = grown.dense(last, &[1, 3, 5, 7]);
    let mut outputs = Vec::new();
    for _ in 0..5 {
        let [_, channels, height, width] = grown.shape(last);
        if height.min(width) < 8 {
            break;
        }
        last = match grown.rng.random_range(0..6) {
            0 => grown.dense(last, &[1, 3]),
            1 => grown.depthwise(last),
            2 | 3 => grown.block(last),
            4 => {
                let (left, right) = (grown.pointwise(last, channels), grown.conv(last, 1, 1, Some(channels)));
                match grown.shape(left) == grown.shape(right) {
                    true => {
                        let sum = grown.wire(add(), &[left, right]);
                        grown.limit(sum, 0.0, false)
                    }
                    false => left,
                }
            }
            _ if seed.is_multiple_of(3) => grown.wire(tanh(), &[last]),
            _ => grown.pointwise(last, 40),
        };
        if grown.rng.random_bool(0.3) {
            outputs.push(last);
        }
    }
    outputs.push(last);
    grown.model.select_output_outlets(&outputs).unwrap();
    grown.model
}

fn arches() -> Vec<Arch> {
    #[cfg(target_arch = "x86_64")]
    let smaller = pulp::x86::V3::try_new().map(Arch::V3);
    #[cfg(not(target_arch = "x86_64"))]
    let smaller = None;
    [Some(Arch::new()), smaller, Some(Arch::Scalar)].into_iter().flatten().collect()
}

fn picture(model: &TypedModel) -> TValue {
    let shape: TVec<usize> = model.outlet_fact(model.inputs[0]).unwrap().shape.as_concrete().unwrap().into();
    let mut rng = ChaCha8Rng::seed_from_u64(99);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_shape(&shape, &values).unwrap().into_tvalue()
}

fn run(model: TypedModel, picture: TValue) -> TVec<TValue> {
    model.into_runnable().unwrap().run(tvec!(picture)).unwrap()
}

fn slice(tensor: &TValue) -> &[f32] {
    tensor.as_plain_ram().unwrap().as_slice().unwrap()
}

#[test]
fn graphs_drawn_at_random_give_what_tract_gives_on_every_vector_unit() {
    let mut whole = 0;
    for seed in 0..GRAPHS {
        let model = grown(seed);
        let expected = run(model.clone(), picture(&model));
        for arch in arches() {
            let fused = fuse(model.clone(), arch).unwrap();
            assert!(fused.nodes.iter().any(|node| node.op.name() == "Fused"), "graph {seed}");
            whole += usize::from(fused.nodes.len() == 2);
            let found = run(fused, picture(&model));
            for (expected, found) in expected.iter().zip(&found) {
                assert_eq!(expected.shape(), found.shape(), "graph {seed}");
                let (expected, found) = (slice(expected), slice(found));
                let scale = expected.iter().fold(1f32, |scale, value| scale.max(value.abs()));
                let worst = expected.iter().zip(found).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
                assert!(worst <= 1e-5 * scale, "graph {seed} by {arch:?}: off by {worst} of {scale}");
            }
        }
    }
    println!("{whole} of {} graphs are run by the kernels as a whole", GRAPHS as usize * arches().len());
    assert!(whole > 30 * arches().len(), "{whole}");
}

#[test]
fn threads_divide_the_rows_and_change_no_bit() {
    for seed in 0..20 {
        let model = grown(seed);
        let fused = fuse(model.clone(), Arch::new()).unwrap().into_runnable().unwrap();
        let alone = fused.run(tvec!(picture(&model))).unwrap();
        for threads in [2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let together = pool.install(|| fused.run(tvec!(picture(&model))).unwrap());
            for (alone, together) in alone.iter().zip(&together) {
                assert!(slice(alone) == slice(together), "graph {seed} on {threads} threads");
            }
        }
    }
}

#[test]
fn the_whole_built_in_backbone_is_eleven_blocks() {
    let model = tract_onnx::onnx().model_for_read(&mut &*super::Model::built_in().onnx).unwrap();
    let model = model.with_outputs_by_name(["stage3", "stage5"]).unwrap();
    let model = model.with_input_fact(0, f32::fact([1, 3, 64, 96]).into()).unwrap().into_typed().unwrap();
    let fused = fuse(model, Arch::new()).unwrap();
    let names: Vec<String> = fused.nodes.iter().map(|node| node.op.name().into_owned()).collect();
    assert_eq!(names, ["Source", "Fused"]);
    assert_eq!(fused.nodes[1].op.info().unwrap()[0].split(' ').next(), Some("11"));
}

/// A ratio on one machine in one run; the bound leaves room for a machine that is busy.
#[cfg(target_arch = "x86_64")]
#[test]
fn the_kernels_stay_well_ahead_of_the_operations_that_they_replace() {
    if !super::has_vectors(Arch::new()) {
        println!("SKIPPED: this machine has no vector unit that the kernels are made for");
        return;
    }
    let model = tract_onnx::onnx().model_for_read(&mut &*super::Model::built_in().onnx).unwrap();
    let model = model.with_outputs_by_name(["stage3", "stage5"]).unwrap();
    let model = model.with_input_fact(0, f32::fact([1, 3, 256, 256]).into()).unwrap().into_typed().unwrap();
    let picture = picture(&model);
    let stock = model.clone().into_optimized().unwrap().into_runnable().unwrap();
    let fused = fuse(model, Arch::new()).unwrap().into_optimized().unwrap().into_runnable().unwrap();
    let time = |plan: &std::sync::Arc<TypedRunnableModel>| {
        let started = std::time::Instant::now();
        plan.run(tvec!(picture.clone())).unwrap();
        started.elapsed()
    };
    let rounds: Vec<_> = (0..9).map(|_| (time(&stock), time(&fused))).collect();
    let stock = rounds.iter().map(|(stock, _)| *stock).min().unwrap();
    let fused = rounds.iter().map(|(_, fused)| *fused).min().unwrap();
    println!("the kernels take {fused:?}, tract's own operations {stock:?}");
    assert!(2 * fused < stock, "{fused:?} is not half of {stock:?}");
}
