//! Why a picture has its score: a map of where on it the score comes from, on an absolute scale.
//!
//! With an embedding for each patch, the distances of the patches are the explanation, and the map is the anomaly map.
//! With one embedding for the picture, the map is a Grad-CAM of the score at the tapped layers: hot is what raises the
//! score. Either map is compared with the threshold and is painted by the same heat map.
//!
//! Grad-CAM shows what is there. A part whose fault is that something is missing has its score raised by no place, or by
//! what stands around the gap; patch embeddings show the gap itself, and are the better explanation altogether.
//!
//! Rejected: gradient × (activation − that of good parts), because after global pooling good parts have no places, and
//! the difference is one constant over the map; stretching each map from its minimum to its maximum, which paints a flawless part as red as a broken one;
//! the bare gradient × activation compared with the threshold, for its size is not the score's (with cosine it adds up
//! to 0 over the picture).

use super::backbone::TapOutput;
use super::embedding::{self, Embeddings, Resize};
use super::recipe::Recipe;
use super::{InspectError, Inspector};
use crate::frame::{Frame, Roi};
use crate::part::{AnomalyMap, Inspection};

mod gradient;

pub use gradient::score_gradient;

/// An inspection with the map that explains its score.
#[derive(Clone, Debug)]
pub struct Explanation {
    pub inspection: Inspection,
    /// On the scale of the threshold; covers the region of interest.
    pub map: AnomalyMap,
    pub method: Method,
}

/// What a map shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The distance of each patch, smoothed if the recipe says so.
    AnomalyMap,
    /// What raises the score of the whole picture.
    GradCam,
}

impl Method {
    /// How scores by a recipe are explained. Tiles are a map by themselves.
    pub fn of(recipe: &Recipe) -> Method {
        if recipe.has_one_embedding() { Method::GradCam } else { Method::AnomalyMap }
    }
}

/// The hottest place of a map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// In pixels of the frame, from its upper left corner: the middle of the hottest patch.
    pub x: u32,
    pub y: u32,
    /// On the scale of the threshold.
    pub heat: f32,
}

impl Inspector {
    /// Judges a frame as [`Inspector::inspect`] does, and says why.
    /// * `bank` — the bank of the inspector's profile
    ///
    /// # Errors  `InspectError`, as [`Inspector::inspect`].
    pub fn explain(&mut self, frame: &Frame, bank: &Embeddings) -> Result<Explanation, InspectError> {
        let method = Method::of(self.extractor.recipe());
        if method == Method::AnomalyMap {
            let inspection = self.inspect(frame)?;
            return Ok(Explanation { map: inspection.map.clone(), inspection, method });
        }
        let (taps, timings) = self.extractor.taps(frame)?;
        let recipe = self.extractor.recipe();
        let raw = embedding::concatenate(&taps, recipe.pool, self.extractor.grid(), recipe.granularity);
        let inspection = self.judge(raw.clone(), self.extractor.grid(), timings);
        let gradient = score_gradient(recipe, self.comparison.metric(), bank, raw.row(0));
        let map = on_scale(grad_cam(&taps, &gradient), inspection.score);
        Ok(Explanation { inspection, map, method })
    }
}

/// The Grad-CAM of the score: max(0, Σ gradient · activation), the sum over the channels of all taps, on the grid of the
/// finest tap.
///
/// A channel's weight in Grad-CAM is the mean over H and W of ∂ score / ∂ activation. Through global average pooling that
/// gradient is the same at every position, `gradient` / (H · W). The map is that times H · W, a density: so taps of
/// different sizes count by the area that they cover. Each tap is resized bilinearly before they are added up.
/// * `gradient` — ∂ score / ∂ pooled channel, (C,), in the order of the taps
///
/// # Panics  If there is no tap.
/// # Source  Selvaraju et al. 2017, arXiv:1610.02391. Differs: of the anomaly score, not of a class; summed over several
/// layers. daisukelab's Grad-CAM has no ReLU, one layer, the logit of a class, and is stretched to minimum and maximum.
pub fn grad_cam(taps: &[TapOutput], gradient: &[f32]) -> AnomalyMap {
    let sizes = taps.iter().map(|tap| [tap.height, tap.width]);
    let grid @ [height, width] =
        sizes.max_by_key(|[height, width]| height * width).expect("a recipe names at least one tap");
    let mut map = vec![0.0; height * width];
    let mut weights = gradient.iter();
    for tap in taps {
        let area = tap.height * tap.width;
        let mut of_tap = vec![0.0; area];
        for (plane, weight) in tap.data().chunks_exact(area).zip(weights.by_ref()) {
            of_tap.iter_mut().zip(plane).for_each(|(sum, activation)| *sum += weight * activation);
        }
        map.iter_mut()
            .zip(Resize::new([tap.height, tap.width], grid).run(&of_tap))
            .for_each(|(sum, value)| *sum += value);
    }
    // A sum that is no number must stay none, which f32::max would hide.
    map.iter_mut().filter(|value| **value < 0.0).for_each(|value| *value = 0.0);
    AnomalyMap { width, height, distances: map }
}

