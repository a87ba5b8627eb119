//! Frame -> network input: crop, resize, normalise.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::card::ModelCard;
use super::tiling::Tile;
use crate::frame::{Frame, FrameError, Roi};

/// Turns frames into network inputs of one size; keeps its buffers from one frame to the next.
pub struct Preprocess {
    roi: Option<Roi>,
    /// Height and width.
    size: [usize; 2],
    /// value = pixel · scale + offset, for each of R, G, B.
    scale: [f32; 3],
    offset: [f32; 3],
    resizer: Resizer,
    resized: Image<'static>,
}

impl Preprocess {
    /// `size` is height and width of the network's input, in pixels.
    pub fn new(card: &ModelCard, roi: Option<Roi>, size: [usize; 2]) -> Preprocess {
        let [height, width] = size;
        Preprocess {
            roi,
            size,
            scale: card.std.map(|std| 1.0 / (255.0 * std)),
            offset: std::array::from_fn(|c| -card.mean[c] / card.std[c]),
            resizer: Resizer::new(),
            resized: Image::new(width as u32, height as u32, PixelType::U8x3),
        }
    }

    /// A second one for another thread.
    pub fn fork(&self) -> Preprocess {
        let resized = Image::new(self.resized.width(), self.resized.height(), PixelType::U8x3);
        Preprocess { resizer: Resizer::new(), resized, ..*self }
    }

    /// The network's input: (3, height, width) f32, channel by channel; value = (pixel / 255 − mean) / std.
    ///
    /// The region is resized as a whole, without keeping its aspect, by the triangle filter whose support grows with
    /// the reduction (Pillow's BILINEAR), in 8 bits.
    /// # Errors  `FrameError::RoiOutside` if the region of interest is not inside the frame.
    pub fn run(&mut self, frame: &Frame) -> Result<Vec<f32>, FrameError> {
        let region = self.region(frame)?;
        let whole = Tile { top: 0, left: 0, height: region.height() as usize, width: region.width() as usize };
        Ok(self.run_tile(&region, whole))
    }

    /// The region of interest of a frame; shares its pixels if it is the whole frame.
    /// # Errors  `FrameError::RoiOutside` if the region of interest is not inside the frame.
    pub fn region(&self, frame: &Frame) -> Result<Frame, FrameError> {
        self.roi.map_or_else(|| Ok(frame.clone()), |roi| frame.crop(roi))
    }

    /// As [`Preprocess::run`], for a tile of the region; the filter reaches over the tile's border to the pixels beside it.
    /// # Panics  If the tile is not inside the region.
    pub fn run_tile(&mut self, region: &Frame, tile: Tile) -> Vec<f32> {
        let [height, width] = self.size;
        let whole = (region.height() as usize, region.width() as usize);
        let pixels = if whole == (height, width) && whole == (tile.height, tile.width) {
            region.rgb()
        } else {
            let source = ImageRef::new(region.width(), region.height(), region.rgb(), PixelType::U8x3)
                .expect("a frame has as many bytes as its size needs");
            let [left, top, tile_width, tile_height] =
                [tile.left, tile.top, tile.width, tile.height].map(|px| px as f64);
            let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
            let options = options.crop(left, top, tile_width, tile_height);
            self.resizer.resize(&source, &mut self.resized, &options).expect("both images are 8-bit RGB");
            self.resized.buffer()
        };
        let area = height * width;
        let mut input = vec![0.0; 3 * area];
        for (c, plane) in input.chunks_exact_mut(area).enumerate() {
            let (scale, offset) = (self.scale[c], self.offset[c]);
            for (value, pixel) in plane.iter_mut().zip(pixels.chunks_exact(3)) {
                *value = f32::from(pixel[c]) * scale + offset;
            }
        }
        input
    }
}

#[cfg(test)]
mod tests {
    use super::super::card::Model;
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn trap_t7_pixels_are_normalised_channel_by_channel_as_the_card_says() {
        let rgb = [0u8, 127, 255].repeat(32 * 32);
        let frame = Frame::new(32, 32, rgb, Timestamp(0), 0).unwrap();
        let input = Preprocess::new(&Model::built_in().card, None, [32, 32]).run(&frame).unwrap();
        for (c, expected) in [-127.0 / 128.0, 0.0, 1.0].into_iter().enumerate() {
            assert!(input[c * 1024..(c + 1) * 1024].iter().all(|v: &f32| (v - expected).abs() < 1e-6));
        }
    }

    #[test]
    fn halving_a_picture_averages_over_the_wider_support() {
        let columns: Vec<u8> = (0..64).flat_map(|x| if x % 2 == 0 { [0; 3] } else { [200; 3] }).collect();
        let frame = Frame::new(64, 64, columns.repeat(64), Timestamp(0), 0).unwrap();
        let input = Preprocess::new(&Model::built_in().card, None, [32, 32]).run(&frame).unwrap();
        let grey = (input[16 * 32 + 16] * 128.0 + 127.0).round();
        assert!((99.0..=101.0).contains(&grey), "stripes finer than the result must blend, found {grey}");
    }

    #[test]
    fn a_tile_of_the_size_of_the_input_keeps_its_pixels_and_a_larger_one_is_resized() {
        let columns: Vec<u8> = (0..96).flat_map(|x| [2 * x as u8; 3]).collect();
        let frame = Frame::new(96, 64, columns.repeat(64), Timestamp(0), 0).unwrap();
        let mut preprocess = Preprocess::new(&Model::built_in().card, None, [32, 32]);
        let mut greys = |tile| {
            let input = preprocess.run_tile(&frame, tile);
            [0, 31].map(|x| (input[16 * 32 + x] * 128.0 + 127.0).round())
        };
        assert_eq!(greys(Tile { top: 5, left: 10, height: 32, width: 32 }), [20.0, 82.0]);
        // The first column lies between those of 64 and 66, the last between those of 188 and 190.
        assert_eq!(greys(Tile { top: 0, left: 32, height: 64, width: 64 }), [65.0, 189.0]);
    }

    #[test]
    fn a_region_outside_the_frame_is_an_error() {
        let frame = Frame::new(32, 32, vec![0; 3 * 32 * 32], Timestamp(0), 0).unwrap();
        let roi = Some(Roi { x: 20, y: 0, width: 16, height: 16 });
        let result = Preprocess::new(&Model::built_in().card, roi, [32, 32]).run(&frame);
        assert!(matches!(result, Err(FrameError::RoiOutside { .. })));
    }
}
