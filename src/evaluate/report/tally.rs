//! How many parts went which way, as a sentence and as tiles.

use std::fmt::Write;

use super::words::{chance, counted, escape, ms, share};
use super::{Report, ReportPart, latencies, truth_words};
use crate::evaluate::metrics;

/// How many parts went which way.
pub(super) struct Tally {
    pub good: usize,
    pub anomalous: usize,
    pub caught: usize,
    pub false_rejects: usize,
    pub false_accepts: usize,
    pub no_decision: usize,
}

impl Tally {
    pub fn of(parts: &[ReportPart]) -> Tally {
        let count = |which: &dyn Fn(&ReportPart) -> bool| parts.iter().filter(|part| which(part)).count();
        Tally {
            good: count(&|p| p.is_good()),
            anomalous: count(&|p| !p.is_good()),
            caught: count(&|p| !p.is_good() && p.verdict == "reject"),
            false_rejects: count(&|p| p.is_false_reject()),
            false_accepts: count(&|p| p.is_false_accept()),
            no_decision: count(&|p| p.verdict == "no-decision"),
        }
    }

    pub fn parts(&self) -> usize {
        self.good + self.anomalous
    }
}

pub(super) fn summary(tally: &Tally) -> String {
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

pub(super) fn tiles(report: &Report, tally: &Tally) -> String {
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
        tile("", "Image AUROC", chance(auroc), note);
    }
    let latencies = latencies(report);
    if let (Some(median), Some(p99)) = (metrics::percentile(&latencies, 50.0), metrics::percentile(&latencies, 99.0)) {
        let note = format!("median from {}; 99\u{a0}% within {}\u{a0}ms", escape(&report.timed), ms(p99));
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
