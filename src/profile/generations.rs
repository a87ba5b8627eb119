//! The files of a profile: FILE, and its newest generations FILE.0001, FILE.0002 … beside it.
//!
//! FILE is what every verb opens. Each save writes the profile twice, as the next generation and as FILE: two files,
//! not two names of one, so that damage to FILE leaves its twin. Each is written to a temporary file in the same
//! folder, synced and renamed, so that a reader, or a board after a power cut, finds the old one or the new one. Savers
//! take a lock on the folder; readers need none.
//!
//! Going back is a save too: it adds a generation that repeats an earlier one and takes over its parent, so that the
//! next undo goes one further back.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use super::{Profile, ProfileError};

/// How many generations are kept beside FILE.
pub const KEPT: usize = 5;

/// The largest file that is read or written as a profile.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// A profile to inspect with, and whether it is the one that was asked for.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub profile: Profile,
    pub fell_back: Option<FellBack>,
}

/// FILE could not be used, so one of its generations is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FellBack {
    pub generation: u32,
    /// The sentence that says what is wrong with FILE.
    pub because: String,
}

/// One of the files FILE.NNNN.
#[derive(Clone, Debug)]
pub struct Generation {
    pub number: u32,
    pub path: PathBuf,
    /// Whether FILE holds this generation.
    pub current: bool,
    /// What it holds, or the sentence that says why it cannot be used.
    pub held: Result<Held, String>,
}

/// What `profile list` tells of a whole generation.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Seconds since 1970.
    pub taught_at: u64,
    pub parent: Option<u32>,
    pub threshold: f32,
    pub bank_rows: usize,
}

/// What `undo` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undone {
    /// The new generation.
    pub generation: u32,
    /// The earlier one that it repeats.
    pub repeats: u32,
}

/// Saves `profile` as the next generation of FILE, `path`, and as FILE, and returns that generation's number.
///
/// Sets `about.generation` to it, and `about.parent` to the generation that FILE held before: that of the newest whole
/// generation if FILE is damaged, `None` if there is none. Removes all but the newest `KEPT` generations.
/// # Errors  `Unfit` if the profile could not be opened again; `Full`, `Write`. After an error `profile`, FILE and its
/// generations are as before.
pub fn save(path: &Path, profile: &mut Profile) -> Result<u32, ProfileError> {
    let _lock = lock(path)?;
    put(path, profile, current(path), &mut |file, bytes| file.write_all(bytes), &mut |_| {})
}

/// Whether a profile could be saved as `path`, as far as can be told without saving it: for those who are about to
/// spend minutes on teaching one.
/// # Errors  `Full`, `Write`
pub fn can_save(path: &Path) -> Result<(), ProfileError> {
    let _lock = lock(path)?;
    temporary(path).map(drop).map_err(|e| not_saved(path, 0, e))
}

/// The profile in FILE, `path`, itself.
/// # Errors  `NotFound`, `Unreadable`, and those of `Profile::from_bytes`
pub fn load(path: &Path) -> Result<Profile, ProfileError> {
    let file = || path.display().to_string();
    let unreadable = |source: io::Error| match source.kind() {
        ErrorKind::NotFound => ProfileError::NotFound { file: file() },
        _ => ProfileError::Unreadable { file: file(), source },
    };
    // Asked of the path, for to open a named pipe would wait for its writer.
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(io::Error::other("it is not a regular file")));
    }
    let mut bytes = Vec::new();
    let opened = File::open(path).map_err(unreadable)?;
    opened.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let what = format!("it is longer than the {MAX_FILE_BYTES} bytes that a profile may have");
        return Err(ProfileError::Damaged { file: file(), what });
    }
    Profile::from_bytes(&bytes, &file())
}

