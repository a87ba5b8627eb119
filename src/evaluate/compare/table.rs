//! Cells as a table of rows and columns.

use std::fmt;

use super::{Cell, What};
use crate::evaluate::metrics::mean_and_spread;

/// Which figure of the cells a table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The image AUROC on the test pictures.
    Auroc,
    /// What the automatic choice goes by.
    Quality,
}

/// One grid, written as Markdown.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub title: String,
    pub rows: Vec<String>,
    pub columns: Vec<String>,
    /// Of each row: the mean at each column, if there is one.
    pub means: Vec<Vec<Option<f64>>>,
    /// The same as people read it.
    texts: Vec<Vec<String>>,
}

impl Table {
    /// The table of one grid; none if it was not run, or has no such figures.
    pub fn of(cells: &[Cell], what: What, shown: Shown) -> Option<Table> {
        let has = |cell: &&Cell| cell.place.what == what && (shown == Shown::Auroc || !cell.quality.is_empty());
        let cells: Vec<&Cell> = cells.iter().filter(has).collect();
        let title = format!("{}, {}: {}", cells.first()?.set, grid(what), figure(shown));
        let rows = distinct(cells.iter().map(|cell| cell.place.row()));
        let columns = distinct(cells.iter().map(|cell| cell.place.column()));
        let mut means = vec![vec![None; columns.len()]; rows.len()];
        let mut texts = vec![vec![String::new(); columns.len()]; rows.len()];
        for cell in cells {
            let place = |labels: &[String], own: String| labels.iter().position(|label| *label == own);
            let (row, column) = (place(&rows, cell.place.row()), place(&columns, cell.place.column()));
            let (row, column) = (row.expect("it was listed"), column.expect("it was listed"));
            let values = if shown == Shown::Auroc { &cell.auroc } else { &cell.quality };
            let (mean, spread) = mean_and_spread(values);
            means[row][column] = (!mean.is_nan()).then_some(mean);
            texts[row][column] = text(mean, spread, cell);
        }
        Some(Table { title, rows, columns, means, texts })
    }
}

fn grid(what: What) -> &'static str {
    match what {
        What::Distances => "distances between patches, nothing trained",
        What::Losses => "heads of patches, learned from synthetic defects",
        What::Image => "one embedding a picture",
    }
}

fn figure(shown: Shown) -> &'static str {
    match shown {
        Shown::Auroc => "image AUROC on the test pictures",
        Shown::Quality => "share of synthetic defects above good parts",
    }
}

fn distinct(labels: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = Vec::new();
    for label in labels {
        if !seen.contains(&label) {
            seen.push(label);
        }
    }
    seen
}

/// As `0.873* ± 0.004, p 0.021`: a star for the distance that the loss compares by, and the largest p-value of the seeds.
fn text(mean: f64, spread: f64, cell: &Cell) -> String {
    if mean.is_nan() {
        return "not measured".to_owned();
    }
    let own = if cell.place.own { "*" } else { "" };
    let spread = if spread.is_nan() { String::new() } else { format!(" ± {spread:.3}") };
    let p_value = cell.p_value.iter().copied().max_by(f64::total_cmp).map(|p| format!(", p {p:.3}"));
    format!("{mean:.3}{own}{spread}{}", p_value.unwrap_or_default())
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let first = self.rows.iter().map(|row| row.chars().count()).max().unwrap_or(0);
        let width = |column: usize| {
            let texts = self.texts.iter().map(|row| row[column].chars().count());
            texts.chain([self.columns[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |f: &mut fmt::Formatter, label: &str, texts: &[String]| {
            write!(f, "| {label:first$} |")?;
            texts.iter().zip(&widths).try_for_each(|(text, width)| write!(f, " {text:width$} |"))?;
            writeln!(f)
        };
        writeln!(f, "## {}\n", self.title)?;
        line(f, "", &self.columns)?;
        writeln!(
            f,
            "|{}|",
            std::iter::once(&first).chain(&widths).map(|width| "-".repeat(width + 2)).collect::<Vec<_>>().join("|")
        )?;
        self.rows.iter().zip(&self.texts).try_for_each(|(row, texts)| line(f, row, texts))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Place;
    use super::*;

    fn cell(loss: &str, distance: &str, auroc: &[f64]) -> Cell {
        let place = Place {
            what: What::Image,
            loss: loss.into(),
            head: "none".into(),
            preset: None,
            taps: vec![],
            pool: 1,
            distance: distance.into(),
            score_rule: "whole picture".into(),
            own: distance == "cosine",
        };
        let (auroc_mean, auroc_spread) = mean_and_spread(auroc);
        Cell {
            set: "bottle".into(),
            input_px: [64; 2],
            place,
            seeds: (0..auroc.len() as u64).collect(),
            auroc: auroc.to_vec(),
            auroc_mean,
            auroc_spread,
            quality: vec![],
            p_value: vec![0.01, 0.02],
            notes: vec![],
        }
    }

    #[test]
    fn a_table_has_every_row_and_column_once_and_leaves_holes_open() {
        let cells = [
            cell("raw", "cosine", &[0.5, 0.75]),
            cell("center", "cosine", &[f64::NAN; 2]),
            cell("center", "prototype", &[1.0, 1.0]),
        ];
        let table = Table::of(&cells, What::Image, Shown::Auroc).unwrap();
        assert_eq!(table.rows, ["raw", "center"]);
        assert_eq!(table.columns, ["cosine", "prototype"]);
        assert_eq!(table.means, [[Some(0.625), None], [None, Some(1.0)]]);
        let lines: Vec<String> = table.to_string().lines().map(str::to_owned).collect();
        assert_eq!(lines[2], "|        | cosine                  | prototype              |");
        assert_eq!(lines[3], "|--------|-------------------------|------------------------|");
        assert_eq!(lines[4], "| raw    | 0.625* ± 0.177, p 0.020 |                        |");
        assert_eq!(lines[5], "| center | not measured            | 1.000 ± 0.000, p 0.020 |");
        assert_eq!(Table::of(&cells, What::Losses, Shown::Auroc), None);
        assert_eq!(Table::of(&cells, What::Image, Shown::Quality), None);
    }
}
