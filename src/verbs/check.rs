//! `rejectd check`: opens everything that a configuration names and says what is wrong, one sentence each.
//!
//! A daemon that runs by the same configuration holds camera and lines, so those are left to it.

use std::process::ExitCode;
use std::sync::Arc;

use crate::cli::Configured;
use crate::clock::MonotonicClock;
use crate::config::{self, Settings, SourceSettings};
use crate::daemon::socket::{client_path, has_daemon};
use crate::daemon::{judge, serve};
use crate::line::backend::{open_inputs, open_outputs};
use crate::source::v4l2::describe_device;

/// A configuration by which every part would be rejected.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TooSlow(String);

/// Runs the verb: prints what it found on stdout and what is wrong on stderr.
///
/// The exit code is that of the first thing that is wrong.
/// # Errors  The configuration itself is wrong; then nothing else is opened. A daemon that this user may not ask.
pub fn run(args: &Configured) -> anyhow::Result<ExitCode> {
    let settings = config::load(&args.config)?;
    println!("configuration  {}: valid", args.config.display());
    let mut wrong: Vec<anyhow::Error> = Vec::new();
    match judge::open(&settings) {
        Ok(ready) => {
            for (name, value) in ready.facts(&settings) {
                println!("{name:<14} {value}");
            }
            println!("inspection     {} ms here", ready.inspection.as_millis());
            if let Some(too_slow) = judge::too_slow(&settings, ready.inspection) {
                wrong.push(TooSlow(too_slow).into());
            }
            if let Some(mismatch) = judge::other_size(&settings, &ready.profile) {
                println!("warning        {mismatch}");
            }
        }
        Err(error) => wrong.push(error.into()),
    }
    let socket = client_path(&settings, &args.config);
    if has_daemon(&socket)? {
        println!("source, lines  held by the daemon at {}, which has opened them", socket.display());
    } else {
        check_source(&settings, &mut wrong);
        check_lines(&settings, &mut wrong);
    }
    if let Some(Err(error)) = settings.presence.as_ref().map(serve::open_presence) {
        wrong.push(error.into());
    }
    for error in &wrong {
        eprintln!("rejectd: {error:#}");
    }
    Ok(wrong.first().map_or(ExitCode::SUCCESS, |error| ExitCode::from(super::exit_code(error))))
}

fn check_source(settings: &Settings, wrong: &mut Vec<anyhow::Error>) {
    match serve::open_source(settings, Arc::new(MonotonicClock)) {
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
}

/// The outputs are held while the inputs are opened, as a daemon would, so that a line which is asked for twice is told.
fn check_lines(settings: &Settings, wrong: &mut Vec<anyhow::Error>) {
    let outputs = open_outputs(&settings.line.wiring);
    match &outputs {
        Ok((outputs, because)) => {
            println!("outputs        {}", outputs.describe());
            because.iter().for_each(|because| println!("               driven by {because}"));
        }
        Err(error) => wrong.push(error.clone().into()),
    }
    match open_inputs(&settings.line.wiring) {
        Ok(inputs) => println!("inputs         {}", inputs.map_or("none".into(), |inputs| inputs.describe())),
        Err(error) => wrong.push(error.into()),
    }
}
