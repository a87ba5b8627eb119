//! What `rejectd evaluate` prints.

use std::time::Duration;

use super::json::metrics;
use crate::evaluate::dataset::Dataset;
use crate::evaluate::figures::{Figure, Figures};
use crate::evaluate::findings::agreement_sentence;
use crate::evaluate::metrics::percentile;
use crate::evaluate::run::Evaluation;

/// The name of a set, the means of its figures and their spread.
pub type SetFigures = (String, Figures, Figures);

/// Says what is about to be evaluated.
pub fn announce(set: &Dataset, seeds: &[u64], profile_given: bool) {
    let good = set.test.iter().filter(|image| image.defect_type.is_none()).count();
    let types = set.defect_types().len();
    let how = match seeds {
        _ if profile_given => "the given profile judges".to_owned(),
        [seed] => format!("{} good parts teach, seed {seed};", set.train_good.len()),
        [first, .., last] => format!("{} good parts teach, seeds {first} to {last};", set.train_good.len()),
        [] => unreachable!("clap asks for at least one seed"),
    };
    let defects = match types {
        0 => "no anomalous ones".to_owned(),
        _ => format!("{} anomalous ones of {}", set.test.len() - good, counted(types, "type")),
    };
    println!("\n{}: {how} {} and {defects} to judge", set.name, counted(good, "good part"));
}

/// Prints the figures of one set.
pub fn print(evaluation: &Evaluation) {
    let Evaluation { mean, spread, trials, types, notes, set, .. } = evaluation;
    let value = |figure| with_spread(figure, mean.get(figure), spread.get(figure));
    let (several, first) = (trials.len() > 1, &trials[0]);
    println!(
        "  image        AUROC {}   AUPR {}   F1-max {}",
        value(Figure::ImageAuroc),
        value(Figure::ImageAupr),
        value(Figure::ImageF1Max)
    );
    println!(
        "  pixels       AUROC {}   AUPR {}   AUPRO {} (up to 30 % false positives)",
        value(Figure::PixelAuroc),
        value(Figure::PixelAupr),
        value(Figure::Aupro)
    );
    println!(
        "  caught       {} at the threshold; at best {} at 0, {} at 1 % and {} at 5 % false rejects",
        value(Figure::CaughtAtThreshold),
        value(Figure::CaughtAt0),
        value(Figure::CaughtAt1Pct),
        value(Figure::CaughtAt5Pct)
    );
    let good = set.test.iter().filter(|image| image.defect_type.is_none()).count();
    println!("  rejected     {} of the good parts at the threshold", value(Figure::FalseRejectRate));
    if several {
        let agreeing = trials.iter().filter(|trial| trial.agrees == Some(true)).count();
        let bounded = trials.iter().filter(|trial| trial.agrees.is_some()).count();
        println!("               stated with the first seed: {}", first.promise);
        if bounded > 0 {
            println!("               the count agrees with the bound with {agreeing} of {bounded} seeds");
        }
    } else {
        println!("               {}", agreement_sentence(&first.promise, first.false_rejects, good));
    }
    println!("  metric       {}", metrics(trials));
    if let (Some(median), Some(p99)) = (latency_ms(evaluation, 50.0), latency_ms(evaluation, 99.0)) {
        println!(
            "  latency      {median:.1} ms median, {p99:.1} ms for 99 %; {}, one at a time",
            counted(evaluation.timings.len(), "inspection")
        );
    }
    if !types.is_empty() {
        let width = types.keys().map(|name| name.chars().count()).max().unwrap_or(0).max(11);
        println!("  {:<width$}   parts   AUROC   caught at the threshold    at 0   at 1 %", "defect type");
        for (name, (parts, figures)) in types {
            let cell = |figure| plain(figure, figures.get(figure));
            println!(
                "  {name:<width$}  {parts:>6}  {:>6}  {:>24}  {:>6}  {:>7}",
                cell(Figure::ImageAuroc),
                cell(Figure::CaughtAtThreshold),
                cell(Figure::CaughtAt0),
                cell(Figure::CaughtAt1Pct)
            );
        }
    }
    notes.iter().for_each(|note| println!("  note: {note}"));
}

/// Columns of the table of sets, and what they are headed.
pub const COLUMNS: [(Figure, &str); 9] = [
    (Figure::ImageAuroc, "image AUROC"),
    (Figure::ImageAupr, "AUPR"),
    (Figure::ImageF1Max, "F1-max"),
    (Figure::PixelAuroc, "pixel AUROC"),
    (Figure::PixelAupr, "AUPR"),
    (Figure::Aupro, "AUPRO"),
    (Figure::CaughtAt1Pct, "caught at 1 %"),
    (Figure::CaughtAtThreshold, "at threshold"),
    (Figure::FalseRejectRate, "false rejects"),
];

