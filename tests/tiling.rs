//! Promise: a region that is larger or longer than the network's input is looked at without distortion, in tiles that
//! give one map and one score.

use std::path::Path;

use rejectd::evaluate::metrics::auroc;
use rejectd::frame::{Frame, Roi};
use rejectd::inspect::card::Model;
use rejectd::inspect::recipe::{Distance, Granularity, HeadKind, Tiling};
use rejectd::inspect::{Extractor, InspectError, Inspector};
use rejectd::observe::heat_map;
use rejectd::part::Inspection;
use rejectd::profile::Profile;
use rejectd::source::simulated::{Belt, BeltSettings, Severity};
use rejectd::teach::{GoodParts, Options, TeachError, teach, teach_bank};

mod common;

/// The side of one part; four lie side by side in a picture.
const SIDE: u32 = 128;
const PARTS: u32 = 4;
/// Two patches of the tiles.
const NEAR_PX: f32 = 16.0;
const TILES: Tiling = Tiling { tile_px: [SIDE as usize; 2], overlap: 0.25 };

fn belt(defect_fraction: f64) -> Belt {
    Belt::new(BeltSettings { width: SIDE, height: SIDE, defect_fraction, ..BeltSettings::default() })
}

/// Pictures of one height side by side.
fn stitched(parts: &[Frame]) -> Frame {
    let (height, width) = (parts[0].height(), parts.iter().map(Frame::width).sum());
    let row = |y: u32| {
        parts.iter().flat_map(move |part| {
            let bytes = 3 * part.width() as usize;
            part.rgb()[y as usize * bytes..][..bytes].iter().copied()
        })
    };
    let rgb: Vec<u8> = (0..height).flat_map(row).collect();
    Frame::new(width, height, rgb, parts[0].captured, 0).unwrap()
}

fn good(number: u64) -> Frame {
    let parts: Vec<Frame> = (0..PARTS as u64).map(|place| belt(0.0).good_part(PARTS as u64 * number + place)).collect();
    stitched(&parts)
}

/// A wide picture with one defect.
struct Bad {
    frame: Frame,
    /// The same picture without the defect.
    without: Frame,
    /// The pixels that the defect changes, as (column, row).
    changed: Vec<(u32, u32)>,
}

/// The `number`-th plain defect of the belt, on one of the parts of a picture.
fn bad(number: u64) -> Bad {
    let (all_bad, all_good) = (belt(1.0), belt(0.0));
    let is_plain = |part: &u64| all_bad.defect_of(*part).is_some_and(|(_, severity)| severity == Severity::Plain);
    let part = (0..).filter(is_plain).nth(number as usize).unwrap();
    let place = number as usize % PARTS as usize;
    let (defective, truth) = all_bad.part(part);
    let mut parts: Vec<Frame> = (0..PARTS as u64).map(|i| all_good.good_part(10_000 + 4 * number + i)).collect();
    parts[place] = all_good.part(part).0;
    let without = stitched(&parts);
    parts[place] = defective;
    let left = place as u32 * SIDE;
    let changed = (0..SIDE * SIDE).filter(|i| truth.mask[*i as usize]).map(|i| (left + i % SIDE, i / SIDE)).collect();
    Bad { frame: stitched(&parts), without, changed }
}

fn options(model: &Model, tiling: Option<Tiling>) -> Options {
    let mut options = Options::for_model(model);
    options.recipe.input_px = [SIDE as usize; 2];
    options.recipe.tiling = tiling;
    options
}

fn parts(frames: &[Frame]) -> GoodParts<'_> {
    let names = (0..frames.len()).map(|part| format!("{part:03}")).collect();
    GoodParts::read(names, |part| Ok(frames[part].clone())).unwrap()
}

/// A profile that went through its file and gives its probe the score that it had.
fn taught(model: &Model, options: &Options, frames: &[Frame]) -> Profile {
    let profile = teach(model, options, &parts(frames), &|_, _, _| ()).unwrap();
    let profile = Profile::from_bytes(&profile.to_bytes(), "wide.profile").unwrap();
    Inspector::new(model, &profile).unwrap().verify_probe(&profile).unwrap();
    profile
}

