//! Pictures whose taps were computed once, to compare many metrics on them.
//!
//! The backbone is most of an inspection, and every candidate metric of one input size shares it. A study keeps the taps
//! in half precision, 0.14 of a megabyte for a picture at 256 px and 0.43 at 448 by the two deeper ones, and runs everything
//! after them by the code that inspects ([`Comparison`]). Of a picture that differs from another in some places it keeps
//! these places alone.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::bank::{self, Candidates, Learned};
use super::parallel::in_parallel;
use super::{Options, TeachError, stream};
use crate::frame::Frame;
use crate::inspect::backbone::TapOutput;
use crate::inspect::compare::Comparison;
use crate::inspect::embedding::{self, Embeddings, dot, squared_distance};
use crate::inspect::metric::Metric;
use crate::inspect::recipe::{Distance, Factor, Granularity, Recipe, Scaling, ScoreRule};
use crate::inspect::score::score;
use crate::inspect::smooth::smooth;
use crate::inspect::{Extractor, InspectError};

/// Two embeddings whose squared difference is less than this share of their square are taken for the same.
const SAME: f32 = 4e-4;

/// The taps of some pictures at one input size.
pub struct Study {
    taps: Vec<KeptTap>,
    pictures: Vec<Picture>,
}

/// What is kept of a picture: the values of all taps, one after another, or where and how they differ from those of
/// picture `good`.
enum Picture {
    Whole(Vec<f16>),
    Changed { good: usize, taps: Vec<ChangedTap> },
}

/// The pixels of a tap that differ, and all channels of one after all of another.
struct ChangedTap {
    pixels: Vec<u32>,
    values: Vec<f16>,
}

/// One of the taps, (channels, height, width).
struct KeptTap {
    name: String,
    channels: usize,
    height: usize,
    width: usize,
}

/// A picture that differs from a good one in some places.
#[derive(Clone, Copy)]
pub struct Changed<'a> {
    pub picture: usize,
    pub good: usize,
    /// Those of the good one, by each comparison.
    pub distances: &'a [Vec<f32>],
}

/// A recipe, with what is learned for it already; the good parts give the rest.
#[derive(Clone)]
pub struct Candidate<'a> {
    pub recipe: Recipe,
    pub metric: Option<&'a Metric>,
    /// What is compared with instead of good parts: the weight of their class.
    pub bank: Option<&'a Embeddings>,
}

impl Candidate<'_> {
    /// Nothing is learned yet.
    pub fn untrained(recipe: Recipe) -> Candidate<'static> {
        Candidate { recipe, metric: None, bank: None }
    }
}

/// How a picture's distances become its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scoring {
    pub relative: bool,
    pub smooth: bool,
    pub rule: ScoreRule,
}

impl Study {
    /// Runs the backbone on pictures 0 … `count` − 1.
    /// * `extractor` — whose recipe names all taps that are to be compared
    /// * `step` — told how many pictures are done
    ///
    /// # Errors  Those of `load`, and `TeachError::Unusable` if the backbone fails.
    pub fn take(
        extractor: &Extractor,
        count: usize,
        load: impl Fn(usize) -> Result<Frame, TeachError> + Sync,
        threads: usize,
        step: impl Fn(usize) + Sync,
    ) -> Result<Study, TeachError> {
        let mut study = Study { taps: Vec::new(), pictures: Vec::new() };
        study.take_more(extractor, count, load, threads, step)?;
        Ok(study)
    }

    /// Runs the backbone on further pictures.
    /// * `extractor` — that of the others
    /// * `load` — gives picture 0 … `count` − 1 of these
    /// * `step` — told how many of these are done
    ///
    /// # Errors  Those of `load`, and `TeachError::Unusable` if the backbone fails.
    pub fn take_more(
        &mut self,
        extractor: &Extractor,
        count: usize,
        load: impl Fn(usize) -> Result<Frame, TeachError> + Sync,
        threads: usize,
        step: impl Fn(usize) + Sync,
    ) -> Result<(), TeachError> {
        let names = &extractor.recipe().taps;
        let job = |extractor: &mut Extractor, picture: usize| -> Result<_, TeachError> {
            let (taps, _) = extractor.taps(&load(picture)?)?;
            let shapes = taps.iter().zip(names).map(|(tap, name)| {
                let name = name.clone();
                KeptTap { name, channels: tap.channels, height: tap.height, width: tap.width }
            });
            Ok((shapes.collect::<Vec<_>>(), Picture::Whole(halved(&taps))))
        };
        let taken = in_parallel(count, threads, || extractor.fork(), job, step)?;
        for (taps, picture) in taken {
            self.taps = taps;
            self.pictures.push(picture);
        }
        Ok(())
    }

