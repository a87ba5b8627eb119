//! A threshold from good parts alone, with a promise that it keeps.
//!
//! The scores of n good parts that nothing was chosen by or learned from, by a bank that has none of them, and that of the
//! next good part are exchangeable. So the fraction of good parts above the r-th smallest of the n is 1 − B, where B
//! follows a Beta(r, n − r + 1) distribution, whatever the distribution of the scores. Hence "at most x % false rejects
//! with 95 % confidence": x depends on n and r alone.
//!
//! To set n parts aside for good would waste them. So they are dealt into folds, each scored by a bank of all other parts,
//! and the bank that is shipped has them all. For each fold the above holds to the letter, if the recipe was given. For all
//! together it is taken to hold: as if the folds were drawn apart, and as if a good part lay no farther from the whole
//! bank than from that of a fold, which has fewer rows as it has fewer parts. (With as many rows for fewer parts it would
//! know those better: a bound of 5 % was then kept by 178 of 200 teachings.) For a recipe that was chosen it is taken to hold
//! too, for those parts were in the banks of the choice. `docs/results.md` has how often the promise was kept.
//!
//! # Source  Vovk 2015, Cross-conformal predictors, Annals of Mathematics and Artificial Intelligence 74; for anomaly detection
//! Hennhöfer and Preisach 2024, arXiv:2402.16388. Differs: a bound with a confidence instead of a mean.

use super::binomial::binomial_tail;
use crate::profile::{Promise, Threshold};

/// How sure a bound is.
pub const CONFIDENCE: f64 = 0.95;
/// The bound where none is asked for. A lower one moves the threshold to the oddest of the good parts, and then the
/// oddest decides what escapes; `docs/results.md` has what that costs.
pub const USUAL_BOUND: f64 = 0.05;

#[derive(Debug, PartialEq, thiserror::Error)]
pub enum CalibrateError {
    #[error(
        "a bound of {} % false rejects with 95 % confidence needs {needed} calibration parts, but there are {found}; \
         give {more} more good parts, or leave out --max-false-rejects", percent(*.asked)
    )]
    TooFew { asked: f64, needed: usize, found: usize, more: usize },
    #[error(
        "no bound on false rejects is given from fewer than {least} good parts, and there are {found}; give {} more good \
         parts, or leave out --max-false-rejects", .least - .found
    )]
    NoBoundFromFew { least: usize, found: usize },
    #[error("a bound on false rejects must lie above 0 and below 100 %, but {} % was asked for", percent(*.0))]
    Impossible(f64),
    #[error(
        "a bound of {} % false rejects was asked for, but the profile's parts allow none ({why}); teach it anew from {} \
         or more good parts, or leave out --max-false-rejects", percent(*.asked), .parts
    )]
    NoBound { asked: f64, why: String, parts: usize },
    #[error("there are no calibration scores; at least one good part must give one")]
    NoScores,
    #[error("the score of a calibration part is not a number; the model is not usable with these parts")]
    NotANumber,
}

/// The lowest threshold that keeps the bound: the `asked` one, or else [`USUAL_BOUND`], or what so few parts allow. Where
/// it is the largest score the smallest bound of that is stated, unless one was asked for.
///
/// * `scores` — of good parts, in any order; larger is worse
/// * `asked` — the largest fraction of good parts to be rejected, in (0, 1)
///
/// # Errors  `CalibrateError`: no scores, an impossible bound, or too few parts for it, with how many are missing.
pub fn bounded(scores: &[f32], asked: Option<f64>) -> Result<Threshold, CalibrateError> {
    let scores = sorted(scores)?;
    let parts = scores.len();
    let (rank, false_rejects) = match asked {
        None => match smallest_rank(parts, USUAL_BOUND) {
            rank if rank < parts => (rank, USUAL_BOUND),
            _ => (parts, smallest_bound(parts)),
        },
        Some(asked) if !(asked > 0.0 && asked < 1.0) => return Err(CalibrateError::Impossible(asked)),
        Some(asked) => {
            let needed = parts_needed(asked);
            if parts < needed {
                // Of parts that are added a third calibrates.
                let more = (needed - parts).saturating_mul(3);
                return Err(CalibrateError::TooFew { asked, needed, found: parts, more });
            }
            (smallest_rank(parts, asked), asked)
        }
    };
    let promise = Promise::Bound { false_rejects, confidence: CONFIDENCE, parts, rank };
    Ok(Threshold { value: scores[rank - 1], promise })
}

