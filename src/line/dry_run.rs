//! Outputs without hardware: each change is a line in the log.

use super::{LineOutputs, Role};
use crate::clock::Timestamp;

/// Logs what a real output would do; the heartbeat, which never rests, is left out.
pub struct DryRun {
    /// Why no line is driven.
    pub because: &'static str,
}

impl LineOutputs for DryRun {
    fn set(&mut self, role: Role, active: bool, _now: Timestamp) -> Result<(), String> {
        if role != Role::Heartbeat {
            log::debug!("dry run: {role} line {}", if active { "active" } else { "inactive" });
        }
        Ok(())
    }

    fn describe(&self) -> String {
        format!("dry run: no line is driven, {}; changes are logged at debug", self.because)
    }
}
