//! The pictures of a labelled set: that they can be read, what an inspector says of them, and how long it takes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{EvaluateError, Progress, Step};
use crate::evaluate::dataset::{Dataset, LabelledImage, Mask};
use crate::evaluate::metrics::{FPR_LIMIT, PixelFigures, PixelScores};
use crate::frame::{Frame, Roi};
use crate::inspect::Inspector;
use crate::inspect::recipe::Granularity;
use crate::part::{Inspection, StageTimings};
use crate::source::decode::read_frame;
use crate::teach::parallel::in_parallel;

/// A set whose pictures can be read and whose masks fit them.
#[derive(Clone, Debug)]
pub struct Checked {
    pub set: Dataset,
    /// Why pictures were left out: a sentence that names it for each.
    pub left_out: Vec<String>,
}

/// What an inspector says of the test folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The score of each part of `Dataset::test`, in its order.
    pub scores: Vec<f32>,
    /// Of all good parts and of the anomalous ones that have a mask.
    pub pixels: Option<PixelFigures>,
}

/// Reads every picture and every mask once, so that an hour of teaching is not spent on a set that cannot be judged.
///
/// Pictures that cannot be read are left out and told.
/// # Errors  `EvaluateError::Dataset` if no good part is left to teach from or to judge; `Mask` for a mask that does not
/// fit its picture.
pub fn check(set: Dataset, threads: usize, progress: Progress) -> Result<Checked, EvaluateError> {
    let train = set.train_good.iter().map(|path| (path, None));
    let pictures: Vec<(&PathBuf, Option<&LabelledImage>)> =
        train.chain(set.test.iter().map(|image| (&image.path, Some(image)))).collect();
    let job = |(): &mut (), i: usize| -> Result<Option<String>, EvaluateError> {
        let (path, labelled) = pictures[i];
        let frame = match read_frame(path) {
            Ok(frame) => frame,
            Err(error) => return Ok(Some(error.to_string())),
        };
        if let Some(image) = labelled {
            image.read_mask(frame.width(), frame.height())?;
        }
        Ok(None)
    };
    let step = |done| progress(Step::Read, done, pictures.len());
    let reasons = in_parallel(pictures.len(), threads, || (), job, step)?;
    let unreadable: HashMap<PathBuf, String> =
        pictures.iter().zip(reasons).filter_map(|((path, _), reason)| Some(((*path).clone(), reason?))).collect();
    let mut set = set;
    let left_out = set.leave_out_unreadable(|path| unreadable.get(path).cloned().map_or(Ok(()), Err))?;
    Ok(Checked { set, left_out })
}

/// Judges every part of the test folder.
///
/// Maps and masks are kept for a few parts at a time; what is added up over all of them is the count of pixels a score.
/// # Errors  A picture that cannot be inspected, or a mask that does not fit it.
pub fn judge(
    inspector: &Inspector,
    set: &Dataset,
    threads: usize,
    progress: Progress,
) -> Result<Judged, EvaluateError> {
    let patches = inspector.recipe().granularity == Granularity::Patch;
    let with_pixels = patches && set.test.iter().any(|image| image.mask.is_some());
    let mut pixels = PixelScores::default();
    let mut scores = Vec::with_capacity(set.test.len());
    for images in set.test.chunks(2 * threads.max(1)) {
        let before = scores.len();
        let step = |done| progress(Step::Judge, before + done, set.test.len());
        let job = |inspector: &mut Inspector, i: usize| look(inspector, &images[i], with_pixels);
        for (score, labelled) in in_parallel(images.len(), threads, || inspector.fork(), job, step)? {
            scores.push(score);
            if let Some(Pixels { map, mask, width, height }) = labelled {
                pixels.add(&map, mask.as_deref(), width, height);
            }
        }
    }
    Ok(Judged { scores, pixels: if with_pixels { pixels.figures(FPR_LIMIT) } else { None } })
}

/// The anomaly map of the region that was looked at, in pixels of the picture, and where the defect is.
struct Pixels {
    map: Vec<f32>,
    mask: Option<Vec<bool>>,
    width: usize,
    height: usize,
}

/// The score of a picture, and its pixels if they count: those of an anomalous part without a mask do not.
fn look(
    inspector: &mut Inspector,
    image: &LabelledImage,
    with_pixels: bool,
) -> Result<(f32, Option<Pixels>), EvaluateError> {
    let (frame, inspection) = inspect(inspector, &image.path)?;
    let score = inspection.score;
    if !with_pixels || (image.defect_type.is_some() && image.mask.is_none()) {
        return Ok((score, None));
    }
    let whole = Roi { x: 0, y: 0, width: frame.width(), height: frame.height() };
    let roi = inspector.recipe().roi_px.unwrap_or(whole);
    let mask: Option<Mask> = image.read_mask(frame.width(), frame.height())?;
    let mask = mask.map(|mask| mask.cropped(roi).pixels);
    let map = inspection.map.resized(roi.width, roi.height);
    Ok((score, Some(Pixels { map, mask, width: roi.width as usize, height: roi.height as usize })))
}

/// The picture at `path` and what the inspector says of it.
/// # Errors  It cannot be read or inspected.
pub fn inspect(inspector: &mut Inspector, path: &Path) -> Result<(Frame, Inspection), EvaluateError> {
    let frame = read_frame(path)?;
    let inspect = |source| EvaluateError::Inspect { path: path.to_owned(), source: Box::new(source) };
    let inspection = inspector.inspect(&frame).map_err(inspect)?;
    Ok((frame, inspection))
}

/// Times `most` inspections at most, spread evenly over the test folder: one at a time on one thread, after one that does
/// not count, from the decoded frame to the score.
///
/// Returns the place of each part in `Dataset::test` and its times.
/// # Errors  A picture that cannot be inspected.
pub fn time(
    inspector: &mut Inspector,
    set: &Dataset,
    most: usize,
    progress: Progress,
) -> Result<Vec<(usize, StageTimings)>, EvaluateError> {
    let count = set.test.len().min(most);
    inspect(inspector, &set.test[0].path)?;
    let one = |i: usize| {
        let place = i * set.test.len() / count;
        let (_, inspection) = inspect(inspector, &set.test[place].path)?;
        progress(Step::Time, i + 1, count);
        Ok((place, inspection.timings))
    };
    (0..count).map(one).collect()
}
