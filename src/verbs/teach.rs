//! `rejectd teach`: good pictures, from a folder or the camera, to a profile.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::Usage;
use super::progress::Bars;
use crate::cli::{DistanceArg, GranularityArg, LearnArgs, MetricArg, MetricArgs, RecipeArgs, ScalingArg, Teach};
use crate::clock::{Clock, MonotonicClock};
use crate::config::{self, Settings, SourceSettings};
use crate::daemon::judge::check_roi;
use crate::daemon::lent::LentCamera;
use crate::daemon::{serve, socket};
use crate::evaluate::dataset::{LabelledImage, anomalous_parts};
use crate::evaluate::known;
use crate::frame::Frame;
use crate::inspect::card::Model;
use crate::inspect::recipe::{Distance, Granularity, HeadKind, Scaling, Tiling};
use crate::profile::{self, Profile, generations};
use crate::source::decode::read_frame;
use crate::source::folder::list_images;
use crate::source::{FrameSource, SourceError};
use crate::teach::add::{Added, add};
use crate::teach::auto::AutoOptions;
use crate::teach::known::KnownDefects;
use crate::teach::learn::LearnOptions;
use crate::teach::{GoodParts, MetricChoice, Options, Product, teach_products};

/// The least overlap of two tiles that nobody chose: what the padding at a tile's border spoils is then seen by the next.
const TILE_OVERLAP: f64 = 0.25;
/// So many suspicious parts are named.
const SHOWN: usize = 5;
/// So many damaged pictures from the camera are left out; one more ends the teaching.
const MAX_BAD_FRAMES: u32 = 10;

/// Runs the verb.
/// # Errors  Whatever keeps it from a profile: the pictures, the camera, the model, too few parts, a full disk.
pub fn run(args: &Teach) -> anyhow::Result<ExitCode> {
    check_counts(args)?;
    args.profile.iter().try_for_each(|profile| generations::can_save(profile))?;
    let model = Model::open(args.model.as_deref())?;
    let mut options = options(&args.learn, args.threads, &model)?;
    let started = Instant::now();
    if args.camera {
        let config = args.config.as_deref().expect("clap asks for --config");
        let mut settings = config::load(config)?;
        if let SourceSettings::Simulated { defect_fraction, .. } = &mut settings.source {
            // Good parts alone are taught, on the simulated belt too.
            *defect_fraction = 0.0;
        }
        options.recipe.roi_px = options.recipe.roi_px.or(settings.roi);
        let old = earlier(args, &options)?;
        let clock: Arc<dyn Clock> = Arc::new(MonotonicClock);
        let mut source = open_camera(&settings, config, clock.clone())?;
        println!("{}", source.describe());
        let frames = take(&mut *source, &*clock, args, serve::timeout(&settings))?;
        // Learning takes a while, and the daemon may want the camera.
        drop(source);
        let names = (1..=frames.len()).map(|number| format!("picture {number}")).collect();
        let parts = GoodParts::read(names, |part| Ok(frames[part].clone()))?;
        learn(args, &model, &options, old, vec![parts])?;
    } else {
        let old = earlier(args, &options)?;
        let parts = args.from.chunks(folders_a_product(args, &args.from)).map(read_parts).collect::<Result<_, _>>()?;
        learn(args, &model, &options, old, parts)?;
    }
    let profiles: Vec<String> = args.profile.iter().map(|profile| profile.display().to_string()).collect();
    println!("{} in {:.1} s", profiles.join(", "), started.elapsed().as_secs_f32());
    Ok(ExitCode::SUCCESS)
}

