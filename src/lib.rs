//! rejectd
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod evaluate;
pub mod frame;
pub mod inspect;
pub mod line;
pub mod observe;
pub mod part;
pub mod profile;
pub mod source;
pub mod teach;
pub mod verbs;
