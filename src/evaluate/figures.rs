//! The figures of one evaluation, by name, and their mean over several.

use serde::{Serialize, Serializer};

use super::metrics::{PixelFigures, auroc, average_precision, caught_at, f1_max, mean_and_spread};
use crate::part::Verdict;

/// What is measured. All are shares or chances in [0, 1].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    ImageAuroc,
    ImageAupr,
    ImageF1Max,
    PixelAuroc,
    PixelAupr,
    Aupro,
    /// The share of anomalous parts that some threshold catches while it rejects no good one.
    CaughtAt0,
    CaughtAt1Pct,
    CaughtAt5Pct,
    /// The share of anomalous parts above the threshold that good parts of the training folder alone gave.
    CaughtAtThreshold,
    /// The share of good parts above that threshold.
    FalseRejectRate,
    /// The bound on it that teaching stated.
    StatedBound,
}

impl Figure {
    pub const ALL: [Figure; 12] = [
        Figure::ImageAuroc,
        Figure::ImageAupr,
        Figure::ImageF1Max,
        Figure::PixelAuroc,
        Figure::PixelAupr,
        Figure::Aupro,
        Figure::CaughtAt0,
        Figure::CaughtAt1Pct,
        Figure::CaughtAt5Pct,
        Figure::CaughtAtThreshold,
        Figure::FalseRejectRate,
        Figure::StatedBound,
    ];

    /// Its name in JSON.
    pub fn key(self) -> &'static str {
        match self {
            Figure::ImageAuroc => "image_auroc",
            Figure::ImageAupr => "image_aupr",
            Figure::ImageF1Max => "image_f1_max",
            Figure::PixelAuroc => "pixel_auroc",
            Figure::PixelAupr => "pixel_aupr",
            Figure::Aupro => "aupro",
            Figure::CaughtAt1Pct => "caught_at_1pct_false_rejects",
            Figure::CaughtAt0 => "caught_at_0_false_rejects",
            Figure::FalseRejectRate => "false_reject_rate",
            Figure::StatedBound => "stated_bound",
            Figure::CaughtAtThreshold => "caught_at_threshold",
            Figure::CaughtAt5Pct => "caught_at_5pct_false_rejects",
        }
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Figure::ImageAuroc => "image AUROC",
            Figure::ImageAupr => "image AUPR",
            Figure::ImageF1Max => "image F1-max",
            Figure::PixelAuroc => "pixel AUROC",
            Figure::PixelAupr => "pixel AUPR",
            Figure::Aupro => "AUPRO, FPR ≤ 0.3",
            Figure::CaughtAt1Pct => "caught at 1 % false rejects",
            Figure::CaughtAt0 => "caught at 0 false rejects",
            Figure::FalseRejectRate => "false rejects at the threshold",
            Figure::StatedBound => "stated bound on false rejects",
            Figure::CaughtAtThreshold => "caught at the threshold",
            Figure::CaughtAt5Pct => "caught at 5 % false rejects",
        }
    }

    /// Whether people read it as a percentage.
    pub fn is_share(self) -> bool {
        self as usize >= Figure::CaughtAt0 as usize
    }
}

/// A value for each figure, `None` where it cannot be had: no masks, or parts of one class only.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Figures([Option<f64>; Figure::ALL.len()]);

impl Figures {
    pub fn get(&self, figure: Figure) -> Option<f64> {
        self.0[figure as usize]
    }

    fn with(mut self, figure: Figure, value: Option<f64>) -> Figures {
        self.0[figure as usize] = value.filter(|value| !value.is_nan());
        self
    }

    /// The figures of scores that were judged by a threshold.
    /// * `good`, `anomalous` — scores of the parts
    /// * `threshold` — what lies above it was rejected
    /// * `bound` — on false rejects, as teaching stated it
    pub fn of(
        good: &[f32],
        anomalous: &[f32],
        threshold: f32,
        bound: Option<f64>,
        pixels: Option<&PixelFigures>,
    ) -> Figures {
        let scores = [good, anomalous].concat();
        let labels: Vec<bool> = (0..scores.len()).map(|part| part >= good.len()).collect();
        let caught = |false_rejects| caught_at(&scores, &labels, false_rejects).map(|at| at.caught);
        Figures::default()
            .with(Figure::ImageAuroc, Some(auroc(good, anomalous)))
            .with(Figure::ImageAupr, average_precision(&scores, &labels))
            .with(Figure::ImageF1Max, f1_max(&scores, &labels).map(|best| best.f1))
            .with(Figure::PixelAuroc, pixels.map(|pixels| pixels.auroc))
            .with(Figure::PixelAupr, pixels.map(|pixels| pixels.average_precision))
            .with(Figure::Aupro, pixels.map(|pixels| pixels.aupro))
            .with(Figure::CaughtAt1Pct, caught(0.01))
            .with(Figure::CaughtAt0, caught(0.0))
            .with(Figure::CaughtAt5Pct, caught(0.05))
            .with(Figure::FalseRejectRate, rejected_share(good, threshold))
            .with(Figure::CaughtAtThreshold, rejected_share(anomalous, threshold))
            .with(Figure::StatedBound, bound)
    }

