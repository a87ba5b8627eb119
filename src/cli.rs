//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::frame::Roi;
use crate::inspect::recipe::ScoreRule;
use crate::teach::augment::Augment;
use crate::teach::defects::Preset;
use crate::teach::losses::Loss;
use crate::verbs::compare::CompareArgs;

#[derive(Debug, Parser)]
#[command(name = "rejectd", version, about, long_about = None, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes:
   0  done, and every inspected part is good
   1  inspect, explain, trigger: a part was rejected; gpio selftest: the loop does not work
   2  the command line is wrong
  65  a picture, profile or set of parts cannot be used
  66  an input is not there
  69  the camera, source, GPIO chip or daemon cannot be used
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
    /// Judge labelled pictures in the layout of MVTec AD, by a profile or by one taught on their good parts
    Evaluate(Box<Evaluate>),
    /// Show where on pictures their score comes from: the anomaly map, or for one embedding a picture a Grad-CAM
    Explain(Explain),
    /// Draw synthetic defects on good parts, with their masks, to look at them
    Synth(Synth),
    /// Run the daemon: source, inspection, reject output; SIGHUP reloads profile and threshold, SIGTERM ends it
    Run(Configured),
    /// Open everything that a configuration names, inspect nothing, and say what is wrong
    Check(Configured),
    /// Tell the running daemon that a part is in front of the camera, and wait for its verdict
    Trigger(Trigger),
    /// Find the GPIO lines, see them move, and try the wiring
    #[command(subcommand)]
    Gpio(GpioVerb),
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
    /// Folder or file of pictures of good parts; may be given several times, for one product, or with as many --profile for
    /// as many products, which then share a metric
    #[arg(long, value_name = "DIR", required_unless_present = "camera", conflicts_with = "camera")]
    pub from: Vec<PathBuf>,
    /// Folder of pictures of known defects, with NAME_mask.png beside a picture where somebody painted what is wrong; may be
    /// given several times, for several products once for each of them
    #[arg(long, value_name = "DIR", conflicts_with = "add")]
    pub defects: Vec<PathBuf>,
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
    /// The profile to write; an older one is kept as a generation. Several times for several products, in the order of
    /// --from
    #[arg(long, value_name = "FILE", required = true)]
    pub profile: Vec<PathBuf>,
    /// Add the parts to the profile instead of teaching it anew; recipe and head stay
    #[arg(long, conflicts_with_all = ["recipe", "metric_source", "bank_rows", "augment"])]
    pub add: bool,
    /// The card of another backbone than the built-in one
    #[arg(long, value_name = "CARD")]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub learn: LearnArgs,
    /// How many threads embed, train and compare; all cores if absent
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
}

/// How a new profile is taught.
#[derive(Debug, Args)]
#[group(id = "learn", multiple = true)]
pub struct LearnArgs {
    /// Ask for at most so many false rejects, as 0.02 or 2%; 5%, or the smallest bound that fewer parts allow, if absent
    #[arg(long, value_name = "FRACTION", value_parser = parse_fraction)]
    pub max_false_rejects: Option<f64>,
    /// The most rows that the bank may have, for the product so many for each of its distances; if absent 2000, or up to 8000
    /// where auto finds that it needs them
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub bank_rows: Option<u32>,
    /// The most memory that the bank may take, in MiB
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub bank_mib: u32,
    /// The most memory for the embeddings that the bank is chosen from, in MiB
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub candidates_mib: u32,
    /// Variants of the good parts that join the bank: light, mirrored, tilted (5 and 10°), turned (every eighth of a turn), or
    /// none; auto tries them where there are less than 60 parts and the metric is chosen
    #[arg(long, value_name = "WHICH", default_value = "auto")]
    pub augment: Augment,
    /// The seed of every random choice
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub metric: MetricArgs,
    #[command(flatten)]
    pub recipe: RecipeArgs,
}

/// Where the metric of a new profile comes from.
#[derive(Clone, Debug, Args)]
#[group(id = "metric_source", multiple = true)]
pub struct MetricArgs {
    /// auto: choose among many on good parts and synthetic defects; none: the recipe as it stands; or the loss that a
    /// head is learned by: contrastive, triplet, quadruplet, lifted, n-pair, magnet, clustering, mixed, softmax,
    /// l2-softmax, sphere-face, cos-face, arc-face, ada-cos, ada-cos-fixed, center. Auto if absent, or none where a
    /// recipe is given
    #[arg(long, value_name = "METRIC", value_parser = parse_metric)]
    pub metric: Option<MetricArg>,
    /// For a learned head, as shape=linear,width=64,steps=600; also hidden, batch, rate, decay, nearness, mixup,
    /// patience, preset (none for no synthetic defects), reference=prototype (the learned class weight instead of a bank).
    /// For auto, of these those that suit every loss, and losses=NAME+NAME (or none), normality=false, sizes=256+384,
    /// rows=8000
    #[arg(long, value_name = "NAME=VALUE,…")]
    pub metric_options: Option<String>,
}