/// An inspector without a calibrated threshold.
fn inspector(model: &Model, options: &Options, frames: &[Frame]) -> Inspector {
    let learned = teach_bank(model, options, &parts(frames), &|_, _, _| ()).unwrap();
    let extractor = Extractor::new(model, &options.recipe).unwrap();
    Inspector::assemble(extractor, learned.metric, learned.bank, f32::INFINITY).unwrap()
}

/// How far the mean of the bad scores lies above that of the good ones, in standard deviations of the good ones.
fn separation(good: &[f32], bad: &[f32]) -> f32 {
    let mean = |scores: &[f32]| scores.iter().sum::<f32>() / scores.len() as f32;
    let variance = good.iter().map(|score| (score - mean(good)).powi(2)).sum::<f32>() / (good.len() - 1) as f32;
    (mean(bad) - mean(good)) / variance.sqrt()
}

/// The middle of the places with the largest value, as (column, row).
fn hottest(width: usize, values: impl Iterator<Item = f32>) -> (f32, f32) {
    let values: Vec<f32> = values.collect();
    let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let places: Vec<usize> = (0..values.len()).filter(|i| values[*i] == most).collect();
    let mean = |of: &dyn Fn(usize) -> usize| places.iter().map(|i| of(*i) as f32).sum::<f32>() / places.len() as f32;
    (mean(&|i| i % width) + 0.5, mean(&|i| i / width) + 0.5)
}

fn distance_to(place: (f32, f32), pixels: &[(u32, u32)]) -> f32 {
    let distance = |&(x, y): &(u32, u32)| (x as f32 + 0.5 - place.0).hypot(y as f32 + 0.5 - place.1);
    pixels.iter().map(distance).fold(f32::INFINITY, f32::min)
}

/// What an inspector finds in wide pictures with and without their defects.
struct Found {
    separation: f32,
    auroc: f64,
    /// In how many pictures the worst patch lies on the defect, give or take two patches of the tiles.
    on_defect: usize,
}

fn find(inspector: &mut Inspector, bads: &[Bad]) -> Found {
    let good: Vec<f32> = bads.iter().map(|bad| inspector.inspect(&bad.without).unwrap().score).collect();
    let found: Vec<Inspection> = bads.iter().map(|bad| inspector.inspect(&bad.frame).unwrap()).collect();
    let scores: Vec<f32> = found.iter().map(|inspection| inspection.score).collect();
    let on_defect = |(inspection, bad): &(&Inspection, &Bad)| {
        let map = &inspection.map;
        let (x, y) = hottest(map.width, map.distances.iter().copied());
        let place = (x * (PARTS * SIDE) as f32 / map.width as f32, y * SIDE as f32 / map.height as f32);
        distance_to(place, &bad.changed) <= NEAR_PX
    };
    Found {
        separation: separation(&good, &scores),
        auroc: auroc(&good, &scores),
        on_defect: found.iter().zip(bads).filter(on_defect).count(),
    }
}

#[test]
fn small_defects_on_long_parts_stand_out_in_tiles_as_they_do_not_in_a_squeezed_picture() {
    let model = Model::built_in();
    let frames: Vec<Frame> = (0..20).map(good).collect();
    let bads: Vec<Bad> = (0..10).map(bad).collect();
    let [mut squeezed, mut tiled] =
        [None, Some(TILES)].map(|tiling| inspector(&model, &options(&model, tiling), &frames));
    let (before, after) = (find(&mut squeezed, &bads), find(&mut tiled, &bads));
    for (name, found) in [("squeezed", &before), ("in tiles", &after)] {
        let Found { separation, auroc, on_defect } = found;
        println!(
            "{name}: separation {separation:.2}, image AUROC {auroc:.3}, {on_defect} of 10 maps point at the defect"
        );
    }
    assert!(after.separation > 3.0 * before.separation.max(1.0));
    assert!(after.auroc >= 0.8 && after.auroc > before.auroc);
    assert!(after.on_defect >= 7 && after.on_defect > before.on_defect);
    the_heat_map_lies_on_the_defect(&mut tiled, &bads[1]);
}

