//! The parts in pictures.

use super::pictures::embed;
use super::words::{counted, decimals, escape, ms};
use super::{Report, ReportPart, truth_words};
use crate::observe::heat_map;

/// Parts that are shown together.
#[derive(Clone, Debug, PartialEq)]
pub struct Gallery {
    pub title: String,
    /// Places in `Report::parts`, in the order in which they are shown.
    pub parts: Vec<usize>,
}

/// The parts that are shown, gallery by gallery.
fn shown(report: &Report) -> Vec<&ReportPart> {
    if report.galleries.is_empty() {
        return worst_first(&report.parts);
    }
    report.galleries.iter().flat_map(|gallery| &gallery.parts).map(|&part| &report.parts[part]).collect()
}

/// Rejects, then those without a decision, false accepts, and the rest; within each the worst first.
fn worst_first(parts: &[ReportPart]) -> Vec<&ReportPart> {
    let mut order: Vec<&ReportPart> = parts.iter().collect();
    let place = |part: &ReportPart| match part.verdict {
        "reject" => 0,
        "accept" if part.is_false() => 2,
        "accept" => 3,
        _ => 1,
    };
    let score = |part: &ReportPart| part.score.filter(|score| !score.is_nan()).unwrap_or(f32::INFINITY);
    order.sort_by(|a, b| place(a).cmp(&place(b)).then(score(b).total_cmp(&score(a))));
    order
}

/// The buttons that choose among the parts that are shown.
pub(super) fn filters(report: &Report) -> String {
    let shown = shown(report);
    let count = |which: &dyn Fn(&ReportPart) -> bool| shown.iter().filter(|part| which(part)).count();
    let mut kinds = vec![
        ("all", "All", shown.len()),
        ("reject", "Rejects", count(&|part| part.verdict == "reject")),
        ("false-accept", "False accepts", count(&|part| part.is_false_accept())),
        ("false-reject", "False rejects", count(&|part| part.is_false_reject())),
    ];
    let no_decision = count(&|part| part.verdict == "no-decision");
    if no_decision > 0 {
        kinds.push(("no-decision", "No decision", no_decision));
    }
    let button = |(kind, name, count): (&str, &str, usize)| {
        let pressed = kind == "all";
        format!("<button value=\"{kind}\" aria-pressed=\"{pressed}\">{name}<span>{count}</span></button>\n")
    };
    let mut filters: String = kinds.into_iter().map(button).collect();
    if shown.iter().any(|part| part.mask.is_some()) {
        filters += "<label><input type=\"checkbox\" checked>outline the true defect</label>\n";
    }
    filters
}

/// The colours of the heat maps, painted over a middle grey as they are over the pictures.
pub(super) fn legend(threshold: f32) -> String {
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

/// The galleries with their pictures, of no more than `budget` bytes together.
pub(super) fn galleries(report: &Report, budget: usize) -> String {
    let shown = shown(report);
    let pictures = embed(&shown, budget);
    let mut cards = shown.iter().zip(&pictures).map(|(part, pictures)| card(part, pictures, report.threshold));
    if report.galleries.is_empty() {
        return format!("<div class=\"parts\">\n{}</div>\n", cards.collect::<String>());
    }
    let mut galleries = String::new();
    for gallery in &report.galleries {
        let parts: String = cards.by_ref().take(gallery.parts.len()).collect();
        let title = escape(&gallery.title);
        galleries +=
            &format!("<div class=\"group\">\n<h3>{title}</h3>\n<div class=\"parts\">\n{parts}</div>\n</div>\n");
    }
    let of = counted(report.parts.len(), "part");
    galleries + &format!("<p class=\"note\">Shown are {} of {of}.</p>\n", shown.len())
}

/// Width ÷ height of the frame that each picture is shown in: the middle one of all pictures', within reason.
pub(super) fn aspect(parts: &[ReportPart]) -> f32 {
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
    let figure = |uri: &Option<String>, what: &str| match uri {
        Some(uri) => {
            format!("<figure><img alt=\"{what} of {label}\" decoding=\"async\" src=\"{uri}\">{outline}</figure>")
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
    let latency = part.latency.map_or(String::new(), |latency| format!("<span>{} ms</span>", ms(latency)));
    format!(
        "<article class=\"part {class}\" data-kind=\"{kind}\" tabindex=\"0\"><div class=\"pictures\">{}{}</div>\
         <div class=\"text\"><div class=\"line\"><b>{label}</b><span class=\"verdict\">{verdict}</span></div>{scale}\
         <div class=\"line small\"><span>{score}</span>{latency}</div>\
         <div class=\"line small\"><span class=\"truth\">truth: {}</span></div></div></article>\n",
        figure(picture, "picture"),
        figure(heat_map, "heat map"),
        escape(&truth_words(&part.truth)),
    )
}
