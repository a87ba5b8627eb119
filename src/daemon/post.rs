//! The way from one thread to the next: a short queue whose waits go by the station's clock.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::{Bell, Clock, Timestamp};

/// A queue of at most `room` letters from any thread to one.
pub(super) struct Post<T> {
    room: usize,
    state: Mutex<State<T>>,
    changed: Arc<dyn Bell>,
}

struct State<T> {
    letters: VecDeque<T>,
    /// The receiver waits for the next letter.
    receiving: bool,
    closed: bool,
}

pub(super) enum Received<T> {
    Letter(T),
    /// None came in time.
    Nothing,
    /// None will come any more.
    Closed,
}

/// The other side is gone, and so is the run.
#[derive(Debug)]
pub(super) struct Gone;

impl<T> Post<T> {
    pub fn new(room: usize, clock: &dyn Clock) -> Post<T> {
        let state = State { letters: VecDeque::new(), receiving: false, closed: false };
        Post { room, state: Mutex::new(state), changed: clock.bell() }
    }

    /// Makes a letter, or none, while nobody else can use the post.
    /// * `make` — is told whether there is room; without any it must make none
    ///
    /// # Errors  `Gone`: the post is closed, and nothing was made.
    pub fn send(&self, make: impl FnOnce(bool) -> Option<T>) -> Result<(), Gone> {
        let mut state = self.lock();
        if state.closed {
            return Err(Gone);
        }
        let has_room = state.letters.len() < self.room;
        let letter = make(has_room);
        debug_assert!(has_room || letter.is_none(), "the post is full");
        state.letters.extend(letter);
        drop(state);
        self.changed.ring();
        Ok(())
    }

    /// Whether the receiver waits for a letter and none is on its way; waits for that until `until`.
    /// # Errors  `Gone`
    pub fn is_awaited(&self, until: Timestamp) -> Result<bool, Gone> {
        let heard = self.changed.rung();
        let awaited = self.is_awaited_now()?;
        if !awaited {
            self.changed.wait(heard, Some(until));
            return self.is_awaited_now();
        }
        Ok(true)
    }

    /// As [`Post::is_awaited`], without waiting.
    pub fn is_awaited_now(&self) -> Result<bool, Gone> {
        let state = self.lock();
        if state.closed { Err(Gone) } else { Ok(state.receiving && state.letters.is_empty()) }
    }

    /// The next letter; waits for it until `until`. Letters sent before the post was closed still come.
    pub fn receive(&self, until: Timestamp) -> Received<T> {
        let heard = self.changed.rung();
        match self.take() {
            Received::Nothing => {}
            received => return received,
        }
        self.changed.wait(heard, Some(until));
        self.take()
    }

    fn take(&self) -> Received<T> {
        let mut state = self.lock();
        if let Some(letter) = state.letters.pop_front() {
            state.receiving = false;
            drop(state);
            self.changed.ring();
            return Received::Letter(letter);
        }
        if state.closed {
            return Received::Closed;
        }
        if !state.receiving {
            state.receiving = true;
            drop(state);
            self.changed.ring();
        }
        Received::Nothing
    }

    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.ring();
    }

    /// A lock that a panic poisoned still holds whole letters.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes a post when it is dropped: at the end of a thread, and when it panics.
pub(super) struct Closes<'a, T>(pub &'a Post<T>);

impl<T> Drop for Closes<'_, T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{MonotonicClock, SimulatedClock};

    #[test]
    fn letters_arrive_in_order_and_those_sent_before_the_end_still_come() {
        let post = Post::new(2, &SimulatedClock::default());
        for letter in 1..=3 {
            post.send(|room| room.then_some(letter)).unwrap();
        }
        post.close();
        assert!(post.send(|_| Some(4)).is_err());
        let now = Timestamp(0);
        assert!(matches!(post.receive(now), Received::Letter(1)));
        assert!(matches!(post.receive(now), Received::Letter(2)));
        assert!(matches!(post.receive(now), Received::Closed), "there was no room for the third");
    }

    #[test]
    fn a_letter_is_awaited_from_the_first_wait_until_it_is_taken() {
        let clock = MonotonicClock;
        let post = Post::new(1, &clock);
        assert!(!post.is_awaited_now().unwrap());
        assert!(matches!(post.receive(clock.now()), Received::Nothing));
        assert!(post.is_awaited_now().unwrap());
        post.send(|_| Some(1)).unwrap();
        assert!(!post.is_awaited_now().unwrap());
        assert!(matches!(post.receive(clock.now()), Received::Letter(1)));
        assert!(!post.is_awaited_now().unwrap(), "the receiver works on it");
    }
}