/// Every product has a profile, and with several of them each has a folder of good parts.
/// # Errors  Folders, profiles and known defects do not belong together.
fn check_counts(args: &Teach) -> anyhow::Result<()> {
    let (products, folders, defects) = (args.profile.len(), args.from.len(), args.defects.len());
    if products > 1 && (folders != products || args.add) {
        let add = if args.add { ", and --add is for one product" } else { "" };
        bail!(Usage(format!(
            "{products} profiles are to be taught from {folders} folders; for several products give --from and --profile \
             equally often, in the same order{add}"
        )));
    }
    let twice = |at: usize| args.profile[..at].contains(&args.profile[at]);
    if let Some(at) = (0..products).find(|at| twice(*at)) {
        bail!(Usage(format!(
            "{} is given twice; every product needs a profile of its own",
            args.profile[at].display()
        )));
    }
    if products > 1 && defects > 0 && defects != products {
        bail!(Usage(format!(
            "{defects} folders of known defects are given for {products} products; give --defects once for each, in the \
             order of --from, or not at all"
        )));
    }
    Ok(())
}

/// All folders are of the one product, or each of one of several.
fn folders_a_product(args: &Teach, folders: &[PathBuf]) -> usize {
    if args.profile.len() == 1 { folders.len().max(1) } else { 1 }
}

/// The pictures in some folders, as parts of one product.
fn read_parts(folders: &[PathBuf]) -> anyhow::Result<GoodParts<'static>> {
    let lists = folders.iter().map(|from| list_images(from)).collect::<Result<Vec<_>, _>>()?;
    let paths = lists.concat();
    let names = paths.iter().map(|path| path.file_name().unwrap_or_default().to_string_lossy().into()).collect();
    Ok(GoodParts::read(names, move |part| read_frame(&paths[part]).map_err(|e| e.to_string()))?)
}

/// The source that the settings name; where a daemon runs by them, the camera that it holds.
/// # Errors  `SocketError`, `SourceError`
fn open_camera(settings: &Settings, config: &Path, clock: Arc<dyn Clock>) -> anyhow::Result<Box<dyn FrameSource>> {
    let socket = socket::client_path(settings, config);
    let is_camera = matches!(settings.source, SourceSettings::V4l2(_));
    if is_camera && socket::has_daemon(&socket)? {
        return Ok(Box::new(LentCamera { socket }));
    }
    Ok(serve::open_source(settings, clock)?)
}

/// The options that the command line gives.
/// # Errors  As [`with_metric`].
pub fn options(args: &LearnArgs, threads: Option<u16>, model: &Model) -> anyhow::Result<Options> {
    let mut options = with_metric(with_recipe(model, &args.recipe)?, &args.metric, &args.recipe)?;
    if let Some(rows) = args.bank_rows {
        options.bank_rows = rows as usize;
        if let MetricChoice::Auto(auto) = &mut options.metric {
            auto.largest_bank = auto.largest_bank.min(options.bank_rows);
        }
    }
    Ok(Options {
        bank_bytes: (args.bank_mib as usize) << 20,
        candidate_bytes: (args.candidates_mib as usize) << 20,
        max_false_rejects: args.max_false_rejects,
        augment: args.augment,
        threads: threads.map_or(options.threads, usize::from),
        seed: args.seed,
        ..options
    })
}

