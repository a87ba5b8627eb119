//! `rejectd demo`: the whole job on a rendered product, in one command.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use image::{GrayImage, Luma, RgbImage};

use super::not_written;
use super::progress::Bars;
use super::teach::expectation;
use crate::cli;
use crate::clock::{Clock, MonotonicClock};
use crate::config::{OnFault, TriggerSettings};
use crate::daemon::{self, Station, Summary, judge_by};
use crate::evaluate::metrics::{auroc, percentile};
use crate::evaluate::report::{self, Report, ReportPart};
use crate::inspect::card::Model;
use crate::inspect::recipe::ScoreRule;
use crate::inspect::threads::cores;
use crate::inspect::{Inspector, short};
use crate::line::dry_run::DryRun;
use crate::line::schedule::{Delay, Ejection, Mode, Schedule};
use crate::observe::heat_map;
use crate::observe::journal;
use crate::part::{Outcome, StageTimings, Verdict};
use crate::profile::{Profile, generations};
use crate::source::simulated::{Belt, BeltSettings, DefectKind, Severity, SimulatedSource};
use crate::teach::{GoodParts, Options, teach};

/// As on a line where the ejector stands a second behind the camera.
const EJECTION: Ejection = Ejection {
    mode: Mode::Eject,
    delay: Delay::Time(Duration::from_secs(1)),
    pulse: Duration::from_millis(50),
    min_gap: Duration::ZERO,
};
const DEFECT_FRACTION: f64 = 0.2;

type Defect = (DefectKind, Severity);

/// What the demo keeps of a part.
struct Seen {
    truth: Option<Defect>,
    verdict: Verdict,
    score: Option<f32>,
    timings: StageTimings,
    latency: Duration,
}

/// Runs the verb.
/// # Errors  The output folder cannot be written; anything else would be a bug.
pub fn run(args: &cli::Demo) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(&args.out).map_err(not_written(&args.out))?;
    let belt = BeltSettings {
        seed: args.seed,
        defect_fraction: DEFECT_FRACTION,
        parts: Some(args.parts),
        ..BeltSettings::default()
    };
    let model = Model::built_in();
    let profile = learn(args, &model, &Belt::new(belt.clone()))?;
    let profile_file = args.out.join("demo.profile");

    println!(
        "\nwatching {} parts on the belt, {:.0} % with a defect; dry run, no line is driven",
        args.parts,
        100.0 * DEFECT_FRACTION
    );
    let inspector = Inspector::new(&model, &profile)?;
    let heat_maps = args.out.join("heat-maps");
    std::fs::create_dir_all(&heat_maps).map_err(not_written(&heat_maps))?;
    let watched = watch(&belt, inspector, &heat_maps)?;
    print_results(&watched.seen, &profile, watched.summary);

    println!("\nwriting the page …");
    let page = args.out.join("report.html");
    let report = page_of(args, &profile, watched);
    std::fs::write(&page, report::render(&report)).map_err(not_written(&page))?;
    println!("profile    {}", profile_file.display());
    println!("heat maps  {}", heat_maps.display());
    println!("page       {}   open it in a browser", page.display());
    Ok(ExitCode::SUCCESS)
}

fn learn(args: &cli::Demo, model: &Model, belt: &Belt) -> anyhow::Result<Profile> {
    println!("teaching a rendered product from {} good parts", args.good);
    let mut options = Options { seed: args.seed, ..Options::for_model(model) };
    // The defects of this product are small and its surface is regular: fine taps, and the worst patch decides.
    options.recipe.taps = vec!["stage2".into(), "stage3".into()];
    options.recipe.grid_stride = 8;
    options.recipe.score = ScoreRule::Max;
    let names = (1..=args.good).map(|number| format!("good part {number}")).collect();
    // Every fourth part, so that teaching sees as much of the lamp's drift as a morning would show.
    let parts = GoodParts::read(names, |part| Ok(belt.good_part(4 * part as u64)))?;
    let bars = Bars::default();
    let mut profile = teach(model, &options, &parts, &|stage, done, total| bars.step(stage, done, total))?;
    bars.finish();
    generations::save(&args.out.join("demo.profile"), &mut profile)?;
    println!("{}", expectation(&profile));
    Ok(profile)
}