/// The profile in FILE, `path`; or, if that is missing, damaged or not `fit`, its newest generation that is whole and
/// fit.
///
/// * `fit` — the caller's own tests, of the backbone's fingerprint and the probe; its error is a clause with the next
///   step
/// # Errors  That of FILE if no generation is kept; otherwise `NoneFits`
pub fn load_or_fall_back(path: &Path, fit: impl Fn(&Profile) -> Result<(), String>) -> Result<Loaded, ProfileError> {
    let load_fit = |path: &Path| {
        let profile = load(path)?;
        match fit(&profile) {
            Ok(()) => Ok(profile),
            Err(why) => Err(ProfileError::Unfit { file: path.display().to_string(), why }),
        }
    };
    let error = match load_fit(path) {
        Ok(profile) => return Ok(Loaded { profile, fell_back: None }),
        Err(error) => error,
    };
    // A folder that cannot be listed holds no generations to fall back to; FILE's own error says more.
    let numbers = numbers(path).unwrap_or_default();
    for &generation in numbers.iter().rev() {
        if let Ok(profile) = load_fit(&generation_path(path, generation)) {
            let fell_back = Some(FellBack { generation, because: error.to_string() });
            return Ok(Loaded { profile, fell_back });
        }
    }
    match numbers.len() {
        0 => Err(error),
        tried => Err(ProfileError::NoneFits { because: error.to_string(), tried }),
    }
}

/// The generations kept beside FILE, `path`, the newest first. None is current if FILE itself cannot be opened.
/// # Errors  `NotFound` if there is neither FILE nor a generation; `Unreadable`
pub fn list(path: &Path) -> Result<Vec<Generation>, ProfileError> {
    let file = path.display().to_string();
    let numbers = numbers(path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => ProfileError::NotFound { file: file.clone() },
        _ => ProfileError::Unreadable { file: file.clone(), source },
    })?;
    let current = match load(path) {
        Ok(profile) => Some(profile.about.generation),
        Err(error @ ProfileError::NotFound { .. }) if numbers.is_empty() => return Err(error),
        Err(_) => None,
    };
    let generation = |&number: &u32| {
        let path = generation_path(path, number);
        let held = load(&path).map_err(|e| e.to_string()).map(|profile| Held {
            taught_at: profile.about.taught_at,
            parent: profile.about.parent,
            threshold: profile.about.threshold.value,
            bank_rows: profile.bank.len(),
        });
        Generation { number, path, current: current == Some(number), held }
    };
    Ok(numbers.iter().rev().map(generation).collect())
}

/// Goes back to the generation that FILE, `path`, was made from: saves it again, as a new generation whose parent is
/// that generation's own.
/// # Errors  Those of `load` if FILE cannot be opened; `NothingToUndo` if it is the first, or if the one before is no
/// longer kept or cannot be opened; those of `save`. After an error all files are as before.
pub fn undo(path: &Path) -> Result<Undone, ProfileError> {
    let _lock = lock(path)?;
    let about = load(path)?.about;
    let refuse = |why: String| ProfileError::NothingToUndo { file: path.display().to_string(), why };
    let Some(repeats) = about.parent else {
        return Err(refuse(format!(
            "generation {} is the first of its line; to change it, teach it again with 'rejectd teach'",
            about.generation
        )));
    };
    let mut earlier = load(&generation_path(path, repeats)).map_err(|error| match error {
        ProfileError::NotFound { .. } => refuse(format!(
            "generation {repeats}, from which generation {} was made, is no longer kept; 'rejectd profile list' shows \
             those that are",
            about.generation
        )),
        error => refuse(format!("generation {repeats} cannot be used; {error}")),
    })?;
    let parent = earlier.about.parent;
    let generation = put(path, &mut earlier, parent, &mut |file, bytes| file.write_all(bytes), &mut |_| {})?;
    Ok(Undone { generation, repeats })
}

/// The path of a generation: FILE and its number, "bottle.profile.0007".
pub fn generation_path(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number:04}"));
    PathBuf::from(name)
}

/// The moments of a save at which the folder looks different to those who find it after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Both temporary files are whole.
    Written,
    /// The generation has its name.
    Kept,
    /// FILE has its new content.
    Replaced,
    /// The old generations are gone.
    Pruned,
}