    /// Runs the backbone on further pictures, each like one that is there except in some places.
    /// * `extractor` — that of the others
    /// * `goods` — the number of the like one of each, which is kept whole
    /// * `load` — gives picture 0 … `goods.len()` − 1 of these
    /// * `step` — told how many of these are done
    ///
    /// # Errors  Those of `load`, and `TeachError::Unusable` if the backbone fails.
    pub fn take_changed(
        &mut self,
        extractor: &Extractor,
        goods: &[usize],
        load: impl Fn(usize) -> Result<Frame, TeachError> + Sync,
        threads: usize,
        step: impl Fn(usize) + Sync,
    ) -> Result<(), TeachError> {
        let job = |extractor: &mut Extractor, picture: usize| -> Result<_, TeachError> {
            let (taps, _) = extractor.taps(&load(picture)?)?;
            let good = goods[picture];
            let new = halved(&taps);
            // The mean over all places adds up what is too little to be kept in each.
            if extractor.recipe().granularity == Granularity::Image {
                return Ok(Picture::Whole(new));
            }
            let changed = |tap: &KeptTap| tap.changed(&self.values(good, tap), &new[self.range(tap)]);
            Ok(Picture::Changed { good, taps: self.taps.iter().map(changed).collect() })
        };
        let taken = in_parallel(goods.len(), threads, || extractor.fork(), job, step)?;
        self.pictures.extend(taken);
        Ok(())
    }

    /// Forgets all pictures but the first `count`.
    pub fn truncate(&mut self, count: usize) {
        self.pictures.truncate(count);
    }

    pub fn len(&self) -> usize {
        self.pictures.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pictures.is_empty()
    }

    /// C, the width of the concatenated taps of a recipe.
    pub fn channels(&self, recipe: &Recipe) -> usize {
        self.chosen(recipe).map(|tap| tap.channels).sum()
    }

    /// The concatenated taps of a picture, as the extractor of `recipe` would give them but for half precision.
    pub fn raw(&self, picture: usize, recipe: &Recipe) -> Embeddings {
        let tap_output = |tap: &KeptTap| {
            let data = self.values(picture, tap).to_f32_vec();
            TapOutput::new(&data, tap.channels, tap.height, tap.width)
        };
        let taps: Vec<TapOutput> = self.chosen(recipe).map(tap_output).collect();
        embedding::concatenate(&taps, recipe.pool, recipe.grid(), recipe.granularity)
    }

    /// At most `rows` concatenated taps of each picture, drawn by `seed`.
    pub fn sample(&self, pictures: &[usize], rows: usize, recipe: &Recipe, seed: u64) -> Embeddings {
        let [height, width] = recipe.grid();
        let mut data = Vec::with_capacity(pictures.len() * rows.min(height * width) * self.channels(recipe));
        for &picture in pictures {
            let raw = self.raw(picture, recipe);
            let mut rng = stream(seed, picture as u64);
            let mut picked = rand::seq::index::sample(&mut rng, raw.len(), rows.min(raw.len())).into_vec();
            picked.sort_unstable();
            data.extend_from_slice(raw.select(&picked).data());
        }
        Embeddings::new(self.channels(recipe), data, false)
    }

