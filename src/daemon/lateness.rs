//! How late the reject line moved: a histogram that a run of years does not grow.

use std::time::Duration;

/// The steps of the histogram: each is a quarter of a doubling from 1 µs on, so that a quantile is right within 19 %.
const STEPS: usize = 96;
const STEPS_PER_DOUBLING: f64 = 4.0;

/// Of every move of the reject line, how long after its due moment the line had moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lateness {
    counts: [u64; STEPS],
    most: Duration,
}

impl Default for Lateness {
    fn default() -> Lateness {
        Lateness { counts: [0; STEPS], most: Duration::ZERO }
    }
}

impl Lateness {
    pub(super) fn record(&mut self, late: Duration) {
        let step = (late.as_secs_f64() * 1e6).max(1.0).log2() * STEPS_PER_DOUBLING;
        self.counts[(step.ceil() as usize).min(STEPS - 1)] += 1;
        self.most = self.most.max(late);
    }

    pub fn moves(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The largest.
    pub fn most(&self) -> Duration {
        self.most
    }

    /// The bound that the given fraction of the moves kept, rounded up to the histogram's step.
    pub fn quantile(&self, fraction: f64) -> Duration {
        let wanted = (fraction * self.moves() as f64).ceil() as u64;
        let mut seen = 0;
        let reached = |count: &u64| {
            seen += count;
            seen >= wanted
        };
        let step = self.counts.iter().position(reached).unwrap_or(0);
        self.most.min(Duration::from_secs_f64((step as f64 / STEPS_PER_DOUBLING).exp2() * 1e-6))
    }
}

impl std::fmt::Display for Lateness {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        write!(
            f,
            "{} moves of the reject line, 99 % at most {:.2} ms late, all at most {:.2} ms",
            self.moves(),
            ms(self.quantile(0.99)),
            ms(self.most)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_within_a_step() {
        let mut lateness = Lateness::default();
        (0..990).for_each(|_| lateness.record(Duration::from_micros(100)));
        (0..10).for_each(|_| lateness.record(Duration::from_millis(7)));
        assert_eq!(lateness.most(), Duration::from_millis(7));
        let p99 = lateness.quantile(0.99).as_secs_f64();
        assert!((100e-6..119e-6).contains(&p99), "{p99}");
        assert_eq!(lateness.quantile(1.0), Duration::from_millis(7));
    }
}
