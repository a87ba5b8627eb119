//! A labelled set of pictures of one category, in the folder layout of MVTec AD:
//!
//! ```text
//! bottle/
//!   train/good/000.png                          good parts to teach from
//!   test/good/000.png                           good parts
//!   test/broken_large/000.png                   anomalous parts; the folder is their defect type
//!   ground_truth/broken_large/000_mask.png      where the defect is; also accepted: 000.png, and BMP or TIFF
//! ```
//!
//! Files that are no pictures by their extension, and hidden ones, are passed over. Only names are read here, but for
//! [`Mask`]. What may be missing, and what follows:
//!
//! | missing | what follows |
//! |---|---|
//! | masks, of some parts or of all | pixel figures leave those parts out, or are left out; [`Dataset::without_masks`] says so |
//! | all anomalous parts in `test` | the set is listed; of the figures only the false reject rate is left |
//! | all good parts in `test` | the set is refused: neither an AUROC nor a false reject rate can be computed |
//! | `train/good`, or all pictures in it | the set is refused: there is nothing to teach from |
//! | a picture's content | [`Dataset::leave_out_unreadable`] names it and leaves it out |
//!
//! A mask of another size than its picture, and one that is black all over, is an error when it is read.
//!
//! # Source  Bergmann et al. 2019, "MVTec AD"; most later sets were made in its layout or can be had in it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

mod mask;

pub use mask::{Mask, MaskError};

/// The folder name of parts without a defect.
const GOOD: &str = "good";
const EXTENSIONS: [&str; 6] = ["bmp", "jpeg", "jpg", "png", "tif", "tiff"];
/// JPEG would blur the edge of a mask.
const MASK_EXTENSIONS: [&str; 4] = ["bmp", "png", "tif", "tiff"];

/// The pictures of one category; each list sorted by path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    pub root: PathBuf,
    /// The name of the folder.
    pub name: String,
    /// At least one.
    pub train_good: Vec<PathBuf>,
    /// At least one good one and, sorted among them by name, those of each defect type.
    pub test: Vec<LabelledImage>,
}

/// A picture of which is known whether the part is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledImage {
    pub path: PathBuf,
    /// `None` for a good part.
    pub defect_type: Option<String>,
    /// A picture of the same size, not black where the defect is; never of a good part.
    pub mask: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    #[error("{path}: there is no such folder; give the folder of one category, the one that holds 'train' and 'test'",
        path = path.display())]
    NoFolder { path: PathBuf },
    #[error("{root}: has no folder '{missing}'; the layout of MVTec AD is expected: train/good, test/good, \
        test/<defect type> and, if there are masks, ground_truth/<defect type>{hint}", root = root.display(),
        hint = hint(inside))]
    Layout { root: PathBuf, missing: &'static str, inside: Vec<String> },
    #[error("{path}: holds no picture ({}); put at least one there", EXTENSIONS.join(", "), path = path.display())]
    NoPictures { path: PathBuf },
    #[error("{path}: holds no good parts ({}), and without them neither an AUROC nor a false reject rate can be \
        computed; put some good parts there that are not in train/good", EXTENSIONS.join(", "), path = path.display())]
    NoGoodTest { path: PathBuf },
    #[error("{path}: none of the {count} pictures can be read; replace them", path = path.display())]
    Unreadable { path: PathBuf, count: usize },
    #[error("{path}: neither the folder, nor one in it, nor one in those, has both 'train/good' and 'test'; the layout \
        of MVTec AD is expected: train/good, test/good, test/<defect type> and, if there are masks, \
        ground_truth/<defect type>", path = path.display())]
    NoSets { path: PathBuf },
    #[error("{path}: the folder could not be read: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
}

/// Names the categories that were found one folder below, for whoever gave the folder of the whole collection.
fn hint(inside: &[String]) -> String {
    match inside {
        [] => String::new(),
        [first, ..] => format!("; it holds data sets, name one of them: {} ('…/{first}')", inside.join(", ")),
    }
}

