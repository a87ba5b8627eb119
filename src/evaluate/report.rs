//! The report of runs over labelled parts: one HTML page with its pictures, styles and script inside.
//!
//! Goal: a process engineer opens it from a stick on any computer, sees in a sentence how many parts went the wrong
//! way, then in pictures which ones and why, and can print it. Non-goals: it is no live page, and no
//! data format: the page cannot be read back, so keep the numbers in JSON beside it.
//!
//! Nothing is fetched from elsewhere, and the page's own content policy forbids it. Charts are inline SVG whose
//! coordinates across are percentages and whose heights are pixels, so that letters keep their size on a telephone.
//! Words of other people (labels, facts, defect types) are escaped wherever they appear.

use std::time::Duration;

use image::{GrayImage, RgbImage};

mod gallery;
mod histogram;
mod pictures;
mod roc;
mod tables;
mod tally;
mod words;

pub use gallery::Gallery;
pub use pictures::{THUMBNAIL_PX, shrink, thumbnail};
pub use tables::Table;

use pictures::PICTURE_BUDGET_BYTES;
use tally::Tally;
use words::{decimals, escape};

/// All that the page shows of one run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub title: String,
    pub subtitle: String,
    /// Name and value of what the run was made with: model, profile, seed, machine.
    pub facts: Vec<(String, String)>,
    /// The threshold in force; a part at it is good.
    pub threshold: f32,
    /// What the threshold promises, as a sentence: "At most 5 % false rejects with 95 % confidence, from 59 parts."
    pub promise: String,
    /// Sentences that a reader must know before trusting a figure.
    pub notes: Vec<String>,
    /// In the order of the belt, or of the folder.
    pub parts: Vec<ReportPart>,
    /// The scores of the good parts that gave the threshold; none if they are not to be drawn.
    pub calibration: Vec<f32>,
    /// Shown beside the receiver operating characteristic; neither is if absent.
    pub figures: Option<Table>,
    /// Which parts are shown in pictures; if there is none, all of them, the worst first.
    pub galleries: Vec<Gallery>,
    /// What the latency of a part is, as a span: "trigger to verdict".
    pub timed: String,
    /// Name of each stage of the inspection and how long it took, part by part; in the order of the flow.
    pub stages: Vec<(String, Vec<Duration>)>,
}

/// One part: what it was, what became of it, and how it looked.
#[derive(Clone, Debug)]
pub struct ReportPart {
    /// A name that the reader can find again: the trigger's number or the file's name.
    pub label: String,
    pub truth: Truth,
    /// `None` where there was no inspection.
    pub score: Option<f32>,
    /// `part::Verdict::word`: `accept`, `reject` or `no-decision`.
    pub verdict: &'static str,
    /// How long it took; `None` where it was not timed.
    pub latency: Option<Duration>,
    /// Shrink it with `thumbnail` where many parts are kept; the page shows no more than that.
    pub picture: Option<RgbImage>,
    /// `heat_map::overlay` of the same picture.
    pub heat_map: Option<RgbImage>,
    /// Not black where the defect is; of the picture's proportions.
    pub mask: Option<GrayImage>,
}

/// What a part really was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Truth {
    Good,
    Anomalous {
        defect: String,
        /// How plain the defect is, where that is known.
        severity: Option<String>,
    },
}

impl ReportPart {
    fn is_good(&self) -> bool {
        self.truth == Truth::Good
    }

    fn is_false_reject(&self) -> bool {
        self.is_good() && self.verdict == "reject"
    }

    fn is_false_accept(&self) -> bool {
        !self.is_good() && self.verdict == "accept"
    }

    fn is_false(&self) -> bool {
        self.is_false_reject() || self.is_false_accept()
    }
}

/// Writes the page of one run.
///
/// Pictures are embedded as JPEG, those of rejected and misjudged parts larger than the others, and all of them are made
/// smaller, down to 96 px, until the page stays below 6 MB.
pub fn render(report: &Report) -> String {
    render_all(&report.title, None, std::slice::from_ref(report))
}

/// Writes the page of several runs, one below the other; together they take no more room than one.
/// * `overview` — stands above them; its first rows lead to the runs, in their order
pub fn render_all(title: &str, overview: Option<&Table>, reports: &[Report]) -> String {
    let budget = PICTURE_BUDGET_BYTES / reports.len().max(1);
    fill(include_str!("report/page.html"), |slot| match slot {
        "title" => escape(title),
        "style" => include_str!("report/page.css").to_owned(),
        "script" => include_str!("report/page.js").to_owned(),
        "version" => env!("CARGO_PKG_VERSION").to_owned(),
        "overview" => overview.map_or(String::new(), |table| {
            format!(
                "<h1>{}</h1>\n<section class=\"card\">{}</section>\n",
                escape(title),
                tables::table(table, reports.len())
            )
        }),
        "reports" => reports.iter().enumerate().map(|(i, report)| section(i, report, budget)).collect(),
        unknown => unreachable!("the page has a slot '{unknown}' that nobody fills"),
    })
}

/// One run; `pictures` bytes are left for its pictures.
fn section(place: usize, report: &Report, pictures: usize) -> String {
    let tally = Tally::of(&report.parts);
    let digits = decimals(report.threshold);
    fill(include_str!("report/section.html"), |slot| {
        match slot {
        "place" => place.to_string(),
        "title" => escape(&report.title),
        "subtitle" => escape(&report.subtitle),
        "summary" => tally::summary(&tally),
        "promise" => {
            format!("<b>Threshold {:.digits$}.</b> {}", report.threshold, escape(&report.promise))
        }
        "notes" => notes(&report.notes),
        "facts" => {
            let fact =
                |(name, value): &(String, String)| format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(value));
            report.facts.iter().map(fact).collect()
        }
        "tiles" => tally::tiles(report, &tally),
        "histogram" => histogram::histogram(report),
        "figures" => report.figures.as_ref().map_or(String::new(), |table| {
            format!(
                "<div class=\"pair\">\n<section class=\"card\">{}</section>\n<section class=\"card\">\n<h2>Caught against \
                 false rejects</h2>\n{}</section>\n</div>\n",
                tables::table(table, 0),
                roc::roc(report)
            )
        }),
        "defects" => tables::defects(&report.parts),
        "stages" => tables::stages(report),
        "legend" => gallery::legend(report.threshold),
        "filters" => gallery::filters(report),
        "aspect" => gallery::aspect(&report.parts).to_string(),
        "parts" => gallery::galleries(report, pictures),
        unknown => unreachable!("the section has a slot '{unknown}' that nobody fills"),
    }
    })
}

fn notes(notes: &[String]) -> String {
    let items: String = notes.iter().map(|note| format!("<li>{}</li>\n", escape(note))).collect();
    if items.is_empty() { items } else { format!("<ul class=\"notes\">\n{items}</ul>\n") }
}

/// Puts `value(name)` where `template` says `{{name}}`; what is put in is not searched for slots again.
fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut page = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").expect("each slot of the template is closed");
        page += before;
        page += &value(name);
        rest = after;
    }
    page + rest
}

fn truth_words(truth: &Truth) -> String {
    match truth {
        Truth::Good => "good".to_owned(),
        Truth::Anomalous { defect, severity: None } => defect.clone(),
        Truth::Anomalous { defect, severity: Some(severity) } => format!("{defect}, {severity}"),
    }
}

/// The latencies of the parts that were inspected; a part without a frame says nothing about speed.
fn latencies(report: &Report) -> Vec<Duration> {
    report.parts.iter().filter(|part| part.score.is_some()).filter_map(|part| part.latency).collect()
}

#[cfg(test)]
mod tests;
