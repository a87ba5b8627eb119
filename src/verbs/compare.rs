//! `rejectd evaluate --compare`: losses × distances × synthetic defects × score rules on labelled sets.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::not_written;
use crate::evaluate::compare::{BANK_ROWS, Compared, Shown, Standing, Table, Tried, What, compare};
use crate::evaluate::dataset::discover;
use crate::frame::Roi;
use crate::inspect::card::Model;
use crate::observe::colour_table::colour_table;
use crate::observe::heat_map::save_png;
use crate::teach::Options;

/// The AUROC of the darkest and of the brightest colour.
const RANGE: [f64; 2] = [0.5, 1.0];

/// What `evaluate` takes and a comparison has no use for: it tries every recipe of its grids, and gives no threshold.
const NO_USE: [&str; 22] = [
    "profile",
    "html",
    "metric_source",
    "max_false_rejects",
    "bank_rows",
    "bank_mib",
    "candidates_mib",
    "augment",
    "tile",
    "tile_overlap",
    "taps",
    "pool",
    "granularity",
    "pca",
    "distance",
    "nested",
    "local",
    "scaling",
    "relative",
    "smooth",
    "neighbours",
    "score",
];

/// What `evaluate` takes for a comparison beside what it takes anyway.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Compare distances, losses and synthetic defects on the sets instead of evaluating a profile
    #[arg(long, conflicts_with_all = NO_USE)]
    pub compare: bool,
    /// Which grids to run
    #[arg(long, value_enum, value_name = "GRID", default_value = "all", requires = "compare")]
    pub what: WhatArg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WhatArg {
    /// Distances between patches, nothing trained, and what the automatic choice goes by
    Distances,
    /// A head of patches by each loss
    Losses,
    /// One embedding a picture: each preset of synthetic defects with each loss
    Image,
    All,
}

/// What to compare on, and where the figures go.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// Folders of data sets in the layout of MVTec AD, or of such folders.
    pub data: &'a [PathBuf],
    /// The card of another backbone than the built-in one.
    pub model: Option<&'a Path>,
    /// Gets every figure, one JSON object a line.
    pub json: Option<&'a Path>,
    /// Gets the tables as pictures.
    pub out: Option<&'a Path>,
    /// Height and width of the network's input.
    pub input_px: Option<[usize; 2]>,
    pub roi: Option<Roi>,
    /// So many seeds from this one on.
    pub seeds: u16,
    pub seed: u64,
    pub threads: Option<usize>,
}

