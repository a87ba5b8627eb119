//! Weights in the order in which the inner loop reads them.

use std::array::from_fn;

use pulp::Simd;

use super::PANEL;
use super::tile::{Column, columns};

/// A (columns, inner) matrix in panels: for each 16 columns, for each inner index, the 16 values; zeros fill the last panel.
pub struct Packed {
    inner: usize,
    data: Vec<f32>,
}

impl Packed {
    /// * `at` — the value of a column at an inner index
    pub fn new(columns: usize, inner: usize, at: impl Fn(usize, usize) -> f32) -> Packed {
        let mut data = Vec::with_capacity(columns.next_multiple_of(PANEL) * inner);
        for first in (0..columns).step_by(PANEL) {
            for k in 0..inner {
                data.extend((first..first + PANEL).map(|column| if column < columns { at(column, k) } else { 0.0 }));
            }
        }
        Packed { inner, data }
    }

    pub fn inner(&self) -> usize {
        self.inner
    }

    pub fn panels(&self) -> usize {
        self.data.len() / (self.inner * PANEL)
    }

    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// Some panels from `first` on, each a column of registers for each inner index.
    #[inline(always)]
    pub fn columns<S: Simd, const PANELS: usize, const VECTORS: usize>(
        &self,
        first: usize,
    ) -> [&[Column<S, VECTORS>]; PANELS] {
        let all = columns::<S, VECTORS>(&self.data);
        from_fn(|p| &all[(first + p) * self.inner..][..self.inner])
    }
}
