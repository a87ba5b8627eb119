//! `rejectd check`: opens everything that a configuration names and says what is wrong, one sentence each.

use std::process::ExitCode;
use std::sync::Arc;

use crate::cli::Configured;
use crate::clock::MonotonicClock;
use crate::config::{self, SourceSettings};
use crate::daemon::{judge, serve};
use crate::source::v4l2::describe_device;

/// Runs the verb: prints what it found on stdout and what is wrong on stderr.
///
/// The exit code is that of the first thing that is wrong.
/// # Errors  The configuration itself is wrong; then nothing else is opened.
pub fn run(args: &Configured) -> anyhow::Result<ExitCode> {
    let settings = config::load(&args.config)?;
    println!("configuration  {}: valid", args.config.display());
    let mut wrong: Vec<anyhow::Error> = Vec::new();
    match judge::open(&settings) {
        Ok(ready) => {
            for (name, value) in ready.facts(&settings) {
                println!("{name:<14} {value}");
            }
            if let Some(mismatch) = judge::other_size(&settings, &ready.profile) {
                println!("warning        {mismatch}");
            }
        }
        Err(error) => wrong.push(error.into()),
    }
    match serve::open_source(&settings, Arc::new(MonotonicClock)) {
        Ok(source) => {
            println!("source         {}", source.describe());
            if let SourceSettings::V4l2(v4l2) = &settings.source {
                match describe_device(&v4l2.device) {
                    Ok(description) => println!("{description}"),
                    Err(error) => wrong.push(error.into()),
                }
            }
        }
        Err(error) => wrong.push(error.into()),
    }
    if let Some(Err(error)) = settings.presence.as_ref().map(serve::open_presence) {
        wrong.push(error.into());
    }
    println!("outputs        {}", serve::open_outputs(&settings).describe());
    for error in &wrong {
        eprintln!("rejectd: {error:#}");
    }
    Ok(wrong.first().map_or(ExitCode::SUCCESS, |error| ExitCode::from(super::exit_code(error))))
}
