//! Which part of a graph the kernels can run: from the picture on, as far as every operation is one that they know.
//!
//! Known are dense convolutions, depthwise ones of 3, 5 or 7 pixels, and after them a factor and a summand for each channel
//! (batch norm), the sum with a map before, and limits (ReLU, ReLU6). What follows a convolution and is all that uses it
//! becomes part of it; expand, depthwise and project become a block. Constants must be constants and shapes concrete.

use std::collections::HashSet;
use std::sync::Arc;

use pulp::Arch;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::binary::{BinMiniOp, TypedBinOp};
use tract_onnx::tract_core::ops::cnn;
use tract_onnx::tract_core::ops::math::{Add, Div, Max, Min, Mul, Sub};
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::program::{Program, Step};
use crate::inspect::kernels::block::{Block, MAX_SIDE, border};
use crate::inspect::kernels::conv::{Conv, Shape, Weights};
use crate::inspect::kernels::depthwise::Depthwise;
use crate::inspect::kernels::layout::Layout;

/// A part of a graph as a program.
pub struct Recognised {
    pub program: Arc<Program>,
    /// What the program gives out, in its order.
    pub outlets: Vec<OutletId>,
}

/// A convolution and what has become part of it.
struct Draft {
    kind: Kind,
    from: OutletId,
    add: Option<OutletId>,
    clip: [f32; 2],
    /// What it computes.
    outlet: OutletId,
    out: Layout,
}

enum Kind {
    Dense(Weights),
    Depthwise(Weights),
    Block { expand: Box<Draft>, depthwise: Box<Draft>, project: Weights },
}

/// The part of `model` that begins at its only input; none if that is nothing.
/// * `arch` — the vector unit that the program is for
pub fn recognise(model: &TypedModel, arch: Arch) -> TractResult<Option<Recognised>> {
    let [picture] = model.inputs[..] else { return Ok(None) };
    let Some(&[1, channels, height, width]) = model.outlet_fact(picture)?.shape.as_concrete() else { return Ok(None) };
    let mut reader = Reader {
        model,
        picture,
        layout: Layout::of_picture(height, width, channels),
        drafts: Vec::new(),
        taken: HashSet::new(),
    };
    for node in model.eval_order()? {
        if reader.take(node).is_some() {
            reader.taken.insert(node);
        }
    }
    Ok((!reader.drafts.is_empty()).then(|| reader.finish(arch)))
}

struct Reader<'a> {
    model: &'a TypedModel,
    picture: OutletId,
    layout: Layout,
    drafts: Vec<Draft>,
    /// The nodes that have become part of a draft.
    taken: HashSet<usize>,
}

