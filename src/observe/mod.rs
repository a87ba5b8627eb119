//! Those who watch: they receive finished outcomes and can never slow or stop a reject.

pub mod colour_table;
pub mod contact_sheet;
pub mod heat_map;
pub mod journal;
pub mod queue;
pub mod side_by_side;
