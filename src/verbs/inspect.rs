//! `rejectd inspect`: score and verdict of pictures, as a table or as JSON.

use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use serde::Serialize;

use super::{Tally, not_written};
use crate::cli;
use crate::daemon::judge::open_profile;
use crate::inspect::Inspector;
use crate::inspect::card::Model;
use crate::inspect::threads::default_threads;
use crate::observe::heat_map;
use crate::part::{NoDecision, Verdict};
use crate::source::decode::read_frame;
use crate::source::folder::list_images;

/// One object of `--json`.
#[derive(Serialize)]
struct Row {
    /// With replacement characters where the name is not UTF-8.
    path: String,
    /// Absent, like `latency_us`, where there is no verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f32>,
    threshold: f32,
    verdict: &'static str,
    /// Decoding and inspection, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_us: Option<u64>,
    /// Why there is no verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Runs the verb. A picture that cannot be inspected has a row with the reason, and the others go on.
/// # Errors  The model, the profile or a path cannot be used, or a heat map cannot be written.
pub fn run(args: &cli::Inspect) -> anyhow::Result<ExitCode> {
    let model = Model::open(args.model.as_deref())?;
    let (_, inspector) = open_profile(&model, &args.profile)?;
    let mut inspector = inspector.on_threads(default_threads());
    let lists = args.paths.iter().map(|path| list_images(path)).collect::<Result<Vec<_>, _>>()?;
    let paths = lists.concat();
    let common = common_folder(&paths);
    let mut out = std::io::stdout().lock();
    if !args.json {
        writeln!(out, "{:<11}  {:>9}  {:>9}  {:>9}  path", "verdict", "score", "threshold", "ms")?;
    }
    let mut tally = Tally::default();
    for path in &paths {
        let heat_map = args.heatmaps.as_ref().map(|folder| heat_map_path(folder, path, &common));
        let (row, verdict) = inspect(&mut inspector, path, heat_map)?;
        tally.count(&verdict);
        if args.json {
            writeln!(out, "{}", serde_json::to_string(&row)?)?;
        } else {
            writeln!(out, "{}", line(&row))?;
        }
    }
    if !args.json {
        writeln!(out, "{tally}")?;
    }
    Ok(tally.exit_code())
}

fn inspect(inspector: &mut Inspector, path: &Path, heat_map: Option<PathBuf>) -> anyhow::Result<(Row, Verdict)> {
    let started = Instant::now();
    let threshold = inspector.threshold();
    let inspected = read_frame(path).map_err(|e| e.to_string()).and_then(|frame| {
        let inspection = inspector.inspect(&frame).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok((frame, inspection))
    });
    let (frame, inspection) = match inspected {
        Ok(inspected) => inspected,
        Err(error) => {
            let verdict = Verdict::NoDecision(NoDecision::InspectionFailed(error.clone()));
            let row = Row {
                path: path.display().to_string(),
                score: None,
                threshold,
                verdict: verdict.word(),
                latency_us: None,
                error: Some(error),
            };
            return Ok((row, verdict));
        }
    };
    let latency_us = Some(started.elapsed().as_micros() as u64);
    if let Some(file) = heat_map {
        let picture = heat_map::overlay(&frame, inspector.recipe().roi_px, &inspection.map, threshold);
        let folder = file.parent().unwrap_or(Path::new(""));
        std::fs::create_dir_all(folder).map_err(not_written(folder))?;
        heat_map::save_png(&file, &picture)?;
    }
    let verdict = inspection.verdict;
    Ok((
        Row {
            path: path.display().to_string(),
            score: Some(inspection.score),
            threshold,
            verdict: verdict.word(),
            latency_us,
            error: None,
        },
        verdict,
    ))
}

fn line(row: &Row) -> String {
    match (row.score, row.latency_us, &row.error) {
        (Some(score), Some(latency_us), _) => format!(
            "{:<11}  {score:>9.5}  {:>9.5}  {:>9.1}  {}",
            row.verdict,
            row.threshold,
            latency_us as f64 / 1000.0,
            row.path
        ),
        (_, _, error) => format!("{:<11}  {:>31}  {}", row.verdict, "", error.as_deref().unwrap_or_default()),
    }
}

/// The deepest folder that all `paths` are in.
pub(super) fn common_folder(paths: &[PathBuf]) -> PathBuf {
    let mut common = paths[0].parent().unwrap_or(Path::new("")).to_owned();
    while !paths.iter().all(|path| path.starts_with(&common)) && common.pop() {}
    common
}

/// Where the heat map of a picture goes: below `folder` as the picture below `common`, so that equal names in different folders do not meet.
pub(super) fn heat_map_path(folder: &Path, picture: &Path, common: &Path) -> PathBuf {
    let below = picture.strip_prefix(common).unwrap_or(picture);
    // A path that goes up or starts at the root must not lead out of the folder.
    let mut path = folder.to_owned();
    path.extend(below.components().filter(|part| matches!(part, Component::Normal(_))));
    path.as_mut_os_string().push(".png");
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_maps_of_equal_names_do_not_meet_and_stay_in_their_folder() {
        let paths = ["x/good/0.jpg", "x/good/0.png", "y/good/0.jpg", "../z/0.jpg"].map(PathBuf::from);
        let common = common_folder(&paths);
        let maps: Vec<PathBuf> = paths.iter().map(|path| heat_map_path(Path::new("maps"), path, &common)).collect();
        assert_eq!(
            maps,
            ["maps/x/good/0.jpg.png", "maps/x/good/0.png.png", "maps/y/good/0.jpg.png", "maps/z/0.jpg.png"]
                .map(PathBuf::from)
        );
        assert_eq!(heat_map_path(Path::new("m"), &paths[0], &common_folder(&paths[..2])), PathBuf::from("m/0.jpg.png"));
    }
}