#[derive(Clone, Debug)]
pub enum MetricArg {
    Auto,
    None,
    Learned(Loss),
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
    /// Look at the region in tiles of so many pixels, a side or height x width, instead of squeezing it into the input; for
    /// large or long parts
    #[arg(long, value_name = "PX", value_parser = parse_size)]
    pub tile: Option<[usize; 2]>,
    /// How much of its side a tile at least shares with the next, up to 50%; 25% if absent
    #[arg(long, value_name = "FRACTION", value_parser = parse_overlap, requires = "tile")]
    pub tile_overlap: Option<f64>,
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
    /// Measure the product by the taps but the first alone as well, so that the last counts by itself too; takes almost as long
    /// again
    #[arg(long, requires = "distance")]
    pub nested: bool,
    /// Divide the distance to a bank row by how far good patches usually lie from it
    #[arg(long)]
    pub local: bool,
    /// What is done to each channel: divided by its standard deviation, or its signed square root taken
    #[arg(long, value_enum)]
    pub scaling: Option<ScalingArg>,
    /// Divide the distances of a picture by their median
    #[arg(long)]
    pub relative: bool,
    /// Replace each distance by a weighed mean of those around it
    #[arg(long)]
    pub smooth: bool,
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
    /// The geometric mean of both; searches a bank for each, so that the search takes twice as long
    Product,
    Mahalanobis,
    /// One Gaussian for each position, for parts that always lie the same way; needs a small --pca
    MahalanobisPerPosition,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ScalingArg {
    None,
    Std,
    Sqrt,
}

impl RecipeArgs {
    /// Whether it says more of the metric than where to look and at what size; metrics are not compared on tiles.
    pub fn decides(&self) -> bool {
        !self.taps.is_empty()
            || self.tile.is_some()
            || self.pool.is_some()
            || self.granularity.is_some()
            || self.pca.is_some()
            || self.distance.is_some()
            || self.nested
            || self.local
            || self.scaling.is_some()
            || self.relative
            || self.smooth
            || self.neighbours.is_some()
            || self.score.is_some()
    }
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
pub struct Synth {
    /// Folder of pictures of good parts
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Where the pictures, masks and the contact sheet go
    #[arg(long, value_name = "DIR", default_value = "rejectd-synth")]
    pub out: PathBuf,
    /// Whose defects: mixed (ours: every kind in four severities), daisukelab, daisukelab-blob, shinmura0, cutpaste
    #[arg(long, default_value = "mixed")]
    pub preset: Preset,
    /// Region of interest in pixels of the picture: x,y,width,height
    #[arg(long, value_name = "X,Y,W,H", value_parser = parse_roi)]
    pub roi: Option<Roi>,
    /// How many of the pictures to draw on
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..))]
    pub pictures: u16,
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

#[derive(Debug, Args)]
pub struct Evaluate {
    /// Folder with train/good, test/good, test/DEFECT and, if there are masks, ground_truth/DEFECT, or a folder of such;
    /// may be given several times
    #[arg(long, value_name = "DIR", required = true)]
    pub data: Vec<PathBuf>,
    /// Judge by this profile instead of teaching one on each train/good
    #[arg(long, value_name = "FILE", conflicts_with_all = ["learn", "metric_source", "recipe", "seeds"])]
    pub profile: Option<PathBuf>,
    /// The card of another backbone than the built-in one
    #[arg(long, value_name = "CARD")]
    pub model: Option<PathBuf>,
    /// Give the teaching so many anomalous pictures of test/, drawn by the seed, as known defects; they are not judged
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with_all = ["profile", "compare"])]
    pub known_defects: u16,
    /// Teach and judge, or compare, so many times, with the seeds from --seed on; figures are their means
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub seeds: u16,
    /// Write the figures: an array, one object a set; with --compare JSON lines, one a cell of the tables
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write one page with charts and pictures
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write both into this folder, as evaluation.json and evaluation.html; with --compare a picture of each table
    #[arg(long, value_name = "DIR", conflicts_with_all = ["json", "html"])]
    pub out: Option<PathBuf>,
    /// How many threads embed, train, compare and judge; all cores if absent
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
    #[command(flatten)]
    pub learn: LearnArgs,
    #[command(flatten)]
    pub compare: CompareArgs,
}