/// The map times one factor, so that its hottest place has the score of the picture; 0 stays 0.
///
/// A good part so has no place above the threshold and a rejected one has, and the same colour means the same share of
/// the score: at half of the score a place raises it half as much as the hottest one does. A map of zeros stays.
pub fn on_scale(mut map: AnomalyMap, score: f32) -> AnomalyMap {
    let hottest = map.distances.iter().copied().fold(0.0, f32::max);
    if hottest > 0.0 {
        map.distances.iter_mut().for_each(|value| *value *= score / hottest);
    }
    map
}

/// The hottest place, or none if nothing is above 0. A value that is no number is the hottest, the first of several wins.
/// * `region` — what the map covers, in pixels of the frame
pub fn hottest(map: &AnomalyMap, region: Roi) -> Option<Place> {
    let rank = |heat: f32| if heat.is_nan() { f32::INFINITY } else { heat };
    let hotter = |best: (usize, f32), next: (usize, f32)| if rank(next.1) > rank(best.1) { next } else { best };
    let (at, heat) = map.distances.iter().copied().enumerate().reduce(hotter)?;
    let middle = |at: usize, count: usize, start: u32, length: u32| {
        start + ((2 * at as u64 + 1) * u64::from(length) / (2 * count as u64)) as u32
    };
    let (x, y) = (at % map.width, at / map.width);
    (rank(heat) > 0.0).then(|| Place {
        x: middle(x, map.width, region.x, region.width),
        y: middle(y, map.height, region.y, region.height),
        heat,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_is_the_sum_of_gradient_times_activation_without_what_lowers_the_score() {
        let tap = TapOutput::new(&[1.0, 0.0, 2.0, 0.0, 0.0, 3.0, 1.0, 0.0], 2, 2, 2);
        let map = grad_cam(&[tap], &[2.0, -1.0]);
        assert_eq!((map.height, map.width, map.distances), (2, 2, vec![2.0, 0.0, 3.0, 0.0]));
    }

    #[test]
    fn taps_of_different_sizes_count_by_the_area_that_they_cover() {
        let fine = TapOutput::new(&[0.0, 0.0, 0.0, 4.0], 1, 2, 2);
        let coarse = TapOutput::new(&[3.0], 1, 1, 1);
        assert_eq!(grad_cam(&[coarse, fine], &[1.0, 1.0]).distances, [3.0, 3.0, 3.0, 7.0]);
    }

    #[test]
    fn the_hottest_place_has_the_score_and_zero_stays_zero() {
        let map = |distances: &[f32]| AnomalyMap { width: 2, height: 1, distances: distances.to_vec() };
        assert_eq!(on_scale(map(&[0.0, 4.0]), 0.5).distances, [0.0, 0.5]);
        assert_eq!(on_scale(map(&[1.0, 4.0]), 0.5).distances, [0.125, 0.5]);
        assert_eq!(on_scale(map(&[0.0, 0.0]), 0.5).distances, [0.0, 0.0]);
        assert!(on_scale(map(&[1.0, 4.0]), f32::NAN).distances.iter().all(|heat| heat.is_nan()));
    }

    #[test]
    fn the_hottest_place_is_the_middle_of_its_patch_in_the_frame() {
        let map = |distances: &[f32]| AnomalyMap { width: 2, height: 2, distances: distances.to_vec() };
        let region = Roi { x: 10, y: 20, width: 40, height: 80 };
        let place = hottest(&map(&[0.1, 0.4, 0.3, 0.4]), region);
        assert_eq!(place, Some(Place { x: 10 + 30, y: 20 + 20, heat: 0.4 }));
        let no_number = hottest(&map(&[9.0, 0.0, -f32::NAN, 1.0]), region).unwrap();
        assert_eq!((no_number.x, no_number.y), (20, 80));
        assert_eq!(hottest(&map(&[0.0; 4]), region), None);
    }
}
