//! What a profile must hold to be used: ranges, and parts that fit one another.

use super::{Profile, Promise};
use crate::frame::{MIN_SIDE_PX, Roi};
use crate::inspect::metric::{Head, Projection};
use crate::inspect::recipe::{Distance, Factor, HeadKind, Scaling, ScoreRule};

/// The next step after every fault that only teaching can mend.
pub(super) const AGAIN: &str = "teach it again with 'rejectd teach'";

/// The longest side of the network's input, in pixels.
const MAX_INPUT_PX: usize = 8192;
/// How far the length of a unit row may be from 1.
const UNIT_TOLERANCE: f64 = 1e-3;

impl Profile {
    /// Whether the profile can be used: the recipe's values are in their ranges, the tensors are those that it needs
    /// and fit one another, all values are finite, unit rows are unit. It does not know the backbone.
    /// # Errors  A clause on the first fault, with its next step.
    pub fn check(&self) -> Result<(), String> {
        self.check_recipe()
            .and_then(|()| self.check_tensors())
            .and_then(|()| self.check_statements())
            .map_err(|fault| format!("{fault}; {AGAIN}"))
    }

    fn check_recipe(&self) -> Result<(), String> {
        let recipe = &self.about.recipe;
        let smaller = recipe.input_px[0].min(recipe.input_px[1]);
        if smaller == 0 || recipe.input_px.iter().any(|&px| px > MAX_INPUT_PX) {
            return Err(format!("its recipe says input_px = {:?}, not 1 to {MAX_INPUT_PX}", recipe.input_px));
        }
        if recipe.taps.is_empty() {
            return Err("its recipe names no taps".to_string());
        }
        if recipe.pool.is_multiple_of(2) || recipe.pool > smaller {
            return Err(format!("its recipe says pool = {}, not an odd number from 1 to {smaller}", recipe.pool));
        }
        if !(1..=smaller).contains(&recipe.grid_stride) {
            return Err(format!("its recipe says grid_stride = {}, not 1 to {smaller}", recipe.grid_stride));
        }
        if let ScoreRule::TopFraction(fraction) = recipe.score
            && !(fraction > 0.0 && fraction <= 1.0)
        {
            return Err(format!("its recipe says top_fraction = {fraction}, not more than 0 and at most 1"));
        }
        let (width, firsts) = (self.bank.width(), [&[0], &recipe.nested[..]].concat());
        if firsts.windows(2).any(|pair| pair[0] >= pair[1]) || firsts.iter().any(|first| *first >= width) {
            let nested = &recipe.nested;
            return Err(format!("its recipe says nested = {nested:?}, not ascending columns from 1 to {}", width - 1));
        }
        if firsts.len() > 1 && (recipe.distance != Distance::Product || recipe.head != HeadKind::Identity) {
            return Err("its recipe says nested, which needs the product of distances and no head".to_string());
        }
        let blocks = recipe.factors().len();
        let rows = self.bank.len() / blocks;
        if !self.bank.len().is_multiple_of(blocks) {
            let found = self.bank.len();
            return Err(format!(
                "its recipe measures {blocks} distances, but its bank of {found} rows has not as many rows for each"
            ));
        }
        if !(1..=rows).contains(&recipe.neighbours) {
            return Err(format!(
                "its recipe asks for {} neighbours, but its bank holds {rows} rows",
                recipe.neighbours
            ));
        }
        if recipe.relative && recipe.has_one_embedding() {
            return Err("its recipe says relative, but one embedding a picture has always the score 1".to_string());
        }
        if recipe.distance == Distance::Cosine && width == 1 {
            return Err("its recipe measures cosine, but its embeddings are single numbers".to_string());
        }
        match (recipe.distance, recipe.normalise) {
            (Distance::Cosine, false) => Err("its recipe measures cosine, which needs normalise = true".to_string()),
            (Distance::Euclidean | Distance::Product, true) => {
                let distance = recipe.distance;
                Err(format!("its recipe measures {distance:?}, which needs normalise = false"))
            }
            _ => Ok(()),
        }?;
        if let Some(Err(because)) = recipe.tiling.map(|tiling| tiling.check(recipe)) {
            return Err(format!("its recipe cannot be used: {because}"));
        }
        match recipe.roi_px {
            Some(roi) if !inside(roi, self.probe.width(), self.probe.height()) => Err(format!(
                "its recipe says roi_px = {roi}, which is not a region of at least {MIN_SIDE_PX} px in its probe of \
                 {} × {} px",
                self.probe.width(),
                self.probe.height()
            )),
            _ => Ok(()),
        }
    }

