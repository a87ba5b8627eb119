use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::clock::Timestamp;

fn frame(width: u32, height: u32, mut grey: impl FnMut(u32, u32) -> u8) -> Frame {
    let rgb: Vec<u8> = (0..width * height).flat_map(|i| [grey(i % width, i / width); 3]).collect();
    Frame::new(width, height, rgb, Timestamp(5), 9).unwrap()
}

fn plain(side: u32, grey: u8) -> Frame {
    frame(side, side, |_, _| grey)
}

/// A weave with noise of about 3 levels.
fn textured(width: u32, height: u32) -> Frame {
    let mut rng = ChaCha8Rng::seed_from_u64(77);
    frame(width, height, |x, y| {
        100 + 30 * ((x / 4 + y / 4) % 2) as u8 + (0..3).map(|_| rng.random_range(0..6)).sum::<u8>()
    })
}

/// A dark disc with a bright slot, on a light ground.
fn part(side: u32) -> Frame {
    let mut rng = ChaCha8Rng::seed_from_u64(78);
    frame(side, side, |x, y| {
        let [dx, dy] = [x, y].map(|at| at as f32 / side as f32 - 0.5);
        let level = match dx.hypot(dy) {
            _ if dx.abs() < 0.05 && dy.abs() < 0.2 => 170,
            far if far < 0.35 => 60,
            _ => 215,
        };
        level + rng.random_range(0..5)
    })
}

fn every() -> impl Iterator<Item = (Kind, Severity)> {
    Kind::ALL.into_iter().flat_map(|kind| Severity::ALL.map(|severity| (kind, severity)))
}

fn drawn(kind: Kind, severity: Severity, frame: &Frame, roi: Option<Roi>, seed: u64) -> Drawn {
    draw(kind, severity, frame, None, roi, &mut ChaCha8Rng::seed_from_u64(seed))
}

fn check_mask(good: &Frame, drawn: &Drawn, roi: Roi) {
    assert_eq!((drawn.mask.width, drawn.mask.height), (good.width(), good.height()));
    assert_eq!((drawn.frame.captured, drawn.frame.sequence), (good.captured, good.sequence));
    let pixels = good.rgb().chunks(3).zip(drawn.frame.rgb().chunks(3));
    for (i, ((before, after), masked)) in pixels.zip(&drawn.mask.data).enumerate() {
        let most = before.iter().zip(after).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert_eq!(most > 0, *masked, "{} {}: pixel {i}", drawn.severity, drawn.kind);
        assert!(most == 0 || most >= VISIBLE_LEVELS, "{}: pixel {i} by {most}", drawn.kind);
        let (x, y) = (i as u32 % good.width(), i as u32 / good.width());
        let inside = (roi.x..roi.x + roi.width).contains(&x) && (roi.y..roi.y + roi.height).contains(&y);
        assert!(inside || !masked, "{} {}: pixel {x}, {y} outside {roi}", drawn.severity, drawn.kind);
    }
    assert!(drawn.mask.area() > 0, "{} {} changes nothing", drawn.severity, drawn.kind);
}

#[test]
fn the_mask_is_exactly_what_changed_and_lies_on_the_region() {
    let roi = Roi { x: 11, y: 30, width: 90, height: 64 };
    for good in [part(128), textured(128, 120), plain(128, 128)] {
        for (kind, severity) in every() {
            for seed in 0..6 {
                check_mask(&good, &drawn(kind, severity, &good, Some(roi), seed), roi);
            }
        }
    }
}

#[test]
fn every_kind_and_preset_is_drawn_on_every_picture_however_small_dark_or_light() {
    let tiny = Roi { x: 0, y: 0, width: 16, height: 16 };
    let corner = Roi { x: 16, y: 8, width: 16, height: 24 };
    let goods = [
        plain(32, 0),
        plain(32, 128),
        plain(32, 255),
        textured(32, 32),
        part(32),
        frame(32, 32, |x, y| ((x + y) % 2) as u8 * 255),
    ];
    for good in goods {
        let other = textured(48, 20);
        let whole = Roi { x: 0, y: 0, width: 32, height: 32 };
        for roi in [whole, tiny, corner] {
            for seed in 0..4 {
                for (kind, severity) in every() {
                    let mut rng = ChaCha8Rng::seed_from_u64(seed);
                    check_mask(&good, &draw(kind, severity, &good, Some(&other), Some(roi), &mut rng), roi);
                }
                for preset in Preset::ALL {
                    let mut rng = ChaCha8Rng::seed_from_u64(seed);
                    let drawn = preset.draw(&good, Some(&other), Some(roi), &mut rng);
                    check_mask(&good, &drawn, roi);
                    assert!((1..preset.classes().len() as u32).contains(&preset.class_of(drawn.kind)));
                }
            }
        }
    }
}

#[test]
fn one_seed_gives_one_picture() {
    let good = part(96);
    for (kind, severity) in every() {
        assert_eq!(drawn(kind, severity, &good, None, 3), drawn(kind, severity, &good, None, 3));
        assert_ne!(drawn(kind, severity, &good, None, 3).frame, drawn(kind, severity, &good, None, 4).frame, "{kind}");
    }
    for preset in Preset::ALL {
        let draw = |seed| preset.draw(&good, None, None, &mut ChaCha8Rng::seed_from_u64(seed));
        assert_eq!(draw(8), draw(8));
        assert_ne!(draw(8), draw(9));
    }
}

