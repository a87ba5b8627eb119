//! Adding good parts to a profile without teaching it all anew.
//!
//! The bank only grows, so the distance of any part to it can only shrink. The bank of each fold would have grown likewise,
//! so the stored calibration scores are no lower than such a teaching would give, and a threshold from them still keeps
//! its promise. New parts are scored before they join. If more of them lie above the old threshold than its bound makes
//! plausible, they are a new normal, the old calibration parts no longer stand for what the line brings, and the bound is
//! declared void.

use rand::seq::SliceRandom;

use super::*;
use crate::inspect::Extractor;
use crate::inspect::bank::Bank;
use crate::inspect::metric::Metric;
use crate::teach::bank::Candidates;
use crate::teach::lesson::Fold;

/// What adding found.
#[derive(Clone, Debug)]
pub struct Added {
    pub profile: Profile,
    /// How many parts were added.
    pub parts: usize,
    /// The parts that the profile would have rejected before, the worst first: a new normal, or bad parts by mistake.
    pub rejected_before: Vec<CalibrationScore>,
    pub new_rows: usize,
}

/// Adds good parts to `profile`: a third of them calibrates, the others may join the bank.
///
/// * `parts` — without those that the profile was taught with; see [`GoodParts::without`]
///
/// The bank grows by at most as many rows for each part as it had for each part before, within `bank_bytes`; recipe and
/// head stay, and so does a bound that was asked for, unless `options` ask for another. Of `options` the recipe, the PCA
/// width and `bank_rows` are not used.
/// # Errors  `TeachError`: too few parts, a Mahalanobis profile, a profile of another backbone, a part that cannot be
/// loaded or inspected, or a bound that the parts do not allow.
pub fn add(
    model: &Model,
    profile: &Profile,
    options: &Options,
    parts: &GoodParts,
    progress: Progress,
) -> Result<Added, TeachError> {
    let about = &profile.about;
    if about.recipe.distance.is_gaussian() {
        return Err(TeachError::NotAddable("measures the Mahalanobis distance to Gaussians of all its parts"));
    }
    if about.recipe.prototype {
        return Err(TeachError::NotAddable("measures the distance to a learned class, which parts cannot join"));
    }
    if about.recipe.relative {
        return Err(TeachError::NotAddable("divides by the median distance, which a larger bank would change for all"));
    }
    if parts.len() < MIN_PARTS {
        return Err(TeachError::TooFewToAdd { found: parts.len() });
    }
    let before = Inspector::new(model, profile)?;
    let options = &Options { recipe: about.recipe.clone(), bank_rows: profile.bank.len(), ..options.clone() };
    let extractor = Extractor::new(model, &options.recipe).map_err(InspectError::from)?;
    let lesson = Lesson { extractor, options, parts, progress, metric: None, prototype: None, augmentation: None };

    let mut order: Vec<usize> = (0..parts.len()).collect();
    let before = Fold { inspector: before, parts: order.clone() };
    let mut rejected_before = lesson.named_scores(&order, &lesson.scores(&[before])?);
    rejected_before.retain(|scored| scored.score > about.threshold.value);
    rejected_before.sort_by(|a, b| b.score.total_cmp(&a.score));
    order.shuffle(&mut lesson.rng(0));
    let joining = order.split_off(parts.len() / 3);
    let calibration = order;

    let (learned, new_rows) = grown(profile, lesson.embed(&joining)?, options);

    let mut after = [Fold { inspector: lesson.inspector(&learned, f32::INFINITY)?, parts: calibration }];
    let mut all = about.calibration.clone();
    all.extend(lesson.named_scores(&after[0].parts, &lesson.scores(&after)?));
    let scores: Vec<f32> = all.iter().map(|calibration| calibration.score).collect();
    let asked = options.max_false_rejects;
    let threshold = restated(&about.threshold.promise, &scores, asked, rejected_before.len(), parts.len())?;

    let expected_catch = lesson.expected_catch(&after, threshold.value)?;
    let probe_score = after[0].inspector.inspect(&profile.probe).map_err(TeachError::from)?.score;
    let about = About {
        made_by: made_by(),
        taught_at: now(),
        threshold,
        taught: [&about.taught, parts.hashes()].concat(),
        calibration: all,
        bank_parts: about.bank_parts + joining.len(),
        probe_score,
        expected_catch,
        ..about.clone()
    };
    let profile = Profile { about, bank: learned.bank, metric: learned.metric, ..profile.clone() };
    Ok(Added { profile, parts: parts.len(), rejected_before, new_rows })
}

