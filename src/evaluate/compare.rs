//! The grid that articles leave to their readers: no distance and no loss fits all data, so try them on yours.
//!
//! Three grids on one labelled set, each figure an image AUROC on the real test pictures, repeated for some seeds:
//!
//! | grid | rows | columns |
//! |---|---|---|
//! | distances | taps, pooling and distance between patches, nothing trained | score rules |
//! | losses | a head of patches learned by each loss from synthetic defects, and the raw embedding | distance and score rule |
//! | image | one embedding a picture: each preset of synthetic defects with each loss, and the raw embedding | distance |
//!
//! Beside each training-free figure stands what the automatic choice goes by, good parts and synthetic defects alone, and
//! for each seed how well the two agree: their rank correlation, and what the choice would take ([`Standing`]).
//!
//! The backbone sees every test picture once, the good ones again for each seed and preset, with defects drawn on them. The
//! bank has [`BANK_ROWS`] rows from the good parts, at most [`MOST_TRAIN`] of them. There is no threshold; teach a profile and
//! evaluate it for the figure of a product.
//!
//! One row of the third grid is wrong on purpose: with the test pictures in the bank each of them is its own nearest
//! neighbour. That slip in the evaluation of published experiments gives an AUROC around 0.5 by the nearest, whatever the
//! embedding; the mean of several neighbours hides it.

use std::path::Path;

use serde::Serialize;

use super::dataset::DatasetError;
use super::metrics::mean_and_spread;
use crate::inspect::card::Model;
use crate::inspect::recipe::Granularity;
use crate::teach::defects::Preset;
use crate::teach::{Options, Progress, TeachError};

mod bench;
mod distances;
mod heads;
mod image;
mod losses;
mod table;

use bench::Bench;
pub use bench::{BANK_ROWS, MOST_TRAIN};
pub use distances::{Standing, Tried};
pub use table::{Shown, Table};

/// One of the grids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Training-free, patch by patch.
    Distances,
    /// Heads of patches.
    Losses,
    /// One embedding for the whole picture.
    Image,
}

impl What {
    pub const ALL: [What; 3] = [What::Distances, What::Losses, What::Image];
}

/// What a figure is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    pub what: What,
    /// The loss that the head was learned by; `raw` without one, `raw, LEAK` for the row that is wrong on purpose.
    pub loss: String,
    /// `none`, `residual` or `linear` with its width.
    pub head: String,
    /// Whose synthetic defects the head learned from.
    pub preset: Option<&'static str>,
    pub taps: Vec<String>,
    pub pool: usize,
    pub distance: String,
    pub score_rule: String,
    /// Whether it is the distance that the loss compares by.
    pub own: bool,
}

impl Place {
    /// The label of its row.
    pub fn row(&self) -> String {
        match self.what {
            What::Distances => format!("{}, pool {}: {}", self.taps.join(", "), self.pool, self.distance),
            What::Losses if self.head == "none" => self.loss.clone(),
            What::Losses => format!("{}, {}", self.loss, self.head),
            What::Image => self.preset.map_or(self.loss.clone(), |preset| format!("{preset}: {}", self.loss)),
        }
    }

    /// The label of its column.
    pub fn column(&self) -> String {
        match self.what {
            What::Distances => self.score_rule.clone(),
            What::Losses => format!("{}, {}", self.distance, self.score_rule),
            What::Image => self.distance.clone(),
        }
    }
}

/// What one seed gives at one place.
#[derive(Clone, Debug, PartialEq)]
struct Figure {
    place: Place,
    /// Not a number where it could not be measured; then `note` says why.
    auroc: f64,
    /// What the automatic choice goes by.
    quality: Option<f64>,
    /// The chance of an AUROC as large without any knowledge of the labels.
    p_value: Option<f64>,
    note: Option<String>,
}

impl Figure {
    fn unmeasured(place: Place, reason: &str) -> Figure {
        Figure { place, auroc: f64::NAN, quality: None, p_value: None, note: Some(reason.to_owned()) }
    }
}

