use std::collections::BTreeMap;

use candle_core::{Result, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{Parameter, at, log_sum_exp_where, mask, squared_distances, values};

/// Added to σ², so that clusters of one row each do not divide by 0.
const TINY_VARIANCE: f64 = 1e-9;
const KMEANS_ROUNDS: usize = 20;

/// Magnet loss: each row towards the mean of its cluster, away from the clusters of other classes; a class may have
/// several clusters.
///
/// L = [ ‖r − μ(r)‖²/(2σ²) + α + log Σ exp(−‖r − μ‖²/(2σ²)) ]₊, the sum over the clusters μ of other classes;
/// σ² = Σ ‖r − μ(r)‖² / (N − 1). One term per row. Means and variance are those of the batch, inside the graph; which
/// cluster a row belongs to is the nearest of its class at the last refresh.
/// * The batch must hold two classes, else there is no loss. Before the first refresh each class is one cluster.
/// * Embeddings are not made unit; distances are squared Euclidean.
/// # Source  Rippel et al. 2016, arXiv:1511.05939. The denominator is 2σ², not 2(σ²)² as in MagnetLoss-PyTorch.
/// Differs: the batch is the trainer's, not sampled around impostor clusters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Magnet {
    /// K ≥ 1 clusters per class. The paper tunes it; 3 chosen here.
    pub clusters: usize,
    /// α ≥ 0. The paper tunes it; 1 as in tf-magnet-loss.
    pub gap: f64,
}

impl Default for Magnet {
    fn default() -> Magnet {
        Magnet { clusters: 3, gap: 1.0 }
    }
}

impl Magnet {
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter("clusters", self.clusters as f64, 1.0..=1e3), Parameter("gap", self.gap, 0.0..=1e6)]
    }

    /// The loss of each row, (N,).
    /// * `embeddings` — (N, D)
    /// * `labels` — (N,)
    pub fn terms(&self, embeddings: &Tensor, labels: &[u32], clusters: &Clusters) -> Result<Option<Tensor>> {
        if labels.iter().all(|label| *label == labels[0]) {
            return Ok(None);
        }
        let (rows, device) = (labels.len(), embeddings.device());
        let Groups { of_row, label, size } = clusters.groups(&values(embeddings)?, labels);
        let share = |(group, row): (usize, usize)| if of_row[row] == group { 1.0 / size[group] } else { 0.0 };
        let cells = (0..size.len()).flat_map(|group| (0..rows).map(move |row| (group, row)));
        let shares = Tensor::from_iter(cells.map(share), device)?.reshape((size.len(), rows))?;
        let means = shares.to_dtype(embeddings.dtype())?.matmul(embeddings)?;
        let squared = squared_distances(embeddings, &means)?;
        let own = at(&squared, &of_row.iter().enumerate().map(|(row, group)| [row, *group]).collect::<Vec<_>>())?;
        let variance = own.sum_all()?.affine(1.0 / (rows - 1) as f64, TINY_VARIANCE)?;
        let scaled = squared.broadcast_div(&(&variance * -2.0)?)?;
        let impostor = mask([rows, size.len()], device, |row, group| labels[row] != label[group])?;
        let impostors = log_sum_exp_where(&impostor, &scaled)?;
        let own = own.broadcast_div(&(variance * 2.0)?)?;
        ((own + impostors)? + self.gap)?.relu().map(Some)
    }
}

/// The k-means clusters of every class at the last refresh: each a label and a centre.
#[derive(Clone, Debug, Default)]
pub struct Clusters(Vec<(u32, Vec<f64>)>);

/// The clusters that occur in a batch.
struct Groups {
    /// The group of each row, (N,).
    of_row: Vec<usize>,
    /// The class of each group.
    label: Vec<u32>,
    /// How many rows each group has.
    size: Vec<f64>,
}