/// The default options with the recipe that the command line gives.
/// # Errors  `--nested` with one tap, or without the product.
pub fn with_recipe(model: &Model, given: &RecipeArgs) -> anyhow::Result<Options> {
    let mut options = Options::for_model(model);
    let recipe = &mut options.recipe;
    recipe.roi_px = given.roi;
    recipe.tiling = given.tile.map(|tile_px| Tiling { tile_px, overlap: given.tile_overlap.unwrap_or(TILE_OVERLAP) });
    recipe.input_px = given.input_px.unwrap_or(recipe.input_px);
    options.choose_size = given.input_px.is_none();
    if !given.taps.is_empty() {
        recipe.taps = given.taps.clone();
    }
    recipe.pool = given.pool.unwrap_or(recipe.pool);
    recipe.granularity = match given.granularity {
        Some(GranularityArg::Image) => Granularity::Image,
        Some(GranularityArg::Patch) | None => Granularity::Patch,
    };
    if let Some(width) = given.pca {
        recipe.head = HeadKind::Linear;
        options.pca_width = usize::from(width);
    }
    recipe.scaling = match given.scaling {
        Some(ScalingArg::Std) => Scaling::Std,
        Some(ScalingArg::Sqrt) => Scaling::SignedSqrt,
        Some(ScalingArg::None) | None => Scaling::None,
    };
    recipe.distance = match given.distance {
        Some(DistanceArg::Euclidean) => Distance::Euclidean,
        Some(DistanceArg::Product) => Distance::Product,
        Some(DistanceArg::Mahalanobis) => Distance::Mahalanobis,
        Some(DistanceArg::MahalanobisPerPosition) => Distance::MahalanobisPerPosition,
        Some(DistanceArg::Cosine) | None => Distance::Cosine,
    };
    recipe.normalise = recipe.distance == Distance::Cosine;
    if given.nested {
        recipe.nested = model.card.nested(&recipe.taps);
        if recipe.nested.is_empty() || recipe.distance != Distance::Product {
            bail!(Usage(
                "--nested measures by later taps alone too, which needs two taps or more and --distance product; give \
                 these, or leave it out"
                    .to_owned()
            ));
        }
    }
    recipe.local = given.local;
    recipe.neighbours = given.neighbours.unwrap_or(recipe.neighbours);
    recipe.relative = given.relative;
    recipe.smooth = given.smooth;
    recipe.score = given.score.unwrap_or(recipe.score);
    Ok(options)
}

/// The options with the metric that the command line asks for.
/// # Errors  The options of a learned metric cannot be read.
pub fn with_metric(mut options: Options, given: &MetricArgs, recipe: &RecipeArgs) -> anyhow::Result<Options> {
    options.metric = match &given.metric {
        Some(MetricArg::Auto) => automatic(given)?,
        None if !recipe.decides() => automatic(given)?,
        Some(MetricArg::None) | None if given.metric_options.is_some() => bail!(Usage(
            "--metric-options say how a metric is chosen or learned, but this recipe is taken as it is; leave them out, or \
             give --metric auto or the name of a loss"
                .to_owned()
        )),
        Some(MetricArg::None) | None => MetricChoice::Given,
        Some(MetricArg::Learned(loss)) => {
            let mut how = LearnOptions::for_loss(loss.clone());
            how.set(given.metric_options.as_deref().unwrap_or_default()).map_err(Usage)?;
            MetricChoice::Learned(how)
        }
    };
    Ok(options)
}

fn automatic(given: &MetricArgs) -> anyhow::Result<MetricChoice> {
    let mut auto = AutoOptions::default();
    auto.set(given.metric_options.as_deref().unwrap_or_default()).map_err(Usage)?;
    Ok(MetricChoice::Auto(auto))
}

/// The profile to add to, before any picture is taken for it.
fn earlier(args: &Teach, options: &Options) -> anyhow::Result<Option<Profile>> {
    if !args.add {
        return Ok(None);
    }
    let profile = &args.profile[0];
    let old = generations::load(profile)?;
    check_roi(options.recipe.roi_px, &old, profile)?;
    Ok(Some(old))
}

