//! `rejectd trigger`: tells the running daemon that a part is in front of the camera.

use std::process::ExitCode;

use crate::cli::Trigger;
use crate::config;
use crate::daemon::socket::{client_path, trigger};

/// Runs the verb: prints the line of the part; the exit code is 0 for an accepted one, else 1.
/// # Errors  The configuration is wrong; `SocketError`: no daemon, or it does not take triggers.
pub fn run(args: &Trigger) -> anyhow::Result<ExitCode> {
    let path = match &args.socket {
        Some(path) => path.clone(),
        None => client_path(&config::load(&args.config)?, &args.config),
    };
    let ended = trigger(&path)?;
    println!("{}", ended.message);
    Ok(if ended.verdict == "accept" { ExitCode::SUCCESS } else { ExitCode::from(super::REJECTED) })
}
