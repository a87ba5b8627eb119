//! Figures over the pixels of many pictures: pixel AUROC, pixel average precision and AUPRO.
//!
//! A large set has more pixels than memory: 700 pictures of 448 × 448 are 140 million. But the figures depend on no more
//! than how many good and anomalous pixels share each score. So the pixels are counted in sorted bins, one for each
//! distinct score: exact, as long as there are at most 2²¹ of those. Where there are more, bins are merged by dropping
//! the last bit of all scores, and the next one, until they fit again. That keeps 13 significant bits of a score in the
//! worst case, more of them the closer the scores lie together, and no range has to be known beforehand.
//!
//! What that costs is measured, not hoped for: the order of the pixels within a bin is not known, and the figures are
//! bracketed by its best and its worst ([`PixelFigures::error`], about 10⁻⁶ for scores without large ties). Memory stays
//! below 220 MB, however many pictures there are: two million bins of 32 bytes, twice as many while they are merged with
//! two million pixels.
//!
//! Not here: reading masks (`dataset`), and bringing an anomaly map to the size of its mask
//! ([`crate::part::AnomalyMap`]).

use super::{connected_components, number};

mod figures;

pub use figures::PixelFigures;

/// Up to which share of false positive pixels AUPRO looks at the curve, as is usual since its first use.
pub const FPR_LIMIT: f64 = 0.3;

/// The most distinct scores that are told apart.
const MAX_BINS: usize = 1 << 21;

/// Collects the pixels of one set, picture by picture, and computes its pixel figures.
#[derive(Clone, Debug)]
pub struct PixelScores {
    /// Sorted, with distinct keys.
    bins: Vec<Bin>,
    /// Pixels that are in no bin yet.
    waiting: Vec<Pixel>,
    max_bins: usize,
    /// How many of the last bits of a score are dropped.
    dropped_bits: u32,
    regions: usize,
}

/// The pixels that share a score.
#[derive(Clone, Copy, Debug)]
struct Bin {
    /// Rises with the score.
    key: u32,
    good: u64,
    anomalous: u64,
    /// For each anomalous pixel, 1 ÷ the size of its region.
    overlap: f64,
}

/// A pixel in one number, the fastest to sort: its key, and below it the size of its region, 0 for a good pixel.
type Pixel = u64;

fn pixel(key: u32, region_size: u32) -> Pixel {
    u64::from(key) << 32 | u64::from(region_size)
}

impl From<Pixel> for Bin {
    fn from(pixel: Pixel) -> Bin {
        let key = (pixel >> 32) as u32;
        match pixel as u32 {
            0 => Bin { key, good: 1, anomalous: 0, overlap: 0.0 },
            region_size => Bin { key, good: 0, anomalous: 1, overlap: 1.0 / f64::from(region_size) },
        }
    }
}

impl Bin {
    /// Takes over the pixels of `other`, if it has the same key.
    fn absorb(&mut self, other: &Bin) -> bool {
        let same = self.key == other.key;
        if same {
            self.good += other.good;
            self.anomalous += other.anomalous;
            self.overlap += other.overlap;
        }
        same
    }
}

/// Appends a bin whose key is not below the last one's.
fn append(bins: &mut Vec<Bin>, bin: Bin) {
    if !bins.last_mut().is_some_and(|last| last.absorb(&bin)) {
        bins.push(bin);
    }
}

impl Default for PixelScores {
    fn default() -> PixelScores {
        PixelScores::with_bins(MAX_BINS)
    }
}

impl PixelScores {
    fn with_bins(max_bins: usize) -> PixelScores {
        PixelScores { bins: Vec::new(), waiting: Vec::new(), max_bins, dropped_bits: 0, regions: 0 }
    }

    /// Adds the pixels of one picture.
    ///
    /// * `map` — its anomaly map at the size of the mask, `height` × `width`, row by row; larger is more anomalous
    /// * `mask` — of the same size, set where the defect is; `None` for a good part. A picture of an anomalous part
    ///   without a mask must be left out: its defect would count as good pixels.
    ///
    /// # Panics  if `map` or `mask` does not hold `width · height` pixels.
    pub fn add(&mut self, map: &[f32], mask: Option<&[bool]>, width: usize, height: usize) {
        assert_eq!(map.len(), width * height, "a map holds one score a pixel");
        let Some(mask) = mask else {
            map.iter().for_each(|&score| self.push(score, 0));
            return;
        };
        let labels = connected_components(mask, width, height);
        let mut sizes = vec![0; 1 + labels.iter().max().map_or(0, |&label| label as usize)];
        labels.iter().for_each(|&label| sizes[label as usize] += 1);
        self.regions += sizes.len() - 1;
        for (&score, &label) in map.iter().zip(&labels) {
            self.push(score, if label == 0 { 0 } else { sizes[label as usize] });
        }
    }

