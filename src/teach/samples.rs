//! From drawn defects to rows that a head learns from: which embeddings are good, which show a defect, and of what class.

use rand_chacha::ChaCha8Rng;

use super::evidence::{DrawnDefect, Evidence};
use super::stream;
use super::train::Samples;
use crate::inspect::embedding::Embeddings;
use crate::inspect::recipe::{Granularity, Recipe};
use crate::teach::defects::{Kind, Preset};

/// A patch of which at least so much is changed shows the defect.
const SHOWN: f32 = 0.15;
/// A patch is good if no change is nearer than so many patches: the backbone sees farther than a patch.
const FAR: usize = 3;
/// At most so many rows of each class are taken from a picture.
const ROWS_A_PICTURE: usize = 40;

/// Rows with their classes, of pictures of some parts.
#[derive(Clone, Debug)]
pub struct Rows {
    pub embeddings: Embeddings,
    pub labels: Vec<u32>,
    pub kinds: Vec<u16>,
}

impl Rows {
    pub fn samples(&self) -> Samples<'_> {
        Samples { embeddings: &self.embeddings, labels: &self.labels, kinds: &self.kinds }
    }

    /// The rows of good pictures and of defects: for patches those of the defect and those far from it, for whole
    /// pictures one each.
    /// * `good` — pictures of the study without a defect
    /// * `defects` — those whose kind is wanted
    /// * `preset` — says which class a kind is of
    pub fn collect<'a>(
        evidence: &Evidence,
        recipe: &Recipe,
        preset: Preset,
        good: &[usize],
        defects: impl Iterator<Item = &'a DrawnDefect>,
        seed: u64,
    ) -> Rows {
        let study = evidence.study();
        let mut rows =
            Rows { embeddings: Embeddings::new(study.channels(recipe), vec![], false), labels: vec![], kinds: vec![] };
        for &picture in good {
            let raw = study.raw(picture, recipe);
            let all: Vec<usize> = (0..raw.len()).collect();
            rows.add(&raw, &all, 0, 0, &mut rng(seed, picture));
        }
        for defect in defects {
            let raw = study.raw(defect.picture, recipe);
            let (class, kind) = (preset.class_of(defect.kind), number(defect.kind));
            let rng = &mut rng(seed, defect.picture);
            if recipe.granularity == Granularity::Image {
                rows.add(&raw, &[0], class, kind, rng);
                continue;
            }
            let shown: Vec<usize> = (0..raw.len()).filter(|patch| defect.cover[*patch] >= SHOWN).collect();
            rows.add(&raw, &shown, class, kind, rng);
            rows.add(&raw, &far_from(&defect.cover, recipe.grid()), 0, 0, rng);
        }
        rows
    }

    fn add(&mut self, raw: &Embeddings, from: &[usize], class: u32, kind: u16, rng: &mut ChaCha8Rng) {
        let count = ROWS_A_PICTURE.min(from.len());
        let picked: Vec<usize> = rand::seq::index::sample(rng, from.len(), count).iter().map(|at| from[at]).collect();
        self.embeddings.extend(&raw.select(&picked));
        self.labels.extend(std::iter::repeat_n(class, count));
        self.kinds.extend(std::iter::repeat_n(kind, count));
    }
}

/// The place of a kind in [`Kind::ALL`], from 1.
pub fn number(kind: Kind) -> u16 {
    1 + Kind::ALL.iter().position(|other| *other == kind).expect("all kinds are among all") as u16
}

/// The cells that no change is near to.
/// * `grid` — height and width
fn far_from(cover: &[f32], [height, width]: [usize; 2]) -> Vec<usize> {
    let near = |at: usize, end: usize| at.saturating_sub(FAR)..(at + FAR + 1).min(end);
    let untouched =
        |y: usize, x: usize| near(y, height).all(|row| near(x, width).all(|column| cover[row * width + column] == 0.0));
    (0..height * width).filter(|at| untouched(at / width, at % width)).collect()
}

fn rng(seed: u64, picture: usize) -> ChaCha8Rng {
    stream(seed, 10_000_000 + picture as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_patches_are_more_than_three_cells_from_a_change() {
        let mut cover = vec![0.0; 9 * 2];
        cover[0] = 0.01;
        assert_eq!(far_from(&cover, [9, 2]), (8..18).collect::<Vec<_>>());
    }
}
