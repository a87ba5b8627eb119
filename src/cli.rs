//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::frame::Roi;
use crate::inspect::recipe::ScoreRule;

#[derive(Debug, Parser)]
#[command(name = "rejectd", version, about, long_about = None, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes:
   0  done, and every inspected part is good
   1  inspect: a part was rejected
   2  the command line is wrong
  65  a picture, profile or set of parts cannot be used
  66  an input is not there
  69  the camera or source cannot be used
  70  a bug
  73  the result cannot be written
  78  the configuration or the model card is wrong";

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Teach a rendered product and watch 200 of its parts on a simulated belt: no camera, no GPIO, no download
    Demo(Demo),
    /// Teach a product from good parts alone
    Teach(Box<Teach>),
    /// Score pictures by a profile
    Inspect(Inspect),
    /// Run the daemon: source, inspection, reject output; SIGHUP reloads profile and threshold, SIGTERM ends it
    Run(Configured),
    /// Open everything that a configuration names, inspect nothing, and say what is wrong
    Check(Configured),
    /// Look at a profile and its generations
    #[command(subcommand)]
    Profile(ProfileVerb),
}

#[derive(Debug, Args)]
pub struct Demo {
    /// Where profile, heat maps and page go
    #[arg(long, value_name = "DIR", default_value = "rejectd-demo")]
    pub out: PathBuf,
    /// How many parts come down the belt
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub parts: u64,
    /// How many good parts are taught
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(10..=100_000))]
    pub good: u64,
    /// The seed of the product, its defects and the teaching
    #[arg(long, default_value_t = 8)]
    pub seed: u64,
}

#[derive(Debug, Args)]
pub struct Teach {
    /// Folder or file of pictures of good parts; may be given several times
    #[arg(long, value_name = "DIR", required_unless_present = "camera", conflicts_with = "camera")]
    pub from: Vec<PathBuf>,
    /// Take the pictures from the source that the configuration names
    #[arg(long, requires = "config")]
    pub camera: bool,
    /// Where the source and its region of interest are configured, for --camera
    #[arg(long, value_name = "FILE", requires = "camera")]
    pub config: Option<PathBuf>,
    /// How many pictures to take with --camera
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
    /// The pause between two pictures with --camera, in milliseconds
    #[arg(long, default_value_t = 500)]
    pub interval_ms: u64,
    /// The profile to write; an older one is kept as a generation
    #[arg(long, value_name = "FILE")]
    pub profile: PathBuf,
    /// Add the parts to the profile instead of teaching it anew; recipe and head stay
    #[arg(long, conflicts_with_all = ["recipe", "bank_rows"])]
    pub add: bool,
    /// The card of another backbone than the built-in one
    #[arg(long, value_name = "CARD")]
    pub model: Option<PathBuf>,
    /// Ask for at most so many false rejects, as 0.05 or 5%; the smallest bound that the parts allow if absent
    #[arg(long, value_name = "FRACTION", value_parser = parse_fraction)]
    pub max_false_rejects: Option<f64>,
    /// The most rows that the bank may have
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub bank_rows: u32,
    /// The most memory that the bank may take, in MiB
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub bank_mib: u32,
    /// The most memory for the embeddings that the bank is chosen from, in MiB; below 60 parts all are looked at
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub candidates_mib: u32,
    /// The seed of every random choice
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// How many threads embed; all cores if absent
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
    #[command(flatten)]
    pub recipe: RecipeArgs,
}