/// The folders of data sets at `path`, sorted: `path` itself if it is one, or else those of the folders in it, and in
/// those in turn, that are.
/// # Errors  `DatasetError::NoFolder` if `path` is none; `NoSets` if there is no data set; `Read` if a folder cannot be
/// read.
pub fn discover(path: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    if !path.is_dir() {
        return Err(DatasetError::NoFolder { path: path.to_owned() });
    }
    if is_set(path) {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for folder in folders(path)? {
        if is_set(&folder) {
            found.push(folder);
        } else {
            found.extend(folders(&folder)?.into_iter().filter(|inner| is_set(inner)));
        }
    }
    if found.is_empty() { Err(DatasetError::NoSets { path: path.to_owned() }) } else { Ok(found) }
}

fn is_set(folder: &Path) -> bool {
    folder.join("train/good").is_dir() && folder.join("test").is_dir()
}

impl Dataset {
    /// Lists the pictures of the category in `root`.
    /// # Errors  `DatasetError::NoFolder` if `root` is none; `Layout` if a folder of the layout is missing;
    /// `NoPictures` if there is nothing to teach from or nothing to test; `NoGoodTest` if all parts to test are anomalous;
    /// `Read` if a folder cannot be read.
    pub fn open(root: &Path) -> Result<Dataset, DatasetError> {
        if !root.is_dir() {
            return Err(DatasetError::NoFolder { path: root.to_owned() });
        }
        let required = |name: &'static str| {
            let path = root.join(name);
            if path.is_dir() {
                return Ok(path);
            }
            Err(DatasetError::Layout { root: root.to_owned(), missing: name, inside: categories(root)? })
        };
        let (train, test_root) = (required("train/good")?, required("test")?);

        let train_good = pictures(&train)?;
        if train_good.is_empty() {
            return Err(DatasetError::NoPictures { path: train });
        }
        let mut test = Vec::new();
        for folder in folders(&test_root)? {
            let label = file_name(&folder);
            test.extend(if label == GOOD { good(&folder)? } else { anomalous(&folder, label, root)? });
        }
        if test.is_empty() {
            return Err(DatasetError::NoPictures { path: test_root });
        }
        if test.iter().all(|image| image.defect_type.is_some()) {
            return Err(DatasetError::NoGoodTest { path: test_root.join(GOOD) });
        }
        // "." and ".." have no name of their own.
        let named = root.canonicalize().map_err(|source| DatasetError::Read { path: root.to_owned(), source })?;
        Ok(Dataset { root: root.to_owned(), name: file_name(&named), train_good, test })
    }

    /// Whether there are anomalous parts; without them the false reject rate is all that can be told.
    pub fn has_defects(&self) -> bool {
        self.test.iter().any(|image| image.defect_type.is_some())
    }

    /// The defect types in the test folder, sorted.
    pub fn defect_types(&self) -> BTreeSet<&str> {
        self.test.iter().filter_map(|image| image.defect_type.as_deref()).collect()
    }

    /// Says which anomalous parts have no mask, and that the pixel figures leave them out; `None` if all have one.
    ///
    /// The pixel figures are those of all good parts and of the anomalous ones with a mask. Without any mask there are
    /// none.
    pub fn without_masks(&self) -> Option<String> {
        let mut types = BTreeMap::<&str, (usize, usize)>::new();
        for image in &self.test {
            if let Some(defect_type) = &image.defect_type {
                let (missing, all) = types.entry(defect_type).or_default();
                *missing += usize::from(image.mask.is_none());
                *all += 1;
            }
        }
        let (missing, all) = types.values().fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        if missing == 0 {
            return None;
        }
        if missing == all {
            let name = &self.name;
            return Some(format!("{name}: none of the {all} anomalous parts has a mask; there are no pixel figures"));
        }
        let named = types.iter().filter(|(_, (missing, _))| *missing > 0);
        let named: Vec<_> = named.map(|(name, (missing, all))| format!("{missing} of {all} '{name}'")).collect();
        let named = named.join(", ");
        Some(format!("{}: these have no mask, and the pixel figures leave them out: {named}", self.name))
    }

    /// Takes `count` anomalous parts, drawn by `seed`, out of `test`, or all but one if there are not so many.
    pub fn draw_anomalous(&mut self, count: usize, seed: u64) -> Vec<LabelledImage> {
        let mut places: Vec<usize> = (0..self.test.len()).filter(|at| self.test[*at].defect_type.is_some()).collect();
        places.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        places.truncate(count.min(places.len().saturating_sub(1)));
        places.sort_unstable();
        places.into_iter().rev().map(|place| self.test.remove(place)).collect()
    }

    /// Leaves out the pictures that cannot be read, so that one damaged file does not end an evaluation.
    /// * `read` — reads the picture at a path, or says in a sentence that names it why that fails
    ///
    /// Returns those sentences, to be counted and shown as warnings.
    /// # Errors  `DatasetError::Unreadable` if no picture to teach from, or no good one to test, is left.
    pub fn leave_out_unreadable(
        &mut self,
        read: impl Fn(&Path) -> Result<(), String>,
    ) -> Result<Vec<String>, DatasetError> {
        let mut reasons = Vec::new();
        let mut readable = |path: &Path| read(path).map_err(|reason| reasons.push(reason)).is_ok();
        let is_good = |image: &LabelledImage| image.defect_type.is_none();
        let (train, good) = (self.train_good.len(), self.test.iter().filter(|image| is_good(image)).count());
        self.train_good.retain(|path| readable(path));
        self.test.retain(|image| readable(&image.path));
        if self.train_good.is_empty() {
            return Err(DatasetError::Unreadable { path: self.root.join("train/good"), count: train });
        }
        if !self.test.iter().any(is_good) {
            return Err(DatasetError::Unreadable { path: self.root.join("test/good"), count: good });
        }
        Ok(reasons)
    }
}