#[test]
fn faint_defects_are_1_to_3_times_the_noise_and_the_others_as_strong_as_they_say() {
    for good in [part(224), textured(224, 224)] {
        for (kind, severity) in every() {
            for seed in 0..8 {
                let drawn = drawn(kind, severity, &good, None, seed);
                if severity == Severity::Faint {
                    assert!((1.0..=3.0).contains(&drawn.contrast), "{kind}, seed {seed}: {}", drawn.contrast);
                }
                if severity > Severity::Faint && drawn.severity == severity && drawn.kind == kind {
                    let added = matches!(kind, Kind::Line | Kind::LineOnObject | Kind::LineOnEdge | Kind::Stain);
                    let opaque = severity.opaque().filter(|_| !added);
                    let contrast = opaque.map_or(0.8 * severity.contrast().start, |(contrast, _)| contrast);
                    let most = if kind == Kind::Stain { 50.0 } else { Severity::MOST_LEVELS };
                    let least = (contrast * drawn.noise).min(0.8 * most);
                    let levels = drawn.contrast * drawn.noise;
                    assert!(levels >= least, "{severity} {kind}, seed {seed}: {levels} of {least}");
                }
            }
        }
    }
}

#[test]
fn most_defects_come_out_as_the_kind_and_the_severity_asked_for() {
    let good = part(224);
    for (kind, severity) in every() {
        let as_asked = (0..20).map(|seed| drawn(kind, severity, &good, None, seed));
        let count = as_asked.filter(|drawn| drawn.kind == kind && drawn.severity == severity).count();
        assert!(count >= 15, "{severity} {kind}: {count} of 20");
    }
}

#[test]
fn where_there_is_no_structure_to_move_a_line_is_drawn_and_named() {
    for kind in [Kind::RotatedDisc, Kind::RotatedSquare, Kind::Missing, Kind::Duplicated] {
        let drawn = drawn(kind, Severity::Clear, &plain(64, 90), None, 1);
        assert_eq!((drawn.kind, drawn.severity), (Kind::Line, Severity::Clear));
        assert!((5.0..=12.0).contains(&drawn.contrast), "{}", drawn.contrast);
    }
}

#[test]
fn plainer_defects_are_larger_and_stronger() {
    let good = part(224);
    for kind in Kind::ALL {
        let mean = |severity: Severity| {
            let all: Vec<Drawn> = (0..24).map(|seed| drawn(kind, severity, &good, None, seed)).collect();
            let area = all.iter().map(|drawn| drawn.mask.area() as f32).sum::<f32>() / 24.0;
            (area, all.iter().map(|drawn| drawn.contrast).sum::<f32>() / 24.0)
        };
        let [faint, weak, clear, plain] = Severity::ALL.map(mean);
        assert!(faint.1 < weak.1 && weak.1 < clear.1.min(plain.1), "{kind}: {:?}", [faint, weak, clear, plain]);
        assert!(faint.0 < clear.0 && clear.0 < plain.0, "{kind}: {:?}", [faint, weak, clear, plain]);
    }
}

#[test]
fn a_defect_covers_the_same_share_of_a_small_and_of_a_large_picture() {
    for kind in [Kind::Line, Kind::Stain, Kind::CutPastePatch] {
        let share = |side: u32| {
            let good = part(side);
            let area: usize = (0..30).map(|seed| drawn(kind, Severity::Plain, &good, None, seed).mask.area()).sum();
            area as f32 / (30 * side * side) as f32
        };
        let (small, large) = (share(128), share(512));
        assert!((0.6..1.7).contains(&(small / large)), "{kind}: {small} and {large}");
    }
}

#[test]
fn trap_t8_no_line_of_daisukelab_is_without_a_trace() {
    let good = plain(224, 200);
    for seed in 0..300 {
        for preset in [Preset::Daisukelab, Preset::DaisukelabBlob] {
            let drawn = preset.draw(&good, None, None, &mut ChaCha8Rng::seed_from_u64(seed));
            assert!(drawn.mask.area() >= 1);
            let width = if preset == Preset::Daisukelab { 16.0 } else { 10.0 };
            let length = if preset == Preset::Daisukelab { 63.7 } else { 28.3 };
            assert!(drawn.mask.area() as f32 <= (length + 2.0) * (width + 2.0), "{}", drawn.mask.area());
        }
    }
}

#[test]
fn patches_of_cutpaste_fill_the_range_of_the_original() {
    let good = textured(256, 256);
    let mut largest = 0;
    for seed in 0..200 {
        let drawn = Preset::Cutpaste.draw(&good, None, None, &mut ChaCha8Rng::seed_from_u64(seed));
        let most = if drawn.kind == Kind::CutPastePatch { 0.15 * 65536.0 } else { 17.0 * 26.0 + 60.0 };
        assert!(drawn.mask.area() as f32 <= 1.05 * most, "{}: {}", drawn.kind, drawn.mask.area());
        largest = largest.max(drawn.mask.area());
    }
    assert!(largest > 7000, "{largest}");
}

#[test]
#[should_panic(expected = "the region [20, 0, 20, 32] must lie in the frame of 32 × 32 pixels")]
fn a_region_outside_the_frame_is_a_mistake() {
    drawn(Kind::Line, Severity::Plain, &plain(32, 5), Some(Roi { x: 20, y: 0, width: 20, height: 32 }), 0);
}
