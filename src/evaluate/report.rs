//! The report of a run over labelled parts: one HTML page with its pictures, styles and script inside.
//!
//! Goal: a process engineer opens it from a stick on any computer, sees in a sentence how many parts went the wrong
//! way, then in pictures which ones and why, and can print it. Non-goals: it is no live page (that is
//! `observe::page`), and no data format: the page cannot be read back, so keep the numbers in JSON beside it.
//!
//! Nothing is fetched from elsewhere, and the page's own content policy forbids it. Charts are inline SVG whose
//! coordinates across are percentages and whose heights are pixels, so that letters keep their size on a telephone.
//! Words of other people (labels, facts, defect types) are escaped wherever they appear.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use base64::Engine;
use image::{GrayImage, RgbImage, Rgba, RgbaImage};

use super::metrics;
use crate::observe::heat_map;

/// All that the page shows.
#[derive(Clone, Debug)]
pub struct Report {
    pub title: String,
    pub subtitle: String,
    /// Name and value of what the run was made with: model, profile, seed, machine.
    pub facts: Vec<(String, String)>,
    /// The threshold in force; a part at it is good.
    pub threshold: f32,
    /// What the threshold promises, as a sentence: "At most 5 % false rejects with 95 % confidence, from 59 parts."
    pub promise: String,
    /// In the order of the belt.
    pub parts: Vec<ReportPart>,
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
    /// From trigger to verdict.
    pub latency: Duration,
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

/// The longer side of the largest picture on the page, px.
pub const THUMBNAIL_PX: u32 = 480;
/// What all pictures together may take, as base64; with charts and text the page stays below 6 MB.
const PICTURE_BUDGET_BYTES: usize = 5_300_000;
const SMALLEST_PX: u32 = 96;
const JPEG_QUALITY: u8 = 85;
const OUTLINE: Rgba<u8> = Rgba([0, 229, 255, 255]);

/// `picture`, made small enough for the page: its longer side becomes `THUMBNAIL_PX` if it is larger.
pub fn thumbnail(picture: &RgbImage) -> RgbImage {
    shrink(picture, THUMBNAIL_PX)
}

/// Writes the page.
///
/// Pictures are embedded as JPEG, those of rejected and misjudged parts larger than the others, and all of them are made
/// smaller, down to 96 px, until the page stays below 6 MB.
pub fn render(report: &Report) -> String {
    let tally = Tally::of(&report.parts);
    let digits = decimals(report.threshold);
    fill(include_str!("report/page.html"), |slot| match slot {
        "title" => escape(&report.title),
        "subtitle" => escape(&report.subtitle),
        "style" => include_str!("report/page.css").to_owned(),
        "script" => include_str!("report/page.js").to_owned(),
        "version" => env!("CARGO_PKG_VERSION").to_owned(),
        "summary" => summary(&tally),
        "promise" => {
            format!("<b>Threshold {:.digits$}.</b> {}", report.threshold, escape(&report.promise))
        }
        "facts" => {
            let fact =
                |(name, value): &(String, String)| format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(value));
            report.facts.iter().map(fact).collect()
        }
        "tiles" => tiles(report, &tally),
        "histogram" => histogram(report),
        "defects" => defects(&report.parts),
        "stages" => stages(report),
        "filters" => filters(report, &tally),
        "aspect" => aspect(&report.parts).to_string(),
        "legend" => legend(report.threshold),
        "parts" => gallery(report),
        unknown => unreachable!("the template has a slot '{unknown}' that nobody fills"),
    })
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

/// `text` as HTML text or attribute value.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            _ => escaped.push(c),
        }
    }
    escaped
}

/// How many parts went which way.
struct Tally {
    good: usize,
    anomalous: usize,
    caught: usize,
    false_rejects: usize,
    false_accepts: usize,
    rejects: usize,
    no_decision: usize,
}

impl Tally {
    fn of(parts: &[ReportPart]) -> Tally {
        let count = |which: &dyn Fn(&ReportPart) -> bool| parts.iter().filter(|part| which(part)).count();
        Tally {
            good: count(&|p| p.is_good()),
            anomalous: count(&|p| !p.is_good()),
            caught: count(&|p| !p.is_good() && p.verdict == "reject"),
            false_rejects: count(&|p| p.is_false_reject()),
            false_accepts: count(&|p| p.is_false_accept()),
            rejects: count(&|p| p.verdict == "reject"),
            no_decision: count(&|p| p.verdict == "no-decision"),
        }
    }

    fn parts(&self) -> usize {
        self.good + self.anomalous
    }
}

fn summary(tally: &Tally) -> String {
    let wrong = |count: usize, what: &str| match count {
        0 => format!("no {what}"),
        1 => format!("<em>1 {what}</em>"),
        _ => format!("<em>{count} {what}s</em>"),
    };
    let mut sentence = format!("{}: ", counted(tally.parts(), "part"));
    let mut clauses = Vec::new();
    if tally.good > 0 {
        clauses.push(format!("{} among {} good", wrong(tally.false_rejects, "false reject"), tally.good));
    }
    if tally.anomalous > 0 {
        clauses.push(format!("{} among {} anomalous", wrong(tally.false_accepts, "false accept"), tally.anomalous));
    }
    if tally.no_decision > 0 {
        clauses.push(format!("{} without a decision", tally.no_decision));
    }
    if clauses.is_empty() {
        clauses.push("nothing was inspected".to_owned());
    }
    sentence += &clauses.join(", ");
    sentence + "."
}

