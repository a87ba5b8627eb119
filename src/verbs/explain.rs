//! `rejectd explain`: where on a picture its score comes from, as a picture each and as a table or JSON.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::inspect::{common_folder, heat_map_path};
use super::{Tally, not_written};
use crate::cli;
use crate::daemon::judge::open_profile;
use crate::frame::{Frame, Roi};
use crate::inspect::Inspector;
use crate::inspect::card::Model;
use crate::inspect::embedding::Embeddings;
use crate::inspect::explain::{Explanation, Method, hottest};
use crate::observe::heat_map::save_png;
use crate::observe::side_by_side::side_by_side;
use crate::part::{NoDecision, Verdict};
use crate::source::decode::read_frame;
use crate::source::folder::list_images;

/// One object of `--json`.
#[derive(Serialize)]
struct Row {
    /// With replacement characters where the name is not UTF-8, as in `explanation`.
    path: String,
    threshold: f32,
    verdict: &'static str,
    #[serde(flatten)]
    found: Found,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Found {
    Explained {
        score: f32,
        method: Method,
        /// None if no place raises the score.
        hottest: Option<Hottest>,
        /// The picture that was written.
        explanation: String,
    },
    /// Why there is no verdict.
    Failed { error: String },
}

#[derive(Serialize)]
struct Hottest {
    /// In pixels of the picture, from its upper left corner.
    x: u32,
    y: u32,
    /// Its heat ÷ the threshold.
    times_threshold: f32,
}

/// Runs the verb. A picture that cannot be inspected has a row with the reason, and the others go on.
/// # Errors  The model, the profile or a path cannot be used, or an explanation cannot be written.
pub fn run(args: &cli::Explain) -> anyhow::Result<ExitCode> {
    let model = Model::open(args.model.as_deref())?;
    let (profile, mut inspector) = open_profile(&model, &args.profile)?;
    let lists = args.paths.iter().map(|path| list_images(path)).collect::<Result<Vec<_>, _>>()?;
    let paths = lists.concat();
    let common = common_folder(&paths);
    let mut out = std::io::stdout().lock();
    if !args.json {
        writeln!(
            out,
            "{:<11}  {:>9}  {:>9}  {:>8}  {:>12}  path",
            "verdict", "score", "threshold", "times", "hottest"
        )?;
    }
    let mut tally = Tally::default();
    for path in &paths {
        let file = heat_map_path(&args.out, path, &common).with_extension("explain.png");
        let (row, verdict) = explain(&mut inspector, &profile.bank, path, &file)?;
        tally.count(&verdict);
        if args.json {
            writeln!(out, "{}", serde_json::to_string(&row)?)?;
        } else {
            writeln!(out, "{}", line(&row))?;
        }
    }
    if !args.json {
        let what = match Method::of(inspector.recipe()) {
            Method::AnomalyMap => "the distances of the patches",
            Method::GradCam => "Grad-CAM of the score",
        };
        writeln!(out, "{tally}; {what} in {}", args.out.display())?;
    }
    Ok(tally.exit_code())
}

/// Explains the picture at `path` in `file`.
/// # Errors  `file` cannot be written.
fn explain(inspector: &mut Inspector, bank: &Embeddings, path: &Path, file: &Path) -> anyhow::Result<(Row, Verdict)> {
    let threshold = inspector.threshold();
    let explained = read_frame(path).map_err(|e| e.to_string()).and_then(|frame| {
        let explanation = inspector.explain(&frame, bank).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok((frame, explanation))
    });
    let (verdict, found) = match explained {
        Ok((frame, explanation)) => {
            let hottest = write(&frame, inspector.recipe().roi_px, &explanation, file)?;
            let Explanation { inspection, method, .. } = explanation;
            let explanation = file.display().to_string();
            (inspection.verdict, Found::Explained { score: inspection.score, method, hottest, explanation })
        }
        Err(error) => (Verdict::NoDecision(NoDecision::InspectionFailed(error.clone())), Found::Failed { error }),
    };
    Ok((Row { path: path.display().to_string(), threshold, verdict: verdict.word(), found }, verdict))
}

/// Writes the picture of an explanation, and says where it is hottest.
fn write(frame: &Frame, roi: Option<Roi>, explanation: &Explanation, file: &Path) -> anyhow::Result<Option<Hottest>> {
    let Explanation { inspection, map, .. } = explanation;
    let threshold = inspection.threshold;
    let caption = format!("{} score {:.5}", inspection.verdict.word(), inspection.score);
    let folder: PathBuf = file.parent().unwrap_or(Path::new("")).to_owned();
    std::fs::create_dir_all(&folder).map_err(not_written(&folder))?;
    save_png(file, &side_by_side(frame, roi, map, threshold, &caption))?;
    let whole = Roi { x: 0, y: 0, width: frame.width(), height: frame.height() };
    let place = hottest(map, roi.unwrap_or(whole));
    Ok(place.map(|place| Hottest { x: place.x, y: place.y, times_threshold: place.heat / threshold }))
}

fn line(row: &Row) -> String {
    match &row.found {
        Found::Explained { score, hottest, .. } => {
            let (times, place) = match hottest {
                Some(Hottest { x, y, times_threshold }) => (format!("{times_threshold:.2}"), format!("{x}, {y}")),
                None => ("-".into(), "nowhere".into()),
            };
            format!("{:<11}  {score:>9.5}  {:>9.5}  {times:>8}  {place:>12}  {}", row.verdict, row.threshold, row.path)
        }
        Found::Failed { error } => format!("{:<11}  {:>44}  {error}", row.verdict, ""),
    }
}
