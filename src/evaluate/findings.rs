//! What a reader must know before trusting the figures, as sentences.

use super::metrics::{auroc, permutation_p_value};
use crate::profile::{Profile, Promise};
use crate::teach::calibrate::plausible;

/// Below this p-value two sets of good parts are said to differ.
pub const DIFFERENT_BELOW: f64 = 0.01;
/// So fine is the p-value: it is never below 1 ÷ (1 + this).
const PERMUTATIONS: usize = 1999;

/// The scores of the good parts that gave the threshold against those of the good parts of the test folder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// The chance that a part of the test folder scores above one that gave the threshold; ties count half.
    pub chance: f64,
    /// One-sided permutation test on the sum of ranks: scores that gave the threshold come from smaller banks, so that
    /// lower ones are no news.
    pub p_value: f64,
}

/// Whether the good parts of test lie farther off than those of train; `None` if there are no scores to compare.
/// * `calibration` — the scores that gave the threshold
/// * `good` — of the good parts in the test folder
pub fn shift(calibration: &[f32], good: &[f32], seed: u64) -> Option<Shift> {
    if calibration.is_empty() || good.is_empty() {
        return None;
    }
    let scores = [calibration, good].concat();
    let is_good: Vec<bool> = (0..scores.len()).map(|part| part >= calibration.len()).collect();
    let p_value = permutation_p_value(&scores, &is_good, PERMUTATIONS, seed);
    Some(Shift { chance: auroc(calibration, good), p_value })
}

impl Shift {
    pub fn is_there(&self) -> bool {
        self.p_value < DIFFERENT_BELOW
    }
}

/// Tells of the shift, if it is there in any of `shifts`, one for each seed.
pub fn shift_sentence(shifts: &[Shift]) -> Option<String> {
    let shift = shifts.iter().find(|shift| shift.is_there())?;
    let seeds = match (shifts.iter().filter(|shift| shift.is_there()).count(), shifts.len()) {
        (_, 1) => String::new(),
        (count, all) => format!(", with {count} of {all} seeds"),
    };
    Some(format!(
        "the good parts of train and test differ: those of test/good score higher than those that gave the threshold \
         (the chance that one of them scores above one of those is {:.2}, p = {:.3}{seeds}), so more good parts are \
         rejected than it promises",
        shift.chance, shift.p_value
    ))
}

/// The bound that was stated; none for an estimate.
pub fn stated_bound(promise: &Promise) -> Option<f64> {
    match promise {
        Promise::Bound { false_rejects, .. } => Some(*false_rejects),
        Promise::Estimate { .. } | Promise::Void { .. } => None,
    }
}

/// Whether `rejected` of `good` parts agree with the bound: so many or more happen in at least 5 % of all cases where
/// exactly the bound is rejected. `None` if there is no bound.
pub fn agrees(promise: &Promise, rejected: usize, good: usize) -> Option<bool> {
    stated_bound(promise).map(|bound| plausible(rejected, good, bound))
}

/// What the count on test/good says of the promise: "…: the count agrees".
pub fn agreement_sentence(promise: &Promise, rejected: usize, good: usize) -> String {
    match agrees(promise, rejected, good) {
        Some(true) => format!("stated: {promise}; {rejected} rejected of {good} agrees with that"),
        Some(false) => {
            let test = "one-sided binomial test at 5 %";
            format!("stated: {promise}; {rejected} rejected of {good} does NOT agree with that ({test})")
        }
        None => format!("stated: {promise}"),
    }
}

/// Says that a share of the good parts is finer than their number can show.
pub fn resolution_sentence(good: usize) -> Option<String> {
    (good < 100).then(|| {
        let same = if good < 20 { "1 % and at 5 %" } else { "1 %" };
        let parts = if good == 1 { "part".to_owned() } else { "parts".to_owned() };
        format!("with {good} good {parts} to judge, what is caught at {same} false rejects is what is caught at 0")
    })
}

/// Names pictures of good parts to judge that teach nothing: they were taught, or came before.
/// * `known` — their names
pub fn known_sentence(known: &[String], good: usize) -> Option<String> {
    let first = known.first()?;
    Some(format!(
        "{} of the {good} pictures in test/good were also taught or are there twice ({first} …); they are too easy, and \
         the false reject rate flatters",
        known.len()
    ))
}

/// The calibration scores of a profile.
pub fn calibration_scores(profile: &Profile) -> Vec<f32> {
    profile.about.calibration.iter().map(|calibration| calibration.score).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(false_rejects: f64) -> Promise {
        Promise::Bound { false_rejects, confidence: 0.95, parts: 59, rank: 59 }
    }

    const ESTIMATE: Promise = Promise::Estimate { false_rejects: 0.1, folds: 5, parts: 10 };

    fn numbers(from: usize, to: usize) -> Vec<f32> {
        (from..to).map(|score| score as f32).collect()
    }

    #[test]
    fn good_parts_that_all_score_higher_differ() {
        let up = shift(&numbers(0, 20), &numbers(20, 40), 1).unwrap();
        assert_eq!(up, Shift { chance: 1.0, p_value: 0.0005 });
        assert!(shift_sentence(&[up]).unwrap().contains("score higher than"), "{up:?}");
        // The banks of the folds are smaller, so lower scores are no news.
        assert!(!shift(&numbers(20, 40), &numbers(0, 20), 1).unwrap().is_there());
    }

    #[test]
    fn good_parts_of_one_kind_do_not_differ() {
        let even: Vec<f32> = (0..40).map(|score| (2 * score) as f32).collect();
        let odd: Vec<f32> = (0..40).map(|score| (2 * score + 1) as f32).collect();
        let same = shift(&even, &odd, 1).unwrap();
        assert!(!same.is_there(), "{same:?}");
        assert_eq!(shift_sentence(&[same]), None);
        assert_eq!(shift(&[], &odd, 1), None);
        let one = Shift { chance: 0.9, p_value: 0.002 };
        assert!(shift_sentence(&[same, one, same]).unwrap().contains("p = 0.002, with 1 of 3 seeds)"));
    }

    #[test]
    fn the_count_agrees_with_the_bound_by_the_binomial_tail() {
        // P(X ≥ 2) = 0.264 and P(X ≥ 4) = 0.016 for 20 parts at 5 %.
        assert_eq!(agrees(&bound(0.05), 2, 20), Some(true));
        assert_eq!(agrees(&bound(0.05), 4, 20), Some(false));
        assert_eq!(agrees(&ESTIMATE, 4, 20), None);
        assert!(agreement_sentence(&bound(0.05), 4, 20).contains("4 rejected of 20 does NOT agree"));
    }

    #[test]
    fn few_good_parts_cannot_show_one_percent() {
        assert_eq!(resolution_sentence(100), None);
        assert!(
            resolution_sentence(20).unwrap().starts_with("with 20 good parts to judge, what is caught at 1 % false")
        );
        assert!(resolution_sentence(19).unwrap().contains("at 1 % and at 5 % false rejects"));
    }
}
