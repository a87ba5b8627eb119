use std::panic::catch_unwind;

use super::format::checksum;
use super::*;
use crate::clock::Timestamp;
use crate::frame::Roi;
use crate::inspect::metric::{Head, Normality, Projection};
use crate::inspect::recipe::Tiling;

/// A profile whose file is about 3 KiB: a bank of three unit rows of width 2, a linear head from width 3.
pub(super) fn small() -> Profile {
    let score = |part: &str, score| CalibrationScore { part: part.to_string(), score };
    let recipe = Recipe {
        roi_px: Some(Roi { x: 1, y: 2, width: 16, height: 17 }),
        tiling: None,
        input_px: [64, 96],
        taps: vec!["stage2".to_string(), "stage3".to_string()],
        pool: 3,
        grid_stride: 8,
        granularity: Granularity::Patch,
        head: HeadKind::Linear,
        scaling: Scaling::None,
        normalise: true,
        distance: Distance::Cosine,
        nested: Vec::new(),
        local: false,
        neighbours: 1,
        prototype: false,
        normality: false,
        relative: false,
        smooth: false,
        score: ScoreRule::TopFraction(0.01),
    };
    Profile {
        about: About {
            format_version: FORMAT_VERSION,
            made_by: "rejectd 0.1.0".to_string(),
            taught_at: 1_772_348_700,
            generation: 0,
            parent: None,
            backbone: BackboneId { name: "efficientnet-lite0".to_string(), fingerprint: "1f".repeat(32) },
            recipe,
            threshold: Threshold {
                value: 0.1,
                promise: Promise::Bound { false_rejects: 0.05, confidence: 0.95, parts: 59, rank: 59 },
            },
            taught: vec!["00112233445566ff".into()],
            calibration: vec![score("000.png", 0.07), score("a \"quoted\" – näme.png", 0.1)],
            bank_parts: 140,
            seed: u64::MAX,
            probe_score: 0.08,
            augmentation: None,
            chosen: None,
            expected_catch: vec![ExpectedCatch { defect: "line".to_string(), caught: 9, of: 10 }],
        },
        bank: Embeddings::new(2, vec![1.0, 0.0, 0.6, 0.8, 0.0, -1.0], true),
        metric: Metric { head: Some(head()), ..Metric::default() },
        probe: Frame::new(18, 19, (0..3 * 18 * 19).map(|i| i as u8).collect::<Vec<_>>(), Timestamp(0), 0).unwrap(),
    }
}

fn head() -> Head {
    Head::Linear(Projection { mean: vec![0.5, -0.5, 1e-30], weight: vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.25] })
}

fn change_mean(profile: &mut Profile, at: usize, value: f32) {
    let Some(Head::Linear(head)) = &mut profile.metric.head else { unreachable!("the small profile has one") };
    head.mean[at] = value;
}

/// As `small`, with every learned step that there is: an MLP head, scaling by deviations, a learned score.
fn learned() -> Profile {
    let hidden = Projection { mean: vec![0.0; 3], weight: vec![0.5; 12] };
    let mlp =
        |width: usize| Head::Mlp { hidden: hidden.clone(), weight: vec![0.25; 4 * width], bias: vec![1.0; width] };
    let mut profile = small();
    let recipe = &mut profile.about.recipe;
    (recipe.head, recipe.scaling, recipe.normality, recipe.relative) = (HeadKind::Mlp, Scaling::Std, true, true);
    profile.metric = Metric {
        head: Some(mlp(2)),
        deviation: Some(vec![2.0, 3.0]),
        whitening: None,
        spread: None,
        normality: Some(Normality { head: mlp(1), weight: 0.5 }),
    };
    profile
}

