use std::collections::BTreeMap;

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Deals rows in balanced batches: classes in equal parts, and the kinds of an anomalous class in equal parts. Of each
/// kind, every row is dealt once before one is dealt again.
#[derive(Debug)]
pub struct Batches {
    /// For each class its decks, one for each kind.
    classes: Vec<Class>,
    rng: ChaCha8Rng,
}

#[derive(Debug, Default)]
struct Class {
    decks: Vec<Deck>,
    /// The deck whose turn it is.
    turn: usize,
}

#[derive(Debug)]
struct Deck {
    rows: Vec<usize>,
    next: usize,
}

impl Batches {
    /// * `labels` — (N,), below `classes`
    /// * `kinds` — (N,); rows of a class that all have the same are dealt alike
    pub fn new(labels: &[u32], kinds: &[u16], classes: usize, mut rng: ChaCha8Rng) -> Batches {
        let mut decks: Vec<BTreeMap<u16, Vec<usize>>> = vec![BTreeMap::new(); classes];
        for (row, (label, kind)) in labels.iter().zip(kinds).enumerate() {
            decks[*label as usize].entry(*kind).or_default().push(row);
        }
        let mut deck = |mut rows: Vec<usize>| {
            rows.shuffle(&mut rng);
            Deck { rows, next: 0 }
        };
        let mut class = |kinds: BTreeMap<_, _>| Class { decks: kinds.into_values().map(&mut deck).collect(), turn: 0 };
        Batches { classes: decks.into_iter().map(&mut class).collect(), rng }
    }

    /// As many rows of each class as fit into `size`, class after class.
    pub fn next(&mut self, size: usize) -> Vec<usize> {
        let each = size / self.classes.len();
        (0..self.classes.len()).flat_map(|class| self.of_class(class, each)).collect()
    }

    /// `count` rows of one class, which must have some unless none are asked for.
    pub fn of_class(&mut self, class: usize, count: usize) -> Vec<usize> {
        let Class { decks, turn } = &mut self.classes[class];
        let mut deal = |_| {
            *turn = (*turn + 1) % decks.len();
            decks[*turn].deal(&mut self.rng)
        };
        (0..count).map(&mut deal).collect()
    }
}

impl Deck {
    fn deal(&mut self, rng: &mut ChaCha8Rng) -> usize {
        if self.next == self.rows.len() {
            self.rows.shuffle(rng);
            self.next = 0;
        }
        self.next += 1;
        self.rows[self.next - 1]
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn batches() -> Batches {
        // Six good rows; class 1 has five of kind 3 and one of kind 4.
        let labels = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1];
        let kinds = [0, 0, 0, 0, 0, 0, 3, 3, 3, 3, 3, 4];
        Batches::new(&labels, &kinds, 2, ChaCha8Rng::seed_from_u64(1))
    }

    #[test]
    fn classes_come_in_equal_parts_and_the_kinds_of_an_anomalous_class_too() {
        let batch = batches().next(9);
        assert_eq!(batch.iter().filter(|row| **row < 6).count(), 4);
        assert_eq!(batch.iter().filter(|row| **row == 11).count(), 2);
        assert_eq!(batch.len(), 8);
    }

    #[test]
    fn every_row_is_dealt_before_one_is_dealt_again() {
        let mut batches = batches();
        let mut rows = [batches.of_class(0, 4), batches.of_class(0, 2)].concat();
        rows.sort_unstable();
        assert_eq!(rows, [0, 1, 2, 3, 4, 5]);
    }
}