/// The largest of k-fold scores, for few parts: an estimate without confidence.
///
/// Each score comes from a bank that the part is not in, but the banks differ, and the choice of the largest is not
/// covered by a distribution. The next part is above the largest of n with probability about 1 / (n + 1).
/// # Errors  `CalibrateError::NoScores`, `CalibrateError::NotANumber`
pub fn estimated(scores: &[f32], folds: usize) -> Result<Threshold, CalibrateError> {
    let parts = scores.len();
    let promise = Promise::Estimate { false_rejects: 1.0 / (parts + 1) as f64, folds, parts };
    Ok(Threshold { value: largest(scores)?, promise })
}

/// The largest of some scores: the threshold where nothing is promised, and nothing that was shown is to be rejected.
/// # Errors  `CalibrateError::NoScores`, `CalibrateError::NotANumber`
pub fn largest(scores: &[f32]) -> Result<f32, CalibrateError> {
    Ok(*sorted(scores)?.last().expect("there are scores"))
}

/// How many calibration parts a bound needs: the largest of them is then the threshold.
///
/// ```
/// use rejectd::teach::calibrate::parts_needed;
/// assert_eq!((parts_needed(0.05), parts_needed(0.01)), (59, 299));
/// ```
pub fn parts_needed(bound: f64) -> usize {
    ((1.0 - CONFIDENCE).ln() / (-bound).ln_1p()).ceil() as usize
}

/// The smallest bound that `parts` allow.
pub fn smallest_bound(parts: usize) -> f64 {
    1.0 - (1.0 - CONFIDENCE).powf(1.0 / parts as f64)
}

/// Whether it is plausible that of `parts` good parts `above` lie above a threshold with this bound: the chance of so
/// many or more, at the bound itself, is at least 1 − `CONFIDENCE`.
pub fn plausible(above: usize, parts: usize, bound: f64) -> bool {
    binomial_tail(parts, above, bound) >= 1.0 - CONFIDENCE
}

/// Whether it is plausible that of `parts` good parts `above` lie above the largest score of `taught` others: the chance of
/// so many or more, had all been shuffled, is at least 1 − `CONFIDENCE`.
///
/// That is the chance that the `above` largest of all are among the new: ∏ (m − i) / (n + m − i) over i < `above`.
pub fn plausible_above_the_largest(above: usize, parts: usize, taught: usize) -> bool {
    let new = |i: usize| (parts - i) as f64 / (taught + parts - i) as f64;
    (0..above).map(new).product::<f64>() >= 1.0 - CONFIDENCE
}

/// The smallest r for which the r-th smallest of `parts` scores keeps the bound: P(Bin(n, p) > n − r) ≥ 0.95.
fn smallest_rank(parts: usize, bound: f64) -> usize {
    let keeps = |rank: usize| binomial_tail(parts, parts - rank + 1, bound) >= CONFIDENCE;
    (1..=parts).find(|&rank| keeps(rank)).unwrap_or(parts)
}

fn sorted(scores: &[f32]) -> Result<Vec<f32>, CalibrateError> {
    if scores.is_empty() {
        return Err(CalibrateError::NoScores);
    }
    if scores.iter().any(|score| !score.is_finite()) {
        return Err(CalibrateError::NotANumber);
    }
    let mut scores = scores.to_vec();
    scores.sort_by(f32::total_cmp);
    Ok(scores)
}

