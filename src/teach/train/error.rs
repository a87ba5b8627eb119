use super::mixup::Mixup;
use super::{HeadShape, Samples, TrainOptions};
use crate::teach::losses::LossError;

/// Why a head cannot be trained.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error(transparent)]
    Loss(#[from] LossError),
    #[error(
        "{what} samples have {rows} embeddings, {labels} labels, {kinds} kinds and {products} products; give one of each \
         for every row"
    )]
    Rows { what: &'static str, rows: usize, labels: usize, kinds: usize, products: usize },
    #[error("learning samples have {learn} channels, held-out samples {held_out}; take both from the same taps")]
    Channels { learn: usize, held_out: usize },
    #[error(
        "the learning samples are all of class {class}, expected good ones and a second class; add anomalous ones, for \
         example by synthetic defects, or another product"
    )]
    OneClass { class: u32 },
    #[error("a batch of {batch} gives less than two rows to each of {classes} classes; make it at least {}", 2 * classes)]
    Batch { batch: usize, classes: usize },
    #[error(
        "{} samples are {found} rows to learn from, but a batch of {batch} takes at least {needed}; give more of them or \
         make the batch smaller", class_name(*class)
    )]
    TooFew { class: u32, found: usize, needed: usize, batch: usize },
    #[error(
        "the held-out samples are {good} good and {anomalous} anomalous, expected at least one of each; hold out more"
    )]
    HeldOut { good: usize, anomalous: usize },
    #[error("option '{option}' is {found}, expected {expected}; correct it")]
    Option { option: &'static str, found: f64, expected: &'static str },
    #[error("a linear head of width {width} from {channels} channels, expected 1 to {channels}; choose another width")]
    Width { width: usize, channels: usize },
    #[error("mixup does not go with loss '{loss}', only with 'softmax' and 'l2-softmax'; leave it out")]
    Mixup { loss: &'static str },
    #[error(
        "the loss {loss} learns no class weights to measure the distance to; leave out reference=prototype, or take softmax, \
         cos-face, arc-face or another classifier"
    )]
    NoPrototype { loss: &'static str },
    #[error(
        "the loss {loss} learned no class weights that tell more than the random ones that it starts with; leave out \
         reference=prototype, or take another loss"
    )]
    RandomPrototype { loss: &'static str },
    #[error(
        "loss '{loss}' is no number any more at step {step} with learning rate {learning_rate}; try {}",
        learning_rate / 10.0
    )]
    Diverged { loss: &'static str, learning_rate: f64, step: usize },
    #[error("the samples hold values that are no numbers; use another backbone")]
    NotFinite,
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl TrainError {
    /// Whether other samples might do with the same options.
    pub fn is_of_the_samples(&self) -> bool {
        use TrainError::{Diverged, HeldOut, NotFinite, OneClass, TooFew};
        matches!(self, OneClass { .. } | TooFew { .. } | HeldOut { .. } | Diverged { .. } | NotFinite)
    }
}

fn class_name(class: u32) -> String {
    if class == 0 { "good".to_owned() } else { format!("class {class}") }
}

pub fn check_samples(learn: &Samples, held_out: &Samples) -> Result<(), TrainError> {
    for (what, samples) in [("learning", learn), ("held-out", held_out)] {
        let [rows, labels, kinds] = [samples.embeddings.len(), samples.labels.len(), samples.kinds.len()];
        let products = samples.products.len();
        if [labels, kinds, products] != [rows; 3] {
            return Err(TrainError::Rows { what, rows, labels, kinds, products });
        }
        if samples.embeddings.data().iter().any(|value| !value.is_finite()) {
            return Err(TrainError::NotFinite);
        }
    }
    let (learn, held_out) = (learn.embeddings.width(), held_out.embeddings.width());
    if learn == held_out { Ok(()) } else { Err(TrainError::Channels { learn, held_out }) }
}

pub fn check_options(options: &TrainOptions, learn: &Samples) -> Result<(), TrainError> {
    options.check()?;
    check_width(options, learn.embeddings.width())?;
    check_batch(learn, options.batch)
}

impl TrainOptions {
    /// Refuses what no samples would suit.
    /// # Errors  [`TrainError`] for the first option outside its range, or that does not go with the loss.
    pub fn check(&self) -> Result<(), TrainError> {
        check_optimiser(self.learning_rate, self.weight_decay)?;
        check_number("nearness", self.nearness.into(), self.nearness >= 0.0, "0 or more")?;
        check_shape(self)?;
        if self.mixup.is_some() && !Mixup::suits(&self.loss) {
            return Err(TrainError::Mixup { loss: self.loss.name() });
        }
        if self.prototype && !self.loss.is_classification() {
            return Err(TrainError::NoPrototype { loss: self.loss.name() });
        }
        Ok(())
    }
}

pub fn check_optimiser(learning_rate: f64, weight_decay: f64) -> Result<(), TrainError> {
    check_number("learning_rate", learning_rate, learning_rate > 0.0, "above 0")?;
    check_number("weight_decay", weight_decay, weight_decay >= 0.0, "0 or more")
}

pub fn check_number(option: &'static str, found: f64, fits: bool, expected: &'static str) -> Result<(), TrainError> {
    if fits && found.is_finite() { Ok(()) } else { Err(TrainError::Option { option, found, expected }) }
}

/// Refuses a class with fewer than `needed` rows.
pub fn check_count(labels: &[u32], class: u32, needed: usize, batch: usize) -> Result<(), TrainError> {
    let found = labels.iter().filter(|label| **label == class).count();
    if found >= needed { Ok(()) } else { Err(TrainError::TooFew { class, found, needed, batch }) }
}

/// One number has no direction but its sign.
fn check_shape(options: &TrainOptions) -> Result<(), TrainError> {
    let (least, expected) = match options.loss.compares_directions() {
        true => (2, "2 or more, for a loss that compares directions"),
        false => (1, "1 or more"),
    };
    match options.shape {
        HeadShape::Linear { width } | HeadShape::Mlp { width, .. } if width < least => {
            Err(TrainError::Option { option: "width", found: width as f64, expected })
        }
        HeadShape::Mlp { hidden: 0, .. } => {
            Err(TrainError::Option { option: "hidden", found: 0.0, expected: "1 or more" })
        }
        _ => Ok(()),
    }
}

fn check_width(options: &TrainOptions, channels: usize) -> Result<(), TrainError> {
    match options.shape {
        HeadShape::Linear { width } if width > channels => Err(TrainError::Width { width, channels }),
        _ => Ok(()),
    }
}

/// Every class gets its rows of a batch: of good parts all that it takes, of others two or more.
fn check_batch(learn: &Samples, batch: usize) -> Result<(), TrainError> {
    let (labels, classes) = learn.classes();
    if classes < 2 {
        return Err(TrainError::OneClass { class: learn.labels.first().copied().unwrap_or(0) });
    }
    let needed = batch / classes;
    if needed < 2 {
        return Err(TrainError::Batch { batch, classes });
    }
    for product in learn.product_numbers() {
        let found = learn.good(product).count();
        if found < needed {
            return Err(TrainError::TooFew { class: 0, found, needed, batch });
        }
    }
    (0..classes as u32).try_for_each(|class| check_count(&labels, class, 2, batch))
}
