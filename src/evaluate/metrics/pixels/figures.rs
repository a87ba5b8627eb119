//! The figures of sorted bins.

use super::Bin;

/// How well the anomaly maps tell anomalous pixels from good ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PixelFigures {
    /// The chance that an anomalous pixel scores above a good one, ties counting half.
    pub auroc: f64,
    pub average_precision: f64,
    /// The area under the per-region overlap up to `fpr_limit`, as a share of `fpr_limit`: in [0, 1].
    pub aupro: f64,
    pub fpr_limit: f64,
    /// How many connected components all masks together have.
    pub regions: usize,
    /// None of the figures is further than this from its exact value; 0 if they are exact.
    pub error: f64,
}

/// What lies above some score.
#[derive(Clone, Copy, Default)]
struct Above {
    good: f64,
    anomalous: f64,
    overlap: f64,
}

impl Above {
    fn with(self, bin: &Bin) -> Above {
        Above {
            good: self.good + bin.good as f64,
            anomalous: self.anomalous + bin.anomalous as f64,
            overlap: self.overlap + bin.overlap,
        }
    }

    /// As shares of `all`.
    fn of(self, all: Above) -> Above {
        Above {
            good: self.good / all.good,
            anomalous: self.anomalous / all.anomalous,
            overlap: self.overlap / all.overlap,
        }
    }
}

/// A sum of estimates, and the most that it may be wrong.
#[derive(Clone, Copy, Default)]
struct Estimate {
    value: f64,
    error: f64,
}

impl std::ops::AddAssign for Estimate {
    fn add_assign(&mut self, other: Estimate) {
        self.value += other.value;
        self.error += other.error;
    }
}

/// The figures of `bins`, sorted by rising key; `None` if there are no good or no anomalous pixels.
/// * `exact` — whether the pixels of a bin have the same score; if not, their order is what is not known
pub(super) fn of(bins: &[Bin], regions: usize, exact: bool, fpr_limit: f64) -> Option<PixelFigures> {
    let all = bins.iter().fold(Above::default(), Above::with);
    if all.good == 0.0 || all.anomalous == 0.0 {
        return None;
    }
    let (mut auroc, mut precision, mut aupro) = (Estimate::default(), Estimate::default(), Estimate::default());
    let mut before = Above::default();
    for bin in bins.iter().rev() {
        let after = before.with(bin);
        precision += found(before, after);
        let [from, to] = [before, after].map(|above| above.of(all));
        auroc += area((from.good, from.anomalous), (to.good, to.anomalous), 1.0);
        aupro += area((from.good, from.overlap), (to.good, to.overlap), fpr_limit);
        before = after;
    }
    let largest = auroc.error.max(precision.error / all.anomalous).max(aupro.error / fpr_limit);
    Some(PixelFigures {
        auroc: auroc.value,
        average_precision: precision.value / all.anomalous,
        aupro: aupro.value / fpr_limit,
        fpr_limit,
        regions,
        error: if exact { 0.0 } else { largest },
    })
}

/// The area under a curve that rises from one point (x, y) to another, and only as far as x = `limit`.
///
/// The value is that of a straight line; the curve may also rise at once, or only at the end.
fn area(from: (f64, f64), to: (f64, f64), limit: f64) -> Estimate {
    let width = to.0.min(limit) - from.0;
    if width <= 0.0 {
        return Estimate::default();
    }
    let rise = to.1 - from.1;
    // How high the line is in the middle of the width.
    let risen = width / (to.0 - from.0) / 2.0;
    Estimate { value: width * (from.1 + rise * risen), error: width * rise * (1.0 - risen) }
}

/// The precision at each of the anomalous pixels of a bin, added up.
///
/// The value takes all pixels of the bin for a tie. The best order has the anomalous ones first, the worst the good ones.
fn found(before: Above, after: Above) -> Estimate {
    let count = after.anomalous - before.anomalous;
    if count == 0.0 {
        return Estimate::default();
    }
    let precision = |anomalous: f64, good: f64| anomalous / (anomalous + good);
    let value = precision(after.anomalous, after.good);
    let best = precision(after.anomalous, before.good);
    let worst = precision(before.anomalous + 1.0, after.good);
    Estimate { value: count * value, error: count * (best - value).max(value - worst) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_cut_off_keeps_its_slope() {
        let whole = area((0.0, 0.0), (1.0, 1.0), 1.0);
        assert_eq!((whole.value, whole.error), (0.5, 0.5));
        // Up to ½ the line has an area of ⅛; a curve that rises at once has one of ½.
        let half = area((0.0, 0.0), (1.0, 1.0), 0.5);
        assert_eq!((half.value, half.error), (0.125, 0.375));
        assert_eq!(area((0.5, 0.0), (1.0, 1.0), 0.5).value, 0.0);
        assert_eq!(area((0.2, 0.0), (0.2, 1.0), 0.5).value, 0.0);
    }

    #[test]
    fn the_precision_of_a_bin_lies_between_its_worst_and_its_best_order() {
        // One anomalous and one good pixel on top: precision is 1 or ½, and as a tie ½.
        let top = found(Above::default(), Above { good: 1.0, anomalous: 1.0, overlap: 0.0 });
        assert_eq!((top.value, top.error), (0.5, 0.5));
        // Good pixels alone find nothing.
        let good = found(Above::default(), Above { good: 5.0, ..Above::default() });
        assert_eq!((good.value, good.error), (0.0, 0.0));
    }
}
