//! What several promises need: the program, and pictures of a product.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::RgbImage;
use rejectd::frame::Frame;
use rejectd::source::simulated::{Belt, BeltSettings};

pub mod daemon;

/// The program under test.
pub fn rejectd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rejectd"));
    command.env_remove("JOURNAL_STREAM");
    command
}

/// Runs the program with arguments separated by blanks; `{}` stands for `path`.
pub fn run(arguments: &str, path: &Path) -> Output {
    let path = path.to_str().expect("test folders have plain names");
    let arguments = arguments.split_whitespace().map(|argument| argument.replace("{}", path));
    rejectd().args(arguments).output().expect("the program starts")
}

/// What the program printed on both streams.
pub fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|stream| String::from_utf8_lossy(stream).into_owned()).concat()
}

/// Asserts the exit code, and that the program neither panicked nor was killed.
pub fn assert_code(output: &Output, code: i32, what: &str) {
    assert_eq!(output.status.code(), Some(code), "{what}:\n{}", text(output));
    assert!(!text(output).contains("panicked"), "{what}:\n{}", text(output));
}

/// A belt small enough to be quick, whose every second part has a defect.
pub fn belt(side: u32) -> Belt {
    Belt::new(BeltSettings { seed: 11, width: side, height: side, parts: None, defect_fraction: 0.5 })
}

pub fn save(frame: &Frame, path: &Path) {
    let picture = RgbImage::from_raw(frame.width(), frame.height(), frame.rgb().to_vec()).unwrap();
    picture.save(path).unwrap();
}

/// Renders good parts into `folder`.
pub fn render_good(folder: &Path, count: u64) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let belt = belt(128);
    (0..count).for_each(|part| save(&belt.good_part(part), &folder.join(format!("good-{part:03}.png"))));
    folder.to_owned()
}

/// Teaches a small, quick profile from `count` good parts: `folder/product.profile` from `folder/good`.
pub fn teach_small(folder: &Path, count: u64) -> PathBuf {
    render_good(&folder.join("good"), count);
    let output =
        run("teach --from {}/good --profile {}/product.profile --metric none --input-px 96 --bank-rows 300", folder);
    assert_code(&output, 0, "teach");
    folder.join("product.profile")
}
