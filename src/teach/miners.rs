//! Which tuples of a batch a loss sees, and how its terms become one number. Neither knows a formula.

use std::fmt;
use std::str::FromStr;

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

/// A name that is none of those that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} '{found}', nearest is '{}'; use one of: {}", self.nearest(), names.join(", "))]
pub struct UnknownName {
    pub what: &'static str,
    pub found: String,
    pub names: &'static [&'static str],
}

impl UnknownName {
    /// The name with the fewest slips between it and what was found.
    pub fn nearest(&self) -> &'static str {
        let slips = |name: &&&str| strsim::damerau_levenshtein(&self.found.to_lowercase(), name);
        self.names.iter().min_by_key(slips).copied().unwrap_or_default()
    }
}

/// Which pairs and triplets of a batch are trained on. It looks at values, outside the graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Miner {
    /// Every valid tuple.
    #[default]
    All,
    /// For each anchor and positive the nearest negative that is farther than the positive; where there is none, the
    /// farthest negative.
    /// # Source  Schroff et al. 2015, arXiv:1503.03832; the case of none as in TensorFlow's `triplet_semihard_loss`.
    SemiHard,
    /// For each anchor the farthest positive and the nearest negative.
    /// # Source  Hermans et al. 2017, arXiv:1703.07737 ("batch hard").
    Hard,
}

/// Rows of a batch: anchor and positive share a label, the negative has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Triplet {
    pub anchor: usize,
    pub positive: usize,
    pub negative: usize,
}

/// Pairs of rows i < j in ascending order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    pub positive: Vec<[usize; 2]>,
    pub negative: Vec<[usize; 2]>,
}

impl Miner {
    pub const NAMES: [&str; 3] = ["all", "semi-hard", "hard"];

    pub fn name(self) -> &'static str {
        Miner::NAMES[self as usize]
    }

    /// The chosen triplets, in the order of their anchors; none where no class has two rows or there is one class.
    ///
    /// * `distances` — (N, N), row-major; any that grows with the distance
    /// * `labels` — (N,)
    pub fn triplets(self, distances: &[Vec<f64>], labels: &[u32]) -> Vec<Triplet> {
        (0..labels.len()).flat_map(|anchor| self.triplets_of(anchor, &distances[anchor], labels)).collect()
    }

    fn triplets_of(self, anchor: usize, distances: &[f64], labels: &[u32]) -> Vec<Triplet> {
        let same = |row: &usize| labels[*row] == labels[anchor];
        let positives: Vec<usize> = (0..labels.len()).filter(same).filter(|row| *row != anchor).collect();
        let negatives: Vec<usize> = (0..labels.len()).filter(|row| !same(row)).collect();
        let nearer = |a: &usize, b: &usize| distances[*a].total_cmp(&distances[*b]);
        let triplet = |positive: usize, negative: usize| Triplet { anchor, positive, negative };
        let farthest = |rows: &[usize]| rows.iter().copied().rev().max_by(nearer);
        let semi_hard = || {
            let mut by_distance = negatives.clone();
            by_distance.sort_by(nearer);
            let most = farthest(&negatives);
            let negative = |positive: usize| {
                let beyond = by_distance.partition_point(|row| distances[*row] <= distances[positive]);
                by_distance.get(beyond).copied().or(most)
            };
            let mined = |positive: &usize| negative(*positive).map(|negative| triplet(*positive, negative));
            positives.iter().filter_map(mined).collect()
        };
        match self {
            Miner::All => positives
                .iter()
                .flat_map(|positive| negatives.iter().map(|negative| triplet(*positive, *negative)))
                .collect(),
            Miner::SemiHard => semi_hard(),
            Miner::Hard => {
                let nearest = negatives.iter().copied().min_by(nearer);
                farthest(&positives)
                    .zip(nearest)
                    .map(|(positive, negative)| triplet(positive, negative))
                    .into_iter()
                    .collect()
            }
        }
    }

    /// The chosen pairs: every pair of the batch, or those that occur in the chosen triplets.
    /// * `distances` — as for [`Miner::triplets`]
    pub fn pairs(self, distances: &[Vec<f64>], labels: &[u32]) -> Pairs {
        let mut pairs = Pairs::default();
        if self == Miner::All {
            for i in 0..labels.len() {
                for j in i + 1..labels.len() {
                    let kind = if labels[i] == labels[j] { &mut pairs.positive } else { &mut pairs.negative };
                    kind.push([i, j]);
                }
            }
            return pairs;
        }
        let ordered = |a: usize, b: usize| [a.min(b), a.max(b)];
        for Triplet { anchor, positive, negative } in self.triplets(distances, labels) {
            pairs.positive.push(ordered(anchor, positive));
            pairs.negative.push(ordered(anchor, negative));
        }
        for kind in [&mut pairs.positive, &mut pairs.negative] {
            kind.sort_unstable();
            kind.dedup();
        }
        pairs
    }
}

impl fmt::Display for Miner {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Miner {
    type Err = UnknownName;

    fn from_str(name: &str) -> std::result::Result<Miner, UnknownName> {
        let all = [Miner::All, Miner::SemiHard, Miner::Hard];
        let unknown = || UnknownName { what: "miner", found: name.to_owned(), names: &Miner::NAMES };
        all.into_iter().find(|miner| miner.name() == name).ok_or_else(unknown)
    }
}

/// How the terms of a loss, (T,) with T ≥ 1, become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// Σ terms / T.
    #[default]
    Mean,
    /// Σ terms / #{terms ≠ 0}, so that tuples that are satisfied do not dilute the others; 0 where all are.
    MeanOfNonZero,
    /// Σ terms.
    Sum,
}