fn tiles(report: &Report, tally: &Tally) -> String {
    let mut tiles = String::new();
    let mut tile = |class: &str, name: &str, value: String, note: String| {
        writeln!(tiles, "<div class=\"tile{class}\"><h3>{name}</h3><strong>{value}</strong><p>{note}</p></div>")
            .expect("a string takes all that is written");
    };
    let alarm = |count: usize| if count > 0 { " wrong" } else { "" };
    let of = |count: usize, whole: usize| format!("{count} <small>of {whole}</small>");
    if tally.anomalous > 0 {
        let note = format!("{} of the anomalous parts were rejected", share(tally.caught, tally.anomalous));
        tile("", "Caught", of(tally.caught, tally.anomalous), note);
        let missed = report.parts.iter().filter(|part| part.is_false_accept());
        let note = match missed_kinds(missed) {
            kinds if kinds.is_empty() => "no anomalous part went through".to_owned(),
            kinds => kinds,
        };
        tile(alarm(tally.false_accepts), "False accepts", of(tally.false_accepts, tally.anomalous), note);
    }
    if tally.good > 0 {
        let note = format!("{} of the good parts were rejected", share(tally.false_rejects, tally.good));
        tile(alarm(tally.false_rejects), "False rejects", of(tally.false_rejects, tally.good), note);
    }
    if tally.no_decision > 0 {
        let note = "treated as rejects, or stopped the line";
        tile(" wrong", "No decision", of(tally.no_decision, tally.parts()), note.to_owned());
    }
    let scores = |good: bool| -> Vec<f32> {
        report.parts.iter().filter(|part| part.is_good() == good).filter_map(|part| part.score).collect()
    };
    let auroc = metrics::auroc(&scores(true), &scores(false));
    if !auroc.is_nan() {
        let note = "how often an anomalous part scores above a good one".to_owned();
        // Rounding may not promise perfection.
        let shown = if auroc < 1.0 { auroc.min(0.9999) } else { auroc };
        let digits = if shown > 0.999 && shown < 1.0 { 4 } else { 3 };
        tile("", "Image AUROC", format!("{shown:.digits$}"), note);
    }
    let latencies = latencies(report);
    if let (Some(median), Some(p99)) = (metrics::percentile(&latencies, 50.0), metrics::percentile(&latencies, 99.0)) {
        let note = format!("median from trigger to verdict; 99\u{a0}% within {}\u{a0}ms", ms(p99));
        tile("", "Latency", format!("{} <small>ms</small>", ms(median)), note);
    }
    tiles
}

/// The kinds of `parts` and how many of each: "scratch, faint (2); stain, faint".
fn missed_kinds<'a>(parts: impl Iterator<Item = &'a ReportPart>) -> String {
    let mut kinds: Vec<(String, usize)> = Vec::new();
    for part in parts {
        let kind = truth_words(&part.truth);
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((kind, 1)),
        }
    }
    let words = kinds.iter().map(|(kind, count)| match count {
        1 => escape(kind),
        _ => format!("{} ({count})", escape(kind)),
    });
    words.collect::<Vec<_>>().join("; ")
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
    report.parts.iter().filter(|part| part.score.is_some()).map(|part| part.latency).collect()
}

/// The place of scores across the histogram.
struct Axis {
    logarithmic: bool,
    low: f64,
    high: f64,
}

impl Axis {
    const BINS: f64 = 52.0;

    /// An axis for `scores` and `threshold`, all finite: from 0 or a little below the lowest score to a little above
    /// the highest; logarithmic where the highest is so far beyond the threshold that all else would be squeezed.
    fn of(scores: &[f32], threshold: f32) -> Axis {
        let values = || scores.iter().chain([&threshold]).map(|&v| v as f64);
        let (low, high) = values().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let logarithmic = low > 0.0 && threshold > 0.0 && high > 8.0 * threshold as f64;
        if logarithmic {
            let room = (high / low).powf(0.04);
            return Axis { logarithmic, low: (low / room).ln(), high: (high * room).ln() };
        }
        let room = (0.05 * (high - low)).max(0.02 * high.abs()).max(1e-6);
        let from_zero = low >= 0.0 && low < 0.35 * high;
        Axis { logarithmic, low: if from_zero { 0.0 } else { low - room }, high: high + room }
    }

    fn place(&self, score: f64) -> f64 {
        if self.logarithmic { score.ln() } else { score }
    }

    fn percent(&self, place: f64) -> f64 {
        100.0 * (place - self.low) / (self.high - self.low)
    }

    /// Round numbers along the axis; every second one is `true` and may be left out where it is narrow.
    fn ticks(&self) -> Vec<(f64, bool)> {
        let mut ticks = Vec::new();
        if self.logarithmic {
            for exponent in -12..=12 {
                let ones = 10f64.powi(exponent);
                ticks.extend([(ones, false), (2.0 * ones, true), (5.0 * ones, true)]);
            }
        } else {
            let step = round_step((self.high - self.low) / 9.0);
            let first = (self.low / step).ceil() as i64;
            let last = (self.high / step).floor() as i64;
            ticks.extend((first..=last).map(|i| (i as f64 * step, i % 2 != 0)));
        }
        ticks.retain(|&(tick, _)| (self.low..=self.high).contains(&self.place(tick)));
        ticks
    }
}

