//! rejectd watches the line: it learns a product from good parts alone, inspects each part and pulls a reject signal
//! when a part is out of tolerance.
//!
//! # What a part goes through
//!
//! ```text
//! trigger ──► Frame ──► crop ──► Tensor ──► Embeddings ──► Score (+ AnomalyMap) ──► Verdict ──► Schedule ──► Signal
//!    │        source/   └──────────────── inspect/ ───────────────────────────┘                  line/
//!    │                                       ▲                                                      ▲
//!    │                                    Profile  ◄── teach/ ◄── good parts                        │
//!    └──────────────── arms a reject, due at trigger time + delay ──────────────────────────────────┘
//! ```
//!
//! One direction: each arrow is one function with a documented shape and unit, and only the two ends touch hardware.
//! The daemon, the demo and the tests all judge by the same [`inspect::Inspector::inspect`]; what is evaluated is
//! what ships. `source`, `inspect` and `line` do not know one another; they share [`part`], [`frame`] and [`clock`], and
//! only [`daemon`] sees the whole chain. Teaching takes its figures from [`evaluate::metrics`], formulas that know nothing
//! of either room. [`verbs`] is what the command line does with all of it.
//!
//! A part is guilty until proven good: its trigger arms a reject, and only a valid Accept of its own frame, in time,
//! disarms it.
//!
//! # Shape letters
//!
//! | letter | of |
//! |---|---|
//! | N | images |
//! | P = H · W | patches of an image, in raster order |
//! | C | channels of the concatenated taps |
//! | D | width of an embedding, after the head |
//! | M | rows of the bank |
#![deny(unsafe_code)]

pub mod cli;
pub mod config;

pub mod clock;
pub mod frame;
pub mod memory;
pub mod part;

pub mod source;

pub mod inspect;
pub mod profile;
pub mod teach;

pub mod evaluate;

pub mod line;

pub mod daemon;
pub mod observe;
pub mod verbs;