impl Reader<'_> {
    /// Takes a node in, if it is known and so is all before it.
    fn take(&mut self, node: usize) -> Option<()> {
        let node = self.model.node(node);
        let outlet = OutletId::new(node.id, 0);
        if let Some(conv) = node.op_as::<cnn::Conv>() {
            let draft = self.convolution(conv, &node.inputs, outlet)?;
            self.drafts.push(draft);
            self.make_block();
            return Some(());
        }
        let TypedBinOp(operation, None) = node.op_as::<TypedBinOp>()? else { return None };
        let [a, b] = node.inputs[..] else { return None };
        match (self.constant(a), self.constant(b)) {
            (None, Some(values)) => self.absorb(a, outlet, |draft| draft.apply(&**operation, &values, false)),
            (Some(values), None) => self.absorb(b, outlet, |draft| draft.apply(&**operation, &values, true)),
            (None, None) if operation.is::<Add>() => {
                self.absorb_sum(a, b, outlet).or_else(|| self.absorb_sum(b, a, outlet))
            }
            _ => None,
        }
    }

    fn convolution(&self, conv: &cnn::Conv, inputs: &[OutletId], outlet: OutletId) -> Option<Draft> {
        let &[from, kernel, bias] = inputs else { return None };
        let input = self.known(from)?;
        let pool = &conv.pool_spec;
        let (&[height, width], &[rows, columns]) = (&pool.strides()[..], &pool.kernel_shape[..]) else { return None };
        let is_plain = pool.data_format == DataFormat::NCHW
            && conv.kernel_fmt == cnn::KernelFormat::OIHW
            && conv.q_params.is_none()
            && pool.dilations().iter().all(|&dilation| dilation == 1);
        let (inputs, outputs) = (conv.input_channels(), conv.output_channels());
        let &[1, channels, out_height, out_width] = self.model.outlet_fact(outlet).ok()?.shape.as_concrete()? else {
            return None;
        };
        if !is_plain || rows > MAX_SIDE || inputs != input.channels || channels != outputs {
            return None;
        }
        let padding = pool.computed_padding(&[input.height, input.width]);
        let before = [padding[0].pad_before, padding[1].pad_before];
        let shape = Shape { kernel: [rows, columns], stride: [height, width], before };
        let bias = spread(&self.constant(bias)?, outputs)?;
        let weights = Weights { outputs, inputs, shape, kernel: values(&*self.konst(kernel)?)?, bias };
        let kind = if conv.group == 1 {
            Kind::Dense(weights)
        } else if conv.group == inputs && inputs == outputs && Depthwise::fits(shape) && from != self.picture {
            Kind::Depthwise(weights)
        } else {
            return None;
        };
        let clip = [f32::NEG_INFINITY, f32::INFINITY];
        Some(Draft { kind, from, add: None, clip, outlet, out: Layout::new(out_height, out_width, outputs) })
    }

    /// Makes the last three drafts one, if they are a block.
    fn make_block(&mut self) {
        let Some([.., expand, depthwise, project]) = self.drafts.last_chunk::<3>().map(|last| last.each_ref()) else {
            return;
        };
        let is_block = matches!((&expand.kind, &depthwise.kind), (Kind::Dense(_), Kind::Depthwise(_)))
            && matches!(&project.kind, Kind::Dense(weights) if weights.shape == POINTWISE)
            && (depthwise.from, project.from) == (expand.outlet, depthwise.outlet)
            && expand.add.is_none()
            && self.is_used_once(expand.outlet)
            && self.is_used_once(depthwise.outlet);
        if !is_block {
            return;
        }
        let mut take = || self.drafts.pop().expect("there are three");
        let (project, depthwise, expand) = (take(), Box::new(take()), Box::new(take()));
        let Kind::Dense(weights) = project.kind else { unreachable!("it was looked at") };
        let from = expand.from;
        self.drafts.push(Draft { kind: Kind::Block { expand, depthwise, project: weights }, from, ..project });
    }

    /// Lets the draft that computes `of` take in the only operation that uses it.
    fn absorb(&mut self, of: OutletId, outlet: OutletId, change: impl FnOnce(&mut Draft) -> Option<()>) -> Option<()> {
        let index = self.drafts.iter().position(|draft| draft.outlet == of)?;
        if !self.is_used_once(of) || !self.keeps_shape(of, outlet)? {
            return None;
        }
        change(&mut self.drafts[index])?;
        self.drafts[index].outlet = outlet;
        Some(())
    }

    /// As [`Reader::absorb`], for the sum of two maps; the other one must be there before.
    fn absorb_sum(&mut self, of: OutletId, other: OutletId, outlet: OutletId) -> Option<()> {
        let place = |outlet: OutletId| self.drafts.iter().position(|draft| draft.outlet == outlet);
        let is_before = place(other)? < place(of)?;
        if is_before && self.keeps_shape(other, outlet)? {
            self.absorb(of, outlet, |draft| draft.add(other))
        } else {
            None
        }
    }

    fn keeps_shape(&self, from: OutletId, to: OutletId) -> Option<bool> {
        Some(self.model.outlet_fact(from).ok()?.shape == self.model.outlet_fact(to).ok()?.shape)
    }

    /// The layout of a map that is computed by a draft, or of the picture.
    fn known(&self, outlet: OutletId) -> Option<Layout> {
        if outlet == self.picture {
            return Some(self.layout);
        }
        self.drafts.iter().find(|draft| draft.outlet == outlet).map(|draft| draft.out)
    }

    fn konst(&self, outlet: OutletId) -> Option<Arc<Tensor>> {
        self.model.outlet_fact(outlet).ok()?.konst.clone()
    }

    /// The value for each channel of a constant, or the one for all of them.
    fn constant(&self, outlet: OutletId) -> Option<Vec<f32>> {
        let tensor = self.konst(outlet)?;
        let is_per_channel = match tensor.shape() {
            [] | [_] | [1, _, 1, 1] | [_, 1, 1] => true,
            shape => shape.iter().all(|&side| side == 1),
        };
        if is_per_channel { values(&tensor) } else { None }
    }

    fn is_used_once(&self, outlet: OutletId) -> bool {
        self.model.node(outlet.node).outputs[outlet.slot].successors.len() == 1 && !self.model.outputs.contains(&outlet)
    }

    /// Whether the rest of the graph needs what a draft computes.
    fn is_given_out(&self, outlet: OutletId) -> bool {
        let successors = &self.model.node(outlet.node).outputs[outlet.slot].successors;
        self.model.outputs.contains(&outlet) || successors.iter().any(|inlet| !self.taken.contains(&inlet.node))
    }

    fn finish(self, arch: Arch) -> Recognised {
        let index =
            |outlet: OutletId| self.drafts.iter().position(|draft| draft.outlet == outlet).map_or(0, |draft| draft + 1);
        let mut layouts: Vec<Layout> =
            std::iter::once(self.layout).chain(self.drafts.iter().map(|draft| draft.out)).collect();
        for draft in &self.drafts {
            let (shape, out) = draft.sees();
            let from = &mut layouts[index(draft.from)];
            from.border = from.border.union(border(shape, [from.height, from.width], [out.height, out.width]));
        }
        let step = |draft: &Draft| draft.step(index(draft.from), draft.add.map(index), &layouts);
        let steps = self.drafts.iter().map(step).collect();
        let outlets: Vec<OutletId> =
            self.drafts.iter().map(|draft| draft.outlet).filter(|outlet| self.is_given_out(*outlet)).collect();
        let outputs = outlets.iter().map(|&outlet| index(outlet)).collect();
        Recognised { program: Arc::new(Program::new(arch, layouts, steps, outputs)), outlets }
    }
}