/// The smallest of 1, 2, 5 × a power of ten that is not below `least`.
fn round_step(least: f64) -> f64 {
    let ones = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|factor| factor * ones).into_iter().find(|&step| step >= least).unwrap_or(10.0 * ones)
}

/// How many parts have which score: good ones above, anomalous ones below, over the same scores. The threshold is an
/// edge between two bars, so that no bar holds parts of both verdicts.
fn histogram(report: &Report) -> String {
    const TOP: f64 = 34.0;
    const PANEL: f64 = 112.0;
    const GAP: f64 = 26.0;
    let scored = |good: bool| -> Vec<f32> {
        let parts = report.parts.iter().filter(|part| part.is_good() == good);
        parts.filter_map(|part| part.score).filter(|score| score.is_finite()).collect()
    };
    let rows = [("good", scored(true)), ("anomalous", scored(false))];
    let all: Vec<f32> = rows.iter().flat_map(|(_, scores)| scores).copied().collect();
    let undrawn = report.parts.len() - all.len();
    if all.is_empty() || !report.threshold.is_finite() {
        return "<p class=\"note\">There is no score to draw.</p>\n".to_owned();
    }
    let mut axis = Axis::of(&all, report.threshold);
    let threshold = axis.place(report.threshold as f64);
    let bin = (axis.high - axis.low) / Axis::BINS;
    let bin_of = |score: f32| ((axis.place(score as f64) - threshold) / bin).ceil() as i64;
    let digits = decimals(report.threshold);

    let mut svg = String::new();
    let mut put = |line: std::fmt::Arguments| {
        svg.write_fmt(line).expect("a string takes all that is written");
        svg.push('\n');
    };
    let panels = rows.map(|(name, scores)| {
        let mut bins: Vec<i64> = scores.iter().map(|&score| bin_of(score)).collect();
        bins.sort_unstable();
        let bars: Vec<(i64, usize)> = bins.chunk_by(|a, b| a == b).map(|same| (same[0], same.len())).collect();
        (name, scores.len(), bars)
    });
    // The outermost bars must not stick out.
    for &(bar, _) in panels.iter().flat_map(|(_, _, bars)| bars) {
        axis.low = axis.low.min(threshold + (bar - 1) as f64 * bin);
        axis.high = axis.high.max(threshold + bar as f64 * bin);
    }
    for (i, (name, count, bars)) in panels.iter().enumerate() {
        let floor = TOP + PANEL + i as f64 * (PANEL + GAP);
        let tallest = bars.iter().map(|&(_, parts)| parts).max().unwrap_or(1);
        let step = round_step(tallest as f64 / 3.0).max(1.0) as usize;
        for tick in (step..=tallest).step_by(step) {
            let y = floor - PANEL * 0.84 * tick as f64 / tallest as f64;
            put(format_args!("<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"));
            put(format_args!("<text x=\"-8\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>", y + 4.0));
        }
        for &(bar, parts) in bars {
            let from = threshold + (bar - 1) as f64 * bin;
            let value = |place: f64| if axis.logarithmic { place.exp() } else { place };
            let wrong = if (*name == "good") == (bar > 0) { " wrong" } else { "" };
            // A single part among hundreds must still be seen.
            let height = (PANEL * 0.84 * parts as f64 / tallest as f64).max(4.0);
            put(format_args!(
                "<rect class=\"{name}{wrong}\" x=\"{:.2}%\" width=\"{:.2}%\" y=\"{:.1}\" height=\"{height:.1}\"><title>\
                 {:.digits$} to {:.digits$}: {}</title></rect>",
                axis.percent(from),
                100.0 * bin / (axis.high - axis.low),
                floor - height,
                value(from),
                value(from + bin),
                counted(parts, &format!("{name} part")),
            ));
        }
        put(format_args!("<line class=\"axis\" x1=\"0\" x2=\"100%\" y1=\"{floor}\" y2=\"{floor}\"/>"));
        // The names keep clear of the threshold and its line.
        let (x, anchor) = if axis.percent(threshold) < 70.0 { ("100%", "end") } else { ("0", "start") };
        put(format_args!(
            "<text class=\"name {name}\" x=\"{x}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{count} {name}</text>",
            floor - PANEL + 16.0,
        ));
    }
    let bottom = TOP + 2.0 * PANEL + GAP;
    let ticks = axis.ticks();
    let tick_digits = tick_decimals(&ticks);
    for &(tick, minor) in &ticks {
        let class = if minor { " class=\"minor\"" } else { "" };
        let shown = if axis.logarithmic { tick.to_string() } else { format!("{tick:.tick_digits$}") };
        let x = axis.percent(axis.place(tick));
        put(format_args!(
            "<text{class} x=\"{x:.2}%\" y=\"{:.1}\" text-anchor=\"middle\">{shown}</text>",
            bottom + 18.0
        ));
    }
    let kind = if axis.logarithmic { ", logarithmic" } else { "" };
    put(format_args!(
        "<text x=\"50%\" y=\"{:.1}\" text-anchor=\"middle\">anomaly score{kind}; larger is worse</text>",
        bottom + 40.0
    ));
    let x = axis.percent(threshold);
    put(format_args!("<line class=\"threshold\" x1=\"{x:.2}%\" x2=\"{x:.2}%\" y1=\"18\" y2=\"{bottom}\"/>"));
    let anchor = match x {
        ..25.0 => "start",
        75.0.. => "end",
        _ => "middle",
    };
    put(format_args!(
        "<text class=\"threshold-name\" x=\"{x:.2}%\" y=\"10\" text-anchor=\"{anchor}\">threshold {:.digits$}</text>",
        report.threshold,
    ));
    put(format_args!("<text x=\"{x:.2}%\" dx=\"-8\" y=\"30\" text-anchor=\"end\">accept</text>"));
    put(format_args!("<text x=\"{x:.2}%\" dx=\"8\" y=\"30\">reject</text>"));

    let missing = match undrawn {
        0 => String::new(),
        _ => format!("<p class=\"note\">Not drawn: {} without a score.</p>\n", counted(undrawn, "part")),
    };
    format!(
        "<div class=\"histogram\"><svg role=\"img\" aria-label=\"Histogram of the anomaly scores of good and anomalous \
         parts\">\n{svg}</svg></div>\n{missing}"
    )
}