impl Reduction {
    pub const NAMES: [&str; 3] = ["mean", "mean-of-non-zero", "sum"];

    pub fn name(self) -> &'static str {
        Reduction::NAMES[self as usize]
    }

    /// One number, shape (), from terms (T,).
    pub fn reduce(self, terms: &Tensor) -> Result<Tensor> {
        match self {
            Reduction::Mean => terms.mean_all(),
            Reduction::Sum => terms.sum_all(),
            Reduction::MeanOfNonZero => {
                let count = terms.ne(0.0)?.to_dtype(candle_core::DType::F64)?.sum_all()?.to_vec0::<f64>()?;
                terms.sum_all()? / count.max(1.0)
            }
        }
    }
}

impl fmt::Display for Reduction {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Reduction {
    type Err = UnknownName;

    fn from_str(name: &str) -> std::result::Result<Reduction, UnknownName> {
        let all = [Reduction::Mean, Reduction::MeanOfNonZero, Reduction::Sum];
        let unknown = || UnknownName { what: "reduction", found: name.to_owned(), names: &Reduction::NAMES };
        all.into_iter().find(|reduction| reduction.name() == name).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Points 0, 1, 4 of class 0 and 2, 7 of class 1 on a line.
    fn line() -> (Vec<Vec<f64>>, [u32; 5]) {
        let points = [0.0_f64, 1.0, 4.0, 2.0, 7.0];
        let distances = points.map(|a| points.map(|b| (a - b).abs()).to_vec()).to_vec();
        (distances, [0, 0, 0, 1, 1])
    }

    fn triplets(miner: Miner) -> Vec<[usize; 3]> {
        let (distances, labels) = line();
        let rows = |t: Triplet| [t.anchor, t.positive, t.negative];
        miner.triplets(&distances, &labels).into_iter().map(rows).collect()
    }

    #[test]
    fn all_takes_every_triplet() {
        // Class 0: 3 anchors, 2 positives, 2 negatives; class 1: 2 anchors, 1 positive, 3 negatives.
        assert_eq!(triplets(Miner::All).len(), 3 * 2 * 2 + 2 * 3);
    }

    #[test]
    fn hard_takes_the_farthest_positive_and_the_nearest_negative() {
        assert_eq!(triplets(Miner::Hard), [[0, 2, 3], [1, 2, 3], [2, 0, 3], [3, 4, 1], [4, 3, 2]]);
    }

    #[test]
    fn semi_hard_takes_the_nearest_negative_beyond_the_positive_or_else_the_farthest() {
        // Anchor 0: positive 1 at distance 1, so the negative at 2; positive 2 at distance 4, so the negative at 7.
        // Anchor 3 at point 2: positive 4 at distance 5; none beyond it, the farthest are 0 and 2, at distance 2.
        let mined = triplets(Miner::SemiHard);
        assert_eq!(mined[..2], [[0, 1, 3], [0, 2, 4]]);
        assert!(mined.contains(&[3, 4, 0]));
        assert_eq!(mined.len(), 3 * 2 + 2);
    }

    #[test]
    fn each_pair_is_taken_once() {
        let (distances, labels) = line();
        let all = Miner::All.pairs(&distances, &labels);
        assert_eq!((all.positive.len(), all.negative.len()), (3 + 1, 3 * 2));
        let hard = Miner::Hard.pairs(&distances, &labels);
        assert_eq!(hard.positive, [[0, 2], [1, 2], [3, 4]]);
        assert_eq!(hard.negative, [[0, 3], [1, 3], [2, 3], [2, 4]]);
    }

    #[test]
    fn a_batch_without_pairs_gives_none() {
        let distances = vec![vec![0.0, 1.0], vec![1.0, 0.0]];
        for miner in [Miner::All, Miner::SemiHard, Miner::Hard] {
            assert!(miner.triplets(&distances, &[0, 0]).is_empty());
            assert!(miner.triplets(&distances, &[0, 1]).is_empty());
            assert!(miner.pairs(&[], &[]).positive.is_empty());
        }
    }

    #[test]
    fn reductions_of_terms_that_a_person_can_check() {
        let terms = Tensor::new(&[0.0_f32, 1.0, 0.0, 3.0], &Device::Cpu).unwrap();
        let reduced = |reduction: Reduction| reduction.reduce(&terms).unwrap().to_vec0::<f32>().unwrap();
        assert_eq!(reduced(Reduction::Mean), 1.0);
        assert_eq!(reduced(Reduction::MeanOfNonZero), 2.0);
        assert_eq!(reduced(Reduction::Sum), 4.0);
        let satisfied = Reduction::MeanOfNonZero.reduce(&(terms * 0.0).unwrap()).unwrap();
        assert_eq!(satisfied.to_vec0::<f32>().unwrap(), 0.0);
    }

    #[test]
    fn a_mistyped_name_is_answered_with_the_nearest() {
        assert_eq!("semi-hard".parse::<Miner>().unwrap(), Miner::SemiHard);
        let error = "semihard".parse::<Miner>().unwrap_err().to_string();
        assert_eq!(error, "unknown miner 'semihard', nearest is 'semi-hard'; use one of: all, semi-hard, hard");
        assert_eq!("sum".parse::<Reduction>().unwrap(), Reduction::Sum);
        assert_eq!("means".parse::<Reduction>().unwrap_err().nearest(), "mean");
    }
}
