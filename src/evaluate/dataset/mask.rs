//! The mask of an anomalous part.

use std::path::{Path, PathBuf};

use crate::frame::Roi;
use crate::source::decode::{ImageError, Picture, decode_file};

/// Where the defect of a part is: `width` × `height` pixels, row by row, set where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    pub width: u32,
    pub height: u32,
    pub pixels: Vec<bool>,
}

/// Why a file is no mask of its picture.
#[derive(Debug, thiserror::Error)]
pub enum MaskError {
    #[error(transparent)]
    Picture(#[from] ImageError),
    #[error(
        "{mask}: the mask is {mask_width} × {mask_height} pixels, but its picture {picture} is {width} × {height}; make \
         them the same size, or remove the mask",
        mask = mask.display(), picture = picture.display()
    )]
    Size { mask: PathBuf, mask_width: u32, mask_height: u32, picture: PathBuf, width: u32, height: u32 },
    #[error(
        "{mask}: the mask is black all over, but its picture {picture} is filed as anomalous; paint the defect white, or \
         remove the mask",
        mask = mask.display(), picture = picture.display()
    )]
    Black { mask: PathBuf, picture: PathBuf },
}

impl Mask {
    /// Reads the mask at `path`; a pixel is set if it is not black.
    /// * `picture` — the path of its picture, for messages; `width` × `height` pixels
    ///
    /// # Errors  `MaskError::Picture` if the file cannot be read; `Size` if it is not `width` × `height` pixels; `Black`
    /// if no pixel is set, for then the whole defect would count as good.
    pub fn read(path: &Path, picture: &Path, width: u32, height: u32) -> Result<Mask, MaskError> {
        let Picture { width: mask_width, height: mask_height, rgb } = decode_file(path)?;
        let (mask, picture) = (path.to_owned(), picture.to_owned());
        if (mask_width, mask_height) != (width, height) {
            return Err(MaskError::Size { mask, mask_width, mask_height, picture, width, height });
        }
        let pixels: Vec<bool> = rgb.chunks_exact(3).map(|pixel| pixel != [0; 3]).collect();
        if !pixels.contains(&true) {
            return Err(MaskError::Black { mask, picture });
        }
        Ok(Mask { width, height, pixels })
    }

    /// The part of the mask inside `roi`, as the anomaly map covers no more than that.
    /// # Panics  if `roi` is not wholly inside the mask.
    pub fn cropped(&self, roi: Roi) -> Mask {
        let row = |y: u32| {
            let start = y as usize * self.width as usize;
            &self.pixels[start..start + self.width as usize][roi.x as usize..][..roi.width as usize]
        };
        let pixels = (roi.y..roi.y + roi.height).flat_map(row).copied().collect();
        Mask { width: roi.width, height: roi.height, pixels }
    }
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma, Rgb, RgbImage};

    use super::*;

    fn saved(name: &str, pixel: impl Fn(u32, u32) -> u8) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        GrayImage::from_fn(20, 16, |x, y| Luma([pixel(x, y)])).save(&path).unwrap();
        (folder, path)
    }

    fn sentence(mask: &Path, width: u32, height: u32) -> String {
        let error = Mask::read(mask, Path::new("test/scratch/7.png"), width, height).unwrap_err().to_string();
        error.replace(mask.parent().unwrap().to_str().unwrap(), "ROOT")
    }

    #[test]
    fn whatever_is_not_black_is_the_defect() {
        let (_folder, path) =
            saved("a.png", |x, y| u8::from((x, y) == (3, 2)) + if (x, y) == (19, 15) { 255 } else { 0 });
        let mask = Mask::read(&path, Path::new("a.jpg"), 20, 16).unwrap();
        let set: Vec<usize> = (0..20 * 16).filter(|&pixel| mask.pixels[pixel]).collect();
        assert_eq!(set, [2 * 20 + 3, 15 * 20 + 19]);
        RgbImage::from_fn(20, 16, |x, _| Rgb([0, 0, u8::from(x == 5)])).save(&path).unwrap();
        let coloured = Mask::read(&path, Path::new("a.jpg"), 20, 16).unwrap();
        assert_eq!(coloured.pixels.iter().filter(|pixel| **pixel).count(), 16);
    }

    #[test]
    fn a_mask_of_another_size_is_refused_and_both_files_are_named_with_their_sizes() {
        let (_folder, path) = saved("7_mask.png", |_, _| 255);
        assert_eq!(
            sentence(&path, 40, 32),
            "ROOT/7_mask.png: the mask is 20 × 16 pixels, but its picture test/scratch/7.png is 40 × 32; make them the \
             same size, or remove the mask"
        );
        assert!(sentence(&path, 16, 20).contains("is 20 × 16 pixels"));
    }

    #[test]
    fn a_mask_without_a_defect_and_a_file_that_is_no_picture_are_refused() {
        let (_folder, path) = saved("7_mask.png", |_, _| 0);
        assert!(
            sentence(&path, 20, 16).starts_with("ROOT/7_mask.png: the mask is black all over, but its picture test/")
        );
        std::fs::write(&path, "nonsense").unwrap();
        assert!(sentence(&path, 20, 16).starts_with("ROOT/7_mask.png: not a picture"));
    }

    #[test]
    fn a_crop_keeps_the_pixels_of_its_region() {
        let (_folder, path) = saved("a.bmp", |x, y| if (x, y) == (6, 4) { 255 } else { 0 });
        let crop =
            Mask::read(&path, Path::new("a.jpg"), 20, 16).unwrap().cropped(Roi { x: 5, y: 3, width: 4, height: 2 });
        assert_eq!((crop.width, crop.height), (4, 2));
        assert_eq!(crop.pixels, [false, false, false, false, false, true, false, false]);
    }
}
