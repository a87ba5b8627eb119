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
    loop {
        match train_on(std::slice::from_ref(evidence), recipe, &how, Some(LeftOut::FOLD), options, &|_, _, _| ()) {
            Ok(trained) => return Ok(Ok(trained)),
            // Every try asks for no more than the class that was too small has.
            Err(TeachError::Train(TrainError::TooFew { found, needed, batch, .. })) if found >= 2 => {
                how.train.batch = smaller(batch, needed, found);
            }
            Err(TeachError::Train(error)) => return Ok(Err(error.to_string())),
            Err(error) => return Err(error),
        }
    }
}

/// A batch of which a class takes `found` rows or fewer, where it would take `needed`, which is more.
fn smaller(batch: usize, needed: usize, found: usize) -> usize {
    batch / needed * found
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

/// A head for embeddings that are compared by that distance: by cosine without its centring, for seen from their mean
/// good parts lie in all directions, and seen from where all channels are 0 in one. Euclidean distances stay as they are.
pub fn compared_by(distance: Distance, head: &Head) -> Head {
    let mut head = head.clone();
    if let (Distance::Cosine, Head::Linear(projection)) = (distance, &mut head) {
        projection.mean.fill(0.0);
    }
    head
}

/// What stands for the good class in the space of a head, and the distance to it, or why nothing does; none of a loss
/// without class weights.
pub fn prototype(loss: &Loss, trained: &Trained) -> Option<Result<(Embeddings, Distance), String>> {
    let learned = trained.prototypes.as_ref()?;
    if trained.prototypes_are_random(loss) {
        return Some(Err("no step is better than the start, where class weights are random".to_owned()));
    }
    Some(Ok(prototypes(loss, learned.select(&[0]))))
}

/// The learned steps of a head alone.
pub fn metric(head: Option<&Head>) -> Metric {
    Metric { head: head.cloned(), ..Metric::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::metric::Projection;

    #[test]
    fn a_batch_for_few_rows_always_gets_smaller() {
        for (classes, batch) in [(2, 240), (3, 240), (4, 10), (5, 19), (6, 241)] {
            let needed = batch / classes;
            for found in 1..needed {
                let smaller = smaller(batch, needed, found);
                assert!(smaller < batch && smaller >= classes * found, "{found} of {needed}");
            }
        }
    }

    #[test]
    fn by_cosine_good_parts_lie_in_one_direction_though_a_head_is_centred_on_them() {
        let centred = Head::Linear(Projection { mean: vec![9.0, 9.0], weight: vec![1.0, 0.0, 0.0, 2.0] });
        assert_eq!(compared_by(Distance::Euclidean, &centred), centred);
        let good = Embeddings::new(2, vec![10.0, 8.0, 8.0, 10.0], false);
        let cosine = |head: &Head| {
            let unit = head.apply(&good).normalise();
            unit.row(0).iter().zip(unit.row(1)).map(|(a, b)| a * b).sum::<f32>()
        };
        assert!(cosine(&centred) < -0.99);
        assert!(cosine(&compared_by(Distance::Cosine, &centred)) > 0.95);
    }
}
