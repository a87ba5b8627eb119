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
        give_memory_back();
    }
    std::panic::catch_unwind(|| run(verb)).unwrap_or(ExitCode::from(verbs::BUG))
}

/// Keeps the memory of a teaching to what it uses: blocks of 4 MiB go back as soon as they are free. By itself glibc keeps blocks of up to 32 MiB once some were freed, and
/// what lies between them: of one teaching 1.1 GiB, where 0.8 are used at most. The daemon is left alone: it asks for
/// nothing while it runs.
fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes two numbers, and no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 4 << 20);
    }
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
