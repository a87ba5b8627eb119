//! A profile: all that teaching leaves behind for one product, in one safetensors file.
//!
//! It carries the recipe, the tensors that the recipe uses, the threshold with the calibration score of every part,
//! the fingerprint of the backbone, and a probe: a picture and the score that it must give.
//!
//! Goal: whoever opens a profile gets the very thing that was taught, or a sentence that says why not; a power cut or a
//! full disk at any moment leaves the old profile or the new one, and other tools can read the file. `format` knows the
//! bytes, `check` what a profile must hold, `generations` the files.
//!
//! Non-goals: reading the formats of other versions (teaching takes minutes), and protection against a forger (the
//! checksum finds damage, it is no signature).
//!
//! Rejected: a folder of files (cannot be replaced in one rename), SQLite (opaque, and a journal beside it), the
//! checksum in a file of its own (it gets lost), a memory-mapped bank (a file that shrinks under the map kills the
//! daemon).

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::frame::Frame;
use crate::inspect::card::hex;
use crate::inspect::embedding::Embeddings;
use crate::inspect::metric::Metric;
use crate::inspect::recipe::{Distance, Granularity, HeadKind, Recipe, Scaling, ScoreRule, Tiling};

mod check;
mod format;
pub mod generations;
#[cfg(test)]
mod tests;

/// The version of the file format that this code writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 2;

/// Why a profile could not be opened, saved or taken back. Each message names the file and the next step.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("{file}: there is no such profile; correct the path, or teach it with 'rejectd teach --profile {file}'")]
    NotFound { file: String },
    #[error("{file}: could not be read: {source}; check that it is a file and that this user may read it")]
    Unreadable { file: String, source: io::Error },
    #[error(
        "{file}: damaged: {what}; copy one of its whole generations over it ('rejectd profile list' names them), or \
         teach it again with 'rejectd teach'"
    )]
    Damaged { file: String, what: String },
    #[error(
        "{file}: written by a newer rejectd ({made_by}, format {found}), but this one reads format {FORMAT_VERSION}; \
         install that version, or teach it again with 'rejectd teach'"
    )]
    Newer { file: String, made_by: String, found: u32 },
    #[error(
        "{file}: whole, but this version of rejectd does not know what it holds: {what}; open it with the version that \
         wrote it{}, or teach it again with 'rejectd teach'",
        made_by.as_ref().map(|by| format!(" ({by})")).unwrap_or_default()
    )]
    Unknown { file: String, what: String, made_by: Option<String> },
    /// Known and whole, but not usable: `why` is a clause with its own next step.
    #[error("{file}: {why}")]
    Unfit { file: String, why: String },
    #[error("{because} (none of the {tried} generations kept beside it can be used instead)")]
    NoneFits { because: String, tried: usize },
    #[error(
        "{file}: not saved, for the disk that holds {folder} is full; free at least {needed_kib} KiB and save it again; what \
         was saved before is unchanged"
    )]
    Full { file: String, folder: String, needed_kib: u64 },
    #[error(
        "{file}: not saved in {folder}: {source}; check that the folder exists and that this user may write to it; \
         what was saved before is unchanged"
    )]
    Write { file: String, folder: String, source: io::Error },
    #[error("{file}: nothing was undone: {why}")]
    NothingToUndo { file: String, why: String },
}

/// One product, as taught.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    pub about: About,
    /// The memory bank, (M, D).
    pub bank: Embeddings,
    /// The tensors of the recipe's learned steps.
    pub metric: Metric,
    /// A good part with a line drawn on it, before crop and resize; `about.probe_score` is its score.
    pub probe: Frame,
}

/// What is not a tensor: JSON in the file's metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    pub format_version: u32,
    /// The program and version that wrote it.
    pub made_by: String,
    /// Seconds since 1970, by the wall clock of the board; for people only.
    pub taught_at: u64,
    /// Counts the profiles saved at one place, from 1.
    pub generation: u32,
    /// The generation that this one was made from, and to which `undo` goes back.
    pub parent: Option<u32>,
    pub backbone: BackboneId,
    pub recipe: Recipe,
    pub threshold: Threshold,
    /// The first 16 hexadecimal digits of the SHA-256 of every picture that was taught, so that none counts twice.
    pub taught: Vec<String>,
    /// The score of each calibration part; those that were added later stand last.
    pub calibration: Vec<CalibrationScore>,
    /// How many parts the bank was taught from.
    pub bank_parts: usize,
    pub seed: u64,
    pub probe_score: f32,
    /// How the good parts were varied for the bank, if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augmentation: Option<String>,
    /// How the metric was chosen, if it was.
    pub chosen: Option<Chosen>,
    /// How many synthetic and known defects the threshold would have caught.
    pub expected_catch: Vec<ExpectedCatch>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneId {
    pub name: String,
    /// SHA-256 over the model and all that its card says of preprocessing and taps, 64 hexadecimal digits.
    pub fingerprint: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationScore {
    /// The picture's file name, or its number in the order of capture.
    pub part: String,
    pub score: f32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    pub value: f32,
    pub promise: Promise,
}

/// What is known of the false rejects at a threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Promise {
    /// At most this fraction of good parts is rejected, with this confidence: the threshold is the `rank`-th smallest
    /// of the scores of `parts` good parts that nothing was chosen by or learned from, each by a bank without it.
    Bound { false_rejects: f64, confidence: f64, parts: usize, rank: usize },
    /// An estimate from k-fold scores; it carries no confidence.
    Estimate { false_rejects: f64, folds: usize, parts: usize },
    /// Nothing can be said; the reason is a clause that completes "no bound, because …".
    Void { because: String },
}

