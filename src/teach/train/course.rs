use std::ops::ControlFlow;

use super::TrainError;

/// What was seen at one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Check {
    /// 0 is before the first.
    pub step: usize,
    /// The mean training loss of the steps since the last check, with the pull to the raw embedding; none at step 0.
    pub loss: Option<f64>,
    /// On the held-out samples, a mean over their kinds.
    pub auroc: f64,
}

/// A training as it goes: what it has seen, and its best state so far.
#[derive(Debug)]
pub struct Course<S> {
    pub best: S,
    pub best_step: usize,
    pub history: Vec<Check>,
    best_auroc: f64,
    patience: usize,
    losses: Vec<f64>,
    loss_name: &'static str,
    learning_rate: f64,
}

impl<S> Course<S> {
    /// Begins at step 0.
    /// * `auroc` — of the start; none if its scores are no numbers
    /// # Errors  [`TrainError::NotFinite`]
    pub fn new(
        loss_name: &'static str,
        learning_rate: f64,
        patience: usize,
        auroc: Option<f64>,
        start: S,
    ) -> Result<Course<S>, TrainError> {
        let auroc = auroc.ok_or(TrainError::NotFinite)?;
        let history = vec![Check { step: 0, loss: None, auroc }];
        let (best_auroc, losses) = (auroc, Vec::new());
        Ok(Course { best: start, best_step: 0, history, best_auroc, patience, losses, loss_name, learning_rate })
    }

    /// Takes note of a step's loss.
    /// # Errors  [`TrainError::Diverged`]
    pub fn learn(&mut self, step: usize, loss: f32) -> Result<(), TrainError> {
        if !loss.is_finite() {
            return Err(self.diverged(step));
        }
        self.losses.push(f64::from(loss));
        Ok(())
    }

    /// Keeps the state if it is better than all before; says when to stop.
    /// # Errors  [`TrainError::Diverged`]
    pub fn check(&mut self, step: usize, auroc: Option<f64>, state: S) -> Result<ControlFlow<()>, TrainError> {
        let auroc = auroc.ok_or_else(|| self.diverged(step))?;
        let count = self.losses.len() as f64;
        let loss = (count > 0.0).then(|| self.losses.drain(..).sum::<f64>() / count);
        self.history.push(Check { step, loss, auroc });
        if auroc > self.best_auroc {
            (self.best, self.best_step, self.best_auroc) = (state, step, auroc);
        }
        let since = self.history.iter().rev().take_while(|check| check.step > self.best_step).count();
        Ok(if since >= self.patience { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn diverged(&self, step: usize) -> TrainError {
        TrainError::Diverged { loss: self.loss_name, learning_rate: self.learning_rate, step }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_state_is_kept_and_patience_ends() {
        let mut course = Course::new("triplet", 0.1, 2, Some(0.7), "start").unwrap();
        course.learn(1, 4.0).unwrap();
        course.learn(2, 2.0).unwrap();
        assert!(course.check(2, Some(0.8), "better").unwrap().is_continue());
        assert_eq!(course.history[1], Check { step: 2, loss: Some(3.0), auroc: 0.8 });
        assert!(course.check(4, Some(0.8), "no better").unwrap().is_continue());
        assert!(course.check(6, Some(0.1), "worse").unwrap().is_break());
        assert_eq!((course.best, course.best_step), ("better", 2));
    }

    #[test]
    fn a_loss_that_is_no_number_names_the_loss_and_the_learning_rate() {
        let mut course = Course::new("triplet", 10.0, 2, Some(0.7), ()).unwrap();
        let error = course.learn(3, f32::NAN).unwrap_err().to_string();
        let expected = "loss 'triplet' is no number any more at step 3 with learning rate 10; try 1";
        assert_eq!(error, expected);
    }
}
