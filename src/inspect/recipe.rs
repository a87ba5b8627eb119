//! The recipe: what is done to a frame, as data. A profile carries one; the inspector carries it out.
//!
//! A step that this version does not know is refused when the profile is opened, never ignored.

use serde::{Deserialize, Serialize};

use crate::frame::Roi;

/// The steps from a frame to a score, in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What to look at, in pixels of the frame; the whole frame if absent.
    pub roi_px: Option<Roi>,
    /// Height and width of the network's input, in pixels; multiples of the card's `size_multiple`.
    pub input_px: [usize; 2],
    /// The backbone's outputs that are used, by their names in the card, in the order of concatenation.
    pub taps: Vec<String>,
    /// The side of the average-pooling window, in positions of the tap; odd, 1 for none.
    pub pool: usize,
    /// The stride of the patch grid, in pixels of the input; every tap is resized to it.
    pub grid_stride: usize,
    pub granularity: Granularity,
    pub head: Head,
    /// Whether the embeddings are scaled to unit length after the head.
    pub normalise: bool,
    pub distance: Distance,
    /// The distance of an embedding is the mean over this many nearest bank rows.
    pub neighbours: usize,
    pub score: ScoreRule,
}

/// What one embedding describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    /// One position of the patch grid.
    Patch,
    /// The whole picture: the global average of each tap.
    Image,
}

/// The projection of the concatenated taps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    Identity,
    /// The first principal axes of the good parts: the tensors `head.mean` (C,) and `head.weight` (D, C).
    Pca,
}

/// How far an embedding lies from the good parts; smaller is closer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// 1 − ⟨q, m⟩ to the nearest bank row; needs embeddings of unit length.
    Cosine,
    /// ‖q − m‖ to the nearest bank row; needs embeddings that keep their length.
    Euclidean,
    /// √((q − μ)ᵀ Σ⁻¹ (q − μ)) to the mean of the good parts, Σ shrunk towards a sphere: the tensors
    /// `whitening.weight` (D, D) and a bank of one row, the mean.
    Mahalanobis,
}

/// How the distances of all embeddings of a picture become its score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreRule {
    /// The largest distance.
    Max,
    /// The mean of this fraction of the largest distances, at least one; in (0, 1].
    TopFraction(f32),
}
