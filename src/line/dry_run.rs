//! Outputs without hardware: each change is a line in the log.

use super::{LineOutputs, Role};
use crate::clock::Timestamp;

/// Logs what a real output would do.
pub struct DryRun;

impl LineOutputs for DryRun {
    fn set(&mut self, role: Role, active: bool, _now: Timestamp) -> Result<(), String> {
        log::debug!("dry run: {role} line {}", if active { "active" } else { "inactive" });
        Ok(())
    }

    fn describe(&self) -> String {
        "dry run: no line is driven, changes are logged at debug".to_owned()
    }
}
