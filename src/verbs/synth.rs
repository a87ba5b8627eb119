//! `rejectd synth`: synthetic defects on good parts, with their masks, to be looked at.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{bail, ensure};
use image::{DynamicImage, RgbImage};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::not_written;
use crate::cli::Synth;
use crate::frame::{Frame, MIN_SIDE_PX, Roi};
use crate::observe::contact_sheet::{Sample, SheetRow, contact_sheet, mask_picture};
use crate::observe::heat_map::save_png;
use crate::source::decode::read_frame;
use crate::source::folder::list_images;
use crate::teach::defects::{self, Drawn, Kind, Preset, Severity};

/// Runs the verb.
/// # Errors  There are no pictures, one cannot be read or is too small, or the results cannot be written.
pub fn run(args: &Synth) -> anyhow::Result<ExitCode> {
    let paths = list_images(&args.from)?;
    let frames = paths.iter().take(args.pictures.into()).map(|path| read_frame(path)).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = frames.first() else { bail!("{}: there are no pictures in it", args.from.display()) };
    let region = args.roi.unwrap_or(Roi { x: 0, y: 0, width: first.width(), height: first.height() });
    ensure!(
        region.width.min(region.height) >= MIN_SIDE_PX,
        "the region {region} is too small to draw defects on; give one with sides of {} px or more",
        MIN_SIDE_PX
    );
    if let Some(roi) = args.roi {
        frames.iter().try_for_each(|frame| frame.crop(roi).map(|_| ()))?;
    }
    let rows = match args.preset {
        Preset::Mixed => {
            Kind::ALL.into_iter().enumerate().map(|(row, kind)| of_kind(args, kind, row, &frames)).collect()
        }
        preset => vec![of_preset(args, preset, &frames)],
    };
    std::fs::create_dir_all(&args.out).map_err(not_written(&args.out))?;
    for Row { label, drawn } in &rows {
        for (number, (_, drawn)) in drawn.iter().enumerate() {
            let name = |what: &str| args.out.join(format!("{label}-{number:02}-{what}.png"));
            save_png(&name("defect"), &picture(&drawn.frame))?;
            save_png(&name("mask"), &DynamicImage::ImageLuma8(mask(drawn)).to_rgb8())?;
        }
    }
    write_sheet(&args.out.join("contact-sheet.png"), &rows)?;
    let count: usize = rows.iter().map(|row| row.drawn.len()).sum();
    println!("{count} defects with their masks in {}; contact-sheet.png shows all of them", args.out.display());
    Ok(ExitCode::SUCCESS)
}

/// What stands in one row of the sheet: each good picture with the defect that was drawn on it.
struct Row<'a> {
    label: &'static str,
    drawn: Vec<(&'a Frame, Drawn)>,
}

/// One kind in every severity.
fn of_kind<'a>(args: &Synth, kind: Kind, row: usize, frames: &'a [Frame]) -> Row<'a> {
    let drawn = Severity::ALL.into_iter().enumerate().map(|(column, severity)| {
        let (at, mut rng) = ((row * Severity::ALL.len() + column) % frames.len(), rng(args, row, column));
        let other = &frames[(at + 1) % frames.len()];
        (&frames[at], defects::draw(kind, severity, &frames[at], Some(other), args.roi, &mut rng))
    });
    Row { label: kind.name(), drawn: drawn.collect() }
}

/// Whatever the preset draws, once on every picture.
fn of_preset<'a>(args: &Synth, preset: Preset, frames: &'a [Frame]) -> Row<'a> {
    let drawn = frames.iter().enumerate().map(|(at, frame)| {
        let other = &frames[(at + 1) % frames.len()];
        (frame, preset.draw(frame, Some(other), args.roi, &mut rng(args, 0, at)))
    });
    Row { label: preset.name(), drawn: drawn.collect() }
}

fn rng(args: &Synth, row: usize, column: usize) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(args.seed);
    rng.set_stream(((row as u64) << 32) + column as u64);
    rng
}

fn write_sheet(path: &Path, rows: &[Row]) -> anyhow::Result<()> {
    let sample = |(good, drawn): &(&Frame, Drawn)| {
        let label = format!("{} {} {:.1}x noise", drawn.severity, drawn.kind, drawn.contrast);
        Sample::close_up(label, &picture(good), &picture(&drawn.frame), &mask(drawn))
    };
    let row = |row: &Row| SheetRow { label: row.label.to_owned(), samples: row.drawn.iter().map(sample).collect() };
    Ok(save_png(path, &contact_sheet(&rows.iter().map(row).collect::<Vec<_>>()))?)
}

fn picture(frame: &Frame) -> RgbImage {
    RgbImage::from_raw(frame.width(), frame.height(), frame.rgb().to_vec()).expect("a frame has three bytes a pixel")
}

fn mask(drawn: &Drawn) -> image::GrayImage {
    mask_picture(drawn.mask.width, drawn.mask.height, &drawn.mask.data)
}