fn learn(
    args: &Teach,
    model: &Model,
    options: &Options,
    old: Option<Profile>,
    mut parts: Vec<GoodParts>,
) -> anyhow::Result<()> {
    let bars = Bars::default();
    let progress = |stage, done, total| bars.step(stage, done, total);
    let mut profiles = if let Some(old) = old {
        let parts = parts.remove(0).without(&old.about.taught);
        announce(&parts, options);
        let added = add(model, &old, options, &parts, &progress)?;
        bars.finish();
        report_added(&added, &old);
        vec![added.profile]
    } else {
        parts.iter().for_each(|parts| announce(parts, options));
        let images = known_images(args)?;
        let known = images.iter().zip(&parts).map(|(images, good)| known::read(images, good));
        let known: Vec<KnownDefects> = known.collect::<Result<_, _>>()?;
        known.iter().filter(|known| !known.is_empty()).for_each(|known| println!("{} known defects", known.len()));
        let products: Vec<Product> = parts.iter().zip(&known).map(|(good, known)| Product { good, known }).collect();
        let profiles = teach_products(model, options, &products, &progress)?;
        bars.finish();
        profiles
    };
    for (file, profile) in args.profile.iter().zip(&mut profiles) {
        generations::save(file, profile)?;
        if args.profile.len() > 1 {
            println!("{}:", file.display());
        }
        println!("{}", expectation(profile));
    }
    Ok(())
}

/// The known defects of each product.
fn known_images(args: &Teach) -> anyhow::Result<Vec<Vec<LabelledImage>>> {
    let of_product = |folders: &[PathBuf]| -> anyhow::Result<_> {
        Ok(folders.iter().map(|folder| anomalous_parts(folder)).collect::<Result<Vec<_>, _>>()?.concat())
    };
    let folders = args.defects.chunks(folders_a_product(args, &args.defects));
    let mut images = folders.map(of_product).collect::<anyhow::Result<Vec<_>>>()?;
    images.resize(args.profile.len(), Vec::new());
    Ok(images)
}

fn announce(parts: &GoodParts, options: &Options) {
    println!("{} good parts, {} threads", parts.len(), options.threads);
    if let Some(first) = parts.duplicates().first() {
        println!("{} pictures are left out, for they were taught or given before: {first} …", parts.duplicates().len());
    }
}

fn report_added(added: &Added, old: &Profile) {
    let (before, after) = (old.about.threshold.value, added.profile.about.threshold.value);
    println!("{} parts added, {} new bank rows; threshold {before} before, {after} now", added.parts, added.new_rows);
    if added.new_rows == 0 {
        println!("no row joined the bank: it has them already, or it is full and a larger --bank-mib makes room");
    }
    if !added.rejected_before.is_empty() {
        println!(
            "{} of them would have been rejected before: a new normal, or bad parts by mistake. Look at them:",
            added.rejected_before.len()
        );
        let shown = added.rejected_before.iter().take(SHOWN);
        shown.for_each(|rejected| println!("  {}  score {}", rejected.part, rejected.score));
    }
}

/// What a person should know of a profile that was just taught.
pub fn expectation(profile: &Profile) -> String {
    let about = &profile.about;
    let mut lines = vec![
        format!("bank: {} rows from {} parts", profile.bank.len(), about.bank_parts),
        format!("threshold {}: {}", about.threshold.value, about.threshold.promise),
    ];
    let caught = about.expected_catch.iter().map(|c| format!("{} of {} ({})", c.caught, c.of, c.defect));
    let mut nearest = about.calibration.clone();
    nearest.sort_by(|a, b| b.score.total_cmp(&a.score));
    let nearest = nearest.iter().take(3).map(|scored| format!("{} {}", scored.part, scored.score));
    lines.push(format!("the least typical good parts: {}", nearest.collect::<Vec<_>>().join(", ")));
    lines.push(format!("defects caught: {}", caught.collect::<Vec<_>>().join(", ")));
    let missed: Vec<&str> =
        about.expected_catch.iter().filter(|c| 2 * c.caught < c.of).map(|c| c.defect.as_str()).collect();
    if !missed.is_empty() {
        lines.push(format!("it will probably miss: {}", missed.join(", ")));
    }
    if let Some(chosen) = &about.chosen {
        lines.push(format!("metric: {}", profile::steps(&about.recipe)));
        lines.push(format!("chosen from {}: {}", chosen.tried, chosen.because));
        lines.extend(chosen.best_tried().into_iter().map(|tried| format!("tried: {tried}")));
    }
    lines.join("\n")
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
