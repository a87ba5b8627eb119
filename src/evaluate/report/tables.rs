//! What was caught of each defect type, and the time of each stage.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use super::words::{chance, escape};
use super::{Report, ReportPart, Truth, latencies};
use crate::evaluate::metrics;

/// Rows of words and figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    pub title: String,
    /// The name of each column.
    pub head: Vec<String>,
    /// The first cell of each is its name.
    pub rows: Vec<Vec<String>>,
    /// What stands below it.
    pub note: String,
}

/// * `linked` — so many rows lead to the run of their number
pub(super) fn table(table: &Table, linked: usize) -> String {
    let heads: String = table.head.iter().map(|name| format!("<th scope=\"col\">{}</th>", escape(name))).collect();
    let row = |(place, cells): (usize, &Vec<String>)| {
        let name = cells.first().map_or(String::new(), |name| escape(name));
        let name = if place < linked { format!("<a href=\"#run-{place}\">{name}</a>") } else { name };
        let rest: String = cells.iter().skip(1).map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        format!("<tr><th scope=\"row\">{name}</th>{rest}</tr>\n")
    };
    let rows: String = table.rows.iter().enumerate().map(row).collect();
    let note =
        if table.note.is_empty() { String::new() } else { format!("<p class=\"note\">{}</p>\n", escape(&table.note)) };
    format!(
        "\n<h2>{}</h2>\n<div class=\"scroll\"><table class=\"figures\"><thead><tr>{heads}</tr></thead><tbody>\n{rows}</tbody>\
         </table></div>\n{note}",
        escape(&table.title)
    )
}

/// How many anomalous parts of each defect type and severity were rejected.
pub(super) fn defects(parts: &[ReportPart]) -> String {
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
        let auroc = if severities.is_empty() { auroc_cell(parts, defect) } else { String::new() };
        format!("<tr{class}><th scope=\"row\">{}</th>{cells}{}{auroc}</tr>\n", escape(name), cell(defect, None))
    };
    let mut heads: String =
        severities.iter().map(|(_, severity)| format!("<th scope=\"col\">{}</th>", escape(severity))).collect();
    heads += match severities.is_empty() {
        true => "<th scope=\"col\">caught</th><th scope=\"col\">image AUROC</th>",
        false => "<th scope=\"col\">all</th>",
    };
    let mut rows: String = types.iter().map(|defect| row(defect, Some(defect), "")).collect();
    rows += &row("all", None, " class=\"sum\"");
    format!(
        "<div class=\"scroll\"><table class=\"defects\"><thead><tr><th scope=\"col\">defect type</th>{heads}</tr></thead>\
         <tbody>\n{rows}</tbody></table></div>\n"
    )
}

/// How well the scores tell `defect`, or all of them, from good parts.
fn auroc_cell(parts: &[ReportPart], defect: Option<&str>) -> String {
    let scores = |wanted: &dyn Fn(&Truth) -> bool| -> Vec<f32> {
        parts.iter().filter(|part| wanted(&part.truth)).filter_map(|part| part.score).collect()
    };
    let is_wanted = |truth: &Truth| match truth {
        Truth::Good => false,
        Truth::Anomalous { defect: of, .. } => defect.is_none_or(|defect| defect == of),
    };
    let auroc = metrics::auroc(&scores(&|truth| *truth == Truth::Good), &scores(&is_wanted));
    format!("<td>{}</td>", if auroc.is_nan() { "–".to_owned() } else { chance(auroc) })
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

pub(super) fn stages(report: &Report) -> String {
    let total = latencies(report);
    let measured = |(name, times): &(String, Vec<Duration>)| {
        let at = |percent| metrics::percentile(times, percent);
        Some((escape(name), [at(50.0)?, at(95.0)?, at(99.0)?, at(100.0)?]))
    };
    let mut rows: Vec<_> = report.stages.iter().filter_map(measured).collect();
    rows.extend(measured(&(report.timed.clone(), total)));
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