    /// The mean of each figure and its sample standard deviation, over those that have it.
    pub fn mean_and_spread(several: &[Figures]) -> (Figures, Figures) {
        let mut both = (Figures::default(), Figures::default());
        for figure in Figure::ALL {
            let values: Vec<f64> = several.iter().filter_map(|figures| figures.get(figure)).collect();
            let (mean, spread) = mean_and_spread(&values);
            both = (both.0.with(figure, Some(mean)), both.1.with(figure, Some(spread)));
        }
        both
    }
}

impl Serialize for Figures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Figure::ALL.map(|figure| (figure.key(), self.get(figure))))
    }
}

/// How many of `scores` the verdict rejects: those that are not at or below the threshold.
pub fn rejected(scores: &[f32], threshold: f32) -> usize {
    scores.iter().filter(|&&score| Verdict::of(score, threshold) != Verdict::Accept).count()
}

fn rejected_share(scores: &[f32], threshold: f32) -> Option<f64> {
    Some(rejected(scores, threshold) as f64 / scores.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_a_person_can_check() {
        let figures = Figures::of(&[0.1, 0.2, 0.3, 0.6], &[0.5, 0.7], 0.5, Some(0.04), None);
        let expected = [
            (Figure::ImageAuroc, Some(7.0 / 8.0)),
            // 0.7 comes first with precision 1, 0.5 third with 2 of 3.
            (Figure::ImageAupr, Some(0.5 + 0.5 * 2.0 / 3.0)),
            (Figure::ImageF1Max, Some(0.8)),
            (Figure::PixelAuroc, None),
            (Figure::CaughtAt0, Some(0.5)),
            (Figure::CaughtAt5Pct, Some(0.5)),
            (Figure::FalseRejectRate, Some(0.25)),
            // A part at the threshold is accepted.
            (Figure::CaughtAtThreshold, Some(0.5)),
            (Figure::StatedBound, Some(0.04)),
        ];
        for (figure, value) in expected {
            let found = figures.get(figure);
            assert!(found == value || (found.unwrap() - value.unwrap()).abs() < 1e-12, "{figure:?}: {found:?}");
        }
        let json = serde_json::to_value(figures).unwrap();
        assert_eq!(json["caught_at_0_false_rejects"], 0.5);
        assert!(json["aupro"].is_null() && json.as_object().unwrap().len() == 12);
    }

    #[test]
    fn one_class_leaves_the_false_rejects_alone() {
        let figures = Figures::of(&[0.1, f32::NAN], &[], 0.5, None, None);
        let there: Vec<Figure> = Figure::ALL.into_iter().filter(|&figure| figures.get(figure).is_some()).collect();
        assert_eq!(there, [Figure::FalseRejectRate]);
        assert_eq!(figures.get(Figure::FalseRejectRate), Some(0.5));
    }

    #[test]
    fn the_mean_is_over_those_that_have_the_figure_and_one_has_no_spread() {
        let with = |auroc, aupro| Figures::default().with(Figure::ImageAuroc, auroc).with(Figure::Aupro, aupro);
        let (mean, spread) =
            Figures::mean_and_spread(&[with(Some(0.8), None), with(Some(0.9), Some(0.5)), with(Some(1.0), None)]);
        assert!((mean.get(Figure::ImageAuroc).unwrap() - 0.9).abs() < 1e-12);
        assert!((spread.get(Figure::ImageAuroc).unwrap() - 0.1).abs() < 1e-12);
        assert_eq!((mean.get(Figure::Aupro), spread.get(Figure::Aupro)), (Some(0.5), None));
        assert_eq!(mean.get(Figure::PixelAuroc), None);
    }

    #[test]
    fn every_figure_stands_in_its_own_place() {
        assert!(Figure::ALL.iter().enumerate().all(|(place, &figure)| figure as usize == place));
        assert!(Figure::FalseRejectRate.is_share() && !Figure::Aupro.is_share());
    }
}
