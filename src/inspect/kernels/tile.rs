//! The one inner loop of convolutions and searches: rows times packed columns, summed in registers.

use std::array::from_fn;

use pulp::Simd;

use super::PANEL;

/// The 16 values of a panel, in as many registers as the machine needs for them.
pub type Column<S, const VECTORS: usize> = [<S as Simd>::f32s; VECTORS];
/// The sums of a tile.
pub type Sums<S, const ROWS: usize, const PANELS: usize, const VECTORS: usize> = [[Column<S, VECTORS>; PANELS]; ROWS];

/// The values of panels, as columns of registers.
#[inline(always)]
pub fn columns<S: Simd, const VECTORS: usize>(values: &[f32]) -> &[Column<S, VECTORS>] {
    debug_assert_eq!(S::F32_LANES * VECTORS, PANEL);
    S::as_simd_f32s(values).0.as_chunks().0
}

#[inline(always)]
pub fn columns_mut<S: Simd, const VECTORS: usize>(values: &mut [f32]) -> &mut [Column<S, VECTORS>] {
    S::as_mut_simd_f32s(values).0.as_chunks_mut().0
}

/// sums\[m]\[p] += Σ_k rows\[m]\[k] · panels\[p]\[k], for k below `inner`.
#[inline(always)]
pub fn accumulate<S: Simd, const ROWS: usize, const PANELS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut Sums<S, ROWS, PANELS, VECTORS>,
    rows: [&[f32]; ROWS],
    panels: [&[Column<S, VECTORS>]; PANELS],
    inner: usize,
) {
    let rows = rows.map(|row| &row[..inner]);
    let panels = panels.map(|panel| &panel[..inner]);
    let mut acc = *sums;
    for k in 0..inner {
        let columns: [Column<S, VECTORS>; PANELS] = from_fn(|p| panels[p][k]);
        for m in 0..ROWS {
            let value = simd.splat_f32s(rows[m][k]);
            for p in 0..PANELS {
                for v in 0..VECTORS {
                    acc[m][p][v] = simd.mul_add_e_f32s(value, columns[p][v], acc[m][p][v]);
                }
            }
        }
    }
    *sums = acc;
}
