//! The command `rejectd`: one function a verb, the error chain on stderr, and exit codes that scripts can rely on.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use rejectd::cli::{Cli, Verb};
use rejectd::verbs;
use signal_hook::consts::SIGPIPE;

/// What a shell reports of a command that a closed pipe ended.
const SIGPIPE_STATUS: i32 = 128 + SIGPIPE;

fn main() -> ExitCode {
    let verb = Cli::parse().verb;
    if !matches!(verb, Verb::Run(_)) {
        // A reader that has seen enough, as `head`, ends a verb quietly; the daemon must survive it.
        let end = Arc::new(AtomicBool::new(true));
        signal_hook::flag::register_conditional_shutdown(SIGPIPE, SIGPIPE_STATUS, end).expect("SIGPIPE can be handled");
    }
    if matches!(verb, Verb::Teach(_) | Verb::Evaluate(_)) {
        rejectd::memory::keep_no_large_blocks();
    }
    std::panic::catch_unwind(|| run(verb)).unwrap_or(ExitCode::from(verbs::BUG))
}

fn run(verb: Verb) -> ExitCode {
    let result = match verb {
        Verb::Demo(args) => verbs::demo::run(&args),
        Verb::Teach(args) => verbs::teach::run(&args),
        Verb::Inspect(args) => verbs::inspect::run(&args),
        Verb::Evaluate(args) => verbs::evaluate::run(&args),
        Verb::Explain(args) => verbs::explain::run(&args),
        Verb::Synth(args) => verbs::synth::run(&args),
        Verb::Run(args) => verbs::run(&args),
        Verb::Check(args) => verbs::check::run(&args),
        Verb::Trigger(args) => verbs::trigger::run(&args),
        Verb::Gpio(verb) => verbs::gpio::run(&verb),
        Verb::Profile(verb) => verbs::profile::run(&verb),
    };
    result.unwrap_or_else(|error| {
        eprintln!("rejectd: {error:#}");
        ExitCode::from(verbs::exit_code(&error))
    })
}
