//! Pictures of real defects that a user has: the metric is chosen by them too, and heads learn from them.
//!
//! A picture that a head learned from never judges: the seed draws one half of them to learn from, and the other half to
//! judge. The threshold knows nothing of them, for its promise is about good parts; so a profile from a hundred good
//! parts and five known defects is calibrated as one without.
//!
//! Where a mask says which pixels are wrong, the patches under it are learned from. Without one, those patches are that
//! lie farthest from the good parts.
//!
//! Rejected: known defects as the only anomalous class. Five pictures show what was wrong five times, and the next defect
//! is another one; a head that has seen no more forgets the rest.

use std::collections::HashSet;

use rand::seq::SliceRandom;

use super::parts::hash;
use super::{GoodParts, TeachError, stream};
use crate::frame::{Frame, Roi};
use crate::teach::defects::Mask;

/// Pictures of anomalous parts of one product, all different, none of them among its good parts; loaded when needed.
pub struct KnownDefects<'a> {
    names: Vec<String>,
    hashes: Vec<String>,
    /// Width and height of each.
    sizes: Vec<[u32; 2]>,
    /// The place of each in what `load` knows.
    places: Vec<usize>,
    load: Box<dyn Fn(usize) -> Result<KnownDefect, String> + Sync + 'a>,
}

/// A part with a real defect.
#[derive(Clone, Debug)]
pub struct KnownDefect {
    pub frame: Frame,
    /// Where it is, of the size of the frame; none if nobody has painted it.
    pub mask: Option<Mask>,
}

impl<'a> KnownDefects<'a> {
    /// No known defects, as usual.
    pub fn none() -> KnownDefects<'static> {
        KnownDefects::loaded_by(|_| unreachable!("there are none"))
    }

    fn loaded_by<'b>(load: impl Fn(usize) -> Result<KnownDefect, String> + Sync + 'b) -> KnownDefects<'b> {
        KnownDefects { names: vec![], hashes: vec![], sizes: vec![], places: vec![], load: Box::new(load) }
    }

    /// Loads every picture once and keeps the first of each that have the same pixels.
    /// * `names` — of the pictures, for messages
    /// * `load` — gives picture 0 … `names.len()` − 1, or a sentence that names it
    /// * `good` — of the same product
    ///
    /// # Errors  `TeachError::Load` for the first that cannot be loaded or whose mask has another size;
    /// `TeachError::KnownIsGood` for one that is among the good parts too.
    pub fn read(
        names: Vec<String>,
        load: impl Fn(usize) -> Result<KnownDefect, String> + Sync + 'a,
        good: &GoodParts,
    ) -> Result<KnownDefects<'a>, TeachError> {
        let mut known = KnownDefects::loaded_by(load);
        let good: HashSet<&String> = good.hashes().iter().collect();
        let mut seen = HashSet::new();
        for (place, name) in names.into_iter().enumerate() {
            let KnownDefect { frame, mask } = (known.load)(place).map_err(TeachError::Load)?;
            if let Some(mask) = mask.filter(|mask| (mask.width, mask.height) != (frame.width(), frame.height())) {
                return Err(TeachError::Load(format!(
                    "{name}: is {} × {} pixels, but its mask {} × {}; make them the same size, or remove the mask",
                    frame.width(),
                    frame.height(),
                    mask.width,
                    mask.height
                )));
            }
            let hash = hash(&frame);
            if good.contains(&hash) {
                return Err(TeachError::KnownIsGood { part: name });
            }
            if seen.insert(hash.clone()) {
                known.names.push(name);
                known.hashes.push(hash);
                known.sizes.push([frame.width(), frame.height()]);
                known.places.push(place);
            }
        }
        Ok(known)
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub fn name(&self, defect: usize) -> &str {
        &self.names[defect]
    }

    /// Of each: the first 16 hexadecimal digits of the SHA-256 of its size and pixels.
    pub fn hashes(&self) -> &[String] {
        &self.hashes
    }

    /// # Errors  `TeachError::Load` for the first picture that a region of interest is not inside of.
    pub fn check_roi(&self, roi: Option<Roi>) -> Result<(), TeachError> {
        let outside = |size: &[u32; 2]| roi.is_some_and(|roi| !roi.fits(size[0], size[1]));
        match (roi, self.sizes.iter().position(outside)) {
            (Some(roi), Some(defect)) => {
                let ([width, height], name) = (self.sizes[defect], &self.names[defect]);
                Err(TeachError::Load(format!(
                    "{name}: is {width} × {height} pixels, and the region of interest {roi} reaches outside; leave the \
                     picture out, or correct the region"
                )))
            }
            _ => Ok(()),
        }
    }

    /// # Errors  `TeachError::Load`, a sentence that names the picture.
    pub fn load(&self, defect: usize) -> Result<KnownDefect, TeachError> {
        (self.load)(self.places[defect]).map_err(TeachError::Load)
    }

    /// Those that a head learns from, and those that judge; one alone judges.
    pub fn halves(&self, seed: u64) -> (Vec<usize>, Vec<usize>) {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.shuffle(&mut stream(seed, 7_500_000));
        let judges = order.split_off(order.len() / 2);
        (order, judges)
    }
}