/// How a metric was chosen from many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chosen {
    /// How many metrics were tried.
    pub tried: usize,
    /// The chance that a defect scores above a good part, those counting most that lie above most good parts but not above
    /// all, by the metric chosen and by the recipe that was given, plain cosine if nobody asked for another.
    pub quality: f64,
    pub plain_quality: f64,
    /// The AUROC of the faint defects alone, by the metric chosen.
    pub faint: f64,
    /// Why it was chosen: a sentence.
    pub because: String,
    /// What it was chosen from, each with its best way from distances to a score; the best first. Profiles of before have
    /// none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rivals: Vec<Rival>,
}

/// A metric that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rival {
    /// Its steps, for people.
    pub metric: String,
    /// As [`Chosen::quality`].
    pub quality: f64,
}

/// What the threshold would have caught of one kind and severity of synthetic defects, or of the known ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedCatch {
    pub defect: String,
    pub caught: usize,
    pub of: usize,
}

impl Profile {
    /// What a manual threshold names: 16 hexadecimal digits, the first of the SHA-256 over all that influences a score
    /// (recipe, backbone, bank, learned tensors). It stays when the profile is saved again or its threshold moves, and
    /// changes when the bank grows.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(b"rejectd profile 2");
        add(&serde_json::to_vec(&self.about.recipe).expect("a recipe has only string keys"));
        add(self.about.backbone.fingerprint.as_bytes());
        add(&(self.bank.width() as u64).to_le_bytes());
        add(&format::little_endian(self.bank.data()));
        for tensor in format::metric_tensors(&self.metric, self.bank.width()) {
            add(&format::little_endian(tensor.values));
        }
        hex(&hash.finalize())[..16].to_string()
    }

    /// What a profile holds, for people: a title and one line for each subject.
    pub fn summary(&self) -> String {
        let about = &self.about;
        let mut lines = Vec::new();
        let mut line = |subject: &str, what: String| lines.push(format!("{subject:<12} {what}"));
        line(
            "generation",
            match about.parent {
                Some(parent) => format!("{}, made from generation {parent}", about.generation),
                None => format!("{}, the first of its line", about.generation),
            },
        );
        line("taught", format!("{} by {}, seed {}", utc(about.taught_at), about.made_by, about.seed));
        line("backbone", format!("{}, {}", about.backbone.name, about.backbone.fingerprint));
        line("fingerprint", self.fingerprint());
        line("recipe", steps(&about.recipe));
        line(
            "bank",
            format!(
                "{} of width {} from {}{}",
                count(self.bank.len(), "row"),
                self.bank.width(),
                count(about.bank_parts, "part"),
                about.augmentation.as_ref().map_or(String::new(), |name| format!(", {name} as well")),
            ),
        );
        line("threshold", format!("{}: {}", about.threshold.value, about.threshold.promise));
        let scores = about.calibration.iter().map(|c| c.score);
        line(
            "calibration",
            match scores.clone().reduce(f32::min).zip(scores.reduce(f32::max)) {
                Some((least, most)) => format!("{} from {least} to {most}", count(about.calibration.len(), "score")),
                None => "no scores".to_string(),
            },
        );
        if let Some(chosen) = &about.chosen {
            line("chosen", format!("from {} metrics: {}", chosen.tried, chosen.because));
            chosen.best_tried().into_iter().for_each(|tried| line("tried", tried));
        }
        let caught = about.expected_catch.iter().map(|c| format!("{} {} of {}", c.defect, c.caught, c.of));
        line(
            "synthetic",
            match caught.collect::<Vec<_>>().join(", ") {
                none if none.is_empty() => "no defects were tried".to_string(),
                caught => format!("caught of the defects tried: {caught}"),
            },
        );
        line("probe", format!("{} × {} px, score {}", self.probe.width(), self.probe.height(), about.probe_score));
        lines.join("\n") + "\n"
    }
}

