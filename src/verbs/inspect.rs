//! `rejectd inspect`: score and verdict of pictures, as a table or as JSON.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use serde::Serialize;

use super::{BAD_DATA, REJECTED, not_written, teach};
use crate::cli;
use crate::daemon::judge::open_profile;
use crate::inspect::Inspector;
use crate::inspect::card::Model;
use crate::observe::heat_map;
use crate::part::{NoDecision, Verdict};
use crate::source::folder::list_images;

/// One object of `--json`.
#[derive(Serialize)]
struct Row<'a> {
    path: &'a Path,
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
    let (_, mut inspector) = open_profile(&model, &args.profile)?;
    let lists = args.paths.iter().map(|path| list_images(path)).collect::<Result<Vec<_>, _>>()?;
    let paths = lists.concat();
    if let Some(folder) = &args.heatmaps {
        std::fs::create_dir_all(folder).map_err(not_written(folder))?;
    }
    let mut out = std::io::stdout().lock();
    if !args.json {
        writeln!(out, "{:<11}  {:>9}  {:>9}  {:>9}  path", "verdict", "score", "threshold", "ms")?;
    }
    let (mut rejected, mut failed) = (0, 0);
    for path in &paths {
        let (row, verdict) = inspect(&mut inspector, path, args.heatmaps.as_deref())?;
        match verdict {
            Verdict::Accept => {}
            Verdict::Reject => rejected += 1,
            Verdict::NoDecision(_) => failed += 1,
        }
        if args.json {
            writeln!(out, "{}", serde_json::to_string(&row)?)?;
        } else {
            writeln!(out, "{}", line(&row))?;
        }
    }
    if !args.json {
        let accepted = paths.len() - rejected - failed;
        writeln!(
            out,
            "{} pictures: {accepted} accepted, {rejected} rejected, {failed} without a decision",
            paths.len()
        )?;
    }
    Ok(ExitCode::from(if failed > 0 {
        BAD_DATA
    } else if rejected > 0 {
        REJECTED
    } else {
        0
    }))
}

fn inspect<'a>(
    inspector: &mut Inspector,
    path: &'a Path,
    heat_maps: Option<&Path>,
) -> anyhow::Result<(Row<'a>, Verdict)> {
    let started = Instant::now();
    let threshold = inspector.threshold();
    let inspected = teach::load(path).and_then(|frame| {
        let inspection = inspector.inspect(&frame).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok((frame, inspection))
    });
    let (frame, inspection) = match inspected {
        Ok(inspected) => inspected,
        Err(error) => {
            let verdict = Verdict::NoDecision(NoDecision::InspectionFailed(error.clone()));
            let row =
                Row { path, score: None, threshold, verdict: verdict.word(), latency_us: None, error: Some(error) };
            return Ok((row, verdict));
        }
    };
    let latency_us = Some(started.elapsed().as_micros() as u64);
    if let Some(folder) = heat_maps {
        let picture = heat_map::overlay(&frame, inspector.recipe().roi_px, &inspection.map, threshold);
        heat_map::save_png(&heat_map_path(folder, path), &picture)?;
    }
    let verdict = inspection.verdict;
    Ok((
        Row { path, score: Some(inspection.score), threshold, verdict: verdict.word(), latency_us, error: None },
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
            row.path.display()
        ),
        (_, _, error) => format!("{:<11}  {:>31}  {}", row.verdict, "", error.as_deref().unwrap_or_default()),
    }
}

/// The folder's path of a heat map: the picture's own folder and name, so that two of one name do not meet.
fn heat_map_path(folder: &Path, picture: &Path) -> PathBuf {
    let parent = picture.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let stem = picture.file_stem().unwrap_or_default().to_string_lossy();
    folder.join(if parent.is_empty() { format!("{stem}.png") } else { format!("{parent}-{stem}.png") })
}