    fn push(&mut self, score: f32, region_size: u32) {
        self.waiting.push(pixel(ascending(score) >> self.dropped_bits, region_size));
        if self.waiting.len() >= self.max_bins {
            self.settle();
        }
    }

    /// Puts the waiting pixels into bins, and drops as many bits as it takes for at most `max_bins` of them.
    fn settle(&mut self) {
        self.waiting.sort_unstable();
        let mut bins = std::mem::take(&mut self.bins).into_iter().peekable();
        for pixel in self.waiting.drain(..).map(Bin::from) {
            while let Some(bin) = bins.next_if(|bin| bin.key <= pixel.key) {
                append(&mut self.bins, bin);
            }
            append(&mut self.bins, pixel);
        }
        bins.for_each(|bin| append(&mut self.bins, bin));
        while self.bins.len() > self.max_bins {
            self.dropped_bits += 1;
            self.bins.iter_mut().for_each(|bin| bin.key >>= 1);
            self.bins.dedup_by(|next, bin| bin.absorb(next));
        }
    }

    /// The figures of all pixels that were added; more may be added afterwards.
    ///
    /// With t running over the scores from the largest down: FPR(t) is the share of the good pixels of all pictures that
    /// score at least t, and PRO(t), the per-region overlap, the mean over the regions of the share of their pixels that
    /// do. A region is a connected component of a mask, by sides or corners, whatever its size. The curve of PRO over FPR
    /// begins in (0, 0), and its points are joined by straight lines, also across `fpr_limit`.
    /// AUPRO = ∫₀^limit PRO dFPR ÷ limit.
    /// * `fpr_limit` — in (0, 1], usually [`FPR_LIMIT`]
    ///
    /// Returns `None` if there are no good or no anomalous pixels.
    /// # Panics  if `fpr_limit` is not in (0, 1].
    /// # Source  `sklearn.metrics.roc_auc_score` and `average_precision_score` of all pixels in one array; AUPRO:
    /// Bergmann et al. 2020, arXiv:1911.02357.
    pub fn figures(&mut self, fpr_limit: f64) -> Option<PixelFigures> {
        assert!(fpr_limit > 0.0 && fpr_limit <= 1.0, "the limit lies above 0 and up to 1, not at {fpr_limit}");
        self.settle();
        figures::of(&self.bins, self.regions, self.dropped_bits == 0, fpr_limit)
    }
}