impl Chosen {
    /// The best few of what was tried, a line each, and how many more there are.
    pub fn best_tried(&self) -> Vec<String> {
        const SHOWN: usize = 4;
        let line = |rival: &Rival| format!("{:.1} % by {}", 100.0 * rival.quality, rival.metric);
        let (shown, more) = self.rivals.split_at(self.rivals.len().min(SHOWN));
        let mut lines: Vec<String> = shown.iter().map(line).collect();
        if let (Some(best), Some(last)) = (more.first(), more.last()) {
            let [best, last] = [best, last].map(|rival| 100.0 * rival.quality);
            lines.push(format!("{last:.1} to {best:.1} % by {} more", more.len()));
        }
        lines
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            // A promise is rounded to its weaker side, so that the text never claims more than the numbers do.
            Promise::Bound { false_rejects, confidence, parts, .. } => write!(
                f,
                "at most {:.1} % false rejects with {} % confidence, from {}",
                (false_rejects * 1000.0 - 1e-6).ceil() / 10.0,
                (confidence * 1000.0 + 1e-6).floor() / 10.0,
                count(*parts, "part")
            ),
            Promise::Estimate { false_rejects, folds, parts } => write!(
                f,
                "about {:.1} % false rejects, an estimate from {folds}-fold scores of {}; no confidence is claimed",
                false_rejects * 100.0,
                count(*parts, "part")
            ),
            Promise::Void { because } => write!(f, "no bound, because {because}"),
        }
    }
}

/// The steps of a recipe in their order, in one line.
pub fn steps(recipe: &Recipe) -> String {
    let [height, width] = recipe.input_px;
    let region = recipe.roi_px.map_or("whole frame".to_string(), |roi| format!("region {roi}"));
    let tiles = recipe.tiling.map_or(String::new(), |Tiling { tile_px: [height, width], overlap }| {
        let percent = (overlap * 1e4).round() / 100.0;
        format!(" in tiles of {width} × {height} px that overlap by {percent} %, each")
    });
    let mut steps = vec![format!("{region}{tiles} at {width} × {height} px"), recipe.taps.join(" + ")];
    if recipe.pool > 1 {
        steps.push(format!("pooled {0} × {0}", recipe.pool));
    }
    steps.push(match recipe.granularity {
        Granularity::Patch => format!("a patch every {} px", recipe.grid_stride),
        Granularity::Image => "one embedding a picture".to_string(),
    });
    match recipe.head {
        HeadKind::Identity => {}
        HeadKind::Linear => steps.push("linear head".to_string()),
        HeadKind::Mlp => steps.push("MLP head".to_string()),
    }
    match recipe.scaling {
        Scaling::None => {}
        Scaling::Std => steps.push("divided by the standard deviations".to_string()),
        Scaling::SignedSqrt => steps.push("signed square roots".to_string()),
    }
    if recipe.normalise {
        steps.push("unit length".to_string());
    }
    let distance = match recipe.distance {
        Distance::Cosine => "cosine distance",
        Distance::Euclidean => "Euclidean distance",
        Distance::Product if recipe.nested.is_empty() => "product of cosine and Euclidean distance",
        Distance::Product => "product of cosine and Euclidean distance, by later taps alone too",
        Distance::Mahalanobis => "Mahalanobis distance",
        Distance::MahalanobisPerPosition => "Mahalanobis distance per position",
    };
    steps.push(match recipe.neighbours {
        1 => distance.to_string(),
        neighbours => format!("{distance}, mean of the {neighbours} nearest"),
    });
    if recipe.local {
        steps.push("relative to what is usual there".to_string());
    }
    if recipe.prototype {
        steps.push("to the learned class of good parts".to_string());
    }
    if recipe.normality {
        steps.push("plus a learned score".to_string());
    }
    if recipe.relative {
        steps.push("relative to the picture's median".to_string());
    }
    if recipe.smooth {
        steps.push("smoothed".to_string());
    }
    steps.push(match recipe.score {
        ScoreRule::Max => "score: the largest".to_string(),
        ScoreRule::TopFraction(fraction) => {
            format!("score: mean of the top {} %", f64::from(fraction * 1e4).round() / 100.0)
        }
    });
    steps.join("; ")
}

/// "1 part", "2 parts".
fn count(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

/// Date and time of a moment in seconds since 1970, "2026-03-01 07:05 UTC".
/// # Source  Howard Hinnant, "chrono-compatible low-level date algorithms": civil_from_days
pub fn utc(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", seconds / 3_600 % 24, seconds / 60 % 60)
}
