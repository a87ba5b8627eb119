//! Dense convolution, row by row, with bias, sum and clip.

use std::array::from_fn;

use pulp::{Arch, Simd, WithSimd};

use super::PANEL;
use super::layout::{Layout, Line, LineMut};
use super::packed::Packed;
use super::tile::{Sums, accumulate, columns, columns_mut};

/// A convolution as a graph has it: every output channel sees every input channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    pub outputs: usize,
    pub inputs: usize,
    pub shape: Shape,
    /// (outputs, inputs, kernel rows, kernel columns)
    pub kernel: Vec<f32>,
    /// (outputs,)
    pub bias: Vec<f32>,
}

/// What a kernel sees of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    /// Zeros above and left of the input.
    pub before: [usize; 2],
}

/// A dense convolution ready to run: out = clip(bias + Σ weight · input + add).
pub struct Conv {
    shape: Shape,
    /// Panels of the input and channels in each.
    input: [usize; 2],
    /// (outputs, kernel rows · input panels · kernel columns · depth)
    weights: Packed,
    /// For all channels of all panels.
    bias: Vec<f32>,
    clip: [f32; 2],
}

impl Conv {
    /// * `input` — what it runs on
    /// * `clip` — lowest and highest value of the output
    pub fn new(weights: &Weights, input: &Layout, clip: [f32; 2]) -> Conv {
        let Weights { outputs, inputs, shape, kernel, bias } = weights;
        let (panels, depth, [height, width]) = (input.panels(), input.depth, shape.kernel);
        let at = |output: usize, k: usize| {
            let (channel, x) = (k / (width * depth) % panels * depth + k % depth, k / depth % width);
            let y = k / (panels * width * depth);
            if channel < *inputs { kernel[((output * inputs + channel) * height + y) * width + x] } else { 0.0 }
        };
        let packed = Packed::new(*outputs, height * panels * width * depth, at);
        let mut bias = bias.clone();
        bias.resize(packed.panels() * PANEL, 0.0);
        Conv { shape: *shape, input: [panels, depth], weights: packed, bias, clip }
    }

    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Computes `width` pixels of one row.
    /// * `lines` — a row of the input for each row of the kernel, from the leftmost pixel that the first output sees on
    /// * `add` — is added before the clip
    pub fn row(&self, arch: Arch, lines: &[Line], add: Option<Line>, out: LineMut, width: usize) {
        arch.dispatch(Row { conv: self, lines, add, out, width });
    }
}

struct Row<'a> {
    conv: &'a Conv,
    lines: &'a [Line<'a>],
    add: Option<Line<'a>>,
    out: LineMut<'a>,
    width: usize,
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::F32_LANES {
            16 => self.panels::<S, 8, 3, 1>(simd),
            8 => self.panels::<S, 6, 1, 2>(simd),
            4 => self.panels::<S, 4, 1, 4>(simd),
            _ => self.panels::<S, 1, 1, PANEL>(simd),
        }
    }
}

impl Row<'_> {
    /// As many panels together as the machine's registers hold: three, two where three would leave one over, or one.
    #[inline(always)]
    fn panels<S: Simd, const ROWS: usize, const PANELS: usize, const VECTORS: usize>(mut self, simd: S) {
        let panels = self.conv.weights.panels();
        let mut first = 0;
        while first < panels {
            first += match (panels - first, PANELS) {
                (3 | 5.., 3) => self.pixels::<S, ROWS, 3, VECTORS>(simd, first),
                (2 | 4, 3) => self.pixels::<S, ROWS, 2, VECTORS>(simd, first),
                _ => self.pixels::<S, ROWS, 1, VECTORS>(simd, first),
            };
        }
    }

    /// Some panels of all pixels. The last tile goes back over pixels that are done, if the width is no multiple.
    /// Returns how many panels they were.
    #[inline(always)]
    fn pixels<S: Simd, const ROWS: usize, const PANELS: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
        first: usize,
    ) -> usize {
        if self.width < ROWS {
            (0..self.width).for_each(|x| self.tile::<S, 1, PANELS, VECTORS>(simd, first, x));
        } else {
            let mut x = 0;
            while x < self.width {
                self.tile::<S, ROWS, PANELS, VECTORS>(simd, first, x.min(self.width - ROWS));
                x += ROWS;
            }
        }
        PANELS
    }

    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize, const PANELS: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
        first: usize,
        x: usize,
    ) {
        let Conv { shape, input: [inputs, depth], weights, bias, clip } = self.conv;
        let (span, step) = (shape.kernel[1] * depth, shape.stride[1] * depth);
        let panels = weights.columns::<S, PANELS, VECTORS>(first);
        let bias = &columns::<S, VECTORS>(bias)[first..first + PANELS];
        let mut sums: Sums<S, ROWS, PANELS, VECTORS> = [from_fn(|p| bias[p]); ROWS];
        for (y, line) in self.lines.iter().enumerate() {
            for input in 0..*inputs {
                let data = &line.data[input * line.pitch + x * step..][..(ROWS - 1) * step + span];
                let from = (y * inputs + input) * span;
                accumulate(simd, &mut sums, from_fn(|m| &data[m * step..]), panels.map(|panel| &panel[from..]), span);
            }
        }
        let [low, high] = clip.map(|limit| simd.splat_f32s(limit));
        for p in 0..PANELS {
            let at = |pitch: usize| (first + p) * pitch + x * PANEL;
            if let Some(add) = &self.add {
                let add = &columns::<S, VECTORS>(&add.data[at(add.pitch)..][..ROWS * PANEL])[..ROWS];
                for m in 0..ROWS {
                    sums[m][p] = from_fn(|v| simd.add_f32s(sums[m][p][v], add[m][v]));
                }
            }
            let out = &mut self.out.data[at(self.out.pitch)..][..ROWS * PANEL];
            for (out, sums) in columns_mut::<S, VECTORS>(out).iter_mut().zip(&sums) {
                *out = sums[p].map(|sum| simd.min_f32s(high, simd.max_f32s(low, sum)));
            }
        }
    }
}
