//! The receiver operating characteristic as a chart.

use std::fmt::Write;

use super::Report;
use super::tally::Tally;
use super::words::share;
use crate::evaluate::metrics;

const TOP: f64 = 10.0;
const HEIGHT: f64 = 230.0;

/// The share of anomalous parts that is caught over the share of good ones that is rejected, at every threshold, and a
/// mark at the threshold in force.
pub(super) fn roc(report: &Report) -> String {
    let scores = |good: bool| -> Vec<f32> {
        report.parts.iter().filter(|part| part.is_good() == good).filter_map(|part| part.score).collect()
    };
    let curve = metrics::roc(&scores(true), &scores(false));
    if curve.is_empty() {
        return "<p class=\"note\">Good and anomalous parts are needed for the curve.</p>\n".to_owned();
    }
    let mut svg = String::new();
    let y = |rate: f64| TOP + HEIGHT * (1.0 - rate);
    for percent in (0..=100).step_by(20) {
        let (at, class) = (y(percent as f64 / 100.0), if percent == 0 { "axis" } else { "grid" });
        writeln!(
            svg,
            "<line class=\"{class}\" x1=\"0\" x2=\"100%\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"-8\" y=\"{:.1}\" text-anchor=\"end\">{percent}</text>\
             <text x=\"{percent}%\" y=\"{:.1}\" text-anchor=\"middle\">{percent}</text>",
            at + 4.0,
            TOP + HEIGHT + 18.0
        )
        .expect("a string takes all that is written");
    }
    let points: Vec<String> = curve
        .iter()
        .map(|p| format!("{:.2},{:.2}", 100.0 * p.false_reject_rate, 100.0 * (1.0 - p.caught_rate)))
        .collect();
    let tally = Tally::of(&report.parts);
    let (rejected, caught) = (tally.false_rejects, tally.caught);
    let (across, up) = (rejected as f64 / tally.good as f64, caught as f64 / tally.anomalous as f64);
    let told = format!(
        "the threshold in force catches {} and rejects {} of the good parts",
        share(caught, tally.anomalous),
        share(rejected, tally.good)
    );
    format!(
        "<div class=\"roc\"><svg role=\"img\" aria-label=\"Receiver operating characteristic\">\n{svg}\
         <svg y=\"{TOP}\" height=\"{HEIGHT}\" width=\"100%\" viewBox=\"0 0 100 100\" preserveAspectRatio=\"none\">\
         <polyline points=\"{}\"/></svg>\n\
         <circle cx=\"{:.2}%\" cy=\"{:.1}\" r=\"6\"><title>{told}</title></circle>\n\
         <text x=\"50%\" y=\"{:.1}\" text-anchor=\"middle\">% of good parts rejected</text>\n</svg></div>\n\
         <p class=\"note\">Up: % of anomalous parts caught, at every threshold there could be. The mark: {told}.</p>\n",
        points.join(" "),
        100.0 * across,
        y(up),
        TOP + HEIGHT + 40.0,
    )
}