/// How many anomalous parts of each defect type and severity were rejected.
fn defects(parts: &[ReportPart]) -> String {
    let mut types = BTreeSet::new();
    let mut severities = BTreeSet::new();
    for part in parts {
        if let Truth::Anomalous { defect, severity } = &part.truth {
            types.insert(defect.as_str());
            severities.extend(severity.as_deref().map(|severity| (severity_rank(severity), severity)));
        }
    }
    if types.is_empty() {
        return "<p class=\"note\">There was no anomalous part.</p>\n".to_owned();
    }
    let cell = |defect: Option<&str>, wanted: Option<&str>| {
        let (mut count, mut caught, mut missed) = (0, 0, 0);
        for part in parts {
            let Truth::Anomalous { defect: of, severity } = &part.truth else { continue };
            if defect.is_none_or(|d| d == of) && wanted.is_none_or(|w| severity.as_deref() == Some(w)) {
                count += 1;
                caught += usize::from(part.verdict == "reject");
                missed += usize::from(part.is_false_accept());
            }
        }
        if count == 0 {
            return "<td>–</td>".to_owned();
        }
        let class = if missed > 0 { " class=\"lost\"" } else { "" };
        let width = 100.0 * caught as f64 / count as f64;
        let bar = format!("<span class=\"share\"><i style=\"width:{width:.0}%\"></i></span>");
        format!("<td><span{class}>{caught} of {count}</span>{bar}</td>")
    };
    let row = |name: &str, defect: Option<&str>, class: &str| {
        let cells: String = severities.iter().map(|&(_, severity)| cell(defect, Some(severity))).collect();
        format!("<tr{class}><th scope=\"row\">{}</th>{cells}{}</tr>\n", escape(name), cell(defect, None))
    };
    let mut heads: String =
        severities.iter().map(|(_, severity)| format!("<th scope=\"col\">{}</th>", escape(severity))).collect();
    heads += if severities.is_empty() { "<th scope=\"col\">caught</th>" } else { "<th scope=\"col\">all</th>" };
    let mut rows: String = types.iter().map(|defect| row(defect, Some(defect), "")).collect();
    rows += &row("all", None, " class=\"sum\"");
    format!(
        "<div class=\"scroll\"><table class=\"defects\"><thead><tr><th scope=\"col\">defect type</th>{heads}</tr></thead>\
         <tbody>\n{rows}</tbody></table></div>\n"
    )
}

/// Sorts the usual words for severities from faint to plain; others follow by name.
fn severity_rank(severity: &str) -> usize {
    const USUAL: [&[&str]; 3] = [
        &["faint", "slight", "low", "small"],
        &["medium", "moderate", "middle"],
        &["plain", "severe", "high", "large"],
    ];
    USUAL.iter().position(|words| words.contains(&severity)).unwrap_or(USUAL.len())
}

fn stages(report: &Report) -> String {
    let total = latencies(report);
    let measured = |(name, times): &(String, Vec<Duration>)| {
        let at = |percent| metrics::percentile(times, percent);
        Some((escape(name), [at(50.0)?, at(95.0)?, at(99.0)?, at(100.0)?]))
    };
    let mut rows: Vec<_> = report.stages.iter().filter_map(measured).collect();
    rows.extend(measured(&("trigger to verdict".to_owned(), total)));
    if rows.is_empty() {
        return "<p class=\"note\">Nothing was timed.</p>\n".to_owned();
    }
    let longest = rows.iter().map(|(_, [_, _, p99, _])| p99.as_secs_f64()).fold(1e-9, f64::max);
    let mut table = String::from(
        "<div class=\"scroll\"><table class=\"stages\"><thead><tr><th scope=\"col\">ms</th><th scope=\"col\">median</th>\
         <th scope=\"col\" class=\"wide\">95 %</th><th scope=\"col\">99 %</th><th scope=\"col\" class=\"wide\">longest</th>\
         <th class=\"times\"></th></tr></thead><tbody>\n",
    );
    for (i, (name, times)) in rows.iter().enumerate() {
        let [median, p95, p99, longest_of_stage] = times.map(|time| format!("{:.2}", time.as_secs_f64() * 1e3));
        let [to_median, to_p95, to_p99, _] = times.map(|time| 99.0 * time.as_secs_f64() / longest);
        let class = if i >= report.stages.len() { " class=\"sum\"" } else { "" };
        writeln!(
            table,
            "<tr{class}><th scope=\"row\">{name}</th><td>{median}</td><td class=\"wide\">{p95}</td><td>{p99}</td>\
             <td class=\"wide\">{longest_of_stage}</td><td><span class=\"time\">\
             <i class=\"p95\" style=\"width:{to_p95:.1}%\"></i>\
             <i class=\"median\" style=\"width:{to_median:.1}%\"></i><i class=\"p99\" style=\"left:{to_p99:.1}%\"></i>\
             </span></td></tr>"
        )
        .expect("a string takes all that is written");
    }
    const KEY: &str = "Bars: solid to the median, light to 95 %, mark at 99 % of the parts.";
    table + &format!("</tbody></table></div>\n<p class=\"note\">{KEY}</p>\n")
}