struct Watched {
    seen: Vec<Seen>,
    shown: Vec<ReportPart>,
    summary: Summary,
}

/// Runs the daemon's loop over the belt, prints a line for each part and keeps what the page shows.
fn watch(belt_settings: &BeltSettings, inspector: Inspector, heat_maps: &Path) -> anyhow::Result<Watched> {
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock);
    let belt = Belt::new(belt_settings.clone());
    let roi = inspector.recipe().roi_px;
    let station = Station {
        source: Box::new(SimulatedSource::new(belt_settings.clone(), clock.clone())),
        timeout: Duration::from_secs(1),
        frame_limit: Duration::from_secs(1),
        trigger: TriggerSettings::EveryFrame { interval: Duration::ZERO },
        presence: None,
        judge: judge_by(inspector, Duration::from_millis(200)),
        on_fault: OnFault::Reject,
        schedule: Schedule::new(EJECTION),
        outputs: Box::new(DryRun { because: "it is a demonstration" }),
        heartbeat: Duration::from_millis(50),
        stops_with_ready: false,
        inputs: None,
        confirm_within: None,
        clock,
        // The page wants every part, however slow the pictures are to paint.
        observer_backlog: belt_settings.parts.unwrap_or(0) as usize,
    };
    let (mut seen, mut shown, mut failed) = (Vec::new(), Vec::new(), None);
    let summary = daemon::run(
        station,
        |_| (),
        |outcome| {
            let index = outcome.part.id.0 - 1;
            let truth = belt.defect_of(index);
            println!(
                "{:<62} {}",
                journal::message(&outcome),
                truth.map_or("good".to_owned(), |(kind, severity)| format!("{severity} {kind}"))
            );
            let (picture, heat_map) = pictures(&outcome, roi);
            if outcome.verdict == Verdict::Reject
                && let Some(heat_map) = &heat_map
                && let Err(error) = heat_map::save_png(&heat_maps.join(format!("part-{:04}.png", index + 1)), heat_map)
            {
                failed.get_or_insert(error);
            }
            shown.push(ReportPart {
                label: format!("part {}", index + 1),
                truth: truth.map_or(report::Truth::Good, |(kind, severity)| report::Truth::Anomalous {
                    defect: kind.to_string(),
                    severity: Some(severity.to_string()),
                }),
                score: outcome.inspection.as_ref().map(|inspection| inspection.score),
                verdict: outcome.verdict.word(),
                latency: Some(outcome.latency()),
                picture,
                heat_map,
                mask: truth.map(|_| mask(&belt, belt_settings, index)),
            });
            seen.push(Seen {
                truth,
                score: outcome.inspection.as_ref().map(|inspection| inspection.score),
                timings: outcome.inspection.as_ref().map(|inspection| inspection.timings).unwrap_or_default(),
                latency: outcome.latency(),
                verdict: outcome.verdict,
            });
        },
    );
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(Watched { seen, shown, summary }),
    }
}

/// The picture and its heat map, in the size that the page shows.
fn pictures(outcome: &Outcome, roi: Option<crate::frame::Roi>) -> (Option<RgbImage>, Option<RgbImage>) {
    let Some(frame) = &outcome.frame else { return (None, None) };
    let picture = RgbImage::from_raw(frame.width(), frame.height(), frame.rgb().to_vec()).expect("a frame is whole");
    let overlay =
        |inspection: &crate::part::Inspection| heat_map::overlay(frame, roi, &inspection.map, inspection.threshold);
    let heat_map = outcome.inspection.as_ref().map(|inspection| report::thumbnail(&overlay(inspection)));
    (Some(report::thumbnail(&picture)), heat_map)
}

fn mask(belt: &Belt, settings: &BeltSettings, index: u64) -> GrayImage {
    let mask = belt.part(index).1.mask;
    GrayImage::from_fn(settings.width, settings.height, |x, y| {
        Luma([255 * u8::from(mask[(y * settings.width + x) as usize])])
    })
}

