//! Real-time priority for the threads that move lines, where the system grants it.
//!
//! It needs no capability, only the right that `LimitRTPRIO=` in the unit file gives. Without it the daemon runs on as
//! any other program and says so: the lateness that it measures shows what that costs.

use std::sync::atomic::{AtomicBool, Ordering};

use thread_priority::unix::{
    RealtimeThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};
use thread_priority::{ThreadPriority, ThreadPriorityValue};

use super::progress::Stage;

/// Above the other threads of the system and of this process, below the kernel's own at 50.
const PRIORITY: u8 = 40;

/// Asks for real-time priority for the calling thread, and logs once what came of it.
pub(super) fn ask(stage: Stage) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    let granted = request();
    if !TOLD.swap(true, Ordering::Relaxed) {
        match granted {
            Ok(()) => log::info!("the {stage} thread runs with real-time priority {PRIORITY}"),
            Err(why) => log::info!(
                "the {stage} thread runs without real-time priority ({why}); LimitRTPRIO={PRIORITY} in the unit file, or \
                 'ulimit -r {PRIORITY}', grants it"
            ),
        }
    }
}

fn request() -> Result<(), String> {
    let priority = ThreadPriorityValue::try_from(PRIORITY).map_err(|error| error.to_string())?;
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(priority), policy)
        .map_err(|error| error.to_string())
}
