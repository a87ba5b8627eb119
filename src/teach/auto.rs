//! What `--metric auto` tries.

use super::learn::LearnOptions;
use super::losses::Loss;

/// What may be chosen from.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoOptions {
    /// The input sides in pixels, where the pictures are as large.
    pub sides_px: Vec<usize>,
    /// The rows of the larger bank that the best recipes are tried with too; none if not above the bank's usual bound.
    pub largest_bank: usize,
    /// The losses that a head is learned by; by default one of each family: a classifier, one with a margin, and one of
    /// triplets.
    pub losses: Vec<&'static str>,
    /// Whether a learned score of each patch is tried too.
    pub normality: bool,
    /// Options of the training of heads, as [`LearnOptions::set`] takes them.
    pub training: String,
}

impl Default for AutoOptions {
    fn default() -> AutoOptions {
        AutoOptions {
            sides_px: vec![256, 384, 448],
            largest_bank: 8000,
            losses: vec!["softmax", "cos-face", "triplet"],
            normality: true,
            training: String::new(),
        }
    }
}

impl AutoOptions {
    /// Whether anything is learned.
    pub(super) fn learns(&self) -> bool {
        self.normality || !self.losses.is_empty()
    }

    /// Sets what `text` names: `losses=NAME+NAME` or `losses=none`, `sizes=PX+PX`, `rows=N`,
    /// `normality=true|false`, and whatever [`LearnOptions::set`] takes, separated by commas.
    /// # Errors  A sentence that names the first fault.
    pub fn set(&mut self, text: &str) -> Result<(), String> {
        let mut training = Vec::new();
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            match pair.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
                Some(("losses", "none")) => self.losses.clear(),
                Some(("losses", names)) => {
                    let loss = |name| Loss::default_of(name).map(|loss| loss.name()).map_err(|e| e.to_string());
                    self.losses = names.split('+').map(loss).collect::<Result<_, _>>()?;
                }
                Some(("normality", wanted)) => {
                    let expected = || format!("normality is '{wanted}'; there are true and false");
                    self.normality = wanted.parse().map_err(|_| expected())?;
                }
                Some(("rows", rows)) => {
                    let fits = rows.parse().ok().filter(|rows| (1..=1_000_000).contains(rows));
                    self.largest_bank = fits.ok_or_else(|| format!("rows is '{rows}', expected 1 to 1000000"))?;
                }
                Some(("sizes", sides)) => {
                    let side = |side: &str| {
                        let fits = side.parse().ok().filter(|side| (32..=8192).contains(side));
                        fits.ok_or_else(|| {
                            format!("a size is '{side}', expected pixels from 32 to 8192, as sizes=256+384")
                        })
                    };
                    self.sides_px = sides.split('+').map(side).collect::<Result<_, _>>()?;
                }
                Some((key @ ("preset" | "reference" | "mixup"), _)) => {
                    return Err(format!(
                        "'{key}' suits some losses only; give --metric and the name of a loss with it"
                    ));
                }
                _ => training.push(pair),
            }
        }
        self.training = training.join(",");
        let known = |error: String| error.replace("there are shape", "there are losses, normality, sizes, rows, shape");
        LearnOptions::for_loss(Loss::default_of("softmax").expect("there is softmax"))
            .set(&self.training)
            .map_err(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_can_be_said() {
        let mut auto = AutoOptions::default();
        auto.set("losses=arc-face+n-pair, sizes=256, steps=50,width=32").unwrap();
        assert_eq!(auto.losses, ["arc-face", "n-pair"]);
        assert_eq!((auto.sides_px.as_slice(), auto.training.as_str()), ([256].as_slice(), " steps=50,width=32"));
        auto.set("losses=none").unwrap();
        assert!(auto.losses.is_empty());
        for (wrong, said) in [
            ("losses=tripplet", "triplet"),
            ("sizes=big", "pixels from 32"),
            ("reference=prototype", "the name of a loss"),
            ("colour=red", "there are losses, normality, sizes, rows, shape"),
        ] {
            assert!(auto.set(wrong).unwrap_err().contains(said), "{wrong}");
        }
    }
}
