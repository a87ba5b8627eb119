use std::collections::BTreeMap;

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::{Parameter, at, distances, unit_rows, values};

/// Rounds of refinement by exchange, as in TensorFlow.
const REFINEMENTS: usize = 5;

/// Clustering loss: the clustering by the true labels must score higher than any other one, by a margin that grows with
/// how wrong the other is.
///
/// F(X,S) = −Σᵢ min_(j∈S) ‖fᵢ − fⱼ‖ ; F̃ = Σ_k max_(j of class k) F(X_k, {j}) ; g(S) the nearest-facility clustering;
/// L = [ max_S (F(X,S) + γ (1 − NMI(g(S), y))) − F̃ ]₊, S as large as the number of classes in the batch. One term.
/// The inner maximum is greedy with refinement by exchange (PAM), on values; the gradient goes through the distances to
/// the facilities that it chose.
/// * The batch must hold two classes and two rows of one class; else there is no loss.
/// * Embeddings are made unit inside.
/// # Source  Oh Song et al. 2017, arXiv:1612.01213.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Clustering {
    /// γ > 0. The paper raises it in training; 1 chosen here.
    pub margin: f64,
}

impl Default for Clustering {
    fn default() -> Clustering {
        Clustering { margin: 1.0 }
    }
}

impl Clustering {
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter("margin", self.margin, 1e-6..=1e6)]
    }

    /// The loss of the batch, (1,).
    /// * `embeddings` — (N, D)
    /// * `labels` — (N,)
    pub fn terms(&self, embeddings: &Tensor, labels: &[u32]) -> Result<Option<Tensor>> {
        let classes = members(labels);
        if classes.len() < 2 || classes.len() == labels.len() {
            return Ok(None);
        }
        let matrix = distances(&unit_rows(embeddings)?)?;
        let batch = Batch { distances: &values(&matrix)?, labels, margin: self.margin };
        let facilities = batch.best_facilities(classes.len());
        let nearest = batch.assign(&facilities);
        let chosen: Vec<_> = nearest.iter().enumerate().map(|(row, facility)| [row, *facility]).collect();
        let truth: Vec<_> = classes.values().flat_map(|rows| batch.medoid_cells(rows)).collect();
        let gap = (at(&matrix, &truth)?.sum_all()? - at(&matrix, &chosen)?.sum_all()?)?;
        let wrong = 1.0 - nmi(&nearest, labels);
        (gap + self.margin * wrong)?.relu()?.reshape(1).map(Some)
    }
}

fn members<T: Ord + Copy>(labels: &[T]) -> BTreeMap<T, Vec<usize>> {
    let mut members: BTreeMap<T, Vec<usize>> = BTreeMap::new();
    for (row, label) in labels.iter().enumerate() {
        members.entry(*label).or_default().push(row);
    }
    members
}

/// Values outside the graph, on which the inner maximum is sought.
struct Batch<'a> {
    distances: &'a [Vec<f64>],
    labels: &'a [u32],
    margin: f64,
}

impl Batch<'_> {
    /// The nearest facility of each row; a facility is its own.
    fn assign(&self, facilities: &[usize]) -> Vec<usize> {
        let nearest = |row: usize| {
            let by = |a: &usize, b: &usize| self.distances[row][*a].total_cmp(&self.distances[row][*b]);
            if facilities.contains(&row) { Some(row) } else { facilities.iter().copied().min_by(by) }
        };
        (0..self.labels.len()).map(|row| nearest(row).expect("there is a facility")).collect()
    }

    /// F(X,S) + γ (1 − NMI).
    fn score(&self, facilities: &[usize]) -> f64 {
        let nearest = self.assign(facilities);
        let cost: f64 = nearest.iter().enumerate().map(|(row, facility)| self.distances[row][*facility]).sum();
        self.margin * (1.0 - nmi(&nearest, self.labels)) - cost
    }

    fn best_facilities(&self, count: usize) -> Vec<usize> {
        let mut facilities = Vec::with_capacity(count);
        while facilities.len() < count {
            let with = |row: usize| self.score(&[&facilities[..], &[row]].concat());
            let free = (0..self.labels.len()).filter(|row| !facilities.contains(row));
            let scored = free.map(|row| (row, with(row)));
            let best = scored.reduce(|best, next| if next.1 > best.1 { next } else { best });
            facilities.push(best.expect("there are more rows than classes").0);
        }
        for _ in 0..REFINEMENTS {
            if !self.exchange(&mut facilities) {
                break;
            }
        }
        facilities
    }

    /// Replaces each facility by the row of its cluster that raises the score most; whether any was replaced.
    fn exchange(&self, facilities: &mut [usize]) -> bool {
        let mut exchanged = false;
        for position in 0..facilities.len() {
            let nearest = self.assign(facilities);
            let (mut best, mut score) = (facilities[position], self.score(facilities));
            let own = best;
            for row in (0..nearest.len()).filter(|row| nearest[*row] == own && *row != own) {
                facilities[position] = row;
                let other = self.score(facilities);
                if other > score {
                    (best, score, exchanged) = (row, other, true);
                }
            }
            facilities[position] = best;
        }
        exchanged
    }

    /// Each row of a class with the row of the class that is nearest to all of them together.
    fn medoid_cells(&self, rows: &[usize]) -> Vec<[usize; 2]> {
        let cost = |medoid: usize| rows.iter().map(|row| self.distances[*row][medoid]).sum::<f64>();
        let medoid = rows.iter().copied().min_by(|a, b| cost(*a).total_cmp(&cost(*b)));
        rows.iter().map(|row| [*row, medoid.expect("a class has a row")]).collect()
    }
}