impl LabelledImage {
    /// The mask of a picture of `width` × `height` pixels, if it has one.
    /// # Errors  As [`Mask::read`].
    pub fn read_mask(&self, width: u32, height: u32) -> Result<Option<Mask>, MaskError> {
        self.mask.as_ref().map(|mask| Mask::read(mask, &self.path, width, height)).transpose()
    }
}

fn good(folder: &Path) -> Result<Vec<LabelledImage>, DatasetError> {
    let image = |path| LabelledImage { path, defect_type: None, mask: None };
    Ok(pictures(folder)?.into_iter().map(image).collect())
}

/// Anomalous parts outside a data set, in one folder, sorted. The mask of a picture `name` is `name_mask` beside it or,
/// where the folder is the `test/TYPE` of a data set, the one in its `ground_truth/TYPE`.
/// # Errors  `DatasetError::NoFolder` if there is none; `NoPictures` if it holds none; `Read` if it cannot be read.
pub fn anomalous_parts(folder: &Path) -> Result<Vec<LabelledImage>, DatasetError> {
    if !folder.is_dir() {
        return Err(DatasetError::NoFolder { path: folder.to_owned() });
    }
    let named = folder.canonicalize().map_err(|source| DatasetError::Read { path: folder.to_owned(), source })?;
    let ground_truth = named.parent().and_then(Path::parent).map(|root| root.join("ground_truth"));
    let mut masks: Vec<PathBuf> = files(folder, &MASK_EXTENSIONS)?.into_iter().filter(|path| is_mask(path)).collect();
    if let Some(of_set) = ground_truth.map(|all| all.join(file_name(&named))).filter(|path| path.is_dir()) {
        masks.extend(files(&of_set, &MASK_EXTENSIONS)?);
    }
    let pictures: Vec<PathBuf> = pictures(folder)?.into_iter().filter(|path| !is_mask(path)).collect();
    if pictures.is_empty() {
        return Err(DatasetError::NoPictures { path: folder.to_owned() });
    }
    Ok(with_masks(pictures, &masks, &file_name(&named)))
}

fn is_mask(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("_mask"))
}

fn anomalous(folder: &Path, defect_type: String, root: &Path) -> Result<Vec<LabelledImage>, DatasetError> {
    let masks = root.join("ground_truth").join(&defect_type);
    let masks = if masks.is_dir() { files(&masks, &MASK_EXTENSIONS)? } else { Vec::new() };
    Ok(with_masks(pictures(folder)?, &masks, &defect_type))
}

fn with_masks(pictures: Vec<PathBuf>, masks: &[PathBuf], defect_type: &str) -> Vec<LabelledImage> {
    // Of a picture `name`: `name_mask` or else `name`, whatever the extension.
    let mask_of = |picture: &Path| {
        let name = picture.file_stem().unwrap_or_default().to_string_lossy();
        let named = |stem: &str| masks.iter().find(|mask| mask.file_stem().is_some_and(|found| found == stem)).cloned();
        named(&format!("{name}_mask")).or_else(|| named(&name))
    };
    let image = |path: PathBuf| LabelledImage { mask: mask_of(&path), path, defect_type: Some(defect_type.to_owned()) };
    pictures.into_iter().map(image).collect()
}

/// The folders in `root` that are themselves laid out as a category.
fn categories(root: &Path) -> Result<Vec<String>, DatasetError> {
    let folders = folders(root)?.into_iter().filter(|folder| folder.join("train/good").is_dir());
    Ok(folders.map(|folder| file_name(&folder)).collect())
}

fn pictures(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    files(folder, &EXTENSIONS)
}

/// The files in `folder` whose names end in one of `extensions`, in any case.
fn files(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, DatasetError> {
    let is_wanted = |path: &PathBuf| {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        extensions.contains(&extension.as_str()) && path.is_file()
    };
    Ok(entries(folder)?.into_iter().filter(is_wanted).collect())
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    Ok(entries(folder)?.into_iter().filter(|entry| entry.is_dir()).collect())
}

/// What lies in `folder` and is not hidden, sorted by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let unreadable = |source| DatasetError::Read { path: folder.to_owned(), source };
    let mut entries = Vec::new();
    for entry in folder.read_dir().map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if !file_name(&path).starts_with('.') {
            entries.push(path);
        }
    }
    entries.sort();
    Ok(entries)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
