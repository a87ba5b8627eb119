//! Frame -> network input: crop, resize, normalise.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::card::ModelCard;
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
        let cropped;
        let frame = match self.roi {
            Some(roi) => {
                cropped = frame.crop(roi)?;
                &cropped
            }
            None => frame,
        };
        let [height, width] = self.size;
        let pixels = if (frame.height() as usize, frame.width() as usize) == (height, width) {
            frame.rgb()
        } else {
            let source = ImageRef::new(frame.width(), frame.height(), frame.rgb(), PixelType::U8x3)
                .expect("a frame has as many bytes as its size needs");
            let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
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
        Ok(input)
    }
}

#[cfg(test)]
mod tests {
    use super::super::card::Model;
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn pixels_are_normalised_channel_by_channel_as_the_card_says() {
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
    fn a_region_outside_the_frame_is_an_error() {
        let frame = Frame::new(32, 32, vec![0; 3 * 32 * 32], Timestamp(0), 0).unwrap();
        let roi = Some(Roi { x: 20, y: 0, width: 16, height: 16 });
        let result = Preprocess::new(&Model::built_in().card, roi, [32, 32]).run(&frame);
        assert!(matches!(result, Err(FrameError::RoiOutside { .. })));
    }
}
