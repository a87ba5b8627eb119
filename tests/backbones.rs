//! Promise: any ONNX backbone with a card runs, and computes what ONNX Runtime computes.

use std::path::{Path, PathBuf};

use rejectd::clock::Timestamp;
use rejectd::frame::Frame;
use rejectd::inspect::backbone::{Backbone, BackboneError};
use rejectd::inspect::card::Model;
use rejectd::inspect::preprocess::Preprocess;
use safetensors::SafeTensors;

mod common;

const SIZE: [usize; 2] = [64, 96];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The picture of make_fixtures.py, in whole numbers so that both sides agree to the bit.
fn picture() -> Frame {
    let wave = |t: i32| (t.rem_euclid(256) - 128).abs();
    let pixel = |x: i32, y: i32, c: i32| {
        wave(3 * x + 5 * y + 60 * c)
            + wave(x * y / 16 + 90 * c) * 3 / 4
            + (3 * x * x + 5 * y * y + 7 * x * y + 11 * c) % 32
    };
    let [height, width] = SIZE.map(|side| side as i32);
    let rgb: Vec<u8> = (0..height)
        .flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| (x, y, c))))
        .map(|(x, y, c)| pixel(x, y, c) as u8)
        .collect();
    Frame::new(width as u32, height as u32, rgb, Timestamp(0), 0).unwrap()
}

fn agrees(model: &Model, outputs: &str) {
    let stored = std::fs::read(fixture(outputs)).unwrap();
    let stored = SafeTensors::deserialize(&stored).unwrap();
    let taps: Vec<String> = model.card.taps.iter().map(|tap| tap.name.clone()).collect();
    let backbone = Backbone::load(model, SIZE, &taps).unwrap();
    let input = Preprocess::new(&model.card, None, SIZE).run(&picture()).unwrap();
    for (tap, name) in backbone.run(&input).unwrap().iter().zip(&taps) {
        let expected = stored.tensor(name).unwrap();
        assert_eq!(expected.shape(), [1, tap.channels, tap.height, tap.width], "{name}");
        let expected: Vec<f32> =
            expected.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
        let scale = expected.iter().fold(0f32, |scale, value| scale.max(value.abs()));
        let worst = expected.iter().zip(tap.data()).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
        assert!(worst <= 1e-4 * scale, "{name}: {worst} of {scale}");
    }
}

#[test]
fn the_built_in_backbone_agrees_with_onnx_runtime() {
    agrees(&Model::built_in(), "efficientnet-lite0.outputs.safetensors");
}

#[test]
fn a_resnet_18_agrees_with_onnx_runtime() {
    agrees(&Model::load(&fixture("resnet18-random.toml")).unwrap(), "resnet18-random.outputs.safetensors");
}

#[test]
fn a_mobilenet_v2_with_unfolded_batch_norm_agrees_with_onnx_runtime() {
    agrees(&Model::load(&fixture("mobilenetv2-random.toml")).unwrap(), "mobilenetv2-random.outputs.safetensors");
}

#[test]
fn another_backbone_teaches_and_inspects_through_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    common::render_good(&folder.path().join("good"), 20);
    let card = fixture("resnet18-random.toml");
    let with_card = |arguments: &str| common::run(&arguments.replace("CARD", card.to_str().unwrap()), folder.path());
    let taught =
        with_card("teach --from {}/good --profile {}/p --model CARD --metric none --input-px 96 --bank-rows 200");
    common::assert_code(&taught, 0, "teach");
    common::assert_code(&with_card("inspect --profile {}/p --model CARD {}/good/good-000.png"), 0, "inspect");
    let other = common::run("inspect --profile {}/p {}/good", folder.path());
    common::assert_code(&other, 65, "the built-in backbone instead");
    assert!(common::text(&other).contains("taught with the backbone resnet18-random"), "{}", common::text(&other));
}

#[test]
fn only_the_taps_that_are_asked_for_are_given_and_sizes_are_checked() {
    let model = Model::built_in();
    let backbone = Backbone::load(&model, SIZE, &["stage3".into()]).unwrap();
    assert_eq!(backbone.run(&vec![0.0; 3 * SIZE[0] * SIZE[1]]).unwrap().len(), 1);
    assert!(matches!(Backbone::load(&model, SIZE, &["stage9".into()]), Err(BackboneError::UnknownTap { .. })));
    for size in [[0, 96], [64, 97]] {
        assert!(
            matches!(Backbone::load(&model, size, &["stage3".into()]), Err(BackboneError::Size { .. })),
            "{size:?}"
        );
    }
}

