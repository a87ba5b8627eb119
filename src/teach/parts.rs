//! The good parts to teach from, each one once.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use super::TeachError;
use super::parallel::in_parallel;
use crate::frame::Frame;
use crate::inspect::card::hex;
use crate::inspect::threads::cores;

/// Pictures of good parts, all different; they are loaded when they are needed, more than once, from several threads.
///
/// A picture that came twice would count as two parts, and might judge a bank that it is in: the promise of the
/// threshold would be false.
pub struct GoodParts<'a> {
    names: Vec<String>,
    hashes: Vec<String>,
    /// The place of each part in what `load` knows.
    places: Vec<usize>,
    load: Box<dyn Fn(usize) -> Result<Frame, String> + Sync + 'a>,
    duplicates: Vec<String>,
}

impl<'a> GoodParts<'a> {
    /// Loads every picture once and keeps the first of each that have the same pixels.
    /// * `names` — of the pictures, for messages
    /// * `load` — gives picture 0 … `names.len()` − 1, or a sentence that names it
    ///
    /// # Errors  `TeachError::Load` for the first picture that cannot be loaded.
    pub fn read(
        names: Vec<String>,
        load: impl Fn(usize) -> Result<Frame, String> + Sync + 'a,
    ) -> Result<GoodParts<'a>, TeachError> {
        let threads = cores();
        let hash = |(): &mut (), place: usize| load(place).map(|frame| hash(&frame)).map_err(TeachError::Load);
        let hashes = in_parallel(names.len(), threads, || (), hash, |_| ())?;
        let mut parts =
            GoodParts { names: vec![], hashes: vec![], places: vec![], load: Box::new(load), duplicates: vec![] };
        let mut seen = HashSet::new();
        for (place, (name, hash)) in names.into_iter().zip(hashes).enumerate() {
            parts.sort_in(place, name, hash.clone(), seen.insert(hash));
        }
        Ok(parts)
    }

    fn sort_in(&mut self, place: usize, name: String, hash: String, is_new: bool) {
        if is_new {
            self.places.push(place);
            self.names.push(name);
            self.hashes.push(hash);
        } else {
            self.duplicates.push(name);
        }
    }

    /// Without those whose pixels are among `taught`; they join the duplicates.
    pub fn without(self, taught: &[String]) -> GoodParts<'a> {
        let (load, duplicates) = (self.load, self.duplicates);
        let mut parts = GoodParts { names: vec![], hashes: vec![], places: vec![], load, duplicates };
        for ((place, name), hash) in self.places.into_iter().zip(self.names).zip(self.hashes) {
            let is_new = !taught.contains(&hash);
            parts.sort_in(place, name, hash, is_new);
        }
        parts
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub fn name(&self, part: usize) -> &str {
        &self.names[part]
    }

    /// Of each part: the first 16 hexadecimal digits of the SHA-256 of its size and pixels.
    pub fn hashes(&self) -> &[String] {
        &self.hashes
    }

    /// The names of the pictures that were left out, because they are the same as others.
    pub fn duplicates(&self) -> &[String] {
        &self.duplicates
    }

    /// # Errors  A sentence that names the picture.
    pub fn load(&self, part: usize) -> Result<Frame, String> {
        (self.load)(self.places[part])
    }
}

/// The first 16 hexadecimal digits of the SHA-256 of a picture's size and pixels.
pub(super) fn hash(frame: &Frame) -> String {
    let mut hash = Sha256::new();
    hash.update(frame.width().to_le_bytes());
    hash.update(frame.rgb());
    hex(&hash.finalize())[..16].to_owned()
}
