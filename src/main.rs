//! The command `rejectd`: one function a verb, the error chain on stderr, and exit codes that scripts can rely on.

use std::process::ExitCode;

use clap::Parser;
use rejectd::cli::{Cli, Verb};
use rejectd::verbs;

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Demo(args) => verbs::demo::run(&args),
        Verb::Teach(args) => verbs::teach::run(&args),
        Verb::Inspect(args) => verbs::inspect::run(&args),
        Verb::Run(args) => verbs::run(&args),
        Verb::Check(args) => verbs::check::run(&args),
        Verb::Profile(verb) => verbs::profile::run(&verb),
    };
    result.unwrap_or_else(|error| {
        eprintln!("rejectd: {error:#}");
        ExitCode::from(verbs::exit_code(&error))
    })
}
