//! The same job for many parts on several threads, with the results in the order of the parts.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs `job` for 0 … `count` − 1 on `threads` threads, each with a worker of its own.
///
/// * `worker` — makes what one thread needs for itself
/// * `step` — told how many jobs are done, from any thread
///
/// Returns the results in the order of the jobs.
/// # Errors  The error of the first job, in that order, that failed; later ones may not have run.
pub fn in_parallel<W, T: Send, E: Send>(
    count: usize,
    threads: usize,
    worker: impl Fn() -> W + Sync,
    job: impl Fn(&mut W, usize) -> Result<T, E> + Sync,
    step: impl Fn(usize) + Sync,
) -> Result<Vec<T>, E> {
    let (next, done, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
    let results = Mutex::new(Vec::with_capacity(count));
    let work = || {
        let mut worker = worker();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count || index > failed.load(Ordering::Relaxed) {
                break;
            }
            let result = job(&mut worker, index);
            if result.is_err() {
                failed.fetch_min(index, Ordering::Relaxed);
            }
            results.lock().expect("no job panics while it holds the results").push((index, result));
            step(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
    };
    // The caller's thread works too: an allocator gives each new thread a store of its own, and what is freed in the old
    // ones would not be used again.
    std::thread::scope(|scope| {
        (1..threads.clamp(1, count.max(1))).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    let mut results = results.into_inner().expect("no job panics while it holds the results");
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        let squares = in_parallel(100, 4, || (), |(), i| Ok::<_, ()>(i * i), |_| ());
        assert_eq!(squares.unwrap(), (0..100).map(|i| i * i).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_error_is_the_one_that_is_told() {
        let result = in_parallel(100, 4, || (), |(), i| if i % 7 == 3 { Err(i) } else { Ok(()) }, |_| ());
        assert_eq!(result, Err(3));
    }
}
