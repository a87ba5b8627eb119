//! The histogram of the scores.

use std::fmt::Write;

use super::Report;
use super::words::{counted, decimals};

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

/// How many parts have which score, over the same scores: the good ones that gave the threshold, if they are drawn, good
/// ones, anomalous ones. The threshold is an edge between two bars, so that no bar holds parts of both verdicts.
pub(super) fn histogram(report: &Report) -> String {
    const TOP: f64 = 34.0;
    const PANEL: f64 = 112.0;
    const GAP: f64 = 26.0;
    let scored = |good: bool| -> Vec<f32> {
        let parts = report.parts.iter().filter(|part| part.is_good() == good);
        parts.filter_map(|part| part.score).filter(|score| score.is_finite()).collect()
    };
    let mut rows = vec![("good", scored(true)), ("anomalous", scored(false))];
    let undrawn = report.parts.len() - rows.iter().map(|(_, scores)| scores.len()).sum::<usize>();
    if !report.calibration.is_empty() {
        rows.insert(0, ("calibration", report.calibration.iter().copied().filter(|s| s.is_finite()).collect()));
    }
    let all: Vec<f32> = rows.iter().flat_map(|(_, scores)| scores).copied().collect();
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
    let panel = |(name, scores): &(&'static str, Vec<f32>)| {
        let mut bins: Vec<i64> = scores.iter().map(|&score| bin_of(score)).collect();
        bins.sort_unstable();
        let bars: Vec<(i64, usize)> = bins.chunk_by(|a, b| a == b).map(|same| (same[0], same.len())).collect();
        (*name, scores.len(), bars)
    };
    let panels: Vec<_> = rows.iter().map(panel).collect();
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
            let wrong = match *name {
                "good" if bar > 0 => " wrong",
                "anomalous" if bar <= 0 => " wrong",
                _ => "",
            };
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
    let bottom = TOP + panels.len() as f64 * (PANEL + GAP) - GAP;
    let height = bottom + 52.0;
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
        "<div class=\"histogram\"><svg style=\"height:{height}px\" \
         role=\"img\" aria-label=\"Histogram of the anomaly scores of good and anomalous \
         parts\">\n{svg}</svg></div>\n{missing}"
    )
}

/// The fewest decimals that tell `ticks` apart.
fn tick_decimals(ticks: &[(f64, bool)]) -> usize {
    let step = ticks.windows(2).map(|w| w[1].0 - w[0].0).fold(f64::INFINITY, f64::min);
    if step.is_finite() { (-(step + 1e-12).log10().floor()).clamp(0.0, 9.0) as usize } else { 3 }
}
