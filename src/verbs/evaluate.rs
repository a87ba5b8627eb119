//! `rejectd evaluate`: labelled folders to figures, on the terminal, as JSON and as a page.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use super::compare::{self, Given};
use super::not_written;
use super::progress::Bars;
use super::teach::options;
use crate::cli::Evaluate;
use crate::daemon::judge::open_profile;
use crate::evaluate::dataset::{Dataset, discover};
use crate::evaluate::report::{Report, render_all};
use crate::evaluate::run::{self, Checked, Judge};
use crate::inspect::card::Model;

mod json;
mod page;
mod text;

/// Runs the verb. Every picture and mask of every set is read before the first set is taught.
/// # Errors  A folder, profile or model cannot be used, a set cannot be taught or judged, or a result cannot be written.
pub fn run(args: &Evaluate) -> anyhow::Result<ExitCode> {
    if args.compare.compare {
        let given = Given {
            data: &args.data,
            model: args.model.as_deref(),
            json: args.json.as_deref(),
            out: args.out.as_deref(),
            input_px: args.learn.recipe.input_px,
            roi: args.learn.recipe.roi,
            seeds: args.seeds,
            seed: args.learn.seed,
            threads: args.threads.map(usize::from),
        };
        return compare::run(&args.compare, &given);
    }
    let model = Model::open(args.model.as_deref())?;
    let options = options(&args.learn, args.threads, &model)?;
    let given = args.profile.as_ref().map(|file| open_profile(&model, file)).transpose()?.map(|(profile, _)| profile);
    let seeds: Vec<u64> = (0..u64::from(args.seeds)).map(|i| args.learn.seed.wrapping_add(i)).collect();
    let judge = match &given {
        Some(profile) => Judge::Profile(profile),
        None => Judge::Taught { options: &options, seeds: &seeds, known: args.known_defects.into() },
    };
    let files = Files::of(args)?;
    let sets = open_sets(&args.data, options.threads)?;
    let single = sets.len() == 1 && seeds.len() == 1;
    let (mut rows, mut reports, mut figures) = (Vec::new(), Vec::new(), Vec::new());
    let count = sets.len();
    for checked in sets {
        let (name, root) = (checked.set.name.clone(), checked.set.root.clone());
        text::announce(&checked.set, &seeds, given.is_some());
        let bars = if single { Bars::default() } else { Bars::quiet() };
        let progress = |step, done, total| bars.step(step, done, total);
        let evaluation = run::evaluate(&model, checked, &judge, options.threads, &progress)
            .with_context(|| root.display().to_string())?;
        bars.finish();
        text::print(&evaluation);
        if files.page.is_some() {
            reports.push(page::report(&model, &evaluation, count)?);
        }
        rows.push(json::row(&evaluation));
        figures.push((name, evaluation.mean, evaluation.spread));
        // Hours may follow, and what was found so far shall not be lost with them.
        files.write_figures(&rows)?;
    }
    if count > 1 {
        text::print_sets(&figures);
    }
    files.write_page(&figures, &reports)?;
    Ok(ExitCode::SUCCESS)
}

/// Opens the sets in all of `folders`, each once.
fn open_sets(folders: &[PathBuf], threads: usize) -> anyhow::Result<Vec<Checked>> {
    let mut roots: Vec<PathBuf> = Vec::new();
    for folder in folders {
        for root in discover(folder)? {
            let same =
                |known: &PathBuf| matches!((known.canonicalize(), root.canonicalize()), (Ok(a), Ok(b)) if a == b);
            if !roots.iter().any(same) {
                roots.push(root);
            }
        }
    }
    let mut sets = roots.iter().map(|root| Dataset::open(root)).collect::<Result<Vec<_>, _>>()?;
    name_apart(&mut sets);
    let bars = Bars::quiet();
    let check = |set: Dataset| {
        let root = set.root.clone();
        let checked = run::check(set, threads, &|step, done, total| bars.step(step, done, total))
            .with_context(|| root.display().to_string())?;
        bars.finish();
        checked.left_out.iter().for_each(|reason| eprintln!("left out: {reason}"));
        Ok(checked)
    };
    sets.into_iter().map(check).collect()
}

/// Calls sets whose folders have the same name by their paths.
fn name_apart(sets: &mut [Dataset]) {
    let names: Vec<String> = sets.iter().map(|set| set.name.clone()).collect();
    for set in sets {
        if names.iter().filter(|name| **name == set.name).count() > 1 {
            set.name = set.root.display().to_string();
        }
    }
}

/// Where the results go.
struct Files {
    json: Option<PathBuf>,
    page: Option<PathBuf>,
}

impl Files {
    /// The files that the command line names, their folders made, so that a typing error is told before hours of work.
    fn of(args: &Evaluate) -> anyhow::Result<Files> {
        let files = match &args.out {
            Some(folder) => {
                Files { json: Some(folder.join("evaluation.json")), page: Some(folder.join("evaluation.html")) }
            }
            None => Files { json: args.json.clone(), page: args.html.clone() },
        };
        for file in [&files.json, &files.page].into_iter().flatten() {
            let folder = file.parent().unwrap_or(Path::new(""));
            std::fs::create_dir_all(folder).map_err(not_written(folder))?;
            let is_new = !file.exists();
            std::fs::OpenOptions::new().append(true).create(true).open(file).map_err(not_written(file))?;
            if is_new {
                std::fs::remove_file(file).map_err(not_written(file))?;
            }
        }
        Ok(files)
    }

    fn write_figures(&self, rows: &[json::Row]) -> anyhow::Result<()> {
        if let Some(file) = &self.json {
            let text = serde_json::to_string_pretty(rows)? + "\n";
            std::fs::write(file, text).map_err(not_written(file))?;
        }
        Ok(())
    }

    fn write_page(&self, figures: &[text::SetFigures], reports: &[Report]) -> anyhow::Result<()> {
        self.json.iter().for_each(|file| println!("figures  {}", file.display()));
        let Some(file) = &self.page else { return Ok(()) };
        let overview = (reports.len() > 1).then(|| page::overview(figures));
        let title = match reports {
            [one] => one.title.clone(),
            several => format!("rejectd evaluate: {} sets", several.len()),
        };
        std::fs::write(file, render_all(&title, overview.as_ref(), reports)).map_err(not_written(file))?;
        println!("page     {}   open it in a browser", file.display());
        Ok(())
    }
}
