//! From drawn defects to rows that a head learns from: which embeddings are good, which show a defect, and of what class.

use rand_chacha::ChaCha8Rng;

use super::evidence::{DrawnDefect, Evidence, KnownPicture};
use super::stream;
use super::train::Samples;
use crate::inspect::compare::Comparison;
use crate::inspect::embedding::Embeddings;
use crate::inspect::recipe::{Granularity, Recipe};
use crate::teach::defects::{Kind, Preset};

/// A patch of which at least so much is changed shows the defect.
const SHOWN: f32 = 0.15;
/// A patch is good if no change is within so many patches: the backbone sees farther than a patch.
const FAR: usize = 3;
/// At most so many rows of each class are taken from a picture.
const ROWS_A_PICTURE: usize = 40;
/// Of a known defect without a mask so many patches, those farthest from the good parts, are taken for it.
const SUSPECTS: usize = 10;
/// The kind of all known defects; [`number`] gives the others.
const KNOWN: u16 = Kind::ALL.len() as u16 + 1;

/// Rows with their classes, of pictures of some parts.
#[derive(Clone, Debug)]
pub struct Rows {
    pub embeddings: Embeddings,
    pub labels: Vec<u32>,
    pub kinds: Vec<u16>,
    pub products: Vec<u16>,
}

/// Where rows come from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub evidence: &'a Evidence,
    /// Whose evidence it is.
    pub product: u16,
    /// Says which class a kind of defect is of.
    pub preset: Preset,
    pub seed: u64,
}

impl Rows {
    pub fn samples(&self) -> Samples<'_> {
        Samples { embeddings: &self.embeddings, labels: &self.labels, kinds: &self.kinds, products: &self.products }
    }

    /// No rows yet, of `channels` values each.
    pub fn new(channels: usize) -> Rows {
        let embeddings = Embeddings::new(channels, vec![], false);
        Rows { embeddings, labels: vec![], kinds: vec![], products: vec![] }
    }

    /// Takes in the rows of good pictures and of defects of a product: for patches those of the defect and those far from
    /// it, for whole pictures one each.
    /// * `good` — pictures of the study without a defect
    /// * `defects` — those whose kind is wanted
    pub fn collect<'a>(
        &mut self,
        Source { evidence, product, preset, seed }: Source,
        recipe: &Recipe,
        good: &[usize],
        defects: impl Iterator<Item = &'a DrawnDefect>,
    ) {
        let study = evidence.study();
        for &picture in good {
            let raw = study.raw(picture, recipe);
            let all: Vec<usize> = (0..raw.len()).collect();
            self.add(&raw, &all, Of { product, class: 0, kind: 0 }, &mut rng(seed, picture));
        }
        for defect in defects {
            let raw = study.raw(defect.picture, recipe);
            let of = Of { product, class: preset.class_of(defect.kind), kind: number(defect.kind) };
            let rng = &mut rng(seed, defect.picture);
            if recipe.granularity == Granularity::Image {
                self.add(&raw, &[0], of, rng);
                continue;
            }
            let shown: Vec<usize> = (0..raw.len()).filter(|patch| defect.cover[*patch] >= SHOWN).collect();
            self.add(&raw, &shown, of, rng);
            self.add(&raw, &far_from(&defect.cover, recipe.grid()), Of { class: 0, kind: 0, ..of }, rng);
        }
    }

    /// Takes in what shows known defects of a product, as a further class: the whole picture, or the patches that its mask
    /// covers, or without one those farthest from the good parts.
    /// * `comparison` — with good parts
    pub fn collect_known<'a>(
        &mut self,
        Source { evidence, product, preset, seed }: Source,
        known: impl Iterator<Item = &'a KnownPicture>,
        comparison: &Comparison,
    ) {
        let of = Of { product, class: preset.classes().len() as u32, kind: KNOWN };
        for defect in known {
            let raw = evidence.study().raw(defect.picture, comparison.recipe());
            let shown: Vec<usize> = match &defect.cover {
                _ if raw.len() == 1 => vec![0],
                Some(cover) => covered(cover),
                None => farthest(&comparison.distances(raw.clone())),
            };
            self.add(&raw, &shown, of, &mut rng(seed, defect.picture));
        }
    }

    /// Takes in other rows.
    pub fn extend(&mut self, other: Rows) {
        self.embeddings.extend(&other.embeddings);
        self.labels.extend(other.labels);
        self.kinds.extend(other.kinds);
        self.products.extend(other.products);
    }

    fn add(&mut self, raw: &Embeddings, from: &[usize], Of { product, class, kind }: Of, rng: &mut ChaCha8Rng) {
        let count = ROWS_A_PICTURE.min(from.len());
        let picked: Vec<usize> = rand::seq::index::sample(rng, from.len(), count).iter().map(|at| from[at]).collect();
        self.embeddings.extend(&raw.select(&picked));
        self.labels.extend(std::iter::repeat_n(class, count));
        self.kinds.extend(std::iter::repeat_n(kind, count));
        self.products.extend(std::iter::repeat_n(product, count));
    }
}

/// What rows are of.
#[derive(Clone, Copy)]
struct Of {
    product: u16,
    class: u32,
    kind: u16,
}

/// The patches that are changed enough to show it, or else the one that is changed most.
fn covered(cover: &[f32]) -> Vec<usize> {
    let shown: Vec<usize> = (0..cover.len()).filter(|patch| cover[*patch] >= SHOWN).collect();
    let most = (0..cover.len()).max_by(|a, b| cover[*a].total_cmp(&cover[*b])).filter(|patch| cover[*patch] > 0.0);
    if shown.is_empty() { most.into_iter().collect() } else { shown }
}

/// The places of the largest distances.
fn farthest(distances: &[f32]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..distances.len()).collect();
    places.sort_by(|a, b| distances[*b].total_cmp(&distances[*a]));
    places.truncate(SUSPECTS);
    places
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
    fn a_mask_thinner_than_a_patch_still_shows_one() {
        assert_eq!(covered(&[0.0, 0.2, 0.15, 0.1]), [1, 2]);
        assert_eq!(covered(&[0.0, 0.02, 0.1, 0.0]), [2]);
        assert!(covered(&[0.0, 0.0]).is_empty());
    }

    #[test]
    fn good_patches_are_more_than_three_cells_from_a_change() {
        let mut cover = vec![0.0; 9 * 2];
        cover[0] = 0.01;
        assert_eq!(far_from(&cover, [9, 2]), (8..18).collect::<Vec<_>>());
    }
}