fn filters(report: &Report, tally: &Tally) -> String {
    let mut kinds = vec![
        ("all", "All", tally.parts()),
        ("reject", "Rejects", tally.rejects),
        ("false-accept", "False accepts", tally.false_accepts),
        ("false-reject", "False rejects", tally.false_rejects),
    ];
    if tally.no_decision > 0 {
        kinds.push(("no-decision", "No decision", tally.no_decision));
    }
    let button = |(kind, name, count): (&str, &str, usize)| {
        let pressed = kind == "all";
        format!("<button value=\"{kind}\" aria-pressed=\"{pressed}\">{name}<span>{count}</span></button>\n")
    };
    let mut filters: String = kinds.into_iter().map(button).collect();
    if report.parts.iter().any(|part| part.mask.is_some()) {
        filters += "<label><input type=\"checkbox\" checked>outline the true defect</label>\n";
    }
    filters
}

/// The colours of the heat maps, painted over a middle grey as they are over the pictures.
fn legend(threshold: f32) -> String {
    const STOPS: i32 = 32;
    let ratio = |place: f32| heat_map::RAMP_START * (heat_map::RAMP_END / heat_map::RAMP_START).powf(place);
    let stop = |i: i32| {
        let [r, g, b] = heat_map::blend([128; 3], ratio(i as f32 / STOPS as f32));
        format!("#{r:02x}{g:02x}{b:02x}")
    };
    let stops = (0..=STOPS).map(stop).collect::<Vec<_>>().join(",");
    let digits = decimals(threshold);
    format!(
        "<div class=\"legend\" title=\"The colour of a heat map is distance ÷ threshold, the same on every part.\">\
         <div class=\"ramp\" style=\"background:linear-gradient(90deg,{stops})\"></div><div class=\"ticks\">\
         <span>≤ {:.digits$}</span><b>threshold {threshold:.digits$}</b><span>≥ {:.digits$}</span></div></div>\n",
        heat_map::RAMP_START * threshold,
        heat_map::RAMP_END * threshold,
    )
}

/// The parts: rejects, then those without a decision, false accepts, and the rest; within each the worst first.
fn gallery(report: &Report) -> String {
    let mut order: Vec<&ReportPart> = report.parts.iter().collect();
    let place = |part: &ReportPart| match part.verdict {
        "reject" => 0,
        "accept" if part.is_false() => 2,
        "accept" => 3,
        _ => 1,
    };
    let score = |part: &ReportPart| part.score.filter(|score| !score.is_nan()).unwrap_or(f32::INFINITY);
    order.sort_by(|a, b| place(a).cmp(&place(b)).then(score(b).total_cmp(&score(a))));
    let pictures = embed(&order);
    order.iter().zip(&pictures).map(|(part, pictures)| card(part, pictures, report.threshold)).collect()
}

/// Width ÷ height of the frame that each picture is shown in: the middle one of all pictures', within reason.
fn aspect(parts: &[ReportPart]) -> f32 {
    let pictures = parts.iter().filter_map(|part| part.picture.as_ref()).filter(|picture| !picture.is_empty());
    let mut aspects: Vec<f32> = pictures.map(|picture| picture.width() as f32 / picture.height() as f32).collect();
    aspects.sort_unstable_by(f32::total_cmp);
    aspects.get(aspects.len() / 2).map_or(1.0, |middle| middle.clamp(0.6, 2.0))
}

fn card(part: &ReportPart, pictures: &[Option<String>; 3], threshold: f32) -> String {
    let [picture, heat_map, outline] = pictures;
    let label = escape(&part.label);
    let (mut class, mut kind) = (part.verdict.to_owned(), part.verdict.to_owned());
    if part.is_false() {
        class += " false";
        kind += if part.is_good() { " false-reject" } else { " false-accept" };
    }
    let outline = match outline {
        Some(uri) => format!("<img class=\"outline\" alt=\"\" src=\"{uri}\">"),
        None => String::new(),
    };
    let figure = |uri: &Option<String>, what: &str, over: &str| match uri {
        Some(uri) => {
            format!("<figure><img alt=\"{what} of {label}\" decoding=\"async\" src=\"{uri}\">{over}</figure>")
        }
        None => format!("<figure>no {what}</figure>"),
    };
    let verdict = match (part.is_false_reject(), part.is_false_accept(), part.verdict) {
        (true, _, _) => "false reject",
        (_, true, _) => "false accept",
        (_, _, "no-decision") => "no decision",
        (_, _, verdict) => verdict,
    };
    let (score, scale) = match part.score {
        Some(score) => {
            let filled = (50.0 * score / threshold).clamp(0.0, 100.0);
            let filled = if filled.is_nan() { 100.0 } else { filled };
            let digits = decimals(threshold);
            (
                format!("score {score:.digits$}"),
                format!("<div class=\"scale\"><i style=\"width:{filled:.1}%\"></i></div>"),
            )
        }
        None => ("no score".to_owned(), String::new()),
    };
    format!(
        "<article class=\"part {class}\" data-kind=\"{kind}\" tabindex=\"0\"><div class=\"pictures\">{}{}</div>\
         <div class=\"text\"><div class=\"line\"><b>{label}</b><span class=\"verdict\">{verdict}</span></div>{scale}\
         <div class=\"line small\"><span>{score}</span><span>{} ms</span></div>\
         <div class=\"line small\"><span class=\"truth\">truth: {}</span></div></div></article>\n",
        figure(picture, "picture", &outline),
        figure(heat_map, "heat map", ""),
        ms(part.latency),
        escape(&truth_words(&part.truth)),
    )
}