    /// What pictures are compared with by each of `candidates`, which share taps, pooling, grid and granularity.
    /// * `pictures` — the good ones that the bank is chosen from, with at most `rows` embeddings of each
    /// * `part_of` — the part that a picture shows
    /// * `options` — bounds and seed; its recipe is not used
    ///
    /// # Errors  `InspectError`, if a recipe does not fit the taps.
    pub fn comparisons(
        &self,
        pictures: &[usize],
        part_of: &dyn Fn(usize) -> usize,
        rows: usize,
        candidates: &[Candidate],
        options: &Options,
    ) -> Result<Vec<Comparison>, InspectError> {
        let Some(Candidate { recipe: first, .. }) = candidates.first() else { return Ok(Vec::new()) };
        let positions = first.grid()[0] * first.grid()[1];
        let sample = |rows: usize| {
            let rows = rows.clamp(1, positions);
            let of_picture = |picture: &usize| std::iter::repeat_n(part_of(*picture) as u32, rows);
            let raw = self.sample(pictures, rows, first, options.seed);
            Candidates { raw, parts: pictures.iter().flat_map(of_picture).collect() }
        };
        let sampled = sample(rows);
        // Without a head one choice of rows serves the same factor of all distances that scale alike, if they may be as many:
        // choosing takes longer than judging.
        let mut shared: BTreeMap<(Factor, Scaling, usize), Vec<usize>> = BTreeMap::new();
        let mut compare = |Candidate { recipe, metric, bank }: &Candidate| {
            let channels = self.channels(recipe);
            if let (Some(metric), Some(bank)) = (metric, bank) {
                return Comparison::new(recipe, (*metric).clone(), (*bank).clone(), channels, positions);
            }
            let metric = metric.cloned().unwrap_or_else(|| bank::fit(recipe, &sampled.raw, options.pca_width));
            if recipe.distance.is_gaussian() || metric.head.is_some() {
                let of_each_position = recipe.distance == Distance::MahalanobisPerPosition;
                let candidates = if of_each_position { sample(positions) } else { sampled.clone() };
                let Learned { metric, bank } = bank::learn(recipe, metric, candidates, positions, options, &|_| ());
                return Comparison::new(recipe, metric, bank, channels, positions);
            }
            let embeddings = metric.embed(recipe, sampled.raw.clone());
            let most = bank::most_rows(recipe, channels, options.bank_rows, options);
            let choose = |factor, view: &Embeddings| {
                let choose = || bank::choose_rows(view, None, most, options, &|_| ());
                shared.entry((factor, recipe.scaling, most)).or_insert_with(choose).clone()
            };
            let (bank, spread) = bank::assemble(recipe, embeddings, &sampled.parts, choose);
            Comparison::new(recipe, Metric { spread, ..metric }, bank, channels, positions)
        };
        candidates.iter().map(&mut compare).collect()
    }

    /// The distances of each of `pictures` by each of `comparisons`, which must share taps, pooling and granularity.
    ///
    /// Returns a list for each picture, in it one for each comparison.
    pub fn distances(&self, pictures: &[usize], comparisons: &[Comparison], threads: usize) -> Vec<Vec<Vec<f32>>> {
        let Some(first) = comparisons.first() else { return vec![Vec::new(); pictures.len()] };
        let job = |(): &mut (), index: usize| -> Result<_, std::convert::Infallible> {
            let raw = self.raw(pictures[index], first.recipe());
            Ok(comparisons.iter().map(|comparison| comparison.distances(raw.clone())).collect())
        };
        let Ok(distances) = in_parallel(pictures.len(), threads, || (), job, |_| ());
        distances
    }

    /// The distances of pictures that differ from a good one in some places only: where the taps are the same, so are
    /// the distances. Elsewhere as [`Study::distances`].
    pub fn distances_of_changed(
        &self,
        pictures: &[Changed],
        comparisons: &[Comparison],
        threads: usize,
    ) -> Vec<Vec<Vec<f32>>> {
        let Some(first) = comparisons.first() else { return vec![Vec::new(); pictures.len()] };
        let whole =
            comparisons.iter().any(|comparison| comparison.recipe().distance == Distance::MahalanobisPerPosition);
        let factors = comparisons.iter().flat_map(|comparison| comparison.recipe().factors());
        let firsts: BTreeSet<usize> = factors.map(|factor| factor.from).collect();
        let job = |(): &mut (), index: usize| -> Result<_, std::convert::Infallible> {
            let Changed { picture, good, distances } = pictures[index];
            let (raw, good) = (self.raw(picture, first.recipe()), self.raw(good, first.recipe()));
            let differs = |row: &usize| {
                let (new, old) = (raw.row(*row), good.row(*row));
                let differs = |from: &usize| {
                    squared_distance(&new[*from..], &old[*from..]) > SAME * dot(&old[*from..], &old[*from..])
                };
                whole || firsts.iter().any(differs)
            };
            let rows: Vec<usize> = (0..raw.len()).filter(differs).collect();
            let changed = raw.select(&rows);
            let all = comparisons.iter().zip(distances).map(|(comparison, good)| {
                let mut all = good.clone();
                if !rows.is_empty() {
                    let new = comparison.distances(changed.clone());
                    rows.iter().zip(new).for_each(|(row, distance)| all[*row] = distance);
                }
                all
            });
            Ok(all.collect())
        };
        let Ok(distances) = in_parallel(pictures.len(), threads, || (), job, |_| ());
        distances
    }

