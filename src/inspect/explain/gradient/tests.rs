//! The gradient against finite differences of the score, which is written down a second time here, in f64.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::grad_cam;
use super::*;
use crate::inspect::backbone::TapOutput;
use crate::inspect::compare::Comparison;
use crate::inspect::metric::Normality;
use crate::inspect::recipe::{Granularity, HeadKind, ScoreRule};

const CHANNELS: usize = 5;
const STEP: f64 = 1e-5;

/// Two made-up taps: three channels of 2 × 2 and two of 4 × 4.
const TAPS: [(usize, [usize; 2]); 2] = [(3, [2, 2]), (2, [4, 4])];

struct Case {
    recipe: Recipe,
    metric: Metric,
    bank: Embeddings,
}

fn recipe(head: HeadKind, scaling: Scaling, distance: Distance, normalise: bool, neighbours: usize) -> Recipe {
    Recipe {
        roi_px: None,
        tiling: None,
        input_px: [32, 32],
        taps: vec!["a".into(), "b".into()],
        pool: 1,
        grid_stride: 8,
        granularity: Granularity::Image,
        head,
        scaling,
        normalise,
        distance,
        nested: Vec::new(),
        local: false,
        neighbours,
        prototype: false,
        normality: false,
        relative: false,
        smooth: false,
        score: ScoreRule::Max,
    }
}

