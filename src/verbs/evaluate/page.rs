//! What `rejectd evaluate --html` shows of a set.

use image::{GrayImage, RgbImage};

use super::json::metrics;
use super::text::{COLUMNS, SetFigures, set_rows, with_spread};
use crate::evaluate::dataset::LabelledImage;
use crate::evaluate::figures::Figure;
use crate::evaluate::findings::agreement_sentence;
use crate::evaluate::report::{Gallery, Report, ReportPart, THUMBNAIL_PX, Table, Truth, shrink};
use crate::evaluate::run::{Evaluation, inspect};
use crate::inspect::card::Model;
use crate::inspect::{Inspector, short};
use crate::observe::heat_map;
use crate::part::{StageTimings, Verdict};

/// So many of the worst parts of each class are shown.
const SHOWN: usize = 12;

/// The report of one set, with the pictures of its worst parts by the first profile.
/// * `sets` — how many reports share the page: the more, the smaller the pictures that are kept for it
///
/// # Errors  A picture cannot be inspected again.
pub fn report(model: &Model, evaluation: &Evaluation, sets: usize) -> anyhow::Result<Report> {
    let Evaluation { set, trials, profile, notes, .. } = evaluation;
    let (first, about) = (&trials[0], &profile.about);
    let good = set.test.iter().filter(|image| image.defect_type.is_none()).count();
    let scored = set.test.iter().zip(&first.judged.scores);
    let mut parts: Vec<ReportPart> = scored.map(|(image, &score)| part(image, score, first.threshold)).collect();
    for (place, timings) in &evaluation.timings {
        parts[*place].latency = Some(timings.total());
    }
    let galleries = galleries(&parts);
    let mut inspector = Inspector::new(model, profile)?;
    let longest = (f64::from(THUMBNAIL_PX) / (sets as f64).sqrt()) as u32;
    for &place in galleries.iter().flat_map(|gallery| &gallery.parts) {
        add_pictures(&mut parts[place], &set.test[place], &mut inspector, longest.max(160))?;
    }
    let fact = |name: &str, value: String| (name.to_owned(), value);
    Ok(Report {
        title: format!("rejectd evaluate: {}", set.name),
        subtitle: format!("Taught from {} good parts, judged on parts that it has not seen", about.taught.len()),
        facts: vec![
            fact("model", format!("{} {}", about.backbone.name, short(&about.backbone.fingerprint))),
            fact("metric", metrics(trials)),
            fact("bank", format!("{} rows of width {}", profile.bank.len(), profile.bank.width())),
            fact("seeds", trials.iter().map(|trial| trial.seed.to_string()).collect::<Vec<_>>().join(", ")),
            fact("timed", format!("{} inspections, one at a time on one thread", evaluation.timings.len())),
            fact("folder", set.root.display().to_string()),
        ],
        threshold: first.threshold,
        promise: sentence(&agreement_sentence(&first.promise, first.false_rejects, good)),
        notes: notes.iter().map(|note| sentence(note)).collect(),
        parts,
        calibration: first.calibration.clone(),
        figures: Some(figures(evaluation)),
        galleries,
        timed: "frame to verdict".to_owned(),
        stages: stages(&evaluation.timings),
    })
}

/// The table above several reports.
pub fn overview(sets: &[SetFigures]) -> Table {
    let head = ["set"].into_iter().chain(COLUMNS.map(|(_, name)| name)).map(str::to_owned).collect();
    Table { title: "Sets".to_owned(), head, rows: set_rows(sets), note: SPREAD.to_owned() }
}

const SPREAD: &str = "With several seeds: mean ± sample standard deviation.";

fn figures(evaluation: &Evaluation) -> Table {
    let row = |figure: Figure| {
        let value = with_spread(figure, evaluation.mean.get(figure), evaluation.spread.get(figure));
        vec![figure.name().to_owned(), value]
    };
    let note = match evaluation.trials.len() {
        1 => String::new(),
        count => format!("Mean ± sample standard deviation over {count} seeds; all else on this page is of the first."),
    };
    Table {
        title: "Figures".to_owned(),
        head: vec!["figure".to_owned(), "value".to_owned()],
        rows: Figure::ALL.map(row).to_vec(),
        note,
    }
}

fn part(image: &LabelledImage, score: f32, threshold: f32) -> ReportPart {
    let truth = match &image.defect_type {
        None => Truth::Good,
        Some(defect) => Truth::Anomalous { defect: defect.clone(), severity: None },
    };
    let (file, folder) = (image.path.file_name().unwrap_or_default(), image.defect_type.as_deref().unwrap_or("good"));
    ReportPart {
        label: format!("{folder}/{}", file.to_string_lossy()),
        truth,
        score: Some(score),
        verdict: Verdict::of(score, threshold).word(),
        latency: None,
        picture: None,
        heat_map: None,
        mask: None,
    }
}

/// The anomalous parts that look most like good ones, and the good parts that look most anomalous.
fn galleries(parts: &[ReportPart]) -> Vec<Gallery> {
    let score = |&place: &usize| parts[place].score.filter(|score| !score.is_nan()).unwrap_or(f32::INFINITY);
    let mut good: Vec<usize> = (0..parts.len()).filter(|&place| parts[place].truth == Truth::Good).collect();
    let mut anomalous: Vec<usize> = (0..parts.len()).filter(|&place| parts[place].truth != Truth::Good).collect();
    good.sort_by(|a, b| score(b).total_cmp(&score(a)));
    anomalous.sort_by(|a, b| score(a).total_cmp(&score(b)));
    let gallery = |title: &str, mut parts: Vec<usize>| {
        parts.truncate(SHOWN);
        Gallery { title: title.to_owned(), parts }
    };
    let missed = gallery("Missed, or nearest to it: the anomalous parts with the lowest scores", anomalous);
    let alarms = gallery("False alarms, or nearest to it: the good parts with the highest scores", good);
    [missed, alarms].into_iter().filter(|gallery| !gallery.parts.is_empty()).collect()
}

fn add_pictures(
    part: &mut ReportPart,
    image: &LabelledImage,
    inspector: &mut Inspector,
    longest: u32,
) -> anyhow::Result<()> {
    let (frame, inspection) = inspect(inspector, &image.path)?;
    let (width, height) = (frame.width(), frame.height());
    let overlay = heat_map::overlay(&frame, inspector.recipe().roi_px, &inspection.map, inspection.threshold);
    let picture = RgbImage::from_raw(width, height, frame.rgb().to_vec()).expect("a frame is whole");
    let mask = image.read_mask(width, height)?.map(|mask| {
        let pixels = mask.pixels.iter().map(|&set| 255 * u8::from(set)).collect();
        GrayImage::from_raw(width, height, pixels).expect("a mask is as large as its picture")
    });
    (part.picture, part.heat_map, part.mask) = (Some(shrink(&picture, longest)), Some(shrink(&overlay, longest)), mask);
    Ok(())
}

fn stages(timings: &[(usize, StageTimings)]) -> Vec<(String, Vec<std::time::Duration>)> {
    let stage = |name: &str, of: fn(&StageTimings) -> std::time::Duration| {
        (name.to_owned(), timings.iter().map(|(_, timings)| of(timings)).collect())
    };
    vec![
        stage("preprocess", |timings| timings.preprocess),
        stage("backbone", |timings| timings.backbone),
        stage("embedding", |timings| timings.embedding),
        stage("search", |timings| timings.search),
    ]
}

/// A clause as a sentence of its own.
fn sentence(clause: &str) -> String {
    let mut letters = clause.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str() + "."
}
