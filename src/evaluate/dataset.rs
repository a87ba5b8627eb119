//! A labelled set of pictures of one category, in the folder layout of MVTec AD:
//!
//! ```text
//! bottle/
//!   train/good/000.png                          good parts to teach from
//!   test/good/000.png                           good parts
//!   test/broken_large/000.png                   anomalous parts; the folder is their defect type
//!   ground_truth/broken_large/000_mask.png      where the defect is; also accepted: 000.png
//! ```
//!
//! Masks may be missing, for some parts or for all. Files that are no pictures by their extension, and hidden ones, are
//! passed over. Only names are read here, no pixels.
//!
//! # Source  Bergmann et al. 2019, "MVTec AD"; most later sets were made in its layout or can be had in it.

use std::io;
use std::path::{Path, PathBuf};

/// The folder name of parts without a defect.
const GOOD: &str = "good";
const EXTENSIONS: [&str; 6] = ["bmp", "jpeg", "jpg", "png", "tif", "tiff"];

/// The pictures of one category; each list sorted by path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// The name of the folder.
    pub name: String,
    /// At least one.
    pub train_good: Vec<PathBuf>,
    /// At least one; good ones and, sorted among them, each defect type.
    pub test: Vec<LabelledImage>,
}

/// A picture of which is known whether the part is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledImage {
    pub path: PathBuf,
    /// `None` for a good part.
    pub defect_type: Option<String>,
    /// A picture of the same size, not black where the defect is.
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

impl Dataset {
    /// Lists the pictures of the category in `root`.
    /// # Errors  `DatasetError::NoFolder` if `root` is none; `Layout` if a folder of the layout is missing;
    /// `NoPictures` if there is nothing to teach from or nothing to test; `Read` if a folder cannot be read.
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
        for folder in entries(&test_root)?.into_iter().filter(|entry| entry.is_dir()) {
            let label = file_name(&folder);
            let defect_type = (label != GOOD).then_some(label);
            for path in pictures(&folder)? {
                let mask =
                    defect_type.as_ref().and_then(|label| mask_of(&root.join("ground_truth").join(label), &path));
                test.push(LabelledImage { path, defect_type: defect_type.clone(), mask });
            }
        }
        if test.is_empty() {
            return Err(DatasetError::NoPictures { path: test_root });
        }
        // "." and ".." have no name of their own.
        let named = root.canonicalize().map_err(|source| DatasetError::Read { path: root.to_owned(), source })?;
        Ok(Dataset { name: file_name(&named), train_good, test })
    }
}

/// The mask of `picture` in `folder`: `<name>_mask.png` or `<name>.png`.
fn mask_of(folder: &Path, picture: &Path) -> Option<PathBuf> {
    let name = picture.file_stem()?.to_str()?;
    [format!("{name}_mask.png"), format!("{name}.png")].iter().map(|file| folder.join(file)).find(|path| path.is_file())
}

/// The folders in `root` that are themselves laid out as a category.
fn categories(root: &Path) -> Result<Vec<String>, DatasetError> {
    let folders = entries(root)?.into_iter().filter(|entry| entry.join("train/good").is_dir());
    Ok(folders.map(|folder| file_name(&folder)).collect())
}

fn pictures(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let is_picture = |path: &PathBuf| {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        EXTENSIONS.contains(&extension.as_str()) && path.is_file()
    };
    Ok(entries(folder)?.into_iter().filter(is_picture).collect())
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
mod tests {
    use super::*;

    fn layout(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        root
    }

    #[test]
    fn a_category_is_listed_in_order_with_the_masks_of_either_name() {
        let root = layout(&[
            "nut/train/good/002.png",
            "nut/train/good/000.PNG",
            "nut/train/good/._000.png",
            "nut/train/good/notes.txt",
            "nut/test/scratch/b.jpg",
            "nut/test/scratch/a.jpg",
            "nut/test/scratch/c.jpg",
            "nut/test/good/7.bmp",
            "nut/test/readme.txt",
            "nut/ground_truth/scratch/a_mask.png",
            "nut/ground_truth/scratch/b.png",
        ]);
        let nut = root.path().join("nut");
        let anomalous = |name: &str, mask: Option<&str>| LabelledImage {
            path: nut.join("test/scratch").join(name),
            defect_type: Some("scratch".into()),
            mask: mask.map(|mask| nut.join("ground_truth/scratch").join(mask)),
        };
        let expected = Dataset {
            name: "nut".into(),
            train_good: vec![nut.join("train/good/000.PNG"), nut.join("train/good/002.png")],
            test: vec![
                LabelledImage { path: nut.join("test/good/7.bmp"), defect_type: None, mask: None },
                anomalous("a.jpg", Some("a_mask.png")),
                anomalous("b.jpg", Some("b.png")),
                anomalous("c.jpg", None),
            ],
        };
        assert_eq!(Dataset::open(&nut).unwrap(), expected);
    }

    fn sentence(root: &Path) -> String {
        Dataset::open(root).unwrap_err().to_string().replace(root.to_str().unwrap(), "ROOT")
    }

    #[test]
    fn a_folder_that_is_no_category_is_refused_in_a_sentence_that_says_what_to_do() {
        let root = layout(&["pictures/1.png"]);
        assert_eq!(
            sentence(root.path()),
            "ROOT: has no folder 'train/good'; the layout of MVTec AD is expected: train/good, test/good, test/<defect \
             type> and, if there are masks, ground_truth/<defect type>"
        );
        let root = layout(&["screw/train/good/1.png", "bottle/train/good/1.png"]);
        assert!(sentence(root.path()).ends_with("name one of them: bottle, screw ('…/bottle')"));
        let root = layout(&["train/good/1.png"]);
        assert!(sentence(root.path()).starts_with("ROOT: has no folder 'test';"));
        assert!(sentence(&root.path().join("train/good/1.png")).starts_with("ROOT: there is no such folder;"));
    }

    #[test]
    fn a_category_without_pictures_is_refused() {
        let root = layout(&["train/good/1.txt", "test/good/1.png"]);
        assert_eq!(
            sentence(root.path()),
            "ROOT/train/good: holds no picture (bmp, jpeg, jpg, png, tif, tiff); put at least one there"
        );
        let root = layout(&["train/good/1.png", "test/good/1.txt"]);
        assert!(sentence(root.path()).starts_with("ROOT/test: holds no picture"));
    }
}
