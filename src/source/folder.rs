//! A folder of pictures as a source: each grab takes the next one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::decode::read_frame;
use super::{FrameSource, SourceError};
use crate::clock::{Clock, Timestamp};
use crate::frame::Frame;

/// The extensions of pictures, in any case.
const EXTENSIONS: [&str; 6] = ["jpg", "jpeg", "png", "bmp", "tif", "tiff"];

/// Why there are no pictures to take.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("{}: the folder of pictures cannot be read: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: std::io::Error },
    #[error("{}: the folder holds no pictures; expected files that end in {}", path.display(), EXTENSIONS.join(", "))]
    Empty { path: PathBuf },
}

/// The pictures at `path`, sorted by name.
///
/// Of a folder, its files whose names end in an extension of pictures; not its folders, nor hidden files. Of a file,
/// the file itself, whatever its name.
/// # Errors  `FolderError::Unreadable` if `path` is not there or may not be read; `Empty` if it holds no picture.
pub fn list_images(path: &Path) -> Result<Vec<PathBuf>, FolderError> {
    let unreadable = |reason| FolderError::Unreadable { path: path.to_owned(), reason };
    if std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut images = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        if has_image_name(&file) && file.is_file() {
            images.push(file);
        }
    }
    if images.is_empty() {
        return Err(FolderError::Empty { path: path.to_owned() });
    }
    images.sort();
    Ok(images)
}

fn has_image_name(file: &Path) -> bool {
    let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or("");
    !hidden && EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
}

/// Plays the pictures of a folder, one for each grab, as if each were captured at the moment that was asked for.
pub struct FolderSource {
    path: PathBuf,
    looped: bool,
    clock: Arc<dyn Clock>,
    images: Vec<PathBuf>,
    /// The next picture's place in `images`.
    next: usize,
    /// The sequence number of the next frame; damaged pictures count, as a camera's dropped frames do.
    sequence: u64,
}

impl FolderSource {
    /// Lists the pictures at `path`; each is read only when it is grabbed.
    /// * `looped` — begin again after the last picture, instead of ending with `SourceError::Exhausted`
    /// # Errors  `SourceError::Disconnected` if there are none.
    pub fn open(path: &Path, looped: bool, clock: Arc<dyn Clock>) -> Result<FolderSource, SourceError> {
        let images = list(path)?;
        Ok(FolderSource { path: path.to_owned(), looped, clock, images, next: 0, sequence: 0 })
    }
}

fn list(path: &Path) -> Result<Vec<PathBuf>, SourceError> {
    list_images(path).map_err(|error| SourceError::Disconnected(error.to_string()))
}

impl FrameSource for FolderSource {
    /// The next picture, at once. It counts as captured now, or at `not_before` if that is still to come.
    /// # Errors  `BadFrame` with the name of a damaged file, after which comes the next; `Exhausted` after the last.
    fn grab(&mut self, not_before: Timestamp, _timeout: Duration) -> Result<Frame, SourceError> {
        if self.looped && self.next == self.images.len() {
            self.next = 0;
        }
        let path = self.images.get(self.next).ok_or(SourceError::Exhausted)?;
        let sequence = self.sequence;
        self.next += 1;
        self.sequence += 1;
        let captured = self.clock.now().max(not_before);
        let frame = read_frame(path).map_err(|error| SourceError::BadFrame(error.to_string()))?;
        Ok(frame.taken(captured, sequence))
    }

    /// Lists the folder again and begins with its first picture; the sequence goes on.
    fn reopen(&mut self) -> Result<(), SourceError> {
        self.images = list(&self.path)?;
        self.next = 0;
        Ok(())
    }

    fn describe(&self) -> String {
        let end = if self.looped { "over and over" } else { "once" };
        format!("{}: {} pictures, played {end}", self.path.display(), self.images.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SimulatedClock;

    fn save(folder: &Path, name: &str, grey: u8) {
        image::GrayImage::from_pixel(16, 16, image::Luma([grey]))
            .save_with_format(folder.join(name), image::ImageFormat::Png)
            .unwrap();
    }

    fn grab(source: &mut FolderSource) -> Result<Frame, SourceError> {
        source.grab(Timestamp(0), Duration::ZERO)
    }

    fn open(folder: &Path, looped: bool) -> FolderSource {
        FolderSource::open(folder, looped, Arc::new(SimulatedClock::default())).unwrap()
    }

    #[test]
    fn only_pictures_are_listed_by_name_and_folders_are_not_entered() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("inner.png")).unwrap();
        for name in ["b.PNG", "a.jpeg", "c.tif", "notes.txt", "png", ".hidden.png", "inner.png/d.png"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names: Vec<_> = list_images(folder.path()).unwrap();
        let expected = ["a.jpeg", "b.PNG", "c.tif"].map(|name| folder.path().join(name));
        assert_eq!(names, expected);
        assert_eq!(list_images(&folder.path().join("notes.txt")).unwrap(), [folder.path().join("notes.txt")]);
    }

    #[test]
    fn a_missing_and_an_empty_folder_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        assert!(list_images(folder.path()).unwrap_err().to_string().contains("the folder holds no pictures"));
        let missing = list_images(&folder.path().join("none")).unwrap_err().to_string();
        assert!(missing.contains("none: the folder of pictures cannot be read: No such file"), "{missing}");
        let clock = Arc::new(SimulatedClock::default());
        assert!(matches!(FolderSource::open(folder.path(), false, clock), Err(SourceError::Disconnected(_))));
    }

    #[test]
    fn pictures_come_in_order_and_a_damaged_one_is_named_and_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), "a.png", 1);
        std::fs::write(folder.path().join("b.png"), "nonsense").unwrap();
        save(folder.path(), "c.png", 3);
        let mut source = open(folder.path(), false);
        assert!(source.describe().ends_with(": 3 pictures, played once"));
        let first = grab(&mut source).unwrap();
        assert_eq!((first.rgb()[0], first.sequence), (1, 0));
        match grab(&mut source) {
            Err(SourceError::BadFrame(reason)) => assert!(reason.contains("b.png: not a picture"), "{reason}"),
            other => panic!("{other:?}"),
        }
        let last = grab(&mut source).unwrap();
        assert_eq!((last.rgb()[0], last.sequence), (3, 2));
        assert_eq!(grab(&mut source), Err(SourceError::Exhausted));
        assert_eq!(grab(&mut source), Err(SourceError::Exhausted));
    }

    #[test]
    fn a_looped_folder_begins_again_and_reopening_lists_it_again() {
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), "b.png", 2);
        let mut source = open(folder.path(), true);
        assert_eq!(grab(&mut source).unwrap().sequence, 0);
        assert_eq!(grab(&mut source).unwrap().sequence, 1);
        save(folder.path(), "a.png", 1);
        source.reopen().unwrap();
        let frame = grab(&mut source).unwrap();
        assert_eq!((frame.rgb()[0], frame.sequence), (1, 2));
    }

    #[test]
    fn a_picture_counts_as_captured_when_it_was_asked_for_but_never_in_the_past() {
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), "a.png", 1);
        let clock = SimulatedClock::default();
        clock.advance(Duration::from_nanos(50));
        let mut source = FolderSource::open(folder.path(), true, Arc::new(clock)).unwrap();
        assert_eq!(source.grab(Timestamp(70), Duration::ZERO).unwrap().captured, Timestamp(70));
        assert_eq!(source.grab(Timestamp(20), Duration::ZERO).unwrap().captured, Timestamp(50));
    }
}
