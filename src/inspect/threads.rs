//! The threads that divide an inspection among them.
//!
//! Between two parts they sleep. An inspection is a row of short pieces of work, a dozen of half a millisecond each, and a
//! thread that is woken for one of them comes when the others have done it already. So all are woken once, at the
//! beginning, and look for work without rest until the inspection is over.
//!
//! Woken, a thread often starts on the core of the one that woke it, and the kernel's balancing takes longer than an
//! inspection. A pool that has as many threads as there are cores therefore gives each thread a core of its own; a smaller
//! one leaves the choice to the kernel, since another daemon on the same board may use the rest.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder, Yield};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How many threads an inspection is divided among where nobody says: one a core, but at most four, beyond which they wait
/// for one another more than they help.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(4)
}

/// A pool of `threads` threads.
/// # Errors  The system grants no more threads.
pub fn pool(threads: usize) -> Result<ThreadPool, ThreadPoolBuildError> {
    let cores = cores();
    let pin = move |thread: usize| {
        if cores.len() == threads {
            let mut core = CpuSet::new();
            core.set(cores[thread]);
            // A thread that may not be bound to a core runs where the kernel puts it.
            let _ = sched_setaffinity(None, &core);
        }
    };
    ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("inspect-{i}")).start_handler(pin).build()
}

/// Runs `work` on a thread of the pool; what it divides by `rayon::join` the others take up at once.
pub fn together<R: Send>(pool: &ThreadPool, work: impl FnOnce() -> R + Send) -> R {
    let (work, over) = (Mutex::new(Some(work)), AtomicBool::new(false));
    let mut results = pool.broadcast(|context| {
        if context.index() > 0 {
            help(&over);
            return None;
        }
        let _over = Sets(&over);
        let work = work.lock().expect("it is taken once").take().expect("one thread has this number");
        Some(work())
    });
    results.swap_remove(0).expect("the first thread has the result")
}

fn help(over: &AtomicBool) {
    while !over.load(Ordering::Acquire) {
        if rayon::yield_now() != Some(Yield::Executed) {
            std::hint::spin_loop();
        }
    }
}

/// Sets a flag when it is dropped, after a panic too.
struct Sets<'a>(&'a AtomicBool);

impl Drop for Sets<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The cores that this process may run on.
fn cores() -> Vec<usize> {
    let allowed = sched_getaffinity(None);
    allowed.map_or(vec![], |allowed| (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_divided_and_its_result_comes_back() {
        let pool = pool(3).unwrap();
        let sum = |range: std::ops::Range<u64>| range.sum::<u64>();
        for _ in 0..100 {
            let (low, high) = together(&pool, || rayon::join(|| sum(0..500), || sum(500..1000)));
            assert_eq!(low + high, 499_500);
        }
    }

    #[test]
    fn a_panic_comes_back_and_lets_the_others_go() {
        let pool = pool(2).unwrap();
        let panics = std::panic::AssertUnwindSafe(|| together(&pool, || -> () { panic!("a bug") }));
        assert!(std::panic::catch_unwind(panics).is_err());
        assert_eq!(together(&pool, || 7), 7);
    }
}