/// Runs the verb.
/// # Errors  A set or the model cannot be used, or the results cannot be written.
pub fn run(args: &CompareArgs, given: &Given) -> anyhow::Result<ExitCode> {
    let model = Model::open(given.model)?;
    let mut options = Options::for_model(&model);
    options.recipe.input_px = given.input_px.unwrap_or(options.recipe.input_px);
    options.recipe.roi_px = given.roi;
    options.seed = given.seed;
    options.threads = given.threads.unwrap_or(options.threads);
    let roots = given.data.iter().map(|path| discover(path)).collect::<Result<Vec<_>, _>>()?.concat();
    if let Some(out) = given.out {
        std::fs::create_dir_all(out).map_err(not_written(out))?;
    }
    let mut json = given.json.map(|path| std::fs::File::create(path).map_err(not_written(path))).transpose()?;
    for root in roots {
        let bar = bar(&root);
        let progress = |stage: crate::teach::Stage, done: usize, total: usize| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            bar.set_message(stage.to_string());
        };
        let compared = compare(&model, &root, &options, args.what.grids(), given.seeds.into(), &progress)?;
        bar.finish_and_clear();
        print(&compared);
        if let (Some(file), Some(path)) = (&mut json, given.json) {
            write_json(file, &compared).map_err(not_written(path))?;
        }
        if let Some(out) = given.out {
            draw(out, &compared)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl WhatArg {
    fn grids(self) -> &'static [What] {
        match self {
            WhatArg::Distances => &[What::Distances],
            WhatArg::Losses => &[What::Losses],
            WhatArg::Image => &[What::Image],
            WhatArg::All => &What::ALL,
        }
    }
}

/// On stderr, so that stdout holds the tables alone.
fn bar(root: &Path) -> ProgressBar {
    let style = ProgressStyle::with_template("  {prefix} {msg:<26} {wide_bar} {pos}/{len} {eta:>4}");
    let bar = ProgressBar::new(0).with_style(style.expect("the template is valid"));
    bar.with_prefix(root.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

fn tables(compared: &Compared) -> Vec<(String, Table)> {
    let named = [
        (What::Distances, Shown::Auroc, "distances"),
        (What::Distances, Shown::Quality, "distances-by-synthetic-defects"),
        (What::Losses, Shown::Auroc, "losses"),
        (What::Image, Shown::Auroc, "image"),
    ];
    let table =
        |(what, shown, name)| Some((format!("{}-{name}", compared.set), Table::of(&compared.cells, what, shown)?));
    named.into_iter().filter_map(table).collect()
}

fn print(compared: &Compared) {
    compared.notes.iter().for_each(|note| println!("{note}"));
    println!(
        "figures are mean ± spread over the seeds, by banks of {BANK_ROWS} patches; *: the distance that the loss compares \
         by; p: the chance of such an AUROC by luck, the largest of the seeds"
    );
    for (_, table) in tables(compared) {
        println!("\n{table}");
    }
    compared.standings.iter().for_each(|standing| println!("{}", agreement(standing)));
    let mut reasons: Vec<&String> = compared.cells.iter().flat_map(|cell| &cell.notes).collect();
    reasons.sort();
    reasons.dedup();
    reasons.into_iter().for_each(|reason| println!("not measured: {reason}"));
}

/// How far what the choice goes by agrees with the real test pictures.
fn agreement(standing: &Standing) -> String {
    let named = |what: &str, Tried { recipe, quality, auroc }: &Tried| {
        format!("\n  {what:<18} AUROC {auroc:.3}, by synthetic defects {quality:.3}: {recipe}")
    };
    let correlation = standing.rank_correlation.map_or("not defined".to_owned(), |rho| format!("{rho:.3}"));
    format!(
        "{}, seed {}: rank correlation of both figures over all recipes {correlation}; choice: {}{}{}{}",
        standing.set,
        standing.seed,
        standing.because,
        named("the choice takes", &standing.taken),
        named("the best would be", &standing.best),
        named("plain cosine", &standing.plain),
    )
}

/// One line for each cell, then one for each seed's choice, which has `"what":"choice"`.
fn write_json(file: &mut std::fs::File, compared: &Compared) -> std::io::Result<()> {
    let mut lines = Vec::new();
    for cell in &compared.cells {
        serde_json::to_writer(&mut lines, cell)?;
        lines.push(b'\n');
    }
    for standing in &compared.standings {
        let mut line = serde_json::to_value(standing)?;
        line["what"] = "choice".into();
        writeln!(lines, "{line}")?;
    }
    file.write_all(&lines)
}

fn draw(out: &Path, compared: &Compared) -> anyhow::Result<()> {
    for (name, table) in tables(compared) {
        let picture = colour_table(&table.title, &table.rows, &table.columns, &table.means, RANGE);
        save_png(&out.join(format!("{name}.png")), &picture)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Evaluate;

    #[test]
    fn what_a_recipe_or_a_threshold_takes_is_used_or_refused() {
        const USED: [&str; 3] = ["input_px", "roi", "seed"];
        let command = Evaluate::augment_args(clap::Command::new("evaluate"));
        let groups = command.get_groups().filter(|group| ["learn", "recipe"].contains(&group.get_id().as_str()));
        let arguments: Vec<&str> = groups.flat_map(|group| group.get_args()).map(|id| id.as_str()).collect();
        assert!(arguments.len() > 15, "{arguments:?}");
        for argument in arguments {
            assert!(USED.contains(&argument) != NO_USE.contains(&argument), "{argument}");
        }
    }
}