fn percent(fraction: f64) -> String {
    format!("{:.3}", 100.0 * fraction).trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(parts: usize) -> Vec<f32> {
        (1..=parts).rev().map(|score| score as f32).collect()
    }

    #[test]
    fn fifty_nine_parts_bound_five_percent_and_299_bound_one() {
        assert_eq!((parts_needed(0.05), parts_needed(0.01)), (59, 299));
        assert!(smallest_bound(59) <= 0.05 && smallest_bound(58) > 0.05);
        let threshold = bounded(&numbered(59), None).unwrap();
        assert_eq!(threshold.value, 59.0);
        assert!(matches!(threshold.promise, Promise::Bound { parts: 59, rank: 59, .. }));
    }

    #[test]
    fn without_a_wish_the_bound_is_five_percent_or_what_fewer_parts_allow() {
        let stated = |parts: usize| match bounded(&numbered(parts), None).unwrap() {
            Threshold { value, promise: Promise::Bound { false_rejects, rank, .. } } => {
                assert_eq!(value, rank as f32);
                (rank, (1e4 * false_rejects).round() / 1e4)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!([20, 59, 69, 92].map(stated), [(20, 0.1391), (59, 0.0495), (69, 0.0425), (92, 0.0320)]);
        assert_eq!([93, 124, 222].map(stated), [(92, 0.05), (122, 0.05), (217, 0.05)]);
        // Who wants less asks for less.
        let asked = bounded(&numbered(222), Some(0.0135)).unwrap();
        assert_eq!(asked.value, 222.0);
    }

    #[test]
    fn more_parts_than_a_bound_needs_lower_the_threshold() {
        // From tables of tolerance limits: 93 observations allow one above for 5 %, 124 two.
        for (parts, rank) in [(59, 59), (92, 92), (93, 92), (124, 122)] {
            let threshold = bounded(&numbered(parts), Some(0.05)).unwrap();
            assert_eq!(threshold.value, rank as f32, "of {parts}");
        }
    }

    #[test]
    fn too_few_parts_are_told_how_many_are_missing() {
        let error = bounded(&numbered(20), Some(0.01)).unwrap_err();
        assert!(matches!(error, CalibrateError::TooFew { needed: 299, found: 20, more: 837, .. }), "{error}");
        assert!(error.to_string().contains("give 837 more good parts"), "{error}");
    }

    #[test]
    fn impossible_bounds_and_scores_are_refused() {
        assert!(matches!(bounded(&numbered(20), Some(1e-17)), Err(CalibrateError::TooFew { .. })));
        for asked in [0.0, 1.0, -0.1, f64::NAN] {
            assert!(matches!(bounded(&numbered(20), Some(asked)), Err(CalibrateError::Impossible(_))));
        }
        assert_eq!(bounded(&[], None), Err(CalibrateError::NoScores));
        assert_eq!(bounded(&[1.0, f32::NAN], None), Err(CalibrateError::NotANumber));
    }

    #[test]
    fn parts_above_the_largest_of_others_are_as_plausible_as_a_shuffle_makes_them() {
        // Of 10 and 10 the largest two are new in 10 · 9 of 20 · 19 shuffles, the largest four in 5 040 of 116 280.
        assert!(plausible_above_the_largest(0, 10, 10) && plausible_above_the_largest(2, 10, 10));
        assert!(plausible_above_the_largest(3, 10, 10) && !plausible_above_the_largest(4, 10, 10));
        // By the mean alone, 1 / 11 of 120, 17 would be too many.
        assert!(plausible_above_the_largest(17, 120, 10) && !plausible(17, 120, 1.0 / 11.0));
        let mut rng = crate::teach::stream(3, 0);
        let exceeded = |_: &usize| {
            let mut score = || rand::RngExt::random::<f32>(&mut rng);
            let largest = (0..20).map(|_| score()).fold(0.0, f32::max);
            let above = (0..60).filter(|_| score() > largest).count();
            !plausible_above_the_largest(above, 60, 20)
        };
        let false_alarms = (0..4000).filter(exceeded).count();
        assert!((80..200).contains(&false_alarms), "{false_alarms} of 4000");
    }

    #[test]
    fn a_few_parts_above_a_threshold_are_plausible_and_half_of_them_are_not() {
        assert!(plausible(0, 10, 0.05) && plausible(2, 20, 0.05) && !plausible(10, 20, 0.05));
    }
}
