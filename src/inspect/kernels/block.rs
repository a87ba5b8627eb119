//! An inverted residual in one go: expand, depthwise, project.
//!
//! The expanded map, six times as wide as what goes in and comes out, is never in memory: a ring holds the few of its rows
//! that the depthwise kernel sees, and they stay in a cache.

use pulp::Arch;

use super::conv::{Conv, Shape};
use super::depthwise::Depthwise;
use super::layout::{Border, Layout, Line};

/// Rows of the largest kernel.
pub const MAX_SIDE: usize = 7;
/// What an array of lines is made of before they are known.
pub const NO_LINE: Line = Line { data: &[], pitch: 0 };

/// Three convolutions whose maps between nobody else needs.
pub struct Block {
    expand: Conv,
    depthwise: Depthwise,
    project: Conv,
    /// The expanded map, with the border that the depthwise kernel sees.
    expanded: Layout,
    /// One row of the filtered map.
    filtered: Layout,
}

/// What a block writes on the way.
#[derive(Default)]
pub struct Scratch {
    /// The expanded rows that may still be seen: row y at y modulo the kernel's side.
    ring: Vec<f32>,
    /// A row above or below the map.
    zeros: Vec<f32>,
    filtered: Vec<f32>,
}

/// A map with its layout.
#[derive(Clone, Copy)]
pub struct Map<'a> {
    pub data: &'a [f32],
    pub layout: &'a Layout,
}

/// Rows of a map that are computed.
pub struct Rows<'a> {
    /// The number of the first of them.
    pub first: usize,
    /// Each as the layout says.
    pub data: &'a mut [f32],
    pub layout: &'a Layout,
}

impl Map<'_> {
    /// The lines that a kernel sees for row `y` of its output, in the first of `lines`.
    pub fn seen<'a>(&'a self, shape: Shape, y: usize, lines: &mut [Line<'a>; MAX_SIDE]) {
        let Shape { kernel, stride, before: [above, left] } = shape;
        for (k, line) in lines[..kernel[0]].iter_mut().enumerate() {
            *line = self.layout.line_of(self.data, y * stride[0] + k, above, left);
        }
    }
}

impl Block {
    /// * `expanded` — height, width and channels of the map between the first two
    /// * `out` — height and width of the output
    pub fn new(expand: Conv, depthwise: Depthwise, project: Conv, expanded: Layout, out: [usize; 2]) -> Block {
        let border = border(depthwise.shape(), [expanded.height, expanded.width], out);
        let filtered = Layout::new(1, out[1], expanded.channels);
        Block { expand, depthwise, project, expanded: Layout { border, ..expanded }, filtered }
    }

    /// Computes some rows of the output.
    /// * `add` — is added to them
    pub fn rows(&self, arch: Arch, scratch: &mut Scratch, from: Map, add: Option<Map>, rows: Rows) {
        let Rows { first, data: out, layout } = rows;
        let Shape { kernel: [side, _], stride: [stride, _], before: [above, left] } = self.depthwise.shape();
        let row = self.expanded.row();
        scratch.prepare(side, &self.expanded, &self.filtered);
        let is_inside = |seen: usize| (above..above + self.expanded.height).contains(&seen);
        let mut expanded = first * stride;
        for (y, out) in (first..).zip(out.chunks_exact_mut(layout.row())) {
            let top = y * stride;
            // The rows before are in the ring since the last row of the output.
            for seen in expanded.max(top)..top + side {
                if is_inside(seen) {
                    let place = &mut scratch.ring[seen % side * row..][..row];
                    self.expand_row(arch, from, seen - above, place);
                }
            }
            expanded = top + side;
            let mut lines = [NO_LINE; MAX_SIDE];
            for (seen, line) in (top..).zip(&mut lines[..side]) {
                let row =
                    if is_inside(seen) { &scratch.ring[seen % side * row..][..row] } else { &scratch.zeros[..row] };
                *line = self.expanded.line(row, left);
            }
            let filtered = &mut scratch.filtered[..self.filtered.row()];
            self.depthwise.row(arch, &lines[..side], self.filtered.line_mut(filtered), self.filtered.width);
            let add = add.map(|add| add.layout.line_of(add.data, y, 0, 0));
            self.project.row(arch, &[self.filtered.line(filtered, 0)], add, layout.line_mut(out), layout.width);
        }
    }

    fn expand_row(&self, arch: Arch, from: Map, y: usize, row: &mut [f32]) {
        let shape = self.expand.shape();
        let mut lines = [NO_LINE; MAX_SIDE];
        from.seen(shape, y, &mut lines);
        let (lines, out) = (&lines[..shape.kernel[0]], self.expanded.line_mut(row));
        self.expand.row(arch, lines, None, out, self.expanded.width);
    }
}

impl Scratch {
    /// Makes room; memory of another block serves again, but for the borders of the rows.
    fn prepare(&mut self, side: usize, expanded: &Layout, filtered: &Layout) {
        let grow = |memory: &mut Vec<f32>, len: usize| memory.resize(memory.len().max(len), 0.0);
        grow(&mut self.ring, side * expanded.row());
        grow(&mut self.zeros, expanded.row());
        grow(&mut self.filtered, filtered.row());
        self.ring[..side * expanded.row()].chunks_exact_mut(expanded.row()).for_each(|row| expanded.clear_border(row));
    }
}

/// The border that a kernel needs around a map of this size (height, width) to give an output of that one.
pub fn border(shape: Shape, size: [usize; 2], out: [usize; 2]) -> Border {
    let [bottom, right] = [0, 1].map(|axis| {
        let seen = (out[axis] - 1) * shape.stride[axis] + shape.kernel[axis];
        seen.saturating_sub(shape.before[axis] + size[axis])
    });
    Border { top: shape.before[0], left: shape.before[1], bottom, right }
}
