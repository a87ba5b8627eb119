//! The arithmetic that an inspection spends its time in: convolutions of the backbone and the search in the bank.
//!
//! Goal: near the arithmetic limit of the machine's vector unit, in safe and portable code. One inner loop ([`tile`]) sums a
//! tile of rows times packed columns in registers; dense convolution, projection and search are that loop with other rows
//! and another end. `pulp` chooses the vector unit when the program runs: AVX-512, AVX2, NEON, or plain numbers.
//!
//! Maps lie in memory in panels of 16 channels, row by row ([`layout`]): a pixel of a panel is one, two or four registers,
//! neighbours lie side by side, and a row is one piece of memory, so that rows can be handed to threads. Borders of zeros in
//! memory take the place of conditions in the loops.
//!
//! No goal: shapes that no backbone for small machines has. A graph with other operations is left to tract, which runs
//! all of them (`backbone::recognise`).
//!
//! Every output pixel is summed in an order that depends on neither threads nor tiles, so that scores do not either.

pub mod block;
pub mod conv;
pub mod depthwise;
pub mod layout;
pub mod packed;
pub mod tile;

/// Channels that lie side by side in memory, and columns that are packed together.
pub const PANEL: usize = 16;

/// Whether there is a vector unit; plain numbers are slower than what tract has for such a machine.
pub fn has_vectors(arch: pulp::Arch) -> bool {
    struct Lanes;
    impl pulp::WithSimd for Lanes {
        type Output = usize;
        fn with_simd<S: pulp::Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    arch.dispatch(Lanes) > 1
}
