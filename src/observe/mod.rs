//! Those who watch: they receive finished outcomes and can never slow or stop a reject.

pub mod heat_map;
pub mod journal;