fn the_heat_map_lies_on_the_defect(inspector: &mut Inspector, bad: &Bad) {
    let map = inspector.inspect(&bad.frame).unwrap().map;
    assert_eq!((map.height, map.width), (16, 64), "the map has the aspect of the region");
    let most = map.distances.iter().copied().fold(0.0, f32::max);
    let picture = heat_map::overlay(&bad.frame, None, &map, most / heat_map::RAMP_END);
    assert_eq!(picture.dimensions(), (PARTS * SIDE, SIDE));
    // The end of the ramp is yellow, and nothing else in the picture is.
    let yellow = |pixel: &image::Rgb<u8>| f32::from(pixel.0[0].min(pixel.0[1])) - f32::from(pixel.0[2]);
    let off = distance_to(hottest((PARTS * SIDE) as usize, picture.pixels().map(yellow)), &bad.changed);
    assert!(off <= NEAR_PX, "the heat lies {off} px beside the defect");
}

#[test]
fn one_tile_that_is_the_whole_picture_gives_what_no_tiling_gives() {
    let model = Model::built_in();
    let plain = options(&model, None);
    for granularity in [Granularity::Patch, Granularity::Image] {
        for (frame, tile_px) in
            [(belt(0.0).good_part(3), [SIDE as usize; 2]), (common::belt(200).good_part(3), [300; 2])]
        {
            let mut recipe = plain.recipe.clone();
            recipe.granularity = granularity;
            let whole = Extractor::new(&model, &recipe).unwrap().run(&frame).unwrap().0;
            recipe.tiling = Some(Tiling { tile_px, overlap: 0.25 });
            let mut tiled = Extractor::new(&model, &recipe).unwrap();
            assert_eq!(tiled.map_size(&frame).unwrap(), tiled.grid());
            assert!(tiled.run(&frame).unwrap().0 == whole, "{granularity:?}, tiles of {tile_px:?}");
        }
    }
}

#[test]
fn tiles_lie_in_the_region_of_interest_and_nothing_outside_it_counts() {
    let model = Model::built_in();
    let mut recipe = options(&model, Some(Tiling { tile_px: [64, 64], overlap: 0.25 })).recipe;
    recipe.roi_px = Some(Roi { x: 130, y: 10, width: 200, height: 100 });
    let mut extractor = Extractor::new(&model, &recipe).unwrap();
    let frame = good(0);
    let rgb: Vec<u8> = (0..PARTS * SIDE * SIDE)
        .zip(frame.rgb().chunks_exact(3))
        .flat_map(|(i, pixel)| {
            let (x, y) = (i % (PARTS * SIDE), i / (PARTS * SIDE));
            if (130..330).contains(&x) && (10..110).contains(&y) { pixel.to_vec() } else { vec![255, 0, 0] }
        })
        .collect();
    let red_outside = Frame::new(frame.width(), frame.height(), rgb, frame.captured, 0).unwrap();
    assert_eq!(extractor.map_size(&frame).unwrap(), [25, 50]);
    assert!(extractor.run(&frame).unwrap().0 == extractor.run(&red_outside).unwrap().0);
}

#[test]
fn parts_of_different_lengths_teach_one_profile() {
    let model = Model::built_in();
    let frames: Vec<Frame> = (0..12)
        .map(|number| stitched(&(0..2 + number % 3).map(|i| belt(0.0).good_part(10 * number + i)).collect::<Vec<_>>()))
        .collect();
    let mut small = options(&model, Some(TILES));
    small.recipe.input_px = [64, 64];
    for granularity in [Granularity::Patch, Granularity::Image] {
        small.recipe.granularity = granularity;
        small.recipe.smooth = granularity == Granularity::Patch;
        let mut inspector = Inspector::new(&model, &taught(&model, &small, &frames)).unwrap();
        for frame in &frames[..3] {
            let Inspection { map, score, .. } = inspector.inspect(frame).unwrap();
            let most = map.distances.iter().copied().fold(0.0, f32::max);
            match granularity {
                Granularity::Patch => assert_eq!([map.height, map.width], [8, frame.width() as usize / 16]),
                Granularity::Image => {
                    assert_eq!(map.height, 1);
                    assert_eq!(score, most, "the worst tile counts");
                }
            }
        }
    }
}