/// As `small`, but Mahalanobis: a bank of one row and a whitening, no head.
fn mahalanobis() -> Profile {
    let mut profile = small();
    profile.about.recipe.distance = Distance::Mahalanobis;
    profile.about.recipe.head = HeadKind::Identity;
    profile.bank = Embeddings::new(2, vec![3.0, -4.0], false);
    profile.metric.head = None;
    profile.metric.whitening = Some(vec![1.0, 0.0, 0.5, 2.0]);
    profile
}

fn open(bytes: &[u8]) -> Result<Profile, ProfileError> {
    Profile::from_bytes(bytes, "bottle.profile")
}

/// `bytes` with a checksum that fits them.
fn signed(mut bytes: Vec<u8>) -> Vec<u8> {
    let digits = checksum(&bytes);
    bytes[35..99].copy_from_slice(digits.as_bytes());
    bytes
}

/// The file of `profile` with `from` replaced in its header, wherever it stands, and a fitting checksum.
fn forged(profile: &Profile, from: &str, to: &str) -> Vec<u8> {
    let bytes = profile.to_bytes();
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&bytes[8..end]).unwrap();
    assert!(header.contains(from), "{from} is not in {header}");
    let header = header.replace(from, to);
    signed([&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[end..]].concat())
}

fn sentence(result: Result<Profile, ProfileError>) -> String {
    let sentence = result.expect_err("the profile is refused").to_string();
    assert!(sentence.starts_with("bottle.profile: ") && sentence.contains("'rejectd teach'"), "{sentence}");
    sentence
}

#[test]
fn a_profile_comes_back_as_it_was_saved_and_equal_profiles_give_equal_bytes() {
    for profile in [small(), mahalanobis()] {
        let bytes = profile.to_bytes();
        let back = open(&bytes).unwrap();
        assert_eq!(back, profile);
        assert_eq!(back.to_bytes(), bytes);
    }
}

#[test]
fn the_file_is_one_of_safetensors_with_aligned_tensors() {
    let bytes = small().to_bytes();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = file.names();
    names.sort();
    assert_eq!(names, ["bank", "head.mean", "head.weight", "probe.rgb"]);
    assert_eq!(file.tensor("bank").unwrap().shape(), [3, 2]);
    assert_eq!(file.tensor("head.weight").unwrap().shape(), [2, 3]);
    assert_eq!(file.tensor("probe.rgb").unwrap().shape(), [19, 18, 3]);
    assert_eq!(u64::from_le_bytes(bytes[..8].try_into().unwrap()) % 8, 0);
}

#[test]
fn a_file_cut_anywhere_is_damaged() {
    let bytes = small().to_bytes();
    let lengths = (0..1024.min(bytes.len())).chain((0..64).map(|i| i * bytes.len() / 64)).chain([bytes.len() - 1]);
    for length in lengths {
        let refused = open(&bytes[..length]);
        assert!(matches!(refused, Err(ProfileError::Damaged { .. })), "cut to {length}: {refused:?}");
    }
    assert!(sentence(open(&[])).contains("damaged: it is empty"));
    assert!(sentence(open(&bytes[..500])).contains("damaged: it is cut short: only 500 bytes are left"));
    assert!(sentence(open(&bytes[..bytes.len() - 1])).contains("is not what its header says"));
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(open(&longer), Err(ProfileError::Damaged { .. })));
}

#[test]
fn a_file_with_any_single_byte_changed_is_damaged() {
    let bytes = small().to_bytes();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x20, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            let refused = open(&changed);
            assert!(matches!(refused, Err(ProfileError::Damaged { .. })), "byte {at} ^ {flip:#x}: {refused:?}");
        }
    }
}

#[test]
fn a_changed_header_with_a_fitting_checksum_is_read_or_refused_but_never_panics() {
    let bytes = small().to_bytes();
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for at in (0..8).chain(99..end) {
        for value in [bytes[at] ^ 1, b'0', b'9', b'"', b'}', 0, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = value;
            let opened = catch_unwind(|| open(&signed(changed)));
            let opened = opened.unwrap_or_else(|_| panic!("byte {at} = {value:#x} panicked"));
            assert!(opened.is_err() || opened.is_ok_and(|profile| profile.check().is_ok()));
        }
    }
}

