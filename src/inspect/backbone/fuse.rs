//! The part of a graph that the kernels can run, as one operation of tract's; the rest stays as it is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use pulp::Arch;
use tract_onnx::tract_core::internal::*;

use super::program::Program;
use super::recognise::{Recognised, recognise};
use crate::inspect::kernels::layout::Layout;

/// Maps of one picture from the picture, by the kernels.
#[derive(Clone, Debug)]
struct Fused(Arc<Program>);

/// `model` with the part from its input on that the kernels know run by them. A graph of which they know nothing stays as
/// it is.
/// * `arch` — the vector unit
///
/// # Errors  What tract says of a graph that cannot be put together.
pub fn fuse(mut model: TypedModel, arch: Arch) -> TractResult<TypedModel> {
    model.prop_consts()?;
    let Some(Recognised { program, outlets }) = recognise(&model, arch)? else { return Ok(model) };
    let input = model.inputs[0];
    let mut fused = TypedModel::default();
    let source = fused.add_source(&model.node(input.node).name, model.outlet_fact(input)?.clone())?;
    let given = fused.wire_node("fused", Fused(program), &[source])?;
    let mut mapping: HashMap<OutletId, OutletId> = outlets.into_iter().zip(given).collect();
    mapping.insert(input, source);
    let needed = needed(&model, &mapping);
    for node in model.eval_order()?.into_iter().filter(|node| needed.contains(node)) {
        let node = model.node(node);
        let inputs: TVec<OutletId> = node.inputs.iter().map(|outlet| mapping[outlet]).collect();
        let given = fused.wire_node(&node.name, node.op.clone(), &inputs)?;
        mapping.extend(given.into_iter().enumerate().map(|(slot, outlet)| (OutletId::new(node.id, slot), outlet)));
    }
    fused.select_output_outlets(&model.outputs.iter().map(|outlet| mapping[outlet]).collect::<Vec<_>>())?;
    Ok(fused)
}

fn shape(layout: &Layout) -> [usize; 4] {
    [1, layout.channels, layout.height, layout.width]
}

/// The nodes that the outputs need besides what is given.
fn needed(model: &TypedModel, given: &HashMap<OutletId, OutletId>) -> HashSet<usize> {
    let mut needed = HashSet::new();
    let mut open = model.outputs.clone();
    while let Some(outlet) = open.pop() {
        if !given.contains_key(&outlet) && needed.insert(outlet.node) {
            open.extend(&model.node(outlet.node).inputs);
        }
    }
    needed
}

impl PartialEq for Fused {
    fn eq(&self, other: &Fused) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Fused {}

impl Op for Fused {
    fn name(&self) -> StaticName {
        "Fused".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok(vec![format!("{:?}", self.0)])
    }

    op_as_typed_op!();
}

impl EvalOp for Fused {
    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let picture = inputs[0].try_as_plain_ram()?;
        let outputs = self.0.outputs().map(|layout| Tensor::zero::<f32>(&shape(layout)));
        let mut outputs: TVec<Tensor> = outputs.collect::<TractResult<_>>()?;
        let views = outputs.iter_mut().map(|tensor| tensor.try_as_plain_ram_mut());
        let mut views: TVec<_> = views.collect::<TractResult<_>>()?;
        let planes = views.iter_mut().map(|view| view.as_slice_mut::<f32>());
        let mut planes: TVec<&mut [f32]> = planes.collect::<TractResult<_>>()?;
        self.0.run(picture.as_slice()?, &mut planes);
        drop(planes);
        drop(views);
        Ok(outputs.into_iter().map(Tensor::into_tvalue).collect())
    }

    op_out_of_plan!();
}

impl TypedOp for Fused {
    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(self.0.outputs().map(|layout| f32::fact(shape(layout))).collect())
    }

    as_op!();
}