fn print_results(seen: &[Seen], profile: &Profile, summary: Summary) {
    let good: Vec<&Seen> = seen.iter().filter(|seen| seen.truth.is_none()).collect();
    let bad: Vec<&Seen> = seen.iter().filter(|seen| seen.truth.is_some()).collect();
    let accepted = |seen: &&&Seen| seen.verdict == Verdict::Accept;
    let false_rejects = good.len() - good.iter().filter(accepted).count();
    let false_accepts = bad.iter().filter(accepted).count();
    println!(
        "\n{} parts: {} accepted, {} rejected, {} without a decision",
        summary.parts(),
        summary.accepted,
        summary.rejected,
        summary.no_decision
    );
    println!(
        "false rejects   {false_rejects} of {} good parts; promised: {}",
        good.len(),
        profile.about.threshold.promise
    );
    println!("false accepts   {false_accepts} of {} parts with a defect", bad.len());
    let scores = |of: &[&Seen]| of.iter().filter_map(|seen| seen.score).collect::<Vec<_>>();
    if !good.is_empty() && !bad.is_empty() {
        println!("image AUROC     {:.3}", auroc(&scores(&good), &scores(&bad)));
    }
    println!("\ncaught           {}", Severity::ALL.map(|severity| format!("{severity:>9}")).concat());
    for (kind, by_severity) in caught(&bad) {
        let cell = |severity| match by_severity.get(&severity) {
            Some((caught, of)) => format!("{:>9}", format!("{caught}/{of}")),
            None => format!("{:>9}", "–"),
        };
        println!("{:<17}{}", kind.to_string(), Severity::ALL.map(cell).concat());
    }
    println!("\nlatency, ms         p50     p95     p99     max");
    for (stage, times) in
        stages(seen).into_iter().chain([("from trigger".to_owned(), seen.iter().map(|s| s.latency).collect())])
    {
        let at = |percent| percentile(&times, percent).unwrap_or_default().as_secs_f64() * 1e3;
        println!("{stage:<15} {:>7.1} {:>7.1} {:>7.1} {:>7.1}", at(50.0), at(95.0), at(99.0), at(100.0));
    }
}

/// How many of how many, by kind and severity.
fn caught(bad: &[&Seen]) -> BTreeMap<DefectKind, BTreeMap<Severity, (usize, usize)>> {
    let mut table: BTreeMap<DefectKind, BTreeMap<Severity, (usize, usize)>> = BTreeMap::new();
    for seen in bad {
        let (kind, severity) = seen.truth.expect("only parts with a defect come here");
        let cell = table.entry(kind).or_default().entry(severity).or_default();
        cell.0 += usize::from(seen.verdict != Verdict::Accept);
        cell.1 += 1;
    }
    table
}

fn stages(seen: &[Seen]) -> Vec<(String, Vec<Duration>)> {
    let stage = |name: &str, of: fn(&StageTimings) -> Duration| {
        (name.to_owned(), seen.iter().map(|seen| of(&seen.timings)).collect())
    };
    vec![
        stage("preprocess", |timings| timings.preprocess),
        stage("backbone", |timings| timings.backbone),
        stage("embedding", |timings| timings.embedding),
        stage("search", |timings| timings.search),
        stage("inspection", StageTimings::total),
    ]
}

fn page_of(args: &cli::Demo, profile: &Profile, watched: Watched) -> Report {
    let about = &profile.about;
    let fact = |name: &str, value: String| (name.to_owned(), value);
    Report {
        title: "rejectd demo".to_owned(),
        subtitle: format!("A rendered product, taught from {} good parts", args.good),
        facts: vec![
            fact("rejectd", env!("CARGO_PKG_VERSION").to_owned()),
            fact("model", format!("{} {}", about.backbone.name, short(&about.backbone.fingerprint))),
            fact("profile", profile.fingerprint()),
            fact("bank", format!("{} rows of width {}", profile.bank.len(), profile.bank.width())),
            fact("seed", args.seed.to_string()),
            fact("machine", format!("{}, {} cores", std::env::consts::ARCH, cores())),
        ],
        threshold: about.threshold.value,
        promise: format!("It promises {}.", about.threshold.promise),
        stages: stages(&watched.seen),
        parts: watched.shown,
        timed: "trigger to verdict".to_owned(),
        ..Report::default()
    }
}
