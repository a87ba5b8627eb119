//! `rejectd teach`: good pictures, from a folder or the camera, to a profile.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use super::progress::Bars;
use crate::cli::{DistanceArg, GranularityArg, Teach};
use crate::clock::{Clock, MonotonicClock};
use crate::config;
use crate::daemon::judge::JudgeError;
use crate::daemon::serve;
use crate::frame::Frame;
use crate::inspect::card::Model;
use crate::inspect::recipe::{Distance, Granularity, Head};
use crate::profile::{Profile, generations};
use crate::source::decode::decode_file;
use crate::source::folder::list_images;
use crate::source::{FrameSource, SourceError};
use crate::teach::add::add;
use crate::teach::{GoodParts, Options, teach};

/// So many damaged pictures from the camera end the teaching.
const MAX_BAD_FRAMES: u32 = 10;

/// Runs the verb.
/// # Errors  Whatever keeps it from a profile: the pictures, the camera, the model, too few parts, a full disk.
pub fn run(args: &Teach) -> anyhow::Result<ExitCode> {
    generations::can_save(&args.profile)?;
    let model = Model::open(args.model.as_deref())?;
    let mut options = options(args, &model);
    let started = Instant::now();
    if args.camera {
        let settings = config::load(args.config.as_deref().expect("clap asks for --config"))?;
        options.recipe.roi_px = options.recipe.roi_px.or(settings.roi);
        let clock: Arc<dyn Clock> = Arc::new(MonotonicClock);
        let mut source = serve::open_source(&settings, clock.clone())?;
        println!("{}", source.describe());
        let frames = take(&mut *source, &*clock, args, serve::timeout(&settings))?;
        let names = (1..=frames.len()).map(|number| format!("picture {number}")).collect();
        learn(args, &model, &options, &GoodParts { names, load: &|part| Ok(frames[part].clone()) })?;
    } else {
        let lists = args.from.iter().map(|from| list_images(from)).collect::<Result<Vec<_>, _>>()?;
        let paths = lists.concat();
        let names = paths.iter().map(|path| path.file_name().unwrap_or_default().to_string_lossy().into()).collect();
        learn(args, &model, &options, &GoodParts { names, load: &|part| load(&paths[part]) })?;
    }
    println!("{} in {:.1} s", args.profile.display(), started.elapsed().as_secs_f32());
    Ok(ExitCode::SUCCESS)
}

fn options(args: &Teach, model: &Model) -> Options {
    let mut options = Options::for_model(model);
    let recipe = &mut options.recipe;
    let given = &args.recipe;
    recipe.roi_px = given.roi;
    recipe.input_px = given.input_px.unwrap_or(recipe.input_px);
    if !given.taps.is_empty() {
        recipe.taps = given.taps.clone();
    }
    recipe.pool = given.pool.unwrap_or(recipe.pool);
    recipe.granularity = match given.granularity {
        Some(GranularityArg::Image) => Granularity::Image,
        Some(GranularityArg::Patch) | None => Granularity::Patch,
    };
    if let Some(width) = given.pca {
        recipe.head = Head::Pca;
        options.pca_width = usize::from(width);
    }
    recipe.distance = match given.distance {
        Some(DistanceArg::Euclidean) => Distance::Euclidean,
        Some(DistanceArg::Mahalanobis) => Distance::Mahalanobis,
        Some(DistanceArg::Cosine) | None => Distance::Cosine,
    };
    recipe.normalise = recipe.distance == Distance::Cosine;
    recipe.neighbours = given.neighbours.unwrap_or(recipe.neighbours);
    recipe.score = given.score.unwrap_or(recipe.score);
    Options {
        bank_rows: args.bank_rows as usize,
        bank_bytes: (args.bank_mib as usize) << 20,
        candidate_bytes: (args.candidates_mib as usize) << 20,
        max_false_rejects: args.max_false_rejects,
        threads: args.threads.map_or(options.threads, usize::from),
        seed: args.seed,
        ..options
    }
}

fn learn(args: &Teach, model: &Model, options: &Options, parts: &GoodParts) -> anyhow::Result<()> {
    let bars = Bars::default();
    let progress = |stage, done, total| bars.step(stage, done, total);
    println!("{} good parts, {} threads", parts.names.len(), options.threads);
    let mut profile = if args.add {
        let old = generations::load(&args.profile)?;
        if let (Some(configured), taught) = (options.recipe.roi_px, old.about.recipe.roi_px)
            && taught != Some(configured)
        {
            let taught = taught.map_or("the whole frame".to_owned(), |roi| roi.to_string());
            return Err(JudgeError::OtherRoi { configured, file: args.profile.clone(), taught }.into());
        }
        let added = add(model, &old, options, parts, &progress)?;
        bars.finish();
        println!(
            "{} parts added, {} of which would have been rejected before; {} new bank rows",
            added.parts, added.rejected_before, added.new_rows
        );
        added.profile
    } else {
        let profile = teach(model, options, parts, &progress)?;
        bars.finish();
        profile
    };
    generations::save(&args.profile, &mut profile)?;
    println!("{}", expectation(&profile));
    Ok(())
}

/// What a person should know of a profile that was just taught.
pub fn expectation(profile: &Profile) -> String {
    let about = &profile.about;
    let mut lines = vec![
        format!("bank: {} rows from {} parts", profile.bank.len(), about.bank_parts),
        format!("threshold {}: {}", about.threshold.value, about.threshold.promise),
    ];
    let caught = about.expected_catch.iter().map(|c| format!("{} of {} ({})", c.caught, c.of, c.defect));
    lines.push(format!("synthetic defects caught: {}", caught.collect::<Vec<_>>().join(", ")));
    lines.join("\n")
}

/// The picture at `path`.
/// # Errors  A sentence that names the file.
pub fn load(path: &Path) -> Result<Frame, String> {
    let picture = decode_file(path).map_err(|e| e.to_string())?;
    Frame::new(picture.width, picture.height, picture.rgb, Default::default(), 0)
        .map_err(|e| format!("{}: {e}", path.display()))
}

/// Takes the pictures from the camera, each newer than the pause before it.
fn take(
    source: &mut dyn FrameSource,
    clock: &dyn Clock,
    args: &Teach,
    timeout: Duration,
) -> anyhow::Result<Vec<Frame>> {
    let style = ProgressStyle::with_template("  taking pictures            {wide_bar} {pos}/{len} {eta:>4}");
    let bar = ProgressBar::new(u64::from(args.count)).with_style(style.expect("the template is valid"));
    let mut frames = Vec::new();
    let mut bad = 0;
    while frames.len() < args.count as usize {
        let due = clock.now() + Duration::from_millis(args.interval_ms);
        match source.grab(clock.now(), timeout) {
            Ok(frame) => frames.push(frame),
            Err(SourceError::Exhausted) => break,
            Err(SourceError::BadFrame(why)) if bad < MAX_BAD_FRAMES => {
                bad += 1;
                eprintln!("left out: {why}");
            }
            Err(error) => return Err(error).context(format!("after {} of {} pictures", frames.len(), args.count)),
        }
        bar.set_position(frames.len() as u64);
        clock.sleep_until(due);
    }
    bar.finish_and_clear();
    Ok(frames)
}