fn random(rng: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn head(rng: &mut ChaCha8Rng, kind: HeadKind, width: usize) -> Option<Head> {
    let mut projection = |width| Projection { mean: random(rng, CHANNELS), weight: random(rng, width * CHANNELS) };
    match kind {
        HeadKind::Identity => None,
        HeadKind::Linear => Some(Head::Linear(projection(width))),
        HeadKind::Mlp => {
            let hidden = projection(6);
            Some(Head::Mlp { hidden, weight: random(rng, width * 6), bias: random(rng, width) })
        }
    }
}

fn case(rng: &mut ChaCha8Rng, mut recipe: Recipe, normality: Option<HeadKind>) -> Case {
    recipe.normality = normality.is_some();
    let width = if recipe.head == HeadKind::Identity { CHANNELS } else { 4 };
    let rows = if recipe.distance.is_gaussian() { 1 } else { 8 };
    let mut bank = Embeddings::new(width, random(rng, rows * width), false);
    let metric = Metric {
        head: head(rng, recipe.head, width),
        deviation: (recipe.scaling == Scaling::Std).then(|| (0..width).map(|_| rng.random_range(0.3..2.0)).collect()),
        whitening: recipe.distance.is_gaussian().then(|| random(rng, width * width)),
        spread: recipe.local.then(|| (0..rows).map(|_| rng.random_range(0.3..2.0)).collect()),
        normality: normality.map(|kind| Normality { head: head(rng, kind, 1).unwrap(), weight: 0.7 }),
    };
    match recipe.distance {
        Distance::Cosine => bank = bank.normalise(),
        Distance::Product => {
            let factors = recipe.factors();
            let block = |(number, factor): (usize, &Factor)| {
                let rows = bank.block(number, factors.len()).as_compared(*factor).into_owned();
                rows.after_zeros(factor.from).data().to_vec()
            };
            bank = Embeddings::new(width, factors.iter().enumerate().flat_map(block).collect(), false);
        }
        _ => {}
    }
    Case { recipe, metric, bank }
}

/// Every head with every scaling, distance, number of neighbours and normality head.
fn cases(rng: &mut ChaCha8Rng) -> Vec<Case> {
    let distances = [
        (Distance::Cosine, true, false, 1),
        (Distance::Cosine, true, true, 1),
        (Distance::Cosine, true, false, 3),
        (Distance::Euclidean, false, false, 1),
        (Distance::Euclidean, false, true, 3),
        (Distance::Product, false, false, 1),
        (Distance::Product, false, true, 2),
        (Distance::Mahalanobis, false, false, 1),
        (Distance::Mahalanobis, true, false, 1),
        (Distance::MahalanobisPerPosition, false, false, 1),
    ];
    let mut cases = Vec::new();
    for kind in [HeadKind::Identity, HeadKind::Linear, HeadKind::Mlp] {
        for scaling in [Scaling::None, Scaling::Std, Scaling::SignedSqrt] {
            for (distance, normalise, local, neighbours) in distances {
                for normality in [None, Some(HeadKind::Linear), Some(HeadKind::Mlp)] {
                    let recipe = Recipe { local, ..recipe(kind, scaling, distance, normalise, neighbours) };
                    if distance == Distance::Product && kind == HeadKind::Identity {
                        let nested = vec![TAPS[0].0];
                        cases.push(case(rng, Recipe { nested, ..recipe.clone() }, normality));
                    }
                    cases.push(case(rng, recipe, normality));
                }
            }
        }
    }
    cases
}

/// W x, row by row.
fn times(weight: &[f32], x: &[f64]) -> Vec<f64> {
    weight.chunks(x.len()).map(|row| row.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum()).collect()
}

fn project(projection: &Projection, x: &[f64]) -> Vec<f64> {
    let centred: Vec<f64> = x.iter().zip(&projection.mean).map(|(x, &mean)| x - f64::from(mean)).collect();
    times(&projection.weight, &centred)
}

fn apply(head: &Head, x: &[f64]) -> Vec<f64> {
    match head {
        Head::Linear(projection) => project(projection, x),
        Head::Mlp { hidden, weight, bias } => {
            let active: Vec<f64> = project(hidden, x).into_iter().map(|value| value.max(0.0)).collect();
            times(weight, &active).iter().zip(bias).map(|(value, &bias)| value + f64::from(bias)).collect()
        }
    }
}

fn length(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

/// The mean of each channel of `taps`.
fn pool(taps: &[Vec<f64>]) -> Vec<f64> {
    let planes = taps.iter().zip(TAPS).flat_map(|(tap, (_, [height, width]))| tap.chunks(height * width));
    planes.map(|plane| plane.iter().sum::<f64>() / plane.len() as f64).collect()
}

fn score(case: &Case, taps: &[Vec<f64>]) -> f64 {
    let Case { recipe, metric, bank } = case;
    let x = pool(taps);
    let mut q = metric.head.as_ref().map_or_else(|| x.clone(), |head| apply(head, &x));
    match recipe.scaling {
        Scaling::None => {}
        Scaling::Std => {
            let deviation = metric.deviation.as_ref().unwrap();
            q.iter_mut().zip(deviation).for_each(|(q, &deviation)| *q /= f64::from(deviation));
        }
        Scaling::SignedSqrt => q.iter_mut().for_each(|q| *q = q.signum() * q.abs().sqrt()),
    }
    if recipe.normalise {
        let length = length(&q);
        q.iter_mut().for_each(|q| *q /= length);
    }
    let difference = |row: &[f32]| q.iter().zip(row).map(|(q, &m)| q - f64::from(m)).collect::<Vec<_>>();
    let nearest = |mut distances: Vec<f64>, first: usize| {
        if let Some(spread) = &metric.spread {
            distances.iter_mut().zip(&spread[first..]).for_each(|(distance, &spread)| *distance /= f64::from(spread));
        }
        distances.sort_by(f64::total_cmp);
        distances[..recipe.neighbours].iter().sum::<f64>() / recipe.neighbours as f64
    };
    let cosine = |row: &[f32], from: usize| 1.0 - times(&row[from..], &q[from..])[0] / length(&q[from..]);
    let euclidean = |row: &[f32], from: usize| length(&difference(row)[from..]);
    let distance = match &metric.whitening {
        Some(whitening) => length(&times(whitening, &difference(bank.row(0)))),
        None => {
            let all = |_: &Distance| [0].into_iter().chain(recipe.nested.clone());
            let distances: &[Distance] = match recipe.distance {
                Distance::Product => &[Distance::Euclidean, Distance::Cosine],
                _ => &[recipe.distance],
            };
            let factors: Vec<_> = distances.iter().flat_map(|one| all(one).map(|from| (*one, from))).collect();
            let of_each = bank.len() / factors.len();
            let by = |(number, &(distance, from)): (usize, &(Distance, usize))| {
                let to = |row| if distance == Distance::Cosine { cosine(row, from) } else { euclidean(row, from) };
                let rows = number * of_each..(number + 1) * of_each;
                nearest(rows.map(|row| to(bank.row(row))).collect(), number * of_each)
            };
            factors.iter().enumerate().map(by).product::<f64>().powf(1.0 / factors.len() as f64)
        }
    };
    let learned = |normality: &Normality| f64::from(normality.weight) * apply(&normality.head, &x)[0].max(0.0);
    distance + metric.normality.as_ref().map_or(0.0, learned)
}

/// (score with the activation a little more − with it a little less) / twice the little.
fn slope(case: &Case, taps: &[Vec<f64>], tap: usize, activation: usize) -> f64 {
    let moved = |step: f64| {
        let mut taps = taps.to_vec();
        taps[tap][activation] += step;
        score(case, &taps)
    };
    (moved(STEP) - moved(-STEP)) / (2.0 * STEP)
}

#[test]
fn the_gradient_equals_finite_differences_of_the_score_at_every_activation_by_every_recipe() {
    let rng = &mut ChaCha8Rng::seed_from_u64(5);
    let (mut learned, mut worst) = (0, 0.0f64);
    for case in cases(rng) {
        let what = format!("{:?}", case.recipe);
        let taps: Vec<Vec<f64>> = TAPS
            .iter()
            .map(|(channels, [height, width])| {
                (0..channels * height * width).map(|_| rng.random_range(-0.5..1.5)).collect()
            })
            .collect();
        let pooled: Vec<f32> = pool(&taps).iter().map(|&value| value as f32).collect();

        let raw = Embeddings::new(CHANNELS, pooled.clone(), false);
        let comparison =
            Comparison::new(&case.recipe, case.metric.clone(), case.bank.clone(), CHANNELS, 1).expect("they fit");
        let distance = comparison.distances(raw)[0];
        assert!((f64::from(distance) - score(&case, &taps)).abs() < 1e-5, "{what}");

        let gradient = score_gradient(&case.recipe, &case.metric, &case.bank, &pooled);
        let mut channels = gradient.iter();
        let mut errors = Vec::new();
        for (tap, (count, [height, width])) in TAPS.into_iter().enumerate() {
            let area = height * width;
            for (channel, gradient) in channels.by_ref().take(count).enumerate() {
                let analytic = f64::from(*gradient) / area as f64;
                errors.extend((channel * area..(channel + 1) * area).map(|activation| {
                    let numeric = slope(&case, &taps, tap, activation);
                    assert!(numeric.is_finite(), "{what}");
                    (analytic - numeric).abs()
                }));
            }
        }
        let largest = gradient.iter().map(|value| f64::from(value.abs())).fold(0.0, f64::max);
        let error = errors.into_iter().fold(0.0, f64::max) / largest.max(1e-3);
        assert!(error < 5e-6, "{what}: the error is {error} of the largest gradient");
        worst = worst.max(error);
        let logit = case.metric.normality.as_ref().map(|normality| apply(&normality.head, &pool(&taps))[0]);
        learned += usize::from(logit.is_some_and(|logit| logit > 0.0));
    }
    assert!(learned > 20, "only {learned} of the cases have a learned score above 0");
    println!("the largest error is {worst:.1e} of the largest gradient");
}

#[test]
fn a_euclidean_score_rises_straight_away_from_the_nearest_row() {
    let recipe = recipe(HeadKind::Identity, Scaling::None, Distance::Euclidean, false, 1);
    let bank = Embeddings::new(2, vec![1.0, 1.0, 9.0, 9.0], false);
    assert_eq!(score_gradient(&recipe, &Metric::default(), &bank, &[4.0, 5.0]), [0.6, 0.8]);
    // At the row itself there is no such direction, and a relative score of one embedding is always 1.
    assert_eq!(score_gradient(&recipe, &Metric::default(), &bank, &[1.0, 1.0]), [0.0, 0.0]);
    let relative = Recipe { relative: true, ..recipe };
    assert_eq!(score_gradient(&relative, &Metric::default(), &bank, &[4.0, 5.0]), [0.0, 0.0]);
}

#[test]
fn the_map_is_hot_where_the_activation_lies_that_raises_the_score() {
    let recipe = recipe(HeadKind::Identity, Scaling::None, Distance::Cosine, true, 1);
    // Good parts have the first channel alone. Here it is everywhere, and the second at one of four places.
    let bank = Embeddings::new(2, vec![1.0, 0.0], true);
    let tap = TapOutput::new(&[1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 2.0, 0.0], 2, 2, 2);
    let gradient = score_gradient(&recipe, &Metric::default(), &bank, &[1.0, 0.5]);
    assert!(gradient[0] < 0.0 && gradient[1] > 0.0, "{gradient:?}");
    let map = grad_cam(&[tap], &gradient);
    assert!(map.distances[2] > 0.0);
    assert!([0, 1, 3].iter().all(|&place| map.distances[place] == 0.0), "{map:?}");
}