/// Picture, heat map and outline of the true defect of each part as `data:` addresses, small enough for the budget.
fn embed(parts: &[&ReportPart]) -> Vec<[Option<String>; 3]> {
    let pictures = parts.iter().filter_map(|part| part.picture.as_ref());
    let largest = pictures.map(|picture| picture.width().max(picture.height())).max();
    let mut longest = largest.unwrap_or(THUMBNAIL_PX).clamp(SMALLEST_PX, THUMBNAIL_PX);
    // What fits every eighth part mostly fits all, and is found in an eighth of the time.
    let mut stride = 8;
    loop {
        let pictures: Vec<_> = parts.iter().step_by(stride).map(|part| embed_part(part, longest)).collect();
        let bytes: usize = pictures.iter().flatten().flatten().map(String::len).sum();
        let bytes = bytes * parts.len() / pictures.len().max(1);
        if bytes > PICTURE_BUDGET_BYTES && longest > SMALLEST_PX {
            let factor = (PICTURE_BUDGET_BYTES as f64 / bytes as f64).sqrt().min(0.97);
            longest = ((longest as f64 * factor) as u32).max(SMALLEST_PX);
        } else if stride > 1 {
            stride = 1;
        } else {
            return pictures;
        }
    }
}

fn embed_part(part: &ReportPart, longest: u32) -> [Option<String>; 3] {
    let plain = part.verdict == "accept" && !part.is_false();
    let longest = if plain { (longest * 2 / 3).max(SMALLEST_PX) } else { longest };
    let small = |picture: &Option<RgbImage>| {
        picture.as_ref().filter(|picture| !picture.is_empty()).map(|picture| shrink(picture, longest))
    };
    let picture = small(&part.picture);
    let outline = part.mask.as_ref().zip(picture.as_ref()).filter(|(mask, _)| !mask.is_empty());
    let outline = outline.and_then(|(mask, picture)| outline_uri(mask, picture.dimensions()));
    [picture.as_ref().map(jpeg_uri), small(&part.heat_map).as_ref().map(jpeg_uri), outline]
}

/// `picture` with its longer side at most `longest` px.
fn shrink(picture: &RgbImage, longest: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let side = width.max(height);
    if side <= longest {
        return picture.clone();
    }
    let scaled = |length: u32| ((length as u64 * longest as u64 + side as u64 / 2) / side as u64).max(1) as u32;
    image::imageops::thumbnail(picture, scaled(width), scaled(height))
}

fn jpeg_uri(picture: &RgbImage) -> String {
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY)
        .encode_image(picture)
        .expect("a small picture that is not empty can be written to memory as a JPEG");
    format!("data:image/jpeg;base64,{}", base64::engine::general_purpose::STANDARD.encode(jpeg))
}

/// A line just outside the defect, on a transparent picture of `size`; `None` if the mask is all black.
fn outline_uri(mask: &GrayImage, size: (u32, u32)) -> Option<String> {
    let (width, height) = size;
    let whole = mask.dimensions();
    // A defect of one pixel must survive, so a small pixel is in the mask if any of the large ones under it is.
    let mut inside = GrayImage::new(width, height);
    for (x, y, pixel) in mask.enumerate_pixels().filter(|(_, _, pixel)| pixel.0[0] > 0) {
        let scaled = |place: u32, from: u32, to: u32| (place as u64 * to as u64 / from as u64) as u32;
        let (left, right) = (scaled(x, whole.0, width), scaled(x + 1, whole.0, width).max(1));
        let (top, below) = (scaled(y, whole.1, height), scaled(y + 1, whole.1, height).max(1));
        for y in top..below.max(top + 1) {
            for x in left..right.max(left + 1) {
                inside.put_pixel(x, y, *pixel);
            }
        }
    }
    if inside.pixels().all(|pixel| pixel.0[0] == 0) {
        return None;
    }
    let mut outline = RgbaImage::new(width, height);
    let around = |x: u32, y: u32, reach: u32| {
        let columns = x.saturating_sub(reach)..(x + reach + 1).min(width);
        (y.saturating_sub(reach)..(y + reach + 1).min(height)).flat_map(move |y| columns.clone().map(move |x| (x, y)))
    };
    // First the defect and a rim of 3 px all in colour, then the defect and a rim of 1 px clear again.
    for (reach, colour) in [(3, OUTLINE), (1, Rgba([0; 4]))] {
        for (x, y, _) in inside.enumerate_pixels().filter(|(_, _, pixel)| pixel.0[0] > 0) {
            for (x, y) in around(x, y, reach) {
                outline.put_pixel(x, y, colour);
            }
        }
    }
    let mut png = std::io::Cursor::new(Vec::new());
    outline.write_to(&mut png, image::ImageFormat::Png).expect("a picture that is not empty can be written as a PNG");
    Some(format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(png.into_inner())))
}