impl Clusters {
    /// K clusters of each class, or as many as it has distinct rows.
    pub fn of(embeddings: &Tensor, labels: &[u32], k: usize, seed: u64) -> Result<Clusters> {
        let mut classes: BTreeMap<u32, Vec<Vec<f64>>> = BTreeMap::new();
        for (row, label) in values(embeddings)?.into_iter().zip(labels) {
            classes.entry(*label).or_default().push(row);
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut centres = |rows: Vec<Vec<f64>>| k_means(&rows, k, &mut rng);
        let of_class = |(label, rows)| centres(rows).into_iter().map(move |centre| (label, centre)).collect::<Vec<_>>();
        Ok(Clusters(classes.into_iter().flat_map(of_class).collect()))
    }

    fn groups(&self, rows: &[Vec<f64>], labels: &[u32]) -> Groups {
        let mut known: BTreeMap<(u32, usize), usize> = BTreeMap::new();
        let mut groups = Groups { of_row: Vec::new(), label: Vec::new(), size: Vec::new() };
        for (row, label) in rows.iter().zip(labels) {
            let next = known.len();
            let group = *known.entry((*label, self.nearest(row, *label))).or_insert(next);
            if group == next {
                groups.label.push(*label);
                groups.size.push(0.0);
            }
            groups.size[group] += 1.0;
            groups.of_row.push(group);
        }
        groups
    }

    /// The nearest cluster of the class; 0 where it has none yet.
    fn nearest(&self, row: &[f64], label: u32) -> usize {
        let of_class = self.0.iter().enumerate().filter(|(_, (class, _))| *class == label);
        let distance = |centre: &[f64]| squared(row, centre);
        of_class.min_by(|a, b| distance(&a.1.1).total_cmp(&distance(&b.1.1))).map_or(0, |(cluster, _)| cluster)
    }
}

/// Centres of at most k clusters: k-means++, then Lloyd's rounds until nothing moves.
/// # Source  Arthur and Vassilvitskii 2007.
fn k_means(rows: &[Vec<f64>], k: usize, rng: &mut ChaCha8Rng) -> Vec<Vec<f64>> {
    let mut centres = spread(rows, k, rng);
    for _ in 0..KMEANS_ROUNDS {
        let mut members = vec![Vec::new(); centres.len()];
        for row in rows {
            members[nearest(row, &centres)].push(row);
        }
        let moved: Vec<Vec<f64>> = members.iter().filter(|rows| !rows.is_empty()).map(|rows| mean(rows)).collect();
        if moved == centres {
            break;
        }
        centres = moved;
    }
    centres
}

/// The first centres: each drawn with a chance that grows with the squared distance to those before.
fn spread(rows: &[Vec<f64>], k: usize, rng: &mut ChaCha8Rng) -> Vec<Vec<f64>> {
    let mut centres = vec![rows[rng.random_range(0..rows.len())].clone()];
    while centres.len() < k {
        let far: Vec<f64> = rows.iter().map(|row| squared(row, &centres[nearest(row, &centres)])).collect();
        let total: f64 = far.iter().sum();
        if total <= 0.0 {
            break;
        }
        let mut left = rng.random_range(0.0..total);
        let drawn = far.iter().position(|far| {
            left -= far;
            left < 0.0
        });
        centres.push(rows[drawn.unwrap_or(rows.len() - 1)].clone());
    }
    centres
}

fn nearest(row: &[f64], centres: &[Vec<f64>]) -> usize {
    let by = |a: &usize, b: &usize| squared(row, &centres[*a]).total_cmp(&squared(row, &centres[*b]));
    (0..centres.len()).min_by(by).unwrap_or(0)
}

fn squared(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

fn mean(rows: &[&Vec<f64>]) -> Vec<f64> {
    (0..rows[0].len()).map(|column| rows.iter().map(|row| row[column]).sum::<f64>() / rows.len() as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::teach::losses::check::{close, matrix, numbers};

    /// Class 0 at −1 and 1, class 1 at 1 and 3: means 0 and 2, σ² = 4/3.
    fn two_classes(gap: f64) -> Vec<f64> {
        let loss = Magnet { gap, ..Default::default() };
        let rows = matrix(&[[-1.0], [1.0], [1.0], [3.0]]);
        numbers(&loss.terms(&rows, &[0, 0, 1, 1], &Clusters::default()).unwrap().unwrap())
    }

    #[test]
    fn rows_that_a_person_can_check() {
        // The row at −1 is 1 from its own mean and 3 from the other: [1·3/8 + 1 − 9·3/8]₊ = 0.
        // The row at 1 is 1 from both: [3/8 + 1 − 3/8]₊ = 1.
        close(&two_classes(1.0), &[0.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn trap_magnet_variance_divides_by_twice_the_variance_not_by_twice_its_square() {
        // 4 + (1 − 9)·3/8 = 1; with the square of the variance it would be 4 + (1 − 9)·9/32 = 1.75.
        close(&two_classes(4.0), &[1.0, 4.0, 4.0, 1.0]);
    }

    #[test]
    fn after_a_refresh_a_class_has_several_clusters() {
        // Class 0 lies on both sides of class 1: as one cluster it costs much, as two nothing.
        let rows = matrix(&[[-10.0], [-11.0], [10.0], [11.0], [-0.5], [0.5]]);
        let labels = [0, 0, 0, 0, 1, 1];
        let loss = Magnet { clusters: 2, gap: 1.0 };
        let sum =
            |clusters: &Clusters| numbers(&loss.terms(&rows, &labels, clusters).unwrap().unwrap()).iter().sum::<f64>();
        let refreshed = Clusters::of(&rows, &labels, 2, 7).unwrap();
        let mut centres: Vec<f64> = refreshed.0.iter().filter(|(label, _)| *label == 0).map(|(_, c)| c[0]).collect();
        centres.sort_by(f64::total_cmp);
        assert_eq!(centres, [-10.5, 10.5]);
        assert!(sum(&Clusters::default()) > 4.0);
        assert_eq!(sum(&refreshed), 0.0);
    }

    #[test]
    fn clusters_of_one_row_each_give_a_finite_loss() {
        let rows = matrix(&[[0.0], [1.0]]);
        let terms = Magnet::default().terms(&rows, &[0, 1], &Clusters::default()).unwrap().unwrap();
        assert!(numbers(&terms).iter().all(|term| term.is_finite()));
    }

    #[test]
    fn a_batch_of_one_class_has_no_loss() {
        let rows = matrix(&[[0.0], [1.0]]);
        assert!(Magnet::default().terms(&rows, &[0, 0], &Clusters::default()).unwrap().is_none());
    }
}
