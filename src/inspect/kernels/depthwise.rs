//! Depthwise convolution, row by row, with bias and clip: each channel by a kernel of its own.

use std::array::from_fn;

use pulp::{Arch, Simd, WithSimd};

use super::PANEL;
use super::conv::Shape;
use super::layout::{Line, LineMut};
use super::tile::{Column, columns, columns_mut};

/// Pixels that are summed together, so that each weight and most pixels are read once for all of them.
const PIXELS: usize = 4;

/// A depthwise convolution ready to run: out = clip(bias + Σ weight · input).
pub struct Depthwise {
    shape: Shape,
    /// (panels, kernel rows, kernel columns, 16)
    weights: Vec<f32>,
    /// For all channels of all panels.
    bias: Vec<f32>,
    clip: [f32; 2],
}

impl Depthwise {
    /// Whether there is a kernel of this shape: 3, 5 or 7 pixels square, with stride 1 or 2.
    pub fn fits(shape: Shape) -> bool {
        let [height, width] = shape.kernel;
        height == width && matches!(height, 3 | 5 | 7) && matches!(shape.stride, [1, 1] | [2, 2])
    }

    /// * `kernel` — (channels, kernel rows, kernel columns)
    /// * `bias` — (channels,)
    /// * `clip` — lowest and highest value of the output
    ///
    /// # Panics  If the shape does not fit.
    pub fn new(shape: Shape, kernel: &[f32], bias: &[f32], clip: [f32; 2]) -> Depthwise {
        assert!(Depthwise::fits(shape), "there is no depthwise kernel of {shape:?}");
        let taps = shape.kernel[0] * shape.kernel[1];
        let padded = bias.len().next_multiple_of(PANEL);
        let mut weights = vec![0.0; padded * taps];
        for (channel, kernel) in kernel.chunks_exact(taps).enumerate() {
            for (tap, &weight) in kernel.iter().enumerate() {
                weights[(channel / PANEL * taps + tap) * PANEL + channel % PANEL] = weight;
            }
        }
        let mut bias = bias.to_vec();
        bias.resize(padded, 0.0);
        Depthwise { shape, weights, bias, clip }
    }

    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Computes `width` pixels of one row.
    /// * `lines` — a row of the input for each row of the kernel, from the leftmost pixel that the first output sees on
    pub fn row(&self, arch: Arch, lines: &[Line], out: LineMut, width: usize) {
        match (self.shape.kernel[0], self.shape.stride[0]) {
            (3, 1) => self.dispatch::<3, 1>(arch, lines, out, width),
            (3, _) => self.dispatch::<3, 2>(arch, lines, out, width),
            (5, 1) => self.dispatch::<5, 1>(arch, lines, out, width),
            (5, _) => self.dispatch::<5, 2>(arch, lines, out, width),
            (_, 1) => self.dispatch::<7, 1>(arch, lines, out, width),
            _ => self.dispatch::<7, 2>(arch, lines, out, width),
        }
    }

    fn dispatch<const K: usize, const STRIDE: usize>(&self, arch: Arch, lines: &[Line], out: LineMut, width: usize) {
        let lines: &[Line; K] = lines.try_into().expect("a line for each row of the kernel");
        arch.dispatch(Row::<K, STRIDE> { depthwise: self, lines, out, width });
    }
}

struct Row<'a, const K: usize, const STRIDE: usize> {
    depthwise: &'a Depthwise,
    lines: &'a [Line<'a>; K],
    out: LineMut<'a>,
    width: usize,
}

impl<const K: usize, const STRIDE: usize> WithSimd for Row<'_, K, STRIDE> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::F32_LANES {
            16 => self.panels::<S, 1>(simd),
            8 => self.panels::<S, 2>(simd),
            4 => self.panels::<S, 4>(simd),
            _ => self.panels::<S, PANEL>(simd),
        }
    }
}

impl<const K: usize, const STRIDE: usize> Row<'_, K, STRIDE> {
    #[inline(always)]
    fn panels<S: Simd, const VECTORS: usize>(self, simd: S) {
        let Row { depthwise, lines, out, width } = self;
        let weights = columns::<S, VECTORS>(&depthwise.weights).chunks_exact(K * K);
        let seen = (width - 1) * STRIDE + K;
        for (panel, (weights, bias)) in weights.zip(columns::<S, VECTORS>(&depthwise.bias)).enumerate() {
            let lines: [&[Column<S, VECTORS>]; K] = from_fn(|y| {
                let Line { data, pitch } = lines[y];
                &columns::<S, VECTORS>(&data[panel * pitch..][..seen * PANEL])[..seen]
            });
            let out = &mut out.data[panel * out.pitch..][..width * PANEL];
            let out = &mut columns_mut::<S, VECTORS>(out)[..width];
            for v in 0..VECTORS {
                let weights: [[S::f32s; K]; K] = from_fn(|y| from_fn(|x| weights[y * K + x][v]));
                let clip = depthwise.clip.map(|limit| simd.splat_f32s(limit));
                let channels = Channels { simd, weights, bias: bias[v], clip, v };
                if width < PIXELS {
                    (0..width).for_each(|x| channels.pixels::<STRIDE, VECTORS, 1>(&lines, out, x));
                } else {
                    let mut x = 0;
                    while x < width {
                        channels.pixels::<STRIDE, VECTORS, PIXELS>(&lines, out, x.min(width - PIXELS));
                        x += PIXELS;
                    }
                }
            }
        }
    }
}

/// The channels of one register, along a row.
struct Channels<S: Simd, const K: usize> {
    simd: S,
    weights: [[S::f32s; K]; K],
    bias: S::f32s,
    clip: [S::f32s; 2],
    /// Which register of the panel.
    v: usize,
}

impl<S: Simd, const K: usize> Channels<S, K> {
    #[inline(always)]
    fn pixels<const STRIDE: usize, const VECTORS: usize, const N: usize>(
        &self,
        lines: &[&[Column<S, VECTORS>]; K],
        out: &mut [Column<S, VECTORS>],
        x: usize,
    ) {
        let mut sums = [self.bias; N];
        for (line, weights) in lines.iter().zip(&self.weights) {
            let seen = &line[x * STRIDE..][..(N - 1) * STRIDE + K];
            for (k, weight) in weights.iter().enumerate() {
                for n in 0..N {
                    sums[n] = self.simd.mul_add_e_f32s(seen[n * STRIDE + k][self.v], *weight, sums[n]);
                }
            }
        }
        let [low, high] = self.clip;
        for (out, sum) in out[x..x + N].iter_mut().zip(sums) {
            out[self.v] = self.simd.min_f32s(high, self.simd.max_f32s(low, sum));
        }
    }
}
