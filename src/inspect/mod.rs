//! Frame -> score and verdict: the one inspection path that the daemon, the evaluator, the demo and the tests share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::frame::{Frame, FrameError};
use crate::part::{AnomalyMap, Inspection, StageTimings, Verdict};
use crate::profile::{BackboneId, Profile, Projection};

pub mod backbone;
pub mod bank;
pub mod card;
pub mod distance;
pub mod embedding;
pub mod preprocess;
pub mod recipe;
pub mod score;

use backbone::{Backbone, BackboneError};
use bank::Bank;
use card::Model;
use embedding::Embeddings;
use preprocess::Preprocess;
use recipe::{Granularity, Recipe};

/// Judges frames by a profile.
pub struct Inspector {
    extractor: Extractor,
    bank: Arc<Bank>,
    whitening: Option<Arc<Projection>>,
    threshold: f32,
}

/// Frame -> embeddings, as a recipe says: the half of an inspection that teaching shares.
pub struct Extractor {
    recipe: Recipe,
    preprocess: Preprocess,
    backbone: Backbone,
    head: Option<Projection>,
}

#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    #[error(
        "the profile was taught with the backbone {} {} (fingerprint), but the loaded model is {} {}; teach it again \
         with 'rejectd teach', or give the model that it was taught with",
        .taught.name, short(&.taught.fingerprint), .loaded.name, short(&.loaded.fingerprint)
    )]
    OtherBackbone { taught: Box<BackboneId>, loaded: Box<BackboneId> },
    #[error(
        "the profile does not fit the backbone: its taps give embeddings of width {found}, the bank has {expected}; teach it again"
    )]
    Width { found: usize, expected: usize },
    #[error(
        "the probe scores {found}, but scored {expected} when the profile was taught: this program or this machine \
         computes differently; teach the profile again here"
    )]
    Probe { found: f32, expected: f32 },
}

impl Extractor {
    /// # Errors  `BackboneError`, if the recipe's taps or input size do not fit the model.
    pub fn new(model: &Model, recipe: &Recipe, head: Option<Projection>) -> Result<Extractor, BackboneError> {
        let backbone = Backbone::load(model, recipe.input_px, &recipe.taps)?;
        Ok(Extractor {
            preprocess: Preprocess::new(&model.card, recipe.roi_px, recipe.input_px),
            recipe: recipe.clone(),
            backbone,
            head,
        })
    }

    /// A second extractor for another thread; the network is shared.
    pub fn fork(&self) -> Extractor {
        self.with_head(self.head.clone())
    }

    /// A second extractor with another head.
    pub fn with_head(&self, head: Option<Projection>) -> Extractor {
        let (preprocess, backbone) = (self.preprocess.fork(), self.backbone.clone());
        Extractor { recipe: self.recipe.clone(), preprocess, backbone, head }
    }

    /// A second extractor that stops before head and length: what these are learned from.
    pub fn without_finish(&self) -> Extractor {
        let mut extractor = self.with_head(None);
        extractor.recipe.normalise = false;
        extractor
    }

    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Height and width of the grid of embeddings.
    pub fn grid(&self) -> [usize; 2] {
        match self.recipe.granularity {
            Granularity::Patch => self.recipe.input_px.map(|side| side / self.recipe.grid_stride),
            Granularity::Image => [1, 1],
        }
    }

    /// The width of an embedding.
    pub fn width(&self) -> usize {
        let channels = self.backbone.taps().iter().map(|tap| tap.channels).sum();
        self.head.as_ref().map_or(channels, |head| head.weight.len() / channels)
    }

    /// The embeddings of a frame, (P, D) in raster order of the grid, and the time that each stage took.
    /// # Errors  `InspectError`: the region of interest is outside the frame, or the network failed.
    pub fn run(&mut self, frame: &Frame) -> Result<(Embeddings, StageTimings), InspectError> {
        let mut stage = Stopwatch::start();
        let input = self.preprocess.run(frame)?;
        let preprocess = stage.lap();
        let taps = self.backbone.run(&input)?;
        let backbone = stage.lap();
        let embeddings = embedding::concatenate(&taps, self.recipe.pool, self.grid(), self.recipe.granularity);
        let embeddings = embedding::finish(embeddings, self.head.as_ref(), self.recipe.normalise);
        let embedding = stage.lap();
        Ok((embeddings, StageTimings { preprocess, backbone, embedding, search: Duration::ZERO }))
    }
}