/// Saves `profile` as the next generation, with `parent`, and as FILE. The caller holds the lock.
///
/// * `write` — fills a file; it fails where the disk does
/// * `after` — is told of each step
fn put(
    path: &Path,
    profile: &mut Profile,
    parent: Option<u32>,
    write: &mut dyn FnMut(&mut File, &[u8]) -> io::Result<()>,
    after: &mut dyn FnMut(Step),
) -> Result<u32, ProfileError> {
    let file = || path.display().to_string();
    let before = (profile.about.generation, profile.about.parent);
    let mut saved = || {
        profile.check().map_err(|why| ProfileError::Unfit { file: file(), why })?;
        let number = next_number(path).map_err(|e| not_saved(path, 0, e))?;
        (profile.about.generation, profile.about.parent) = (number, parent);
        let bytes = profile.to_bytes();
        if bytes.len() as u64 > MAX_FILE_BYTES {
            let why =
                format!("needs {} bytes, but a profile may have {MAX_FILE_BYTES}; use fewer bank rows", bytes.len());
            return Err(ProfileError::Unfit { file: file(), why });
        }
        sweep(path);
        replace_both(path, number, &mut |file| write(file, &bytes), after)
            .map_err(|e| not_saved(path, 2 * bytes.len() as u64, e))?;
        Ok(number)
    };
    let result = saved();
    match &result {
        Ok(_) => {
            prune(path);
            after(Step::Pruned);
        }
        Err(_) => (profile.about.generation, profile.about.parent) = before,
    }
    result
}

/// Writes the generation and FILE in full before either gets its name, so that a full disk changes nothing.
fn replace_both(
    path: &Path,
    number: u32,
    write: &mut dyn FnMut(&mut File) -> io::Result<()>,
    after: &mut dyn FnMut(Step),
) -> io::Result<()> {
    let mut written = || -> io::Result<NamedTempFile> {
        let mut file = temporary(path)?;
        write(file.as_file_mut())?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    let (twin, file) = (written()?, written()?);
    after(Step::Written);
    let kept = generation_path(path, number);
    twin.persist_noclobber(&kept)?;
    let replaced = sync_folder(path).and_then(|()| {
        after(Step::Kept);
        Ok(file.persist(path)?)
    });
    if let Err(error) = replaced {
        if let Err(error) = fs::remove_file(&kept) {
            log::warn!("{}: left behind by a save that failed: {error}; remove it", kept.display());
        }
        return Err(error);
    }
    after(Step::Replaced);
    // The new profile is in its place, and after a power cut there is it or the old one: not a failed save.
    if let Err(error) = sync_folder(path) {
        log::warn!("{}: saved, but the disk did not confirm it: {error}; check the disk", path.display());
    }
    Ok(())
}

/// An empty file beside FILE, with the mode that the umask allows; it is removed unless it is persisted.
fn temporary(path: &Path) -> io::Result<NamedTempFile> {
    let prefix = temporary_prefix(path)?;
    Builder::new()
        .prefix(&prefix)
        .suffix(TEMPORARY_SUFFIX)
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder(path))
}

const TEMPORARY_SUFFIX: &str = ".tmp";

fn temporary_prefix(path: &Path) -> io::Result<OsString> {
    let mut prefix = OsString::from(".");
    prefix.push(file_name(path)?);
    prefix.push(".");
    Ok(prefix)
}

/// Removes temporary files that a power cut left; the lock says that nobody is writing them.
fn sweep(path: &Path) {
    let (Ok(prefix), Ok(entries)) = (temporary_prefix(path), fs::read_dir(folder(path))) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.as_bytes();
        if name.starts_with(prefix.as_bytes()) && name.ends_with(TEMPORARY_SUFFIX.as_bytes()) {
            remove_or_warn(&entry.path());
        }
    }
}

fn prune(path: &Path) {
    let numbers = numbers(path).unwrap_or_default();
    for &number in &numbers[..numbers.len().saturating_sub(KEPT)] {
        remove_or_warn(&generation_path(path, number));
    }
}

fn remove_or_warn(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        log::warn!("{}: no longer needed, but could not be removed: {error}; remove it", path.display());
    }
}

