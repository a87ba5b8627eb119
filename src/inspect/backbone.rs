//! The backbone: an ONNX graph, made concrete for one input size and one choice of taps, run by tract.
//!
//! tract optimises a graph for fixed shapes; symbolic ones cost speed and surprise. So the file is free in size and
//! this type is not. The operations that [`super::kernels`] knows are run by them, as one operation of tract's; what they
//! do not know is run by tract alone. Outputs that the recipe does not use are cut off before, with all that only they need.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use pulp::Arch;
use tract_onnx::prelude::*;

use super::card::{Model, Tap};
use super::kernels::has_vectors;

mod fuse;
mod program;
mod recognise;
#[cfg(test)]
mod tests;

/// A backbone ready to run; sharing it between threads is cheap.
#[derive(Clone)]
pub struct Backbone {
    plan: Arc<TypedRunnableModel>,
    size: [usize; 2],
    taps: Vec<Tap>,
}

/// One tap of one picture: (channels, height, width) f32, channel by channel.
pub struct TapOutput {
    tensor: TValue,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

impl TapOutput {
    /// A tap whose values were kept.
    /// * `data` — (channels, height, width)
    pub fn new(data: &[f32], channels: usize, height: usize, width: usize) -> TapOutput {
        let tensor = Tensor::from_shape(&[1, channels, height, width], data).expect("as many values as the shape says");
        TapOutput { tensor: tensor.into_tvalue(), channels, height, width }
    }

    pub fn data(&self) -> &[f32] {
        self.tensor.as_plain_ram().and_then(|view| view.as_slice().ok()).expect("the shape and type were checked")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum BackboneError {
    #[error("the backbone {name} has no tap '{tap}'; its card lists {known}")]
    UnknownTap { name: String, tap: String, known: String },
    #[error(
        "the input size {height} × {width} does not fit the backbone {name}; height and width must be multiples of \
         {multiple}, and not 0"
    )]
    Size { name: String, height: usize, width: usize, multiple: usize },
    #[error("the model of {name} cannot be used: {reason}; get the file again, or choose another backbone")]
    Malformed { name: String, reason: String },
    #[error(
        "the card of {name} does not fit its model: tap '{tap}' gives {found}, expected {expected}; correct the card"
    )]
    Unfit { name: String, tap: String, found: String, expected: String },
    #[error("the backbone failed on a frame: {0}; this is a bug in rejectd or in the model, report it")]
    Run(String),
}

impl Backbone {
    /// Loads `model` for pictures of `size` (height, width), to give `taps` in their order.
    /// # Errors  `BackboneError`: an unknown tap, a size that is no multiple of the card's, a graph that tract refuses,
    /// or taps whose shape is not the card's.
    pub fn load(model: &Model, size: [usize; 2], taps: &[String]) -> Result<Backbone, BackboneError> {
        let card = &model.card;
        let name = card.name.clone();
        let [height, width] = size;
        if height == 0
            || width == 0
            || !height.is_multiple_of(card.size_multiple)
            || !width.is_multiple_of(card.size_multiple)
        {
            return Err(BackboneError::Size { name, height, width, multiple: card.size_multiple });
        }
        let find = |tap: &String| {
            card.tap(tap).cloned().ok_or_else(|| BackboneError::UnknownTap {
                name: name.clone(),
                tap: tap.clone(),
                known: card.taps.iter().map(|tap| tap.name.as_str()).collect::<Vec<_>>().join(", "),
            })
        };
        let taps: Vec<Tap> = taps.iter().map(find).collect::<Result<_, _>>()?;
        // A file from outside may still meet a panic in the parser; it must end as a sentence like any other fault.
        let plan = catch_unwind(AssertUnwindSafe(|| optimise(model, size, &taps)))
            .unwrap_or_else(|_| Err(TractError::msg("the graph made the optimiser panic")))
            .map_err(|e| BackboneError::Malformed { name: name.clone(), reason: reason(&e) })?;
        let backbone = Backbone { plan, size, taps };
        backbone.check_taps(&name)?;
        Ok(backbone)
    }

    /// Height and width of the input, in pixels.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// The taps that are computed, in the order of the outputs.
    pub fn taps(&self) -> &[Tap] {
        &self.taps
    }

    /// Runs the network on one picture.
    /// * `input` — (3, height, width) f32 as `Preprocess::run` gives it
    ///
    /// Returns the taps in the order they were asked for.
    /// # Errors  `BackboneError::Run` if tract fails.
    pub fn run(&self, input: &[f32]) -> Result<Vec<TapOutput>, BackboneError> {
        let [height, width] = self.size;
        let failed = |e: TractError| BackboneError::Run(reason(&e));
        let input = Tensor::from_shape(&[1, 3, height, width], input).map_err(failed)?;
        let outputs = self.plan.run(tvec!(input.into())).map_err(failed)?;
        let tap_output = |(tensor, tap): (TValue, &Tap)| TapOutput {
            tensor,
            channels: tap.channels,
            height: height / tap.stride,
            width: width / tap.stride,
        };
        Ok(outputs.into_iter().zip(&self.taps).map(tap_output).collect())
    }

    fn check_taps(&self, name: &str) -> Result<(), BackboneError> {
        let [height, width] = self.size;
        for (i, tap) in self.taps.iter().enumerate() {
            let expected = [1, tap.channels, height / tap.stride, width / tap.stride];
            let fact = self.plan.model().output_fact(i).map_err(|e| BackboneError::Run(reason(&e)))?;
            if fact.shape.as_concrete() != Some(&expected) || fact.datum_type != f32::datum_type() {
                return Err(BackboneError::Unfit {
                    name: name.to_owned(),
                    tap: tap.name.clone(),
                    found: format!("{fact:?}"),
                    expected: format!("{expected:?} of f32"),
                });
            }
        }
        Ok(())
    }
}

fn optimise(model: &Model, [height, width]: [usize; 2], taps: &[Tap]) -> TractResult<Arc<TypedRunnableModel>> {
    let graph = tract_onnx::onnx().model_for_read(&mut &*model.onnx)?;
    let inputs = graph.input_outlets()?;
    let given: Vec<&str> = inputs.iter().map(|outlet| graph.node(outlet.node).name.as_str()).collect();
    if given != [model.card.input.as_str()] {
        let card = &model.card.input;
        return Err(TractError::msg(format!("its inputs are {given:?}, but the card names '{card}' alone")));
    }
    let graph = graph
        .with_outputs_by_name(taps.iter().map(|tap| &tap.name))?
        .with_input_fact(0, f32::fact([1, 3, height, width]).into())?
        .into_typed()?;
    let arch = Arch::new();
    let graph = if has_vectors(arch) { fuse::fuse(graph, arch)? } else { graph };
    graph.into_optimized()?.into_runnable()
}

/// The whole chain of an error on one line.
fn reason(error: &TractError) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}