/// Normalised mutual information of two clusterings of the same rows: I(a; b) / √(H(a) H(b)) ∈ [0, 1]; 0 where one of
/// them has a single cluster.
fn nmi<A: Ord + Copy, B: Ord + Copy>(a: &[A], b: &[B]) -> f64 {
    let pairs: Vec<(A, B)> = a.iter().copied().zip(b.iter().copied()).collect();
    let (entropy_a, entropy_b) = (entropy(a), entropy(b));
    let product = entropy_a * entropy_b;
    if product <= 0.0 { 0.0 } else { (entropy_a + entropy_b - entropy(&pairs)) / product.sqrt() }
}

fn entropy<T: Ord + Copy>(labels: &[T]) -> f64 {
    let share = |rows: &Vec<usize>| rows.len() as f64 / labels.len() as f64;
    members(labels).values().map(share).map(|p| -p * p.ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::teach::losses::check::{close, matrix, numbers};

    #[test]
    fn nmi_of_clusterings_that_a_person_can_check() {
        let rounded = |a: &[u32], b: &[u32]| (nmi(a, b) * 1e9).round() / 1e9;
        assert_eq!(rounded(&[0, 0, 1, 1], &[5, 5, 3, 3]), 1.0);
        assert_eq!(rounded(&[0, 1, 0, 1], &[0, 0, 1, 1]), 0.0);
        assert_eq!(rounded(&[0, 0, 0, 0], &[0, 0, 1, 1]), 0.0);
    }

    #[test]
    fn classes_that_are_apart_cost_nothing() {
        let rows = matrix(&[[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]]);
        let terms = Clustering { margin: 0.5 }.terms(&rows, &[0, 0, 1, 1]).unwrap().unwrap();
        close(&numbers(&terms), &[0.0]);
    }

    #[test]
    fn classes_that_are_mixed_cost_the_gap_and_the_margin() {
        // Two places at right angles, each with one row of both classes. Truth: each class pays √2. Best other: one
        // facility in each place pays 0 and has NMI 0. So L = 2√2 + γ.
        let rows = matrix(&[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]);
        let terms = Clustering { margin: 0.5 }.terms(&rows, &[0, 0, 1, 1]).unwrap().unwrap();
        close(&numbers(&terms), &[2.0 * 2f64.sqrt() + 0.5]);
    }

    #[test]
    fn the_inner_maximum_is_that_of_all_choices_on_a_small_batch() {
        let angles = [0.0_f64, 0.2, 0.5, 1.1, 1.2, 2.0, 2.1];
        let rows = angles.map(|angle| [angle.cos(), angle.sin()]);
        let matrix = distances(&matrix(&rows)).unwrap();
        let batch = Batch { distances: &values(&matrix).unwrap(), labels: &[0, 1, 0, 1, 1, 0, 0], margin: 1.0 };
        let all = (0..7).flat_map(|a| (0..a).map(move |b| [a, b]));
        let best = all.map(|facilities| batch.score(&facilities)).fold(f64::NEG_INFINITY, f64::max);
        assert_eq!(batch.score(&batch.best_facilities(2)), best);
    }

    #[test]
    fn a_batch_of_one_class_or_of_single_rows_has_no_loss() {
        let rows = matrix(&[[1.0, 0.0], [0.0, 1.0]]);
        assert!(Clustering::default().terms(&rows, &[0, 0]).unwrap().is_none());
        assert!(Clustering::default().terms(&rows, &[0, 1]).unwrap().is_none());
    }
}