/// The generation that FILE holds, or the newest whole one if FILE cannot be opened.
fn current(path: &Path) -> Option<u32> {
    let numbers = numbers(path).unwrap_or_default();
    let paths = std::iter::once(path.to_path_buf()).chain(numbers.iter().rev().map(|&n| generation_path(path, n)));
    paths.flat_map(|path| load(&path)).map(|profile| profile.about.generation).next()
}

fn next_number(path: &Path) -> io::Result<u32> {
    let newest = numbers(path)?.last().copied().max(load(path).ok().map(|profile| profile.about.generation));
    let next = newest.unwrap_or(0).checked_add(1);
    next.ok_or_else(|| io::Error::other(format!("generation {} is the last that can be counted", u32::MAX)))
}

/// The numbers of the generations beside FILE, rising.
fn numbers(path: &Path) -> io::Result<Vec<u32>> {
    let own = file_name(path)?;
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder(path))? {
        let name = entry?.file_name();
        let suffix = name.as_bytes().strip_prefix(own.as_bytes()).and_then(|rest| std::str::from_utf8(rest).ok());
        let number = suffix.and_then(|suffix| suffix.strip_prefix('.')).and_then(|digits| digits.parse().ok());
        numbers.extend(number.filter(|&number: &u32| generation_path(Path::new(&own), number).as_os_str() == name));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Held until it is dropped; another saver in the folder waits.
fn lock(path: &Path) -> Result<File, ProfileError> {
    let locked = file_name(path).and_then(|_| {
        let folder = File::open(folder(path))?;
        folder.lock()?;
        Ok(folder)
    });
    locked.map_err(|e| not_saved(path, 0, e))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn file_name(path: &Path) -> io::Result<OsString> {
    let name = path.file_name().map(OsString::from);
    name.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the path does not end in a file's name"))
}

fn not_saved(path: &Path, needed_bytes: u64, source: io::Error) -> ProfileError {
    let (file, folder) = (path.display().to_string(), folder(path).display().to_string());
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            ProfileError::Full { file, folder, needed_kib: needed_bytes.div_ceil(1024).max(1) }
        }
        _ => ProfileError::Write { file, folder, source },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::inspect::embedding::Embeddings;
    use crate::profile::tests::small;

    /// A profile that can be told apart by its threshold.
    fn taught(threshold: f32) -> Profile {
        let mut profile = small();
        profile.about.threshold.value = threshold;
        profile
    }

    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bottle.profile");
        (folder, path)
    }

    fn saved(path: &Path, thresholds: &[f32]) {
        for &threshold in thresholds {
            save(path, &mut taught(threshold)).unwrap();
        }
    }

    fn threshold(path: &Path) -> f32 {
        load(path).unwrap().about.threshold.value
    }

    fn damage(path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    }

    /// Every file of a folder and its bytes.
    fn files(folder: &Path) -> BTreeMap<OsString, Vec<u8>> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        entries.map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap())).collect()
    }

    fn any(_: &Profile) -> Result<(), String> {
        Ok(())
    }

    #[test]
    fn a_save_numbers_the_generation_and_links_it_to_the_one_it_replaces() {
        let (folder, path) = place();
        let mut profile = taught(1.0);
        profile.about.parent = Some(77);
        assert_eq!(save(&path, &mut profile).unwrap(), 1);
        assert_eq!((profile.about.generation, profile.about.parent), (1, None));
        assert_eq!(save(&path, &mut profile).unwrap(), 2);
        assert_eq!((profile.about.generation, profile.about.parent), (2, Some(1)));
        assert_eq!(load(&path).unwrap(), profile);
        let files = files(folder.path());
        let names: Vec<_> = files.keys().map(|name| name.to_str().unwrap()).collect();
        assert_eq!(names, ["bottle.profile", "bottle.profile.0001", "bottle.profile.0002"]);
        assert_eq!(files[&OsString::from("bottle.profile")], files[&OsString::from("bottle.profile.0002")]);
    }

    #[test]
    fn a_profile_is_readable_by_whom_the_umask_allows() {
        let (folder, path) = place();
        saved(&path, &[1.0]);
        let plain = folder.path().join("plain");
        fs::write(&plain, "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain));
        assert_eq!(mode(&generation_path(&path, 1)), mode(&plain));
    }

    #[test]
    fn the_newest_five_generations_are_kept_and_neighbours_are_left_alone() {
        let (folder, path) = place();
        for name in ["bottle.profile.bak", "bottle.profile.1", "cap.profile.0001", "bottle.profile.00001"] {
            fs::write(folder.path().join(name), "mine").unwrap();
        }
        saved(&path, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        assert_eq!(numbers(&path).unwrap(), [3, 4, 5, 6, 7]);
        assert_eq!(files(folder.path()).len(), 4 + 1 + KEPT);
        fs::rename(generation_path(&path, 7), generation_path(&path, 12_345)).unwrap();
        assert_eq!(save(&path, &mut taught(8.0)).unwrap(), 12_346);
        assert_eq!(numbers(&path).unwrap(), [4, 5, 6, 12_345, 12_346]);
    }

    #[test]
    fn undo_twice_goes_back_two_generations_and_then_says_that_it_is_the_first() {
        let (_folder, path) = place();
        saved(&path, &[1.0, 2.0, 3.0]);
        assert_eq!(undo(&path).unwrap(), Undone { generation: 4, repeats: 2 });
        assert_eq!(threshold(&path), 2.0);
        assert_eq!(undo(&path).unwrap(), Undone { generation: 5, repeats: 1 });
        assert_eq!(threshold(&path), 1.0);
        let refused = undo(&path).unwrap_err();
        assert!(matches!(refused, ProfileError::NothingToUndo { .. }));
        assert_eq!(
            refused.to_string(),
            format!(
                "{}: nothing was undone: generation 5 is the first of its line; to change it, teach it again with \
                 'rejectd teach'",
                path.display()
            )
        );
        assert_eq!(numbers(&path).unwrap(), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn teaching_after_an_undo_can_be_undone_to_what_was_there() {
        let (_folder, path) = place();
        saved(&path, &[1.0, 2.0]);
        undo(&path).unwrap();
        saved(&path, &[4.0]);
        assert_eq!(undo(&path).unwrap().repeats, 3);
        assert_eq!(threshold(&path), 1.0);
    }

    #[test]
    fn undo_to_a_pruned_or_damaged_generation_is_refused_and_changes_nothing() {
        let (folder, path) = place();
        saved(&path, &[1.0, 2.0]);
        damage(&generation_path(&path, 1));
        let before = files(folder.path());
        let refused = undo(&path).unwrap_err().to_string();
        assert!(refused.contains("generation 1 cannot be used; ") && refused.contains("damaged"), "{refused}");
        fs::remove_file(generation_path(&path, 1)).unwrap();
        let refused = undo(&path).unwrap_err().to_string();
        assert!(refused.contains("generation 1, from which generation 2 was made, is no longer kept"), "{refused}");
        damage(&path);
        assert!(matches!(undo(&path), Err(ProfileError::Damaged { .. })));
        assert_eq!(files(folder.path()).len(), before.len() - 1);
    }

    #[test]
    fn a_save_over_a_damaged_profile_descends_from_the_newest_whole_generation() {
        let (_folder, path) = place();
        saved(&path, &[1.0, 2.0]);
        damage(&path);
        damage(&generation_path(&path, 2));
        saved(&path, &[3.0]);
        let about = load(&path).unwrap().about;
        assert_eq!((about.generation, about.parent), (3, Some(1)));
        assert_eq!(undo(&path).unwrap().repeats, 1);
    }

    #[test]
    fn the_daemon_falls_back_on_the_twin_then_on_older_generations_and_says_why() {
        let (_folder, path) = place();
        saved(&path, &[1.0, 2.0, 3.0]);
        let loaded = load_or_fall_back(&path, any).unwrap();
        assert_eq!((loaded.profile.about.threshold.value, loaded.fell_back), (3.0, None));

        damage(&path);
        assert!(matches!(load(&path), Err(ProfileError::Damaged { .. })));
        for (generation, expected) in [(3, 3.0), (2, 2.0), (1, 1.0)] {
            let loaded = load_or_fall_back(&path, any).unwrap();
            let fell_back = loaded.fell_back.unwrap();
            assert_eq!((fell_back.generation, loaded.profile.about.threshold.value), (generation, expected));
            assert!(fell_back.because.contains("bottle.profile: damaged: its bytes do not match its checksum"));
            damage(&generation_path(&path, generation));
        }
        let error = load_or_fall_back(&path, any).unwrap_err();
        assert!(matches!(error, ProfileError::NoneFits { tried: 3, .. }));
        assert!(error.to_string().ends_with("(none of the 3 generations kept beside it can be used instead)"));
    }

    #[test]
    fn a_profile_that_does_not_pass_the_callers_test_is_not_used() {
        let (_folder, path) = place();
        saved(&path, &[1.0, 2.0]);
        let below_two = |profile: &Profile| match profile.about.threshold.value < 2.0 {
            true => Ok(()),
            false => Err("its probe scores 5, not 2; teach it again".to_string()),
        };
        let fell_back = load_or_fall_back(&path, below_two).unwrap().fell_back.unwrap();
        assert_eq!(fell_back.generation, 1);
        assert!(fell_back.because.ends_with("bottle.profile: its probe scores 5, not 2; teach it again"));
    }

    #[test]
    fn a_missing_profile_falls_back_and_without_generations_is_not_found() {
        let (folder, path) = place();
        for error in [load(&path).map(drop), load_or_fall_back(&path, any).map(drop), list(&path).map(drop)] {
            assert!(matches!(error, Err(ProfileError::NotFound { .. })), "{error:?}");
        }
        saved(&path, &[1.0]);
        fs::remove_file(&path).unwrap();
        let fell_back = load_or_fall_back(&path, any).unwrap().fell_back.unwrap();
        assert!(fell_back.because.contains("there is no such profile"), "{}", fell_back.because);
        assert!(matches!(load(folder.path()), Err(ProfileError::Unreadable { .. })));
        assert!(load(&folder.path().join("no/such/folder")).is_err());
    }

    #[test]
    fn the_list_tells_which_generation_is_current_and_which_are_damaged() {
        let (_folder, path) = place();
        saved(&path, &[1.0, 2.0, 3.0]);
        damage(&generation_path(&path, 2));
        let listed = list(&path).unwrap();
        let told: Vec<_> = listed.iter().map(|g| (g.number, g.current, g.held.is_ok())).collect();
        assert_eq!(told, [(3, true, true), (2, false, false), (1, false, true)]);
        let expected = Held { taught_at: small().about.taught_at, parent: Some(2), threshold: 3.0, bank_rows: 3 };
        assert_eq!(listed[0].held.as_ref(), Ok(&expected));
        assert!(listed[1].held.as_ref().unwrap_err().contains("bottle.profile.0002: damaged"));
    }

    #[test]
    fn a_full_disk_leaves_all_files_as_they_were_and_none_behind() {
        let (folder, path) = place();
        saved(&path, &[1.0, 2.0]);
        let before = files(folder.path());
        let length = before[&OsString::from("bottle.profile")].len();
        for room in [0, 1, length - 1, length, length + 1, 2 * length - 1] {
            let mut room_left = room;
            let mut write = |file: &mut File, bytes: &[u8]| {
                let fits = bytes.len().min(room_left);
                room_left -= fits;
                file.write_all(&bytes[..fits])?;
                if fits < bytes.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
            };
            let mut profile = taught(3.0);
            let unsaved = profile.clone();
            let error = put(&path, &mut profile, Some(2), &mut write, &mut |_| {}).unwrap_err();
            assert!(matches!(error, ProfileError::Full { .. }));
            let needed = format!("is full; free at least {} KiB and save it again", (2 * length).div_ceil(1024));
            let told = error.to_string();
            assert!(told.contains(folder.path().to_str().unwrap()) && told.contains(&needed), "{told}");
            assert_eq!(files(folder.path()), before, "with room for {room} bytes");
            assert_eq!(profile, unsaved);
        }
        assert_eq!(save(&path, &mut taught(3.0)).unwrap(), 3);
    }

    #[test]
    fn a_profile_that_cannot_take_its_place_is_not_kept_as_a_generation_either() {
        let (folder, path) = place();
        fs::create_dir_all(path.join("in the way")).unwrap();
        let error = save(&path, &mut taught(1.0)).unwrap_err();
        assert!(matches!(error, ProfileError::Write { .. }), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let nowhere = folder.path().join("none/bottle.profile");
        let told = save(&nowhere, &mut taught(1.0)).unwrap_err().to_string();
        assert!(told.contains("none: No such file or directory") && told.contains("check that the folder exists"));
        assert!(save(Path::new("/"), &mut taught(1.0)).is_err());
        assert!(can_save(&nowhere).is_err());
        assert!(can_save(&folder.path().join("cap.profile")).is_ok());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_profile_that_could_not_be_opened_again_is_not_saved() {
        let (folder, path) = place();
        assert!(matches!(save(&path, &mut taught(f32::NAN)), Err(ProfileError::Unfit { .. })));
        assert!(files(folder.path()).is_empty());
    }

    #[test]
    fn a_crash_after_any_step_leaves_the_old_profile_or_the_new_one_and_the_next_save_clears_up() {
        for earlier in [&[][..], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]] {
            let (folder, path) = place();
            saved(&path, earlier);
            let mut crashes = Vec::new();
            let mut crash = |step| {
                let (copy, copied) = place();
                for (name, bytes) in files(folder.path()) {
                    fs::write(copy.path().join(name), bytes).unwrap();
                }
                crashes.push((step, copy, copied));
            };
            let parent = current(&path);
            put(&path, &mut taught(9.0), parent, &mut |file, bytes| file.write_all(bytes), &mut crash).unwrap();
            let steps: Vec<_> = crashes.iter().map(|(step, ..)| *step).collect();
            assert_eq!(steps, [Step::Written, Step::Kept, Step::Replaced, Step::Pruned]);

            for (step, copy, path) in crashes {
                let replaced = matches!(step, Step::Replaced | Step::Pruned);
                let found = load(&path).ok().map(|profile| profile.about.threshold.value);
                assert_eq!(found, if replaced { Some(9.0) } else { earlier.last().copied() }, "{step:?}");
                // Without an earlier FILE the kept generation is the only one, and the daemon finds it.
                let fallen = load_or_fall_back(&path, any).ok().map(|l| l.profile.about.threshold.value);
                assert_eq!(fallen, found.or((step == Step::Kept).then_some(9.0)), "{step:?}");

                save(&path, &mut taught(10.0)).unwrap();
                assert_eq!(threshold(&path), 10.0);
                let left = files(copy.path());
                assert!(left.keys().all(|name| !name.to_str().unwrap().ends_with(".tmp")), "{step:?}: {left:?}");
                assert!(list(&path).unwrap().iter().all(|generation| generation.held.is_ok()));
                assert!(left.len() <= 1 + KEPT);
            }
        }
    }

    #[test]
    fn savers_at_the_same_time_get_generations_of_their_own() {
        let (_folder, path) = place();
        std::thread::scope(|scope| {
            for saver in 0..4 {
                let path = &path;
                scope.spawn(move || saved(path, &[saver as f32; 5]));
            }
            for _ in 0..50 {
                let read = load(&path);
                assert!(matches!(read, Ok(_) | Err(ProfileError::NotFound { .. })), "{read:?}");
            }
        });
        assert_eq!(numbers(&path).unwrap(), [16, 17, 18, 19, 20]);
        let newest = load(&path).unwrap();
        assert_eq!((newest.about.generation, newest.about.parent), (20, Some(19)));
    }

    #[test]
    fn the_bank_that_grew_is_saved_and_the_fingerprint_follows_it_back() {
        let (_folder, path) = place();
        saved(&path, &[1.0]);
        let before = load(&path).unwrap();
        let mut grown = before.clone();
        grown.bank = Embeddings::new(2, [before.bank.data(), &[0.8, 0.6]].concat(), true);
        save(&path, &mut grown).unwrap();
        assert_ne!(load(&path).unwrap().fingerprint(), before.fingerprint());
        undo(&path).unwrap();
        assert_eq!(load(&path).unwrap().fingerprint(), before.fingerprint());
    }
}