#[test]
fn more_than_sixty_parts_relative_distances_and_a_learned_head_work_in_tiles() {
    let model = Model::built_in();
    let frames: Vec<Frame> =
        (0..60).map(|n| stitched(&[belt(0.0).good_part(2 * n), belt(0.0).good_part(2 * n + 1)])).collect();
    let mut options = options(&model, Some(TILES));
    options.recipe.input_px = [64, 64];
    (options.recipe.head, options.pca_width, options.recipe.relative) = (HeadKind::Linear, 32, true);
    let profile = taught(&model, &options, &frames);
    let mut inspector = Inspector::new(&model, &profile).unwrap();
    let mut map = inspector.inspect(&good(50)).unwrap().map.distances;
    map.sort_by(f32::total_cmp);
    assert!((map[(map.len() - 1) / 2] - 1.0).abs() < 1e-6, "the median is that of the whole map");
}

#[test]
fn tiles_that_would_distort_or_are_too_many_are_refused_with_a_way_out() {
    let model = Model::built_in();
    let refusal = |change: &dyn Fn(&mut Options)| {
        let mut options = options(&model, Some(TILES));
        change(&mut options);
        let frames: Vec<Frame> = (0..10).map(|part| common::belt(32).good_part(part)).collect();
        teach(&model, &options, &parts(&frames), &|_, _, _| ()).unwrap_err()
    };
    let wide = refusal(&|o| o.recipe.tiling = Some(Tiling { tile_px: [100, 200], overlap: 0.25 }));
    assert!(
        matches!(wide, TeachError::Recipe(_)) && wide.to_string().contains("200 px wide must be 200 px high"),
        "{wide}"
    );
    let gaussians = refusal(&|o| (o.recipe.distance, o.recipe.normalise) = (Distance::MahalanobisPerPosition, false));
    assert!(gaussians.to_string().contains("choose another distance, or no tiles"), "{gaussians}");

    let mut recipe = options(&model, Some(Tiling { tile_px: [16, 16], overlap: 0.5 })).recipe;
    recipe.input_px = [32, 32];
    let mut extractor = Extractor::new(&model, &recipe).unwrap();
    let error = extractor.run(&common::belt(300).good_part(0)).unwrap_err();
    assert!(matches!(error, InspectError::Tiles { found: 1369, .. }), "{error}");
    assert!(error.to_string().contains("teach with larger tiles"), "{error}");
}

#[test]
fn a_tiled_profile_is_taught_verified_shown_and_used_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let [parts, maps] = ["good", "maps"].map(|name| folder.path().join(name));
    std::fs::create_dir(&parts).unwrap();
    (0..10).for_each(|part| common::save(&good(part), &parts.join(format!("{part}.png"))));
    common::save(&bad(1).frame, &folder.path().join("bad.png"));
    let run = |arguments: &str, code| {
        let output = common::run(arguments, folder.path());
        common::assert_code(&output, code, arguments);
        common::text(&output)
    };
    let teach = "teach --from {}/good --profile {}/wide.profile --input-px 96 --bank-rows 1000";
    run(&format!("{teach} --tile 128 --tile-overlap 25%"), 0);
    run("profile verify {}/wide.profile", 0);
    let shown = run("profile show {}/wide.profile", 0);
    assert!(shown.contains("whole frame in tiles of 128 × 128 px that overlap by 25 %, each at 96 × 96 px"), "{shown}");
    run("inspect --profile {}/wide.profile --heatmaps {}/maps {}/bad.png", 1);
    let picture = image::open(maps.join("bad.png.png")).unwrap();
    assert_eq!((picture.width(), picture.height()), (PARTS * SIDE, SIDE));
    let wrong = run(&format!("{teach} --tile 128x200"), 65);
    assert!(wrong.contains("would be distorted"), "{wrong}");
    run(&format!("{teach} --tile-overlap 0.2"), 2);
    daemon_accepts(folder.path());
}

/// The daemon judges the good pictures by the tiled profile.
fn daemon_accepts(folder: &Path) {
    let config = "[profile]\nfile = \"wide.profile\"\n[source]\nkind = \"folder\"\n[source.folder]\npath = \"good\"\n";
    std::fs::write(folder.join("rejectd.toml"), config).unwrap();
    let output = common::run("run --config {}/rejectd.toml", folder);
    common::assert_code(&output, 0, "run");
    let log = common::text(&output);
    assert!(log.contains("accept: score") && !log.contains("no-decision"), "{log}");
}
