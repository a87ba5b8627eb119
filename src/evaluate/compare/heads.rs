//! A head for each loss, on few rows too.

use crate::inspect::embedding::Embeddings;
use crate::inspect::metric::{Head, Metric};
use crate::inspect::recipe::{Distance, HeadKind, Recipe};
use crate::teach::evidence::Evidence;
use crate::teach::learn::{LearnOptions, LeftOut, train_on};
use crate::teach::losses::Loss;
use crate::teach::train::{HeadShape, TrainError, Trained, prototypes};
use crate::teach::{Options, TeachError};

/// The width of a linear head, where there are as many channels.
pub const LINEAR: usize = 64;

/// Trains as [`train_on`] does, with a smaller batch if there are too few rows for it.
///
/// Returns the head, or a sentence that says why there is none.
/// # Errors  `TeachError`, other than of the training.
pub fn train(
    evidence: &Evidence,
    recipe: &Recipe,
    mut how: LearnOptions,
    options: &Options,
) -> Result<Result<Trained, String>, TeachError> {
    let classes = how.preset.classes().len();
    loop {
        match train_on(std::slice::from_ref(evidence), recipe, &how, Some(LeftOut::FOLD), options, &|_, _, _| ()) {
            Ok(trained) => return Ok(Ok(trained)),
            // Every try asks for no more than the class that was too small has.
            Err(TeachError::Train(TrainError::TooFew { found, .. })) if found >= 2 => how.train.batch = found * classes,
            Err(TeachError::Train(error)) => return Ok(Err(error.to_string())),
            Err(error) => return Err(error),
        }
    }
}

/// All losses with their default options for a head of that shape, and how they are called.
pub fn losses(shape: HeadShape, seed: u64) -> Vec<(&'static str, LearnOptions)> {
    let with = |name| {
        let mut how = LearnOptions::for_loss(Loss::default_of(name).expect("every name is one of a loss"));
        (how.train.shape, how.train.seed) = (shape, seed);
        (name, how)
    };
    Loss::NAMES.map(with).into()
}

pub fn shape_name(shape: HeadShape) -> String {
    match shape {
        HeadShape::Residual => "residual".into(),
        HeadShape::Linear { width } => format!("linear {width}"),
        HeadShape::Mlp { hidden, width } => format!("mlp {hidden} {width}"),
    }
}

/// The recipe with a head and another distance.
pub fn with_head(recipe: &Recipe, head: Option<&Head>, distance: Distance) -> Recipe {
    let head = head.map_or(HeadKind::Identity, Head::kind);
    Recipe { head, distance, normalise: distance == Distance::Cosine, ..recipe.clone() }
}

/// The distance that a loss compares by, as of a head that it trained.
pub fn own_distance(loss: &Loss) -> Distance {
    if loss.compares_directions() { Distance::Cosine } else { Distance::Euclidean }
}

/// What stands for the good class in the space of a head, and the distance to it.
pub fn prototype(loss: &Loss, trained: &Trained) -> Option<(Embeddings, Distance)> {
    Some(prototypes(loss, trained.prototypes.as_ref()?.select(&[0])))
}

/// The learned steps of a head alone.
pub fn metric(head: Option<&Head>) -> Metric {
    Metric { head: head.cloned(), ..Metric::default() }
}