/// What all seeds give at one place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    pub set: String,
    pub input_px: [usize; 2],
    #[serde(flatten)]
    pub place: Place,
    pub seeds: Vec<u64>,
    /// The image AUROC on the test pictures by each seed; not a number where it could not be measured.
    pub auroc: Vec<f64>,
    pub auroc_mean: f64,
    /// The sample standard deviation; not a number for one seed.
    pub auroc_spread: f64,
    /// By each seed: the share of synthetic defects above good parts, weighted as the automatic choice weighs them.
    pub quality: Vec<f64>,
    /// By each seed: the chance of an AUROC as large without any knowledge of the labels.
    pub p_value: Vec<f64>,
    /// Why a figure could not be measured.
    pub notes: Vec<String>,
}

impl Cell {
    fn new(bench: &Bench, place: Place) -> Cell {
        Cell {
            set: bench.name.clone(),
            input_px: bench.options.recipe.input_px,
            place,
            seeds: vec![],
            auroc: vec![],
            auroc_mean: f64::NAN,
            auroc_spread: f64::NAN,
            quality: vec![],
            p_value: vec![],
            notes: vec![],
        }
    }

    fn take_in(&mut self, seed: u64, figure: Figure) {
        self.seeds.push(seed);
        self.auroc.push(figure.auroc);
        self.quality.extend(figure.quality);
        self.p_value.extend(figure.p_value);
        self.notes.extend(figure.note);
        (self.auroc_mean, self.auroc_spread) = mean_and_spread(&self.auroc);
    }
}

/// All figures of one set.
#[derive(Clone, Debug)]
pub struct Compared {
    pub set: String,
    /// Grid after grid, in each row after row.
    pub cells: Vec<Cell>,
    /// Of each seed, if distances were compared.
    pub standings: Vec<Standing>,
    /// What a reader of the figures must know: pictures left out, a training set that was thinned.
    pub notes: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error(transparent)]
    Teach(#[from] TeachError),
    #[error(
        "{set}: the folder 'test' holds good parts only, and a comparison is of how well they are told from anomalous \
         ones; add a folder for each defect type"
    )]
    NoDefects { set: String },
    #[error("{set}: train/good holds {found} different pictures, expected at least {expected}; add good parts")]
    TooFew { set: String, found: usize, expected: usize },
}

/// Runs grids on the set in `root`.
/// * `options` — the plain recipe with the input size, the first seed, and the threads
/// * `what` — which grids
/// * `seeds` — how many, counted up from the first
///
/// The same arguments give the same figures on the same machine.
/// # Errors  `CompareError`: a set that cannot be used, or a size that does not fit the model. A head that cannot be
/// trained is no error: its cells have no figure and say why.
pub fn compare(
    model: &Model,
    root: &Path,
    options: &Options,
    what: &[What],
    seeds: usize,
    progress: Progress,
) -> Result<Compared, CompareError> {
    let bench = Bench::set_up(model, root, options, progress)?;
    let mut compared =
        Compared { set: bench.name.clone(), cells: vec![], standings: vec![], notes: bench.notes.clone() };
    for seed in (options.seed..).take(seeds) {
        let (figures, standing) = of_seed(&bench, what, seed)?;
        compared.standings.extend(standing);
        if compared.cells.is_empty() {
            compared.cells = figures.iter().map(|figure| Cell::new(&bench, figure.place.clone())).collect();
        }
        // Every seed fills the same grid in the same order.
        compared.cells.iter_mut().zip(figures).for_each(|(cell, figure)| cell.take_in(seed, figure));
    }
    Ok(compared)
}

fn of_seed(bench: &Bench, what: &[What], seed: u64) -> Result<(Vec<Figure>, Option<Standing>), TeachError> {
    let (mut figures, mut standing) = (Vec::new(), None);
    if what != [What::Image] {
        let evidence = bench.evidence(Preset::Mixed, Granularity::Patch, seed)?;
        if what.contains(&What::Distances) {
            let (of_distances, found) = distances::run(bench, &evidence, seed)?;
            figures.extend(of_distances);
            standing = Some(found);
        }
        if what.contains(&What::Losses) {
            figures.extend(losses::run(bench, &evidence, seed)?);
        }
    }
    if what.contains(&What::Image) {
        figures.extend(image::run(bench, seed)?);
    }
    Ok((figures, standing))
}
