//! `rejectd profile show|verify|list|undo`.

use std::process::ExitCode;

use super::BAD_DATA;
use crate::cli::ProfileVerb;
use crate::daemon::judge::open_profile;
use crate::inspect::card::Model;
use crate::profile::generations;

/// Runs the verb.
/// # Errors  The profile cannot be opened, or there is nothing to undo.
pub fn run(verb: &ProfileVerb) -> anyhow::Result<ExitCode> {
    match verb {
        ProfileVerb::Show { file } => print!("{}", generations::load(file)?.summary()),
        ProfileVerb::Verify { file, model } => {
            let (profile, _) = open_profile(&Model::open(model.as_deref())?, file)?;
            println!(
                "{}: whole, generation {}, fits {}, and its probe scores {} as taught",
                file.display(),
                profile.about.generation,
                profile.about.backbone.name,
                profile.about.probe_score
            );
        }
        ProfileVerb::List { file } => {
            for generation in generations::list(file)? {
                let mark = if generation.current { '*' } else { ' ' };
                match generation.held {
                    Ok(held) => println!(
                        "{mark} {:04}  {}  threshold {:<10}  {:>6} bank rows  {}",
                        generation.number,
                        crate::profile::utc(held.taught_at),
                        held.threshold,
                        held.bank_rows,
                        held.parent.map_or(String::new(), |parent| format!("from {parent:04}"))
                    ),
                    Err(why) => println!("{mark} {:04}  cannot be used: {why}", generation.number),
                }
            }
            if let Err(error) = generations::load(file) {
                println!("the profile itself cannot be used: {error}");
                return Ok(ExitCode::from(BAD_DATA));
            }
        }
        ProfileVerb::Undo { file } => {
            let undone = generations::undo(file)?;
            println!("{}: generation {} repeats generation {}", file.display(), undone.generation, undone.repeats);
        }
    }
    Ok(ExitCode::SUCCESS)
}