#[derive(Debug, Args)]
pub struct Explain {
    #[arg(long, value_name = "FILE")]
    pub profile: PathBuf,
    /// The card of another backbone than the built-in one
    #[arg(long, value_name = "CARD")]
    pub model: Option<PathBuf>,
    /// Where NAME.explain.png of every picture goes: the part, its heat map, the legend
    #[arg(long, value_name = "DIR", default_value = "rejectd-explain")]
    pub out: PathBuf,
    /// One JSON object a line: path, threshold, verdict, score, method, hottest (x, y, times_threshold), explanation
    #[arg(long)]
    pub json: bool,
    /// Pictures, or folders of pictures
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Configured {
    #[arg(long, value_name = "FILE", default_value = "/etc/rejectd/rejectd.toml")]
    pub config: PathBuf,
}

#[derive(Debug, Args)]
pub struct Trigger {
    /// The daemon's configuration, which names its control socket
    #[arg(long, value_name = "FILE", default_value = "/etc/rejectd/rejectd.toml")]
    pub config: PathBuf,
    /// The daemon's control socket, instead of the configured one
    #[arg(long, value_name = "SOCKET")]
    pub socket: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum GpioVerb {
    /// The GPIO chips and their lines: number, name, direction, and who uses them
    List {
        /// Only this chip: its name, path or label
        #[arg(long)]
        chip: Option<String>,
    },
    /// Drive a line for a moment, then let go of it
    Set(GpioSet),
    /// Print the edges of lines with the kernel's time of them
    Watch(GpioWatch),
    /// Turn an output that is wired to an input, and see whether each turn arrives, and how soon
    Selftest(GpioLoopback),
    /// Drive all outputs of a configuration inactive and let go of them, as the service does after a crash
    Release(Configured),
}

#[derive(Debug, Args)]
pub struct GpioSet {
    /// Number or name of the line
    pub line: String,
    /// Name, path or label of its chip
    #[arg(long)]
    pub chip: Option<String>,
    /// Drive it low instead of high
    #[arg(long)]
    pub low: bool,
    /// For how long, in milliseconds
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub ms: u64,
    /// Let go of it as it is, to see what the board does with such a line, instead of setting it back before
    #[arg(long)]
    pub keep: bool,
}

#[derive(Debug, Args)]
pub struct GpioWatch {
    /// Numbers or names of lines of one chip
    #[arg(required = true)]
    pub lines: Vec<String>,
    /// Name, path or label of their chip
    #[arg(long)]
    pub chip: Option<String>,
    /// Changes shorter than this are no edges, in microseconds
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    pub debounce_us: u64,
    /// End after so many edges
    #[arg(long)]
    pub edges: Option<u64>,
    /// End when no edge came for so long, in milliseconds
    #[arg(long)]
    pub silence_ms: Option<u64>,
}

#[derive(Debug, Args)]
pub struct GpioLoopback {
    /// Number or name of the output line
    #[arg(long)]
    pub output: String,
    /// Number or name of the input line that it is wired to
    #[arg(long)]
    pub input: String,
    /// Name, path or label of their chip
    #[arg(long)]
    pub chip: Option<String>,
    /// How often the output is turned
    #[arg(long, default_value_t = 20, value_parser = parse_turns)]
    pub turns: usize,
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

fn parse_turns(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|turns| (1..=100_000).contains(turns)).ok_or("expected an integer from 1 to 100000".into())
}

fn parse_metric(text: &str) -> Result<MetricArg, String> {
    match text {
        "auto" => Ok(MetricArg::Auto),
        "none" => Ok(MetricArg::None),
        name => Loss::default_of(name).map(MetricArg::Learned).map_err(|e| format!("{e}, or 'auto' or 'none'")),
    }
}

fn parse_fraction(text: &str) -> Result<f64, String> {
    let fraction = parse_share(text).filter(|fraction| *fraction > 0.0 && *fraction < 1.0);
    fraction.ok_or("expected a fraction between 0 and 1, or a percentage".into())
}

fn parse_overlap(text: &str) -> Result<f64, String> {
    let overlap = parse_share(text).filter(|overlap| (0.0..=0.5).contains(overlap));
    overlap.ok_or("expected a fraction from 0 to 0.5, or a percentage up to 50%".into())
}

/// A number, or a percentage as one.
fn parse_share(text: &str) -> Option<f64> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 0.01));
    number.trim().parse::<f64>().ok().map(|number| number * scale)
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
        assert_eq!((parse_overlap("0"), parse_overlap("50%")), (Ok(0.0), Ok(0.5)));
        assert!(["51%", "-0.1", "NaN", ""].iter().all(|wrong| parse_overlap(wrong).is_err()));
        for wrong in ["0", "150%", "-1", "x"] {
            assert!(parse_fraction(wrong).is_err(), "{wrong}");
        }
    }
}