/// The bank with those candidates that are far from it, and how many rows that adds.
///
/// Its rows keep their spread, so that no part comes to lie farther away than it did; a new row has that of the old row
/// which it is nearest to.
fn grown(profile: &Profile, candidates: Candidates, options: &Options) -> (Learned, usize) {
    let (recipe, joining) = (&options.recipe, candidates.parts.last().map_or(0, |last| *last as usize + 1));
    let mut embeddings = profile.metric.embed(recipe, candidates.raw);
    let factors = recipe.factors();
    let rows_before = profile.bank.len() / factors.len();
    let share = rows_before.div_ceil(profile.about.bank_parts.max(1)) * joining;
    let most = bank::most_rows(recipe, profile.bank.width(), rows_before + share, options);
    let mut blocks = Vec::new();
    for (number, &factor) in factors.iter().enumerate() {
        embeddings = bank::in_directions(factor, embeddings);
        let view = embeddings.as_compared(factor);
        let old = profile.bank.block(number, factors.len()).columns(factor.from).counted_as(view.normalised);
        let count = most.saturating_sub(rows_before);
        let new = view.select(&bank::choose_rows(&view, Some(&old), count, options, &|_| ()));
        let spread = profile.metric.spread_of(number, factors.len()).map(|of_old| {
            let nearest = Bank::new(old.clone(), factor.distance, None).nearest(&new, 1);
            (of_old.to_vec(), nearest.into_iter().map(|(row, _)| of_old[row]).collect::<Vec<_>>())
        });
        blocks.push((old.after_zeros(factor.from), new.after_zeros(factor.from), spread));
    }
    // One block may have fewer that are new to it: then its first row stands in, again.
    let most = blocks.iter().map(|(_, new, _)| new.len()).max().unwrap_or(0);
    let (mut bank, mut spread) = (profile.bank.select(&[]), Vec::new());
    for (old, mut new, of_block) in blocks {
        (new.len()..most).for_each(|_| new.extend(&old.select(&[0])));
        if let Some((of_old, mut of_new)) = of_block {
            of_new.resize(most, of_old[0]);
            spread.extend([of_old, of_new].concat());
        }
        for rows in [old, new] {
            bank.extend(&rows.counted_as(bank.normalised));
        }
    }
    let spread = recipe.local.then_some(spread);
    (Learned { metric: Metric { spread, ..profile.metric.clone() }, bank }, most * factors.len())
}

/// The threshold over the old and new calibration scores, and what of the old promise still holds.
fn restated(
    promise: &Promise,
    scores: &[f32],
    asked: Option<f64>,
    rejected_before: usize,
    added: usize,
) -> Result<Threshold, TeachError> {
    let because = match promise {
        Promise::Bound { false_rejects, parts, rank, .. } => {
            if calibrate::plausible(rejected_before, added, *false_rejects) {
                // A bound that was asked for stays. The smallest that so few parts allowed was not.
                let smallest = calibrate::smallest_bound(*parts);
                let was_asked = rank < parts || (false_rejects - smallest).abs() > 1e-9;
                let asked = asked.or(was_asked.then_some(*false_rejects));
                return Ok(calibrate::bounded(scores, asked)?);
            }
            new_normal(rejected_before, added)
        }
        Promise::Estimate { folds, parts, .. } => {
            match (asked, calibrate::plausible_above_the_largest(rejected_before, added, *parts)) {
                (None, true) => return Ok(calibrate::estimated(scores, *folds)?),
                (Some(_), _) => "its threshold is an estimate".to_owned(),
                (None, false) => new_normal(rejected_before, added),
            }
        }
        Promise::Void { because } => because.clone(),
    };
    if let Some(asked) = asked {
        let parts = evidence::parts_for(calibrate::parts_needed(asked));
        return Err(CalibrateError::NoBound { asked, why: because, parts }.into());
    }
    Ok(Threshold { value: calibrate::largest(scores)?, promise: Promise::Void { because } })
}

fn new_normal(rejected_before: usize, added: usize) -> String {
    format!(
        "{rejected_before} of {added} added good parts lay above the old threshold, more than its promise makes plausible: \
         they are a new normal; for a bound, teach anew from good parts in the proportions of the line"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The threshold from scores 1 to `count`, after so many of 30 added parts lay above the old one.
    fn with(promise: Promise, count: usize, rejected: usize) -> (f32, Promise) {
        let scores: Vec<f32> = (1..=count).map(|score| score as f32).collect();
        let Threshold { value, promise } = restated(&promise, &scores, None, rejected, 30).unwrap();
        (value, promise)
    }

    fn bound(false_rejects: f64, parts: usize, rank: usize) -> Promise {
        Promise::Bound { false_rejects, confidence: calibrate::CONFIDENCE, parts, rank }
    }

    #[test]
    fn a_bound_that_was_asked_for_stays_and_one_for_want_of_parts_does_not() {
        // 20 parts allow 13.9 %, 69 allow 4.2 %: what 222 would have been taught with holds from then on.
        for few in [20, 69] {
            let before = bound(calibrate::smallest_bound(few), few, few);
            assert_eq!(with(before, 222, 0), (217.0, bound(0.05, 222, 217)), "from {few}");
        }
        assert_eq!(with(bound(0.02, 160, 160), 222, 0), (222.0, bound(0.02, 222, 222)));
        assert_eq!(with(bound(0.10, 30, 30), 60, 0), (59.0, bound(0.10, 60, 59)));
    }

    #[test]
    fn a_new_normal_is_accepted_however_many_parts_calibrate() {
        let (value, promise) = with(bound(0.05, 222, 217), 232, 12);
        assert!(value == 232.0 && matches!(promise, Promise::Void { .. }), "{value} {promise:?}");
    }
}