    fn chosen<'a>(&'a self, recipe: &'a Recipe) -> impl Iterator<Item = &'a KeptTap> {
        let known = |name: &'a String| self.taps.iter().find(move |tap| tap.name == *name);
        recipe.taps.iter().map(move |name| known(name).expect("a study holds the taps that its recipes use"))
    }

    /// The values of a tap of a picture.
    fn values(&self, picture: usize, tap: &KeptTap) -> Cow<'_, [f16]> {
        match &self.pictures[picture] {
            Picture::Whole(values) => Cow::Borrowed(&values[self.range(tap)]),
            Picture::Changed { good, taps } => {
                let mut values = self.values(*good, tap).into_owned();
                let changed = self.taps.iter().zip(taps).find(|(other, _)| other.name == tap.name);
                tap.put(changed.expect("every tap is kept").1, &mut values);
                Cow::Owned(values)
            }
        }
    }

    /// Where the values of a tap lie among those of all.
    fn range(&self, tap: &KeptTap) -> Range<usize> {
        let start = self.taps.iter().take_while(|other| other.name != tap.name).map(KeptTap::size).sum();
        start..start + tap.size()
    }
}

impl KeptTap {
    fn size(&self) -> usize {
        self.channels * self.pixels()
    }

    fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// The channels of a pixel.
    fn at<'a>(&self, values: &'a [f16], pixel: usize) -> impl Iterator<Item = f16> + use<'a> {
        values[pixel..].iter().step_by(self.pixels()).copied()
    }

    /// The pixels of `new` that are not the same as those of `old`.
    fn changed(&self, old: &[f16], new: &[f16]) -> ChangedTap {
        let differs = |pixel: &usize| {
            let (mut difference, mut square) = (0.0, 0.0);
            for (old, new) in self.at(old, *pixel).zip(self.at(new, *pixel)) {
                let (old, new) = (old.to_f32(), new.to_f32());
                difference += (new - old).powi(2);
                square += old * old;
            }
            let is_same = difference <= SAME * square;
            // What is no number is not the same.
            !is_same
        };
        let pixels: Vec<usize> = (0..self.pixels()).filter(differs).collect();
        let mut values = Vec::with_capacity(pixels.len() * self.channels);
        pixels.iter().for_each(|pixel| values.extend(self.at(new, *pixel)));
        ChangedTap { pixels: pixels.into_iter().map(|pixel| pixel as u32).collect(), values }
    }

    fn put(&self, changed: &ChangedTap, values: &mut [f16]) {
        for (&pixel, new) in changed.pixels.iter().zip(changed.values.chunks_exact(self.channels)) {
            values[pixel as usize..].iter_mut().step_by(self.pixels()).zip(new).for_each(|(to, from)| *to = *from);
        }
    }
}

/// The values of all taps, one after another, in half precision.
fn halved(taps: &[TapOutput]) -> Vec<f16> {
    let mut values = Vec::with_capacity(taps.iter().map(|tap| tap.data().len()).sum());
    taps.iter().for_each(|tap| values.extend(tap.data().iter().map(|value| f16::from_f32(*value))));
    values
}

impl Scoring {
    /// That of a recipe.
    pub fn of(recipe: &Recipe) -> Scoring {
        Scoring { relative: recipe.relative, smooth: recipe.smooth, rule: recipe.score }
    }

    /// A recipe with this way to the score.
    pub fn on(self, recipe: &Recipe) -> Recipe {
        Recipe { relative: self.relative, smooth: self.smooth, score: self.rule, ..recipe.clone() }
    }