#[test]
fn sizes_that_lie_are_refused_without_reserving_memory_for_them() {
    for (from, to) in [
        (r#""shape":[3, 2]"#, r#""shape":[4611686018427387904, 4]"#),
        (r#""shape":[3, 2]"#, r#""shape":[1000000000000, 2]"#),
        (r#""shape":[3, 2]"#, r#""shape":[6]"#),
        (r#""shape":[3, 2]"#, r#""shape":[6, 1]"#),
        (r#""data_offsets":[0,24]"#, r#""data_offsets":[0,18446744073709551615]"#),
        (r#""shape":[19, 18, 3]"#, r#""shape":[1026, 1, 1]"#),
        (r#""shape":[19, 18, 3]"#, r#""shape":[1, 342, 3]"#),
    ] {
        sentence(open(&forged(&small(), from, to)));
    }
    for length in [u64::MAX, 1 << 40, 99_999_999] {
        let mut bytes = small().to_bytes();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        assert!(matches!(open(&signed(bytes)), Err(ProfileError::Damaged { .. })));
    }
}

#[test]
fn a_recipe_step_that_this_version_does_not_know_is_refused_by_name() {
    for (from, to, named) in [
        (r#"\"cosine\""#, r#"\"chebyshev\""#, "unknown variant `chebyshev`"),
        (r#"\"linear\""#, r#"\"cubic\""#, "unknown variant `cubic`"),
        (r#"\"pool\":3"#, r#"\"pool\":3,\"blur\":2"#, "unknown field `blur`"),
        (r#"\"top_fraction\":"#, r#"\"bottom_fraction\":"#, "unknown variant `bottom_fraction`"),
        (r#"\"seed\":"#, r#"\"sown\":"#, "unknown field `sown`"),
        (r#""rejectd":"#, r#""colour":"red","rejectd":"#, "the metadata 'colour'"),
        (r#""bank":{"dtype":"F32""#, r#""bank":{"dtype":"I32""#, "the tensor 'bank' is I32 of [3, 2], not F32"),
        (r#""head.mean":"#, r#""head.sort":"#, "the tensor 'head.sort'"),
        (r#"\"format_version\":2"#, r#"\"format_version\":1"#, "its format is 1, not 2"),
    ] {
        let refused = open(&forged(&small(), from, to));
        assert!(matches!(refused, Err(ProfileError::Unknown { .. })), "{refused:?}");
        let sentence = sentence(refused);
        assert!(sentence.contains(named) && sentence.contains("(rejectd 0.1.0)"), "{sentence}");
        assert!(!sentence.contains(" at line "), "{sentence}");
    }
}

#[test]
fn a_profile_of_a_newer_rejectd_says_so_even_where_all_else_is_new() {
    let bytes = forged(&small(), r#"{\"format_version\":2,"#, r#"{\"format_version\":3,\"steps\":[],"#);
    assert_eq!(
        open(&bytes).unwrap_err().to_string(),
        "bottle.profile: written by a newer rejectd (rejectd 0.1.0, format 3), but this one reads format 2; install \
         that version, or teach it again with 'rejectd teach'"
    );
}

#[test]
fn a_profile_that_contradicts_itself_is_refused_with_the_contradiction() {
    type Change = fn(&mut Profile);
    let refused: &[(Change, &str)] = &[
        (|p| p.about.recipe.pool = 2, "pool = 2, not an odd number from 1 to 64"),
        (|p| p.about.recipe.pool = 0, "pool = 0"),
        (|p| p.about.recipe.input_px = [0, 64], "input_px = [0, 64]"),
        (|p| p.about.recipe.input_px = [64, 8193], "input_px = [64, 8193], not 1 to 8192"),
        (|p| p.about.recipe.taps.clear(), "names no taps"),
        (|p| p.about.recipe.grid_stride = 0, "grid_stride = 0, not 1 to 64"),
        (|p| p.about.recipe.neighbours = 0, "0 neighbours"),
        (|p| p.about.recipe.neighbours = 4, "asks for 4 neighbours, but its bank holds 3 rows"),
        (|p| p.about.recipe.score = ScoreRule::TopFraction(0.0), "top_fraction = 0,"),
        (|p| p.about.recipe.score = ScoreRule::TopFraction(1.5), "top_fraction = 1.5"),
        (|p| p.about.recipe.normalise = false, "cosine, which needs normalise = true"),
        (
            |p| (p.about.recipe.relative, p.about.recipe.granularity) = (true, Granularity::Image),
            "one embedding a picture has always the score 1",
        ),
        (|p| p.about.recipe.distance = Distance::Euclidean, "Euclidean, which needs normalise = false"),
        (|p| p.about.recipe.distance = Distance::Mahalanobis, "lacks the tensor whitening.weight"),
        (|p| p.about.recipe.roi_px = Some(Roi { x: 3, y: 0, width: 16, height: 16 }), "roi_px = [3, 0, 16, 16]"),
        (|p| p.about.recipe.roi_px = Some(Roi { x: u32::MAX, y: 0, width: 16, height: 16 }), "roi_px"),
        (|p| p.about.recipe.head = HeadKind::Identity, "holds a head, but its recipe uses none"),
        (|p| p.metric.head = None, "lacks the tensors of the head"),
        (|p| change_mean(p, 1, f32::NAN), "head.mean holds NaN at 1"),
        (|p| p.metric.whitening = Some(vec![0.0; 4]), "holds whitening.weight, but its distance uses none"),
        (|p| p.bank = Embeddings::new(2, vec![1.0, f32::INFINITY], true), "bank holds inf at 1"),
        (|p| p.bank = Embeddings::new(2, vec![1.0, 0.0, 0.6, 0.9], true), "bank row 1 has length 1.08"),
        (
            |p| p.about.threshold.promise = Promise::Bound { false_rejects: 0.1, confidence: 0.95, parts: 5, rank: 6 },
            "promise",
        ),
    ];
    assert_eq!(small().check(), Ok(()));
    for (change, fault) in refused {
        let mut profile = small();
        change(&mut profile);
        let result = open(&profile.to_bytes());
        assert!(matches!(result, Err(ProfileError::Unfit { .. })), "{fault}: {result:?}");
        let sentence = sentence(result);
        assert!(sentence.contains(fault), "{sentence}");
    }
    // JSON knows no infinity, so these never reach a file; `check` is what refuses them.
    let unfinite: &[Change] = &[
        |p| p.about.threshold.value = f32::NAN,
        |p| p.about.probe_score = f32::INFINITY,
        |p| p.about.calibration[1].score = f32::NAN,
    ];
    for change in unfinite {
        let mut profile = small();
        change(&mut profile);
        assert!(profile.check().unwrap_err().contains("not a finite number"));
        sentence(open(&profile.to_bytes()));
    }
}

#[test]
fn every_learned_step_survives_the_file() {
    assert_eq!(learned().check(), Ok(()));
    assert_eq!(open(&learned().to_bytes()).unwrap(), learned());
    let mut gaussians = mahalanobis();
    gaussians.about.recipe.distance = Distance::MahalanobisPerPosition;
    gaussians.bank = Embeddings::new(2, vec![1.0; 6], false);
    gaussians.metric.whitening = Some(vec![0.5; 12]);
    assert_eq!(open(&gaussians.to_bytes()).unwrap(), gaussians);
}

#[test]
fn learned_steps_that_contradict_the_recipe_are_refused() {
    type Change = fn(&mut Profile);
    let refused: &[(Change, &str)] = &[
        (|p| p.metric.deviation = None, "lacks a scaling.deviation of width 2"),
        (|p| p.metric.deviation = Some(vec![1.0, 0.0]), "not above 0"),
        (|p| p.about.recipe.scaling = Scaling::None, "holds scaling.deviation"),
        (|p| p.metric.normality = None, "lacks the tensors normality.*"),
        (|p| p.about.recipe.normality = false, "holds normality.*"),
        (|p| p.metric.normality.as_mut().unwrap().weight = f32::NAN, "normality.*"),
        (|p| p.metric.head = Some(head()), "lacks the tensors of the head that its recipe uses"),
    ];
    for (change, fault) in refused {
        let mut profile = learned();
        change(&mut profile);
        let found = profile.check().unwrap_err();
        assert!(found.contains(fault), "{found}");
        sentence(open(&profile.to_bytes()));
    }
}

/// Two positions and two directions, each with its spread.
fn product() -> Profile {
    let mut profile = small();
    profile.about.recipe.distance = Distance::Product;
    (profile.about.recipe.normalise, profile.about.recipe.local) = (false, true);
    (profile.about.recipe.head, profile.metric.head) = (HeadKind::Identity, None);
    profile.bank = Embeddings::new(2, vec![3.0, 4.0, 0.0, 0.0, 0.6, 0.8, 1.0, 0.0], false);
    profile.metric.spread = Some(vec![0.5, 0.25, 0.01, 0.02]);
    profile
}

#[test]
fn two_banks_and_their_spread_survive_the_file() {
    assert_eq!(open(&product().to_bytes()).unwrap(), product());
    let mut other = product();
    other.metric.spread.as_mut().unwrap()[3] = 0.03;
    assert_ne!(other.fingerprint(), product().fingerprint());
    let summary = product().summary();
    assert!(summary.contains("product of cosine and Euclidean distance; relative to what is usual there"), "{summary}");
    let mut nested = product();
    (nested.about.recipe.nested, nested.about.recipe.smooth) = (vec![1], true);
    nested.bank = Embeddings::new(2, vec![3.0, 4.0, 0.0, 5.0, 0.6, 0.8, 0.0, 1.0], false);
    assert_eq!(open(&nested.to_bytes()).unwrap(), nested);
    assert_ne!(nested.fingerprint(), product().fingerprint());
    let summary = nested.summary();
    assert!(summary.contains("Euclidean distance, by later taps alone too; relative"), "{summary}");
    assert!(summary.contains("usual there; smoothed; score"), "{summary}");
    let written = |profile: &Profile| String::from_utf8_lossy(&profile.to_bytes()).into_owned();
    assert!(["local", "nested", "smooth"].iter().all(|key| !written(&small()).contains(key)));
}

#[test]
fn two_banks_and_spreads_that_contradict_the_recipe_are_refused() {
    type Change = fn(&mut Profile);
    let refused: &[(Change, &str)] = &[
        (|p| p.metric.spread = None, "lacks a bank.spread of one value for each row"),
        (|p| p.metric.spread = Some(vec![1.0; 3]), "lacks a bank.spread of one value for each row"),
        (|p| p.metric.spread.as_mut().unwrap()[1] = 0.0, "bank.spread holds a value that is not above 0"),
        (|p| p.about.recipe.local = false, "holds bank.spread, but its recipe uses none"),
        (|p| p.about.recipe.normalise = true, "Product, which needs normalise = false"),
        (|p| p.about.recipe.neighbours = 3, "asks for 3 neighbours, but its bank holds 2 rows"),
        (|p| p.bank = p.bank.select(&[0, 1, 2]), "measures 2 distances, but its bank of 3 rows"),
        (|p| p.bank = p.bank.select(&[0, 2, 1, 3]), "bank row 2 has length 0, not 1"),
        (|p| p.about.recipe.nested = vec![2], "nested = [2], not ascending columns from 1 to 1"),
        (|p| p.about.recipe.nested = vec![1, 1], "nested = [1, 1], not ascending"),
        (
            |p| {
                (p.about.recipe.nested, p.about.recipe.head) = (vec![1], HeadKind::Linear);
                p.metric.head = Some(head());
            },
            "says nested, which needs the product of distances and no head",
        ),
        (|p| p.about.recipe.nested = vec![1], "bank row 3 is measured from column 1 on, but is not 0 before it"),
    ];
    for (change, fault) in refused {
        let mut profile = product();
        change(&mut profile);
        let found = profile.check().unwrap_err();
        assert!(found.contains(fault), "{found}");
        sentence(open(&profile.to_bytes()));
    }
}

#[test]
fn tiles_survive_the_file_and_a_profile_without_them_does_not_name_them() {
    let mut tiled = small();
    tiled.about.recipe.tiling = Some(Tiling { tile_px: [20, 30], overlap: 0.25 });
    assert_eq!(open(&tiled.to_bytes()).unwrap(), tiled);
    assert_ne!(tiled.fingerprint(), small().fingerprint());
    let summary = tiled.summary();
    let text = "region [1, 2, 16, 17] in tiles of 30 × 20 px that overlap by 25 %, each at 96 × 64 px;";
    assert!(summary.contains(text), "{summary}");
    assert!(!String::from_utf8_lossy(&small().to_bytes()).contains("tiling"));
    let unknown = forged(&tiled, r#"\"overlap\":0.25"#, r#"\"overlap\":0.25,\"blend\":1"#);
    assert!(matches!(open(&unknown), Err(ProfileError::Unknown { .. })));
}

#[test]
fn tiles_that_would_distort_or_do_not_fit_the_recipe_are_refused() {
    let refused = [
        (Tiling { tile_px: [20, 31], overlap: 0.25 }, None),
        (Tiling { tile_px: [40, 40], overlap: 0.25 }, Some("tiles of 40 × 40 px do not have the aspect of the input")),
        (Tiling { tile_px: [8, 12], overlap: 0.25 }, Some("tiles of 12 × 8 px are not within 16 to 8192 px")),
        (Tiling { tile_px: [20, 30], overlap: 0.6 }, Some("the overlap of the tiles is 0.6, not 0 to 0.5")),
        (Tiling { tile_px: [20, 30], overlap: f64::NAN }, Some("the overlap of the tiles is NaN")),
    ];
    for (tiling, fault) in refused {
        let mut profile = small();
        profile.about.recipe.tiling = Some(tiling);
        match (profile.check(), fault) {
            (Err(found), Some(fault)) => assert!(found.contains(fault), "{found}"),
            (found, fault) => assert_eq!((found.is_ok(), fault), (true, None), "{found:?}"),
        }
    }
    let mut gaussians = mahalanobis();
    gaussians.about.recipe.distance = Distance::MahalanobisPerPosition;
    gaussians.about.recipe.tiling = Some(Tiling { tile_px: [20, 30], overlap: 0.25 });
    assert!(gaussians.check().unwrap_err().contains("choose another distance, or no tiles"));
}

#[test]
fn mahalanobis_needs_one_row_and_a_square_whitening() {
    let mut two_rows = mahalanobis();
    two_rows.bank = Embeddings::new(2, vec![0.0; 4], false);
    assert!(two_rows.check().unwrap_err().contains("its bank holds 2 rows, not 1"));
    let mut narrow = mahalanobis();
    narrow.metric.whitening = Some(vec![0.0; 2]);
    assert!(sentence(open(&narrow.to_bytes())).contains("whitening.weight is [1, 2], but the bank asks for [2, 2]"));
}

#[test]
fn the_fingerprint_stays_when_only_words_change_and_moves_with_all_that_scores() {
    let fingerprint = small().fingerprint();
    assert_eq!(fingerprint.len(), 16);
    assert!(fingerprint.bytes().all(|digit| digit.is_ascii_hexdigit()));
    type Change = fn(&mut Profile);
    let same: &[Change] = &[
        |p| (p.about.generation, p.about.parent) = (7, Some(3)),
        |p| p.about.threshold.value = 9.0,
        |p| p.about.taught_at += 1,
        |p| *p = open(&p.to_bytes()).unwrap(),
    ];
    let different: &[Change] = &[
        |p| p.bank = Embeddings::new(2, [p.bank.data(), &[0.8, 0.6]].concat(), true),
        |p| p.about.recipe.pool = 1,
        |p| p.about.backbone.fingerprint = "2e".repeat(32),
        |p| change_mean(p, 0, 0.25),
        |p| p.metric.head = None,
        |p| p.metric.whitening = Some(vec![1.0; 4]),
        |p| p.bank = Embeddings::new(3, p.bank.data().to_vec(), true),
    ];
    for (changes, stays) in [(same, true), (different, false)] {
        for (index, change) in changes.iter().enumerate() {
            let mut profile = small();
            change(&mut profile);
            assert_eq!(profile.fingerprint() == fingerprint, stays, "change {index}, stays: {stays}");
        }
    }
}

#[test]
fn a_promise_reads_as_a_sentence_that_never_claims_more_than_its_numbers() {
    let bound = |false_rejects, parts| Promise::Bound { false_rejects, confidence: 0.95, parts, rank: parts };
    assert_eq!(bound(0.05, 59).to_string(), "at most 5.0 % false rejects with 95 % confidence, from 59 parts");
    assert_eq!(bound(0.0495, 59).to_string(), "at most 5.0 % false rejects with 95 % confidence, from 59 parts");
    assert_eq!(bound(0.0501, 58).to_string(), "at most 5.1 % false rejects with 95 % confidence, from 58 parts");
    let sure = Promise::Bound { false_rejects: 0.01, confidence: 0.9999, parts: 1, rank: 1 };
    assert_eq!(sure.to_string(), "at most 1.0 % false rejects with 99.9 % confidence, from 1 part");
    assert_eq!(
        Promise::Estimate { false_rejects: 1.0 / 58.0, folds: 5, parts: 58 }.to_string(),
        "about 1.7 % false rejects, an estimate from 5-fold scores of 58 parts; no confidence is claimed"
    );
    let void = Promise::Void { because: "parts were added that a person chose by their score".to_string() };
    assert_eq!(void.to_string(), "no bound, because parts were added that a person chose by their score");
}

#[test]
fn the_summary_tells_what_a_profile_holds() {
    let mut profile = small();
    (profile.about.generation, profile.about.parent) = (3, Some(2));
    let summary = profile.summary();
    for line in [
        "generation   3, made from generation 2\n",
        "taught       2026-03-01 07:05 UTC by rejectd 0.1.0, seed 18446744073709551615\n",
        "recipe       region [1, 2, 16, 17] at 96 × 64 px; stage2 + stage3; pooled 3 × 3; a patch every 8 px; linear head; \
         unit length; cosine distance; score: mean of the top 1 %\n",
        "bank         3 rows of width 2 from 140 parts\n",
        "threshold    0.1: at most 5.0 % false rejects with 95 % confidence, from 59 parts\n",
        "calibration  2 scores from 0.07 to 0.1\n",
        "synthetic    caught of the defects tried: line 9 of 10\n",
        "probe        18 × 19 px, score 0.08\n",
    ] {
        assert!(summary.contains(line), "{summary}");
    }
}

#[test]
fn dates_around_leap_days_are_those_of_the_calendar() {
    assert_eq!(utc(0), "1970-01-01 00:00 UTC");
    assert_eq!(utc(951_782_399), "2000-02-28 23:59 UTC");
    assert_eq!(utc(951_782_400), "2000-02-29 00:00 UTC");
    assert_eq!(utc(4_107_542_400), "2100-03-01 00:00 UTC");
    assert!(utc(u64::MAX).ends_with(" UTC"));
}