/// Prints one row a set and their mean.
pub fn print_sets(sets: &[SetFigures]) {
    let rows = set_rows(sets);
    let width = rows.iter().map(|row| row[0].chars().count()).max().unwrap_or(0);
    let columns: Vec<usize> = (0..COLUMNS.len())
        .map(|column| {
            let widest = rows.iter().map(|row| row[column + 1].chars().count()).max().unwrap_or(0);
            widest.max(COLUMNS[column].1.chars().count())
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let cells = cells.iter().zip(&columns).map(|(cell, width)| format!("  {cell:>width$}"));
        cells.collect::<String>()
    };
    println!("\n{:<width$}{}", "set", line(COLUMNS.map(|(_, name)| name).to_vec()));
    for row in &rows {
        println!("{:<width$}{}", row[0], line(row[1..].iter().map(String::as_str).collect()));
    }
}

/// One row a set, and the mean of the sets that have a figure.
pub fn set_rows(sets: &[SetFigures]) -> Vec<Vec<String>> {
    let cells = |name: &str, mean: &Figures, spread: &Figures| {
        let cell = |&(figure, _): &(Figure, &str)| with_spread(figure, mean.get(figure), spread.get(figure));
        [name.to_owned()].into_iter().chain(COLUMNS.iter().map(cell)).collect::<Vec<_>>()
    };
    let all: Vec<Figures> = sets.iter().map(|(_, mean, _)| *mean).collect();
    let (mean, _) = Figures::mean_and_spread(&all);
    let rows = sets.iter().map(|(name, mean, spread)| cells(name, mean, spread));
    rows.chain([cells("mean", &mean, &Figures::default())]).collect()
}

/// Of one inspection, in milliseconds.
pub fn latency_ms(evaluation: &Evaluation, percent: f64) -> Option<f64> {
    let times: Vec<Duration> = evaluation.timings.iter().map(|(_, timings)| timings.total()).collect();
    percentile(&times, percent).map(|time| time.as_secs_f64() * 1e3)
}

/// "0.981 ± 0.004", or "98.1 ± 0.4 %" for a share; a dash where there is no figure.
pub fn with_spread(figure: Figure, mean: Option<f64>, spread: Option<f64>) -> String {
    match (mean, spread) {
        (Some(mean), Some(spread)) if figure.is_share() => format!("{:.1} ± {:.1} %", 100.0 * mean, 100.0 * spread),
        (Some(mean), Some(spread)) => format!("{mean:.3} ± {spread:.3}"),
        (mean, _) => plain(figure, mean),
    }
}

/// "0.981", or "98.1 %" for a share; a dash where there is no figure. Only 1 itself is shown as 1.
fn plain(figure: Figure, value: Option<f64>) -> String {
    // The sums in an average precision may end a rounding error below 1.
    match value.map(|value| if value > 1.0 - 1e-9 { 1.0 } else { value }) {
        None => "–".to_owned(),
        // A bound is rounded to its weaker side, as the promise is.
        Some(value) if figure == Figure::StatedBound => format!("{:.1} %", (1000.0 * value - 1e-6).ceil() / 10.0),
        Some(value) if figure.is_share() => match 100.0 * value {
            percent if percent < 100.0 => format!("{:.1} %", percent.min(99.9)),
            _ => "100 %".to_owned(),
        },
        Some(value) if (0.9995..1.0).contains(&value) => format!("{:.4}", value.min(0.9999)),
        Some(value) => format!("{value:.3}"),
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nearly_perfect_does_not_look_perfect() {
        let auroc = |value| plain(Figure::ImageAuroc, Some(value));
        assert_eq!([0.98149, 0.9996, 0.99999, 1.0 - 1e-14].map(auroc), ["0.981", "0.9996", "0.9999", "1.000"]);
        let share = |value| plain(Figure::CaughtAt0, Some(value));
        assert_eq!([0.0, 0.5, 0.99999, 1.0].map(share), ["0.0 %", "50.0 %", "99.9 %", "100 %"]);
        assert_eq!(plain(Figure::StatedBound, Some(0.04248)), "4.3 %");
        assert_eq!(with_spread(Figure::CaughtAt0, Some(0.5), Some(0.021)), "50.0 ± 2.1 %");
        assert_eq!(with_spread(Figure::Aupro, Some(0.5), None), "0.500");
        assert_eq!(with_spread(Figure::Aupro, None, None), "–");
    }
}
