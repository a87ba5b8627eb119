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
    /// How the region is cut into tiles; it is resized as a whole, without keeping its aspect, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiling: Option<Tiling>,
    /// Height and width of the network's input, in pixels; multiples of the card's `size_multiple`.
    pub input_px: [usize; 2],
    /// The backbone's outputs that are used, by their names in the card, in the order of concatenation.
    pub taps: Vec<String>,
    /// The side of the average-pooling window, in positions of the tap; odd, 1 for none.
    pub pool: usize,
    /// The stride of the patch grid, in pixels of the input; every tap is resized to it.
    pub grid_stride: usize,
    pub granularity: Granularity,
    pub head: HeadKind,
    pub scaling: Scaling,
    /// Whether the embeddings are scaled to unit length at last.
    pub normalise: bool,
    pub distance: Distance,
    /// The columns from which on the product measures once more, and so without what lies before: where the taps but the
    /// first begin, so that the deepest counts by itself too and none of them drowns it. Ascending; none if absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nested: Vec<usize>,
    /// Whether the distance to a bank row is divided by how far good patches usually lie from it: the tensor
    /// `bank.spread` (M,).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub local: bool,
    /// The distance of an embedding is the mean over this many nearest bank rows.
    pub neighbours: usize,
    /// Whether the bank is no part at all but one row, what a loss learned to stand for the good class.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prototype: bool,
    /// Whether a learned score of each patch is added to its distance: the tensors `normality.*`.
    pub normality: bool,
    /// Whether the distances of a picture are divided by their median: what is wrong in the whole picture then counts
    /// less, and what is wrong in one place counts more.
    pub relative: bool,
    /// Whether each distance is replaced by the mean of those around it: [`super::smooth::smooth`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub smooth: bool,
    pub score: ScoreRule,
}

impl Recipe {
    /// Whether a picture has one embedding, and not one for each patch or tile.
    pub fn has_one_embedding(&self) -> bool {
        self.granularity == Granularity::Image && self.tiling.is_none()
    }

    /// Height and width of the grid of embeddings of one network input; of the whole region, if there are no tiles.
    pub fn grid(&self) -> [usize; 2] {
        match self.granularity {
            Granularity::Patch => self.input_px.map(|side| side / self.grid_stride),
            Granularity::Image => [1, 1],
        }
    }

    /// How many values of an embedding of `width` teaching holds at most: its own, and those that a factor measures alone.
    pub fn held(&self, width: usize) -> usize {
        width + self.nested.first().map_or(0, |first| width - first)
    }

    /// What the distance is the geometric mean of; one, unless it is the product. The bank has as many rows for each, one
    /// block after another.
    pub fn factors(&self) -> Vec<Factor> {
        let distances: &[Distance] = match self.distance {
            Distance::Product => &[Distance::Euclidean, Distance::Cosine],
            Distance::Cosine => &[Distance::Cosine],
            _ => &[Distance::Euclidean],
        };
        let of = |distance: &Distance| {
            let factor = |from| Factor { distance: *distance, from };
            std::iter::once(0).chain(self.nested.iter().copied()).map(factor).collect::<Vec<_>>()
        };
        distances.iter().flat_map(of).collect()
    }
}

/// One of the distances that are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Factor {
    /// Cosine or Euclidean.
    pub distance: Distance,
    /// The first column that it is measured by.
    pub from: usize,
}

/// Overlapping tiles; the rules are in [`super::tiling`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tiling {
    /// Height and width of a tile, in pixels of the region, with the aspect of `input_px`; each is resized to it.
    pub tile_px: [usize; 2],
    /// The least fraction of its side that a tile shares with the next one; in [0, 0.5].
    pub overlap: f64,
}

/// What one embedding describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    /// One position of the patch grid.
    Patch,
    /// The whole picture, or each tile: the global average of each tap.
    Image,
}

/// The projection of the concatenated taps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    Identity,
    /// y = W (x − mean), principal axes of the good parts or learned: the tensors `head.mean` (C,) and `head.weight`
    /// (D, C).
    Linear,
    /// One hidden layer, learned: `head.mean` (C,), `head.weight` (H, C), `head.output` (D, H) and `head.bias` (D,).
    Mlp,
}

/// What is done to each channel after the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scaling {
    None,
    /// Divided by its standard deviation over the good parts: the tensor `scaling.deviation` (D,).
    Std,
    /// sign(v) · √|v|, so that large activations do not drown the small ones.
    SignedSqrt,
}

/// How far an embedding lies from the good parts; smaller is closer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// 1 − ⟨q, m⟩ to the nearest bank row; needs embeddings of unit length.
    Cosine,
    /// ‖q − m‖ to the nearest bank row; needs embeddings that keep their length.
    Euclidean,
    /// √(e · c), the geometric mean of both, each to its own nearest row: the first block of the bank holds rows that
    /// cover the embeddings, the second rows of unit length that cover their directions. What is odd by only one of the
    /// two counts less than what is odd by both, and no weight between them is needed. With `Recipe::nested` the mean is
    /// of e and c by all columns and from each of those on, first all e, then all c.
    Product,
    /// √((q − μ)ᵀ Σ⁻¹ (q − μ)) to the mean of the good parts, Σ shrunk towards a sphere: the tensors
    /// `whitening.weight` (D, D) and a bank of one row, the mean.
    Mahalanobis,
    /// The same with a Gaussian for each position of the grid, for parts that always lie the same way: a bank of one
    /// mean a position, (P, D), and `whitening.weight` (P, D, D).
    MahalanobisPerPosition,
}

impl Distance {
    /// Whether it is measured to Gaussians instead of bank rows.
    pub fn is_gaussian(self) -> bool {
        matches!(self, Distance::Mahalanobis | Distance::MahalanobisPerPosition)
    }
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