/// The recipe of a new profile.
#[derive(Debug, Args)]
#[group(id = "recipe", multiple = true)]
pub struct RecipeArgs {
    /// Region of interest in pixels of the picture: x,y,width,height
    #[arg(long, value_name = "X,Y,W,H", value_parser = parse_roi)]
    pub roi: Option<Roi>,
    /// Side of the network's input in pixels, or height x width as 256x384
    #[arg(long, value_name = "PX", value_parser = parse_size)]
    pub input_px: Option<[usize; 2]>,
    /// Outputs of the backbone to use, by their names in the card; the two deepest if absent
    #[arg(long, value_delimiter = ',')]
    pub taps: Vec<String>,
    /// Side of the pooling window, odd
    #[arg(long)]
    pub pool: Option<usize>,
    /// One embedding for each patch, or one for the picture
    #[arg(long, value_enum)]
    pub granularity: Option<GranularityArg>,
    /// Project the embeddings on so many principal axes
    #[arg(long, value_name = "WIDTH", value_parser = clap::value_parser!(u16).range(1..))]
    pub pca: Option<u16>,
    #[arg(long, value_enum, help = "How far an embedding lies from the good parts; cosine if absent")]
    pub distance: Option<DistanceArg>,
    /// The distance is the mean over so many nearest bank rows
    #[arg(long, value_name = "K")]
    pub neighbours: Option<usize>,
    /// max, or top:FRACTION for the mean of the largest distances; top:0.01 if absent
    #[arg(long, value_name = "RULE", value_parser = parse_score)]
    pub score: Option<ScoreRule>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum GranularityArg {
    Patch,
    Image,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum DistanceArg {
    Cosine,
    Euclidean,
    Mahalanobis,
}

#[derive(Debug, Args)]
pub struct Inspect {
    #[arg(long, value_name = "FILE")]
    pub profile: PathBuf,
    /// The card of another backbone than the built-in one
    #[arg(long, value_name = "CARD")]
    pub model: Option<PathBuf>,
    /// One JSON object a line: path, score, threshold, verdict, latency_us
    #[arg(long)]
    pub json: bool,
    /// Write a heat map of every picture into this folder
    #[arg(long, value_name = "DIR")]
    pub heatmaps: Option<PathBuf>,
    /// Pictures, or folders of pictures
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Configured {
    #[arg(long, value_name = "FILE", default_value = "/etc/rejectd/rejectd.toml")]
    pub config: PathBuf,
}

#[derive(Debug, Subcommand)]
pub enum ProfileVerb {
    /// What a profile holds
    Show { file: PathBuf },
    /// Whether a profile is whole, fits the model, and scores its probe as it was taught to
    Verify {
        file: PathBuf,
        /// The card of another backbone than the built-in one
        #[arg(long, value_name = "CARD")]
        model: Option<PathBuf>,
    },
    /// The generations that are kept
    List { file: PathBuf },
    /// Go back to the generation before, as a new generation
    Undo { file: PathBuf },
}

fn parse_fraction(text: &str) -> Result<f64, String> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 0.01));
    let fraction = number.trim().parse::<f64>().map(|number| number * scale);
    fraction.ok().filter(|f| *f > 0.0 && *f < 1.0).ok_or("expected a fraction between 0 and 1, or a percentage".into())
}

fn parse_roi(text: &str) -> Result<Roi, String> {
    let numbers: Option<Vec<u32>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[x, y, width, height]) if width > 0 && height > 0 => Ok(Roi { x, y, width, height }),
        _ => Err("expected four whole numbers x,y,width,height in pixels, with width and height above 0".into()),
    }
}

fn parse_size(text: &str) -> Result<[usize; 2], String> {
    let side = |text: &str| text.trim().parse::<usize>().ok().filter(|side| (1..=8192).contains(side));
    let size = match text.split_once('x') {
        Some((height, width)) => side(height).zip(side(width)).map(|(height, width)| [height, width]),
        None => side(text).map(|side| [side; 2]),
    };
    size.ok_or("expected a side in pixels, as 256, or height x width, as 256x384; at most 8192".into())
}

fn parse_score(text: &str) -> Result<ScoreRule, String> {
    match text.split_once(':') {
        None if text == "max" => Ok(ScoreRule::Max),
        Some(("top", fraction)) => Ok(ScoreRule::TopFraction(parse_fraction(fraction)? as f32)),
        _ => Err("expected max, or top:FRACTION such as top:0.01".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn values_are_read_as_people_write_them() {
        assert_eq!(parse_fraction("5%"), Ok(0.05));
        assert_eq!(parse_size("256x384"), Ok([256, 384]));
        assert_eq!(parse_roi("1, 2,30,40"), Ok(Roi { x: 1, y: 2, width: 30, height: 40 }));
        assert_eq!(parse_score("top:1%"), Ok(ScoreRule::TopFraction(0.01)));
        for wrong in ["0", "150%", "-1", "x"] {
            assert!(parse_fraction(wrong).is_err(), "{wrong}");
        }
    }
}