/// A convolution that mixes the channels of each pixel.
const POINTWISE: Shape = Shape { kernel: [1, 1], stride: [1, 1], before: [0, 0] };

impl Draft {
    /// Takes in an operation with a constant.
    /// * `is_first` — whether the constant is the first operand
    fn apply(&mut self, operation: &dyn BinMiniOp, by: &[f32], is_first: bool) -> Option<()> {
        let [low, high] = self.clip;
        match by {
            [limit] if operation.is::<Max>() => self.clip = [low.max(*limit), high.max(*limit)],
            [limit] if operation.is::<Min>() => self.clip = [low.min(*limit), high.min(*limit)],
            _ if self.add.is_some() || self.clip != [f32::NEG_INFINITY, f32::INFINITY] => return None,
            _ if operation.is::<Mul>() => self.scale(by, |factor| factor)?,
            _ if operation.is::<Div>() && !is_first => self.scale(by, |divisor| 1.0 / divisor)?,
            _ if operation.is::<Add>() => self.shift(by, |summand| summand)?,
            _ if operation.is::<Sub>() && !is_first => self.shift(by, |subtrahend| -subtrahend)?,
            _ => return None,
        }
        Some(())
    }

    fn add(&mut self, map: OutletId) -> Option<()> {
        let has_room = self.add.is_none() && self.clip == [f32::NEG_INFINITY, f32::INFINITY];
        if !has_room || matches!(self.kind, Kind::Depthwise(_)) {
            return None;
        }
        self.add = Some(map);
        Some(())
    }

    fn weights(&mut self) -> &mut Weights {
        let (Kind::Dense(weights) | Kind::Depthwise(weights) | Kind::Block { project: weights, .. }) = &mut self.kind;
        weights
    }

    fn scale(&mut self, by: &[f32], factor: impl Fn(f32) -> f32) -> Option<()> {
        let weights = self.weights();
        let by = spread(by, weights.outputs)?;
        let kernel = weights.kernel.len() / weights.outputs;
        for ((kernel, bias), by) in weights.kernel.chunks_exact_mut(kernel).zip(&mut weights.bias).zip(by) {
            kernel.iter_mut().for_each(|weight| *weight *= factor(by));
            *bias *= factor(by);
        }
        Some(())
    }

    fn shift(&mut self, by: &[f32], summand: impl Fn(f32) -> f32) -> Option<()> {
        let weights = self.weights();
        let by = spread(by, weights.outputs)?;
        weights.bias.iter_mut().zip(by).for_each(|(bias, by)| *bias += summand(by));
        Some(())
    }

    /// What it sees of its input, and the map that it computes from it.
    fn sees(&self) -> (Shape, &Layout) {
        match &self.kind {
            Kind::Dense(weights) | Kind::Depthwise(weights) => (weights.shape, &self.out),
            Kind::Block { expand, .. } => expand.sees(),
        }
    }

    fn step(&self, from: usize, add: Option<usize>, layouts: &[Layout]) -> Step {
        let input = &layouts[from];
        match &self.kind {
            Kind::Dense(weights) => Step::Conv { conv: Conv::new(weights, input, self.clip), from, add },
            Kind::Depthwise(_) => Step::Depthwise { depthwise: self.depthwise(), from },
            Kind::Block { expand, depthwise, project } => {
                let Kind::Dense(first) = &expand.kind else { unreachable!("a block begins with a dense convolution") };
                let first = Conv::new(first, input, expand.clip);
                let project = Conv::new(project, &expand.out, self.clip);
                let out = [self.out.height, self.out.width];
                let block = Block::new(first, depthwise.depthwise(), project, expand.out, out);
                Step::Block { block: Box::new(block), from, add }
            }
        }
    }

    fn depthwise(&self) -> Depthwise {
        let Kind::Depthwise(weights) = &self.kind else { unreachable!("only asked of one") };
        Depthwise::new(weights.shape, &weights.kernel, &weights.bias, self.clip)
    }
}

fn values(tensor: &Tensor) -> Option<Vec<f32>> {
    Some(tensor.as_plain_ram()?.as_slice::<f32>().ok()?.to_vec())
}

/// A value for each of `channels`.
fn spread(values: &[f32], channels: usize) -> Option<Vec<f32>> {
    match values {
        [value] => Some(vec![*value; channels]),
        values => (values.len() == channels).then(|| values.to_vec()),
    }
}