impl Inspector {
    /// Makes the profile's recipe ready to run on `model`.
    /// # Errors  `InspectError`: the profile was taught with another backbone, or does not fit it.
    pub fn new(model: &Model, profile: &Profile) -> Result<Inspector, InspectError> {
        let (taught, loaded) = (&profile.about.backbone, model.id());
        if taught.fingerprint != loaded.fingerprint {
            return Err(InspectError::OtherBackbone { taught: Box::new(taught.clone()), loaded: Box::new(loaded) });
        }
        let extractor = Extractor::new(model, &profile.about.recipe, profile.head.clone())?;
        let whitening = profile.whitening.clone();
        Inspector::assemble(extractor, profile.bank.clone(), whitening, profile.about.threshold.value)
    }

    /// Puts an inspector together from its parts; teaching does so before there is a profile.
    /// * `bank` — (M, D); for the Mahalanobis distance the mean alone
    /// * `whitening` — (D, D), for the Mahalanobis distance
    ///
    /// # Errors  `InspectError::Width` if the bank does not fit the embeddings.
    pub fn assemble(
        extractor: Extractor,
        bank: Embeddings,
        whitening: Option<Vec<f32>>,
        threshold: f32,
    ) -> Result<Inspector, InspectError> {
        if bank.width() != extractor.width() {
            return Err(InspectError::Width { found: extractor.width(), expected: bank.width() });
        }
        // ‖L⁻¹ (q − μ)‖: centred before it is whitened, for the difference of two whitened vectors would cancel.
        let (whitening, bank) = match whitening {
            Some(weight) => {
                let (width, mean) = (bank.width(), bank.row(0).to_vec());
                (Some(Arc::new(Projection { mean, weight })), Embeddings::new(width, vec![0.0; width], false))
            }
            None => (None, bank),
        };
        let bank = Arc::new(Bank::new(bank, extractor.recipe.distance));
        Ok(Inspector { extractor, bank, whitening, threshold })
    }

    /// A second inspector for another thread; network and bank are shared.
    pub fn fork(&self) -> Inspector {
        let (bank, whitening) = (self.bank.clone(), self.whitening.clone());
        Inspector { extractor: self.extractor.fork(), bank, whitening, threshold: self.threshold }
    }

    /// Recomputes the score of the profile's probe.
    /// # Errors  `InspectError::Probe` if it differs by more than 1e-4 · max(1, threshold).
    pub fn verify_probe(&mut self, profile: &Profile) -> Result<(), InspectError> {
        let found = self.inspect(&profile.probe)?.score;
        let expected = profile.about.probe_score;
        let tolerance = 1e-4 * profile.about.threshold.value.max(1.0);
        if (found - expected).abs() <= tolerance { Ok(()) } else { Err(InspectError::Probe { found, expected }) }
    }

    /// Judges by `threshold` from now on.
    pub fn set_threshold(&mut self, threshold: f32) {
        self.threshold = threshold;
    }

    pub fn threshold(&self) -> f32 {
        self.threshold
    }

    pub fn recipe(&self) -> &Recipe {
        self.extractor.recipe()
    }

    /// Judges one frame.
    /// # Errors  `InspectError`: the region of interest is outside the frame, or the network failed.
    pub fn inspect(&mut self, frame: &Frame) -> Result<Inspection, InspectError> {
        let (embeddings, timings) = self.extractor.run(frame)?;
        Ok(self.judge(&embeddings, timings))
    }

    /// Judges embeddings that the extractor gave.
    /// * `timings` — what their making took
    pub fn judge(&self, embeddings: &Embeddings, timings: StageTimings) -> Inspection {
        let mut stage = Stopwatch::start();
        let recipe = self.extractor.recipe();
        let distances = match &self.whitening {
            Some(whitening) => self.bank.distances(&embeddings.project(whitening), recipe.neighbours),
            None => self.bank.distances(embeddings, recipe.neighbours),
        };
        let score = score::score(&distances, recipe.score);
        let [height, width] = self.extractor.grid();
        Inspection {
            score,
            threshold: self.threshold,
            verdict: Verdict::of(score, self.threshold),
            map: AnomalyMap { width, height, distances },
            timings: StageTimings { search: stage.lap(), ..timings },
        }
    }
}

/// The first digits of a fingerprint, for people.
pub fn short(fingerprint: &str) -> String {
    fingerprint.chars().take(12).collect::<String>() + "…"
}

/// Times one stage after another.
struct Stopwatch(Instant);

impl Stopwatch {
    fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.0, now)
    }
}
