//! The threads that divide an inspection among them.
//!
//! Between two parts they sleep. An inspection is a row of short pieces of work, a dozen of half a millisecond each, and a
//! thread that is woken for one of them comes when the others have done it already. So all are woken once, at the
//! beginning, and look for work without sleeping until the inspection is over.
//!
//! Woken, a thread often starts on the core of the one that woke it, and the kernel's balancing takes longer than an
//! inspection. A pool that has as many threads as there are cores therefore gives each thread a core of its own; a smaller
//! one leaves the choice to the kernel, since another daemon on the same board may use the rest.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder, Yield};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How many threads an inspection is divided among where nobody says: one a core, but at most four, beyond which they wait
/// for one another more than they help.
pub fn default_threads() -> usize {
    cores().min(4)
}

/// How many threads this process can run at once; 1 if the system does not say.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A pool of `threads` threads.
/// # Errors  The system grants no more threads.
pub fn pool(threads: usize) -> Result<ThreadPool, ThreadPoolBuildError> {
    let allowed = allowed();
    let pin = move |thread: usize| {
        if allowed.len() == threads {
            let mut core = CpuSet::new();
            core.set(allowed[thread]);
            // A thread that may not be bound to a core runs where the kernel puts it.
            let _ = sched_setaffinity(None, &core);
        }
    };
    ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("inspect-{i}")).start_handler(pin).build()
}

/// Among how many threads work is divided here: those of the pool, or this one alone outside of one.
pub fn here() -> usize {
    if rayon::current_thread_index().is_some() { rayon::current_num_threads() } else { 1 }
}

/// Runs `work` on a thread of the pool; what it divides by [`join`] the others take up at once.
/// # Panics  If `work` does; the other threads are free then.
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

/// Runs both, on two threads if another one is free.
pub fn join<A: Send, B: Send>(a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
    rayon::join(|| piece(a), || piece(b))
}

thread_local! {
    /// Whether this thread is in the middle of a piece of work.
    static IN_PIECE: Cell<bool> = const { Cell::new(false) };
}

fn piece<R>(work: impl FnOnce() -> R) -> R {
    struct Restores(bool);
    impl Drop for Restores {
        fn drop(&mut self) {
            IN_PIECE.set(self.0);
        }
    }
    let _before = Restores(IN_PIECE.replace(true));
    work()
}

/// Takes up pieces of work until all is over. A thread that took one before it came here waits in it for pieces of others,
/// and must not wait here for the end, which waits for that piece.
fn help(over: &AtomicBool) {
    while !IN_PIECE.get() && !over.load(Ordering::Acquire) {
        if rayon::yield_now() != Some(Yield::Executed) {
            std::thread::yield_now();
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
fn allowed() -> Vec<usize> {
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
            let (low, high) = together(&pool, || join(|| sum(0..500), || sum(500..1000)));
            assert_eq!(low + high, 499_500);
        }
    }

    #[test]
    fn deeply_divided_work_ends_on_more_threads_than_there_are_cores() {
        fn count(leaves: u64) -> u64 {
            if leaves == 1 {
                return 1;
            }
            let (low, high) = join(|| count(leaves / 2), || count(leaves - leaves / 2));
            low + high
        }
        let pool = pool(8).unwrap();
        (0..2000).for_each(|_| assert_eq!(together(&pool, || count(64)), 64));
    }

    #[test]
    fn a_helper_that_comes_in_the_middle_of_a_piece_goes_back_to_it() {
        piece(|| help(&AtomicBool::new(false)));
        help(&AtomicBool::new(true));
    }

    #[test]
    fn a_panic_comes_back_and_lets_the_others_go() {
        let pool = pool(2).unwrap();
        let panics = std::panic::AssertUnwindSafe(|| together(&pool, || -> () { panic!("a bug") }));
        assert!(std::panic::catch_unwind(panics).is_err());
        assert_eq!(together(&pool, || 7), 7);
    }
}