    /// The score of a picture.
    /// * `distances` — neither relative nor smooth, (P,)
    /// * `grid` — height and width of theirs
    pub fn score(self, distances: &[f32], grid: [usize; 2]) -> f32 {
        let score = if self.smooth { score(&smooth(distances, grid), self.rule) } else { score(distances, self.rule) };
        if self.relative { score / crate::inspect::compare::median(distances) } else { score }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::Inspector;
    use crate::inspect::card::Model;
    use crate::source::simulated::{Belt, BeltSettings};
    use crate::teach::defects::plain_line;

    #[test]
    fn a_changed_picture_is_kept_where_it_differs_and_is_as_good_as_whole() {
        let model = Model::built_in();
        let mut recipe = Options::for_model(&model).recipe;
        recipe.input_px = [128, 128];
        let extractor = Extractor::new(&model, &recipe).unwrap();
        let good = Belt::new(BeltSettings::default()).good_part(0);
        let wrong = plain_line(&good, None, &mut stream(1, 1));
        let frames = [good, wrong];
        let whole = Study::take(&extractor, 2, |at| Ok(frames[at].clone()), 1, |_| ()).unwrap();
        let mut sparse = Study::take(&extractor, 1, |_| Ok(frames[0].clone()), 1, |_| ()).unwrap();
        sparse.take_changed(&extractor, &[0], |_| Ok(frames[1].clone()), 1, |_| ()).unwrap();
        assert_eq!((sparse.len(), sparse.raw(0, &recipe)), (2, whole.raw(0, &recipe)));
        let Picture::Changed { taps, .. } = &sparse.pictures[1] else { panic!("it differs from a good one") };
        let kept: usize = taps.iter().map(|tap| tap.values.len()).sum();
        let all: usize = whole.taps.iter().map(KeptTap::size).sum();
        assert!((1..all / 2).contains(&kept), "{kept} of {all}");
        let (dense, patched) = (whole.raw(1, &recipe), sparse.raw(1, &recipe));
        for row in 0..dense.len() {
            let (dense, patched) = (dense.row(row), patched.row(row));
            assert!(squared_distance(dense, patched) <= SAME * dot(dense, dense), "row {row}");
        }
    }

    #[test]
    fn rows_are_shared_by_distances_that_scale_alike_and_by_no_others() {
        let model = Model::built_in();
        let options = Options { bank_rows: 20, ..Options::for_model(&model) };
        let plain =
            Recipe { input_px: [64, 64], distance: Distance::Euclidean, normalise: false, ..options.recipe.clone() };
        let belt = Belt::new(BeltSettings::default());
        let extractor = Extractor::new(&model, &plain).unwrap();
        let study = Study::take(&extractor, 4, |part| Ok(belt.good_part(part as u64)), 1, |_| ()).unwrap();
        let of = |scalings: &[Scaling]| {
            let with = |scaling: &Scaling| Candidate::untrained(Recipe { scaling: *scaling, ..plain.clone() });
            let candidates: Vec<_> = scalings.iter().map(with).collect();
            let comparisons = study.comparisons(&[0, 1, 2], &|part| part, 64, &candidates, &options).unwrap();
            study.distances(&[3], &comparisons, 1).remove(0)
        };
        let alone = [Scaling::SignedSqrt, Scaling::None, Scaling::Std].map(|scaling| of(&[scaling]).remove(0));
        assert_eq!(of(&[Scaling::SignedSqrt, Scaling::None, Scaling::Std]), alone);
    }

    #[test]
    fn a_score_of_the_evidence_is_that_of_an_inspection() {
        let model = Model::built_in();
        let mut recipe = Options::for_model(&model).recipe;
        recipe.input_px = [128, 128];
        let extractor = Extractor::new(&model, &recipe).unwrap();
        let part = Belt::new(BeltSettings::default()).good_part(0);
        let study = Study::take(&extractor, 1, |_| Ok(part.clone()), 1, |_| ()).unwrap();
        let (raw, metric) = (study.raw(0, &recipe), Metric::default());
        let bank = metric.embed(&recipe, raw.select(&[0, 40, 200]));
        let compared = Candidate { recipe: recipe.clone(), metric: Some(&metric), bank: Some(&bank) };
        let comparisons = study.comparisons(&[0], &|part| part, 1, &[compared], &Options::for_model(&model)).unwrap();
        let distances = study.distances(&[0], &comparisons, 1).remove(0).remove(0);
        let mut scores = Vec::new();
        for (relative, smooth) in [(false, false), (false, true), (true, true)] {
            let scoring = Scoring { relative, smooth, rule: ScoreRule::TopFraction(0.03) };
            let extractor = Extractor::new(&model, &scoring.on(&recipe)).unwrap();
            let mut inspector = Inspector::assemble(extractor, metric.clone(), bank.clone(), 1.0).unwrap();
            let (expected, found) = (inspector.inspect(&part).unwrap(), scoring.score(&distances, recipe.grid()));
            assert!((found / expected.score - 1.0).abs() < 1e-2, "{found}, expected {}", expected.score);
            assert_eq!(expected.score, score(&expected.map.distances, scoring.rule), "the map says as much");
            scores.push(found);
        }
        assert!(scores[1] < 0.99 * scores[0] && scores[2] > 1.1 * scores[1], "{scores:?}");
    }
}