    fn check_tensors(&self) -> Result<(), String> {
        let recipe = &self.about.recipe;
        let width = self.bank.width();
        let metric = &self.metric;
        match (recipe.head, &metric.head) {
            (HeadKind::Identity, Some(_)) => return Err("holds a head, but its recipe uses none".to_string()),
            (HeadKind::Linear, Some(Head::Linear(_))) | (HeadKind::Mlp, Some(Head::Mlp { .. })) => {}
            (HeadKind::Identity, None) => {}
            (HeadKind::Linear | HeadKind::Mlp, _) => {
                return Err("lacks the tensors of the head that its recipe uses".to_string());
            }
        }
        if let Some(head) = &metric.head {
            check_head("head", head)?;
            if head.width() != width {
                return Err(format!("its head gives width {}, but its bank has {width}", head.width()));
            }
        }
        match (recipe.scaling, &metric.deviation) {
            (Scaling::Std, Some(deviation)) if deviation.len() == width => {
                finite("scaling.deviation", deviation)?;
                if deviation.iter().any(|&value| value <= 0.0) {
                    return Err("its scaling.deviation holds a value that is not above 0".to_string());
                }
            }
            (Scaling::Std, _) => return Err(format!("lacks a scaling.deviation of width {width}")),
            (_, Some(_)) => return Err("holds scaling.deviation, but its scaling uses none".to_string()),
            (_, None) => {}
        }
        match (recipe.distance.is_gaussian(), &metric.whitening) {
            (true, None) => return Err("lacks the tensor whitening.weight that its distance needs".to_string()),
            (true, Some(whitening)) => {
                let gaussians = self.bank.len();
                if recipe.distance == Distance::Mahalanobis && gaussians != 1 {
                    return Err(format!("measures Mahalanobis, but its bank holds {gaussians} rows, not 1"));
                }
                if width.checked_mul(width).and_then(|square| square.checked_mul(gaussians)) != Some(whitening.len()) {
                    let found = whitening.len();
                    return Err(format!(
                        "its whitening.weight has {found} values, not {gaussians} × {width} × {width}"
                    ));
                }
                finite("whitening.weight", whitening)?;
            }
            (false, Some(_)) => return Err("holds whitening.weight, but its distance uses none".to_string()),
            (false, None) => {}
        }
        if recipe.prototype && (self.bank.len() != 1 || metric.head.is_none() || recipe.local) {
            return Err(
                "measures the distance to a learned class, but does not hold one row for it and a head".to_string()
            );
        }
        match (recipe.local, &metric.spread) {
            (true, _) if recipe.distance.is_gaussian() => {
                return Err("its distance is measured to Gaussians, which have no bank.spread".to_string());
            }
            (true, Some(spread)) if spread.len() == self.bank.len() => {
                finite("bank.spread", spread)?;
                if spread.iter().any(|&value| value <= 0.0) {
                    return Err("its bank.spread holds a value that is not above 0".to_string());
                }
            }
            (true, _) => return Err("lacks a bank.spread of one value for each row of its bank".to_string()),
            (false, Some(_)) => return Err("holds bank.spread, but its recipe uses none".to_string()),
            (false, None) => {}
        }
        match (recipe.normality, &metric.normality) {
            (true, None) => return Err("lacks the tensors normality.* that its recipe uses".to_string()),
            (false, Some(_)) => return Err("holds normality.*, but its recipe uses none".to_string()),
            (true, Some(normality)) => {
                check_head("normality", &normality.head)?;
                if normality.head.width() != 1 || !(normality.weight.is_finite() && normality.weight >= 0.0) {
                    return Err("its normality.* do not give one number of a share that is at least 0".to_string());
                }
            }
            (false, None) => {}
        }
        finite("bank", self.bank.data())?;
        if self.bank.normalised != (recipe.distance == Distance::Cosine) {
            let (found, distance) = (self.bank.normalised, recipe.distance);
            return Err(format!("its bank says normalised = {found}, which does not suit the distance {distance:?}"));
        }
        self.check_rows()
    }

