//! Frame -> score and verdict: the one inspection path that the daemon, the evaluator, the demo and the tests share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::frame::{Frame, FrameError};
use crate::part::{AnomalyMap, Inspection, StageTimings, Verdict};
use crate::profile::{BackboneId, Profile};

pub mod backbone;
pub mod bank;
pub mod card;
pub mod compare;
pub mod distance;
pub mod embedding;
pub mod explain;
pub mod kernels;
pub mod metric;
pub mod preprocess;
pub mod recipe;
pub mod score;
pub mod smooth;
pub mod threads;
pub mod tiling;

use backbone::{Backbone, BackboneError, TapOutput};
use card::Model;
use compare::Comparison;
use embedding::Embeddings;
use metric::Metric;
use preprocess::Preprocess;
use recipe::Recipe;
use tiling::Layout;

/// Judges frames by a profile.
pub struct Inspector {
    extractor: Extractor,
    comparison: Arc<Comparison>,
    threshold: f32,
    /// The threads that divide an inspection among them; the caller's own if absent.
    pool: Option<Arc<rayon::ThreadPool>>,
}

/// Frame -> concatenated taps, as a recipe says: the half of an inspection that teaching shares.
pub struct Extractor {
    recipe: Recipe,
    preprocess: Preprocess,
    backbone: Backbone,
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
        "the profile does not fit its own input size: pictures have {found} positions, it has Gaussians for {expected}; \
         teach it again"
    )]
    Positions { found: usize, expected: usize },
    #[error(
        "a region of {width} × {height} pixels would be cut into {found} tiles, but at most {} are looked at; give a \
         smaller region of interest, or teach with larger tiles",
        tiling::MAX_TILES
    )]
    Tiles { found: usize, width: u32, height: u32 },
    #[error(
        "the probe scores {found}, but scored {expected} when the profile was taught: this program or this machine \
         computes differently; teach the profile again here"
    )]
    Probe { found: f32, expected: f32 },
}

impl Extractor {
    /// # Errors  `BackboneError`, if the recipe's taps or input size do not fit the model.
    pub fn new(model: &Model, recipe: &Recipe) -> Result<Extractor, BackboneError> {
        let backbone = Backbone::load(model, recipe.input_px, &recipe.taps)?;
        Ok(Extractor {
            preprocess: Preprocess::new(&model.card, recipe.roi_px, recipe.input_px),
            recipe: recipe.clone(),
            backbone,
        })
    }

    /// A second extractor for another thread; the network is shared.
    pub fn fork(&self) -> Extractor {
        let (preprocess, backbone) = (self.preprocess.fork(), self.backbone.clone());
        Extractor { recipe: self.recipe.clone(), preprocess, backbone }
    }

    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Height and width of the grid of embeddings of one network input; of the whole region, if there are no tiles.
    pub fn grid(&self) -> [usize; 2] {
        self.recipe.grid()
    }

    /// Height and width of the grid of embeddings of a frame: [`Extractor::grid`], if there are no tiles.
    /// # Errors  `InspectError::Tiles`
    pub fn map_size(&self, frame: &Frame) -> Result<[usize; 2], InspectError> {
        Ok(self.layout(frame)?.map_or(self.grid(), |layout| layout.map_size()))
    }

    /// C, the width of the concatenated taps.
    pub fn channels(&self) -> usize {
        self.backbone.taps().iter().map(|tap| tap.channels).sum()
    }

    /// The backbone's taps for the region of a frame as a whole, also if the recipe cuts it into tiles.
    /// # Errors  `InspectError`: the region of interest is outside the frame, or the network failed.
    pub fn taps(&mut self, frame: &Frame) -> Result<(Vec<TapOutput>, StageTimings), InspectError> {
        let mut stage = Stopwatch::start();
        let input = self.preprocess.run(frame)?;
        let preprocess = stage.lap();
        let taps = self.backbone.run(&input)?;
        Ok((taps, StageTimings { preprocess, backbone: stage.lap(), ..StageTimings::default() }))
    }

    /// The concatenated taps of a frame, (P, C) in raster order of [`Extractor::map_size`], and the time that each stage
    /// took.
    /// # Errors  `InspectError`: the region of interest is outside the frame, it has too many tiles, or the network failed.
    pub fn run(&mut self, frame: &Frame) -> Result<(Embeddings, StageTimings), InspectError> {
        if let Some(layout) = self.layout(frame)? {
            return self.run_tiles(frame, &layout);
        }
        let (taps, timings) = self.taps(frame)?;
        let mut stage = Stopwatch::start();
        let raw = embedding::concatenate(&taps, self.recipe.pool, self.grid(), self.recipe.granularity);
        Ok((raw, StageTimings { embedding: stage.lap(), ..timings }))
    }