/// Whole numbers in the order of the scores: the bits of a positive one, and of a negative one its bits turned over.
fn ascending(score: f32) -> u32 {
    // Adding 0 makes −0 the same as 0.
    let bits = (number(score) + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::{auroc, average_precision};
    use super::*;

    fn mask(rows: &[&str]) -> Vec<bool> {
        rows.concat().chars().map(|pixel| pixel == '#').collect()
    }

    fn figures(scores: &mut PixelScores, fpr_limit: f64) -> [f64; 3] {
        let figures = scores.figures(fpr_limit).unwrap();
        assert_eq!((figures.error, figures.fpr_limit), (0.0, fpr_limit));
        [figures.auroc, figures.average_precision, figures.aupro]
    }

    #[test]
    fn a_map_that_is_the_mask_is_perfect() {
        let mask = mask(&["##..", "....", "...#"]);
        let map: Vec<f32> = mask.iter().map(|&anomalous| if anomalous { 0.9 } else { 0.1 }).collect();
        let mut scores = PixelScores::default();
        scores.add(&map, Some(&mask), 4, 3);
        scores.add(&[0.1; 6], None, 3, 2);
        assert_eq!(figures(&mut scores, FPR_LIMIT), [1.0; 3]);
        assert_eq!(scores.figures(FPR_LIMIT).unwrap().regions, 2);
    }

    #[test]
    fn a_small_region_counts_as_much_as_a_large_one() {
        // The region of 3 pixels lies above all good ones, the one of 1 pixel below them.
        let mut scores = PixelScores::default();
        let mask = mask(&["###..", "....#"]);
        scores.add(&[9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 4.0, 3.0, 3.0, 1.0], Some(&mask), 5, 2);
        // Three of four anomalous pixels win every pair, one none; precision is 1 three times, and 4 / 10.
        let [auroc, precision, aupro] = figures(&mut scores, 1.0);
        assert!((auroc - 0.75).abs() < 1e-12);
        assert!((precision - 3.4 / 4.0).abs() < 1e-12);
        // Half of the regions overlap from the start, the other only when every good pixel is taken.
        assert!((aupro - 0.5).abs() < 1e-12);
    }

    #[test]
    fn the_curve_is_cut_off_at_the_limit_between_its_points() {
        // One region of two pixels. The points (FPR, PRO) are (0, ½), (½, ½), (1, 1): the second pixel ties with a good one.
        let mut scores = PixelScores::default();
        scores.add(&[4.0, 3.0, 2.0, 2.0], Some(&mask(&["#.#."])), 4, 1);
        assert_eq!(scores.figures(1.0).unwrap().regions, 2);
        // Up to ¾ the area is ½ · ½ and ¼ · (½ + ¾) / 2.
        let [.., aupro] = figures(&mut scores, 0.75);
        assert!((aupro - (0.25 + 0.25 * 0.625) / 0.75).abs() < 1e-12);
        let [.., aupro] = figures(&mut scores, 0.5);
        assert_eq!(aupro, 0.5);
    }

    #[test]
    fn ties_count_half_and_no_number_is_the_worst_score() {
        let mut scores = PixelScores::default();
        scores.add(&[0.0, -0.0, f32::NAN, -1.0], Some(&mask(&["#.#."])), 4, 1);
        // Pairs: 0 = −0 is half won, and the other three are won.
        assert_eq!(figures(&mut scores, FPR_LIMIT)[0], 3.5 / 4.0);
    }

    #[test]
    fn without_good_or_without_anomalous_pixels_there_are_no_figures() {
        let mut scores = PixelScores::default();
        assert_eq!(scores.figures(FPR_LIMIT), None);
        scores.add(&[1.0, 2.0], Some(&[false, false]), 2, 1);
        scores.add(&[1.0, 2.0], None, 1, 2);
        assert_eq!(scores.figures(FPR_LIMIT), None);
        let mut scores = PixelScores::default();
        scores.add(&[1.0, 2.0], Some(&[true, true]), 2, 1);
        assert_eq!(scores.figures(FPR_LIMIT), None);
    }

    #[test]
    fn keys_rise_with_the_scores() {
        let rising = [f32::NEG_INFINITY, -2.0, -1.0, -1e-40, 0.0, 1e-40, 0.5, 0.500_001, 3.0, f32::INFINITY];
        assert!(rising.windows(2).all(|pair| ascending(pair[0]) < ascending(pair[1])));
        assert_eq!(ascending(-0.0), ascending(0.0));
        assert_eq!(ascending(-f32::NAN), ascending(f32::INFINITY));
    }

    /// Pictures of noise whose anomalous pixels score higher on the whole.
    fn noise(pictures: usize, scores: &mut [&mut PixelScores]) -> (Vec<f32>, Vec<bool>) {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let (mut all, mut labels) = (Vec::new(), Vec::new());
        for _ in 0..pictures {
            let mask: Vec<bool> = (0..40 * 50).map(|pixel| pixel % 50 / 10 == 3 && pixel / 50 < 20).collect();
            let score = |&anomalous: &bool| rng.random_range(0.0..1.0f32) + if anomalous { 0.4 } else { 0.0 };
            let map: Vec<f32> = mask.iter().map(score).collect();
            scores.iter_mut().for_each(|scores| scores.add(&map, Some(&mask), 50, 40));
            all.extend(map);
            labels.extend(mask);
        }
        (all, labels)
    }

    #[test]
    fn too_many_scores_are_merged_and_the_figures_stay_within_the_error_that_is_told() {
        let (mut exact, mut coarse, mut coarser) =
            (PixelScores::default(), PixelScores::with_bins(4000), PixelScores::with_bins(300));
        let (all, labels) = noise(20, &mut [&mut exact, &mut coarse, &mut coarser]);
        let of = |anomalous: bool| -> Vec<f32> {
            all.iter().zip(&labels).filter(|(_, label)| **label == anomalous).map(|(score, _)| *score).collect()
        };
        let truth = exact.figures(FPR_LIMIT).unwrap();
        assert_eq!(truth.error, 0.0);
        assert!((truth.auroc - auroc(&of(false), &of(true))).abs() < 1e-12);
        assert!((truth.average_precision - average_precision(&all, &labels).unwrap()).abs() < 1e-12);
        for (scores, most) in [(&mut coarse, 2e-3), (&mut coarser, 0.05)] {
            let found = scores.figures(FPR_LIMIT).unwrap();
            assert!(scores.bins.len() <= scores.max_bins);
            assert!(found.error > 0.0 && found.error < most, "{}", found.error);
            assert!((found.auroc - truth.auroc).abs() <= found.error);
            assert!((found.average_precision - truth.average_precision).abs() <= found.error);
            assert!((found.aupro - truth.aupro).abs() <= found.error);
        }
    }

    #[test]
    fn the_bins_never_outgrow_their_bound() {
        let mut scores = PixelScores::with_bins(1000);
        noise(5, &mut [&mut scores]);
        assert!(scores.bins.capacity() <= 2048, "{}", scores.bins.capacity());
    }
}