/// "1 part", "2 parts".
fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// "97.5 %"; never "100.0 %" or "0.0 %" for what is only near it.
fn share(count: usize, whole: usize) -> String {
    let percent = 100.0 * count as f64 / whole as f64;
    let shown = if count == 0 || count == whole { percent } else { percent.clamp(0.1, 99.9) };
    if shown.fract() == 0.0 { format!("{shown}\u{a0}%") } else { format!("{shown:.1}\u{a0}%") }
}

/// Milliseconds with about three digits, without the unit.
fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    let digits = match ms {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{ms:.digits$}")
}

/// How many decimals show four digits of scores near `threshold`.
fn decimals(threshold: f32) -> usize {
    if threshold == 0.0 || !threshold.is_finite() {
        return 4;
    }
    (3 - threshold.abs().log10().floor() as i32).clamp(0, 9) as usize
}

/// The fewest decimals that tell `ticks` apart.
fn tick_decimals(ticks: &[(f64, bool)]) -> usize {
    let step = ticks.windows(2).map(|w| w[1].0 - w[0].0).fold(f64::INFINITY, f64::min);
    if step.is_finite() { (-(step + 1e-12).log10().floor()).clamp(0.0, 9.0) as usize } else { 3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(label: &str, defect: Option<&str>, score: f32, verdict: &'static str) -> ReportPart {
        let truth = match defect {
            None => Truth::Good,
            Some(defect) => Truth::Anomalous { defect: defect.to_owned(), severity: Some("faint".to_owned()) },
        };
        let latency = Duration::from_millis(20);
        let label = label.to_owned();
        ReportPart { label, truth, score: Some(score), verdict, latency, picture: None, heat_map: None, mask: None }
    }

    fn report(parts: Vec<ReportPart>) -> Report {
        Report {
            title: "a run".to_owned(),
            subtitle: String::new(),
            facts: Vec::new(),
            threshold: 0.5,
            promise: String::new(),
            parts,
            stages: vec![("backbone".to_owned(), vec![Duration::from_millis(12); 3])],
        }
    }

    fn four() -> Report {
        report(vec![
            part("fine", None, 0.2, "accept"),
            part("overdone", None, 0.6, "reject"),
            part("overlooked", Some("scratch"), 0.4, "accept"),
            part("found", Some("dent"), 0.9, "reject"),
        ])
    }

    #[test]
    fn the_summary_counts_what_went_wrong() {
        let summary = |report: &Report| summary(&Tally::of(&report.parts));
        assert_eq!(
            summary(&four()),
            "4 parts: <em>1 false reject</em> among 2 good, <em>1 false accept</em> among 2 anomalous."
        );
        let mut unjudged = part("dark", Some("dent"), 0.0, "no-decision");
        unjudged.score = None;
        let perfect = report(vec![part("fine", None, 0.2, "accept"), unjudged]);
        assert_eq!(
            summary(&perfect),
            "2 parts: no false reject among 1 good, no false accept among 1 anomalous, 1 without a decision."
        );
        assert_eq!(summary(&report(Vec::new())), "0 parts: nothing was inspected.");
    }

    #[test]
    fn rejects_come_first_then_what_was_overlooked_and_false_ones_are_marked() {
        let page = render(&four());
        let cards: Vec<&str> = page.split("<article").skip(1).collect();
        let expected = [
            ("found", "reject"),
            ("overdone", "reject false-reject"),
            ("overlooked", "accept false-accept"),
            ("fine", "accept"),
        ];
        assert_eq!(cards.len(), expected.len());
        for (card, (label, kind)) in cards.iter().zip(expected) {
            assert!(card.contains(&format!("<b>{label}</b>")), "{label}");
            assert!(card.contains(&format!("data-kind=\"{kind}\"")), "{label}");
            assert_eq!(card.contains(" false\" data-kind"), kind.contains("false"), "{label}");
        }
    }

    #[test]
    fn words_of_other_people_are_escaped_wherever_they_appear() {
        let hostile = "<script>alert('1')</script>\"{{parts}}&";
        let mut report = report(vec![part(hostile, Some(hostile), 0.4, "accept"), part(hostile, None, 0.4, "accept")]);
        for part in &mut report.parts {
            part.picture = Some(RgbImage::new(16, 16));
            if let Truth::Anomalous { severity, .. } = &mut part.truth {
                *severity = Some(hostile.to_owned());
            }
        }
        report.title = hostile.to_owned();
        report.subtitle = hostile.to_owned();
        report.promise = hostile.to_owned();
        report.facts = vec![(hostile.to_owned(), hostile.to_owned())];
        report.stages[0].0 = hostile.to_owned();
        let page = render(&report);
        let escaped = "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;";
        assert!(page.matches("alert(").count() >= 14);
        assert_eq!(page.matches("alert(").count(), page.matches(escaped).count());
        assert_eq!(page.matches("<article").count(), 2, "a slot in a label was filled");
    }

    #[test]
    fn the_page_needs_nothing_but_itself() {
        let mut report = four();
        report.parts[0].picture = Some(RgbImage::new(20, 10));
        let page = render(&report);
        for foreign in ["http:", "https:", "//cdn", "url(", "@import", "<link", "fetch(", "XMLHttp"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert_eq!(page.matches("src=").count(), 1);
        assert_eq!(page.matches("src=\"data:image/jpeg;base64,").count(), 1);
        assert!(page.contains("default-src 'none'"));
    }

    /// The bars of the histogram: class, left edge and width in percent.
    fn bars(report: &Report) -> Vec<(String, f64, f64)> {
        let svg = histogram(report);
        let attribute = |bar: &str, name: &str| {
            bar.split_once(&format!(" {name}=\"")).unwrap().1.split_once('"').unwrap().0.to_owned()
        };
        let percent = |bar: &str, name| attribute(bar, name).trim_end_matches('%').parse().unwrap();
        svg.split("<rect")
            .skip(1)
            .map(|bar| (attribute(bar, "class"), percent(bar, "x"), percent(bar, "width")))
            .collect()
    }

    #[test]
    fn a_part_at_the_threshold_is_drawn_left_of_it_and_the_next_one_right() {
        let next = 0.5f32.next_up();
        let both = report(vec![part("at", None, 0.5, "accept"), part("beyond", None, next, "reject")]);
        let bars = bars(&both);
        assert_eq!(bars.iter().map(|bar| bar.0.as_str()).collect::<Vec<_>>(), ["good", "good wrong"]);
        assert!((bars[0].1 + bars[0].2 - bars[1].1).abs() < 0.02);
        assert!(histogram(&both).contains(&format!("class=\"threshold\" x1=\"{:.2}%\"", bars[1].1)));
    }

    #[test]
    fn every_bar_lies_on_the_page_on_either_kind_of_axis() {
        let scores = [0.01, 0.2, 0.49, 0.5, 0.51, 3.0];
        for (highest, logarithmic) in [(3.5, false), (400.0, true)] {
            let scores = scores.iter().chain([&highest]);
            let report = report(scores.map(|&score| part("x", Some("dent"), score, "reject")).collect());
            assert_eq!(histogram(&report).contains("logarithmic"), logarithmic);
            for (_, x, width) in bars(&report) {
                assert!(x >= 0.0 && x + width <= 100.01, "{x} {width}");
            }
        }
    }

    #[test]
    fn severities_stand_from_faint_to_plain() {
        let mut parts = Vec::new();
        for word in ["plain", "medium", "faint"] {
            let mut dent = part("x", Some("dent"), 0.9, "reject");
            dent.truth = Truth::Anomalous { defect: "dent".to_owned(), severity: Some(word.to_owned()) };
            parts.push(dent);
        }
        let table = defects(&parts);
        let place = |word| table.find(&format!("<th scope=\"col\">{word}</th>")).unwrap();
        assert!(place("faint") < place("medium") && place("medium") < place("plain"));
        assert_eq!(table.matches("1 of 1").count(), 6);
        assert_eq!(table.matches("3 of 3").count(), 2);
    }

    #[test]
    fn odd_numbers_and_no_parts_at_all_still_give_a_page() {
        let mut odd = four();
        for (part, score) in odd.parts.iter_mut().zip([None, Some(f32::NAN), Some(f32::INFINITY), Some(-1.0)]) {
            part.score = score;
        }
        for threshold in [0.5, 0.0, -2.0, 1e-30, 1e30, f32::NAN, f32::INFINITY] {
            odd.threshold = threshold;
            assert!(render(&odd).contains("4 parts:"), "{threshold}");
        }
        let nothing = Report { stages: Vec::new(), ..report(Vec::new()) };
        assert!(render(&nothing).contains("Nothing was timed."));
    }

    #[test]
    fn pictures_shrink_until_the_page_is_below_6_mb() {
        let mut seed = 1u32;
        let noise = RgbImage::from_fn(320, 240, |_, _| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            image::Rgb([(seed >> 24) as u8; 3])
        });
        let mut noisy = part("x", Some("dent"), 0.9, "reject");
        (noisy.picture, noisy.heat_map) = (Some(noise.clone()), Some(noise));
        let page = render(&report(vec![noisy; 100]));
        assert!((3_500_000..6_000_000).contains(&page.len()), "{}", page.len());
    }

    #[test]
    fn a_defect_of_one_pixel_is_still_outlined_on_a_small_picture() {
        let mut mask = GrayImage::new(1000, 500);
        assert_eq!(outline_uri(&mask, (100, 50)), None);
        mask.put_pixel(999, 499, image::Luma([1]));
        let uri = outline_uri(&mask, (100, 50)).unwrap();
        let png = base64::engine::general_purpose::STANDARD.decode(uri.split_once(',').unwrap().1).unwrap();
        let outline = image::load_from_memory(&png).unwrap().to_rgba8();
        let coloured: Vec<_> = outline.enumerate_pixels().filter(|(_, _, pixel)| **pixel == OUTLINE).collect();
        // The corner of a square of 7 × 7, less the corner of the one of 3 × 3 in its middle.
        assert_eq!(coloured.len(), 4 * 4 - 2 * 2);
        assert!(coloured.iter().all(|&(x, y, _)| x >= 96 && y >= 46));
    }

    #[test]
    fn figures_are_short_and_shares_never_round_to_a_promise() {
        let shares = [share(0, 9), share(9, 9), share(1, 3000), share(2999, 3000)];
        assert_eq!(shares, ["0\u{a0}%", "100\u{a0}%", "0.1\u{a0}%", "99.9\u{a0}%"]);
        assert_eq!([4.567, 45.67, 456.7].map(|t| ms(Duration::from_secs_f64(t / 1e3))), ["4.57", "45.7", "457"]);
        assert_eq!([0.3124f32, 12.5, 345.0, 54_321.0].map(decimals), [4, 2, 1, 0]);
    }
}