    fn run_tiles(&mut self, frame: &Frame, layout: &Layout) -> Result<(Embeddings, StageTimings), InspectError> {
        let mut timings = StageTimings::default();
        let mut stage = Stopwatch::start();
        let region = self.preprocess.region(frame)?;
        let ([height, width], channels) = (layout.map_size(), self.channels());
        let mut map = vec![0.0; height * width * channels];
        for (number, tile) in layout.tiles().enumerate() {
            let input = self.preprocess.run_tile(&region, tile);
            timings.preprocess += stage.lap();
            let taps = self.backbone.run(&input)?;
            timings.backbone += stage.lap();
            let raw = embedding::concatenate(&taps, self.recipe.pool, self.grid(), self.recipe.granularity);
            layout.place(number, channels, raw.data(), &mut map);
            timings.embedding += stage.lap();
        }
        Ok((Embeddings::new(channels, map, false), timings))
    }

    /// The tiles of a frame, if the recipe cuts it.
    fn layout(&self, frame: &Frame) -> Result<Option<Layout>, InspectError> {
        let Some(tiling) = self.recipe.tiling else { return Ok(None) };
        let (height, width) = self.recipe.roi_px.map_or((frame.height(), frame.width()), |roi| (roi.height, roi.width));
        let layout = Layout::new([height as usize, width as usize], tiling, self.grid(), self.recipe.granularity);
        match layout.count() {
            found if found > tiling::MAX_TILES => Err(InspectError::Tiles { found, width, height }),
            _ => Ok(Some(layout)),
        }
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
        let extractor = Extractor::new(model, &profile.about.recipe)?;
        Inspector::assemble(extractor, profile.metric.clone(), profile.bank.clone(), profile.about.threshold.value)
    }

    /// Puts an inspector together from its parts; teaching does so before there is a profile.
    /// * `bank` — (M, D), for the product a block of rows for each factor; for a Mahalanobis distance the means
    ///
    /// # Errors  `InspectError::Width`, `InspectError::Positions` if the bank does not fit the embeddings.
    pub fn assemble(
        extractor: Extractor,
        metric: Metric,
        bank: Embeddings,
        threshold: f32,
    ) -> Result<Inspector, InspectError> {
        let [height, width] = extractor.grid();
        let comparison = Comparison::new(&extractor.recipe, metric, bank, extractor.channels(), height * width)?;
        Ok(Inspector { extractor, comparison: Arc::new(comparison), threshold, pool: None })
    }

    /// A second inspector for another thread; network and bank are shared. It inspects on the thread that calls it.
    pub fn fork(&self) -> Inspector {
        let (extractor, comparison) = (self.extractor.fork(), self.comparison.clone());
        Inspector { extractor, comparison, threshold: self.threshold, pool: None }
    }

    /// Divides each inspection among `threads` from now on, more than there are cores counting as that many; its score is the
    /// same to the last bit. Where the system grants no more threads, the caller's own goes on alone, with a warning.
    pub fn on_threads(mut self, threads: usize) -> Inspector {
        let threads = threads.min(threads::cores());
        self.pool = match (threads > 1).then(|| threads::pool(threads)).transpose() {
            Ok(pool) => pool.map(Arc::new),
            Err(error) => {
                log::warn!(
                    "{threads} threads for an inspection cannot be had ({error}); it runs on one; give [model] threads a smaller number"
                );
                None
            }
        };
        self
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
    /// # Errors  `InspectError`: the region of interest is outside the frame, it has too many tiles, or the network failed.
    pub fn inspect(&mut self, frame: &Frame) -> Result<Inspection, InspectError> {
        match self.pool.clone() {
            Some(pool) => threads::together(&pool, || self.inspect_here(frame)),
            None => self.inspect_here(frame),
        }
    }

    fn inspect_here(&mut self, frame: &Frame) -> Result<Inspection, InspectError> {
        let grid = self.extractor.map_size(frame)?;
        let (raw, timings) = self.extractor.run(frame)?;
        Ok(self.judge(raw, grid, timings))
    }

    /// Judges what the extractor gave.
    /// * `raw` — the concatenated taps, (P, C)
    /// * `grid` — height and width of their grid, [`Extractor::map_size`] of the frame
    /// * `timings` — what their making took
    pub fn judge(&self, raw: Embeddings, grid: [usize; 2], timings: StageTimings) -> Inspection {
        let mut stage = Stopwatch::start();
        let mut distances = self.comparison.distances(raw);
        if self.recipe().smooth {
            distances = smooth::smooth(&distances, grid);
        }
        let score = score::score(&distances, self.recipe().score);
        let [height, width] = grid;
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
