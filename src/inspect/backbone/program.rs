//! The part of a backbone that the kernels run: maps, and the steps from one to the next.

use std::sync::{Mutex, PoisonError};

use pulp::Arch;

use crate::inspect::kernels::block::{Block, MAX_SIDE, Map, NO_LINE, Rows, Scratch};
use crate::inspect::kernels::conv::{Conv, Shape};
use crate::inspect::kernels::depthwise::Depthwise;
use crate::inspect::kernels::layout::{Layout, Line};
use crate::inspect::threads;

/// What computes one map from those before it.
pub enum Step {
    /// A map before may be added before the clip.
    Conv {
        conv: Conv,
        from: usize,
        add: Option<usize>,
    },
    Depthwise {
        depthwise: Depthwise,
        from: usize,
    },
    Block {
        block: Box<Block>,
        from: usize,
        add: Option<usize>,
    },
}

/// Maps and steps of one input size. Map 0 is the picture, step i computes map i + 1.
pub struct Program {
    arch: Arch,
    layouts: Vec<Layout>,
    steps: Vec<Step>,
    /// Which maps are given out.
    outputs: Vec<usize>,
    /// The memory of runs that are over.
    idle: Mutex<Vec<Memory>>,
}

/// What a run writes.
struct Memory {
    maps: Vec<Vec<f32>>,
    /// One for each thread that computes rows.
    scratch: Vec<Scratch>,
}

impl Program {
    /// * `arch` — the vector unit
    /// * `layouts` — of all maps, the picture's first
    /// * `outputs` — which maps are given out
    pub fn new(arch: Arch, layouts: Vec<Layout>, steps: Vec<Step>, outputs: Vec<usize>) -> Program {
        assert_eq!(layouts.len(), steps.len() + 1, "every step computes a map");
        Program { arch, layouts, steps, outputs, idle: Mutex::default() }
    }

    /// The layouts of the maps that are given out.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = &Layout> {
        self.outputs.iter().map(|&map| &self.layouts[map])
    }

    /// Runs all steps. Inside a pool ([`threads::together`]) its threads divide the rows of each map among them.
    /// * `picture` — (channels, height, width)
    /// * `outputs` — for each map that is given out room for (channels, height, width)
    pub fn run(&self, picture: &[f32], outputs: &mut [&mut [f32]]) {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut memory = idle.unwrap_or_else(|| self.memory());
        memory.scratch.resize_with(threads::here(), Scratch::default);
        self.layouts[0].fill_from_planes(&mut memory.maps[0], picture);
        for (i, step) in self.steps.iter().enumerate() {
            let (before, after) = memory.maps.split_at_mut(i + 1);
            let layout = &self.layouts[i + 1];
            let rows = Rows { first: 0, data: layout.rows_mut(&mut after[0]), layout };
            self.divide(step, before, &mut memory.scratch, rows);
        }
        for (&map, planes) in self.outputs.iter().zip(outputs) {
            self.layouts[map].copy_to_planes(&memory.maps[map], planes);
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
    }

    fn memory(&self) -> Memory {
        let maps = self.layouts.iter().map(|layout| vec![0.0; layout.size()]).collect();
        Memory { maps, scratch: Vec::new() }
    }

    /// Computes rows, each half of the threads one half of them.
    fn divide(&self, step: &Step, before: &[Vec<f32>], scratch: &mut [Scratch], rows: Rows) {
        let Rows { first, data, layout } = rows;
        let count = data.len() / layout.row();
        if scratch.len() == 1 || count < 2 {
            return self.compute(step, before, &mut scratch[0], Rows { first, data, layout });
        }
        let middle = count * (scratch.len() / 2) / scratch.len();
        let (upper, lower) = data.split_at_mut(middle * layout.row());
        let (mine, others) = scratch.split_at_mut(scratch.len() / 2);
        threads::join(
            || self.divide(step, before, mine, Rows { first, data: upper, layout }),
            || self.divide(step, before, others, Rows { first: first + middle, data: lower, layout }),
        );
    }

    fn compute(&self, step: &Step, before: &[Vec<f32>], scratch: &mut Scratch, rows: Rows) {
        let map = |index: usize| Map { data: &before[index], layout: &self.layouts[index] };
        match step {
            Step::Block { block, from, add } => block.rows(self.arch, scratch, map(*from), add.map(map), rows),
            Step::Conv { conv, from, add } => {
                let (from, add) = (map(*from), add.map(map));
                each_row(conv.shape(), from, rows, |y, lines, layout, row| {
                    let add = add.map(|add| add.layout.line_of(add.data, y, 0, 0));
                    conv.row(self.arch, lines, add, layout.line_mut(row), layout.width);
                });
            }
            Step::Depthwise { depthwise, from } => {
                each_row(depthwise.shape(), map(*from), rows, |_, lines, layout, row| {
                    depthwise.row(self.arch, lines, layout.line_mut(row), layout.width);
                });
            }
        }
    }
}

/// Computes rows one by one from the lines that a kernel of this shape sees.
fn each_row(shape: Shape, from: Map, rows: Rows, row: impl Fn(usize, &[Line], &Layout, &mut [f32])) {
    let Rows { first, data, layout } = rows;
    let mut lines = [NO_LINE; MAX_SIDE];
    for (y, out) in (first..).zip(data.chunks_exact_mut(layout.row())) {
        from.seen(shape, y, &mut lines);
        row(y, &lines[..shape.kernel[0]], layout, out);
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} steps from {:?}", self.steps.len(), self.layouts[0])
    }
}