    /// Rows for cosine have unit length, and rows for columns from one on are 0 before it.
    fn check_rows(&self) -> Result<(), String> {
        let factors = self.about.recipe.factors();
        let of_each = self.bank.len() / factors.len();
        for row in 0..self.bank.len() {
            let (values, Factor { distance, from }) = (self.bank.row(row), factors[row / of_each]);
            if distance == Distance::Cosine {
                let length = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
                if (length - 1.0).abs() > UNIT_TOLERANCE {
                    return Err(format!("its bank row {row} has length {length}, not 1"));
                }
            }
            if values[..from].iter().any(|value| *value != 0.0) {
                return Err(format!("its bank row {row} is measured from column {from} on, but is not 0 before it"));
            }
        }
        Ok(())
    }

    fn check_statements(&self) -> Result<(), String> {
        let about = &self.about;
        let numbers = [("threshold", about.threshold.value), ("probe_score", about.probe_score)];
        let scores = about.calibration.iter().map(|c| ("calibration", c.score));
        if let Some((name, value)) = numbers.into_iter().chain(scores).find(|(_, value)| !value.is_finite()) {
            return Err(format!("its {name} holds {value}, which is not a finite number"));
        }
        let fraction = |value: f64| (0.0..=1.0).contains(&value);
        let sound = match about.threshold.promise {
            Promise::Bound { false_rejects, confidence, parts, rank } => {
                fraction(false_rejects) && fraction(confidence) && (1..=parts).contains(&rank)
            }
            Promise::Estimate { false_rejects, folds, parts } => fraction(false_rejects) && folds <= parts,
            Promise::Void { .. } => true,
        };
        if sound { Ok(()) } else { Err(format!("its promise cannot be true: {:?}", about.threshold.promise)) }
    }
}

fn check_head(name: &str, head: &Head) -> Result<(), String> {
    let Projection { mean, weight } = head.first();
    let hidden = weight.len().checked_div(mean.len()).unwrap_or(0);
    if hidden == 0 || hidden.checked_mul(mean.len()) != Some(weight.len()) {
        let (inputs, weights) = (mean.len(), weight.len());
        return Err(format!("its {name} has {weights} weights and a mean of {inputs}, which do not fit"));
    }
    finite(&format!("{name}.mean"), mean)?;
    finite(&format!("{name}.weight"), weight)?;
    if let Head::Mlp { weight, bias, .. } = head {
        if bias.is_empty() || bias.len().checked_mul(hidden) != Some(weight.len()) {
            return Err(format!("its {name}.output has {} values, not {} × {hidden}", weight.len(), bias.len()));
        }
        finite(&format!("{name}.output"), weight)?;
        finite(&format!("{name}.bias"), bias)?;
    }
    Ok(())
}

fn inside(roi: Roi, width: u32, height: u32) -> bool {
    let fits = |start: u32, length: u32, whole: u32| {
        length >= MIN_SIDE_PX && start.checked_add(length).is_some_and(|end| end <= whole)
    };
    fits(roi.x, roi.width, width) && fits(roi.y, roi.height, height)
}

fn finite(tensor: &str, values: &[f32]) -> Result<(), String> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(format!("its {tensor} holds {} at {at}, which is not a finite number", values[at])),
        None => Ok(()),
    }
}