/// A card beside `onnx` whose hash is right, so that the file itself is what is judged.
fn write_model(folder: &Path, card: &str, onnx: &[u8]) -> PathBuf {
    use sha2::{Digest, Sha256};
    std::fs::write(folder.join("m.onnx"), onnx).unwrap();
    let hash = rejectd::inspect::card::hex(&Sha256::digest(onnx));
    let replaced = |line: &str| match line.split_once('=').map_or("", |(key, _)| key.trim()) {
        "sha256" => format!("sha256 = \"{hash}\""),
        "file" => "file = \"m.onnx\"".to_owned(),
        _ => line.to_owned(),
    };
    let path = folder.join("m.toml");
    std::fs::write(&path, card.lines().map(replaced).collect::<Vec<_>>().join("\n")).unwrap();
    path
}

#[test]
fn malformed_models_and_cards_that_do_not_fit_are_sentences() {
    let folder = tempfile::tempdir().unwrap();
    let card = std::fs::read_to_string(fixture("mobilenetv2-random.toml")).unwrap();
    let onnx = std::fs::read(fixture("mobilenetv2-random.onnx")).unwrap();
    let load = |card: &str, onnx: &[u8]| {
        let model = Model::load(&write_model(folder.path(), card, onnx)).unwrap();
        let taps = model.card.taps.iter().map(|tap| tap.name.clone()).collect::<Vec<_>>();
        Backbone::load(&model, SIZE, &taps).map(drop)
    };
    load(&card, &onnx).unwrap();
    for cut in (0..16).map(|i| i * onnx.len() / 16) {
        let error = load(&card, &onnx[..cut]).unwrap_err();
        assert!(matches!(error, BackboneError::Malformed { .. }), "cut at {cut}: {error}");
    }
    for (from, to) in [
        ("channels = 32", "channels = 33"),
        ("name = \"stage5\"", "name = \"stage6\""),
        ("input = \"image\"", "input = \"pixels\""),
    ] {
        let error = load(&card.replacen(from, to, 1), &onnx).unwrap_err();
        assert!(matches!(error, BackboneError::Malformed { .. } | BackboneError::Unfit { .. }), "{to}: {error}");
    }
}

#[test]
fn a_model_that_is_not_the_one_of_its_card_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    common::render_good(&folder.path().join("good"), 12);
    let card = std::fs::read_to_string(fixture("mobilenetv2-random.toml")).unwrap();
    let mut onnx = std::fs::read(fixture("mobilenetv2-random.onnx")).unwrap();
    write_model(folder.path(), &card, &onnx);
    let middle = onnx.len() / 2;
    onnx[middle] ^= 1;
    std::fs::write(folder.path().join("m.onnx"), &onnx).unwrap();
    let output = common::run("teach --from {}/good --profile {}/p --model {}/m.toml --metric none", folder.path());
    common::assert_code(&output, 78, "a flipped bit in the model");
    assert!(common::text(&output).contains("has SHA-256"), "{}", common::text(&output));
}

#[test]
fn a_malformed_model_ends_teaching_with_a_sentence_and_a_code() {
    let folder = tempfile::tempdir().unwrap();
    common::render_good(&folder.path().join("good"), 12);
    let card = std::fs::read_to_string(fixture("mobilenetv2-random.toml")).unwrap();
    let onnx = std::fs::read(fixture("mobilenetv2-random.onnx")).unwrap();
    write_model(folder.path(), &card, &onnx[..onnx.len() / 2]);
    let output =
        common::run("teach --from {}/good --profile {}/p --model {}/m.toml --metric none --input-px 96", folder.path());
    common::assert_code(&output, 78, "half a model");
    assert!(common::text(&output).contains("cannot be used"), "{}", common::text(&output));
    assert!(!folder.path().join("p").exists());
}

#[test]
fn mutated_models_never_take_the_program_down() {
    let folder = tempfile::tempdir().unwrap();
    let card = std::fs::read_to_string(fixture("mobilenetv2-random.toml")).unwrap();
    let onnx = std::fs::read(fixture("mobilenetv2-random.onnx")).unwrap();
    let mut state = 12345u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    for _ in 0..30 {
        let mut mutated = onnx.clone();
        // The structure is at the start and the end; the middle is weights.
        let at = random(4000);
        let at = if random(2) == 0 { at } else { mutated.len() - 1 - at };
        mutated[at] ^= 1 << random(8);
        let model = Model::load(&write_model(folder.path(), &card, &mutated)).unwrap();
        let taps = model.card.taps.iter().map(|tap| tap.name.clone()).collect::<Vec<_>>();
        if let Ok(backbone) = Backbone::load(&model, SIZE, &taps) {
            let _ = backbone.run(&vec![0.5; 3 * SIZE[0] * SIZE[1]]);
        }
    }
}
