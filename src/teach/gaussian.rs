//! Second moments of the good parts: principal axes, and the Gaussian of the Mahalanobis distance.

use nalgebra::{Cholesky, DMatrix, DVector, SymmetricEigen};
use ndarray::{ArrayView1, Axis};

use crate::inspect::embedding::Embeddings;
use crate::inspect::metric::Projection;

/// Rows whose products are summed in f32.
const BLOCK: usize = 1024;

/// The mean (D,) and covariance (D, D) of the rows, with 1/N.
fn moments(rows: &Embeddings) -> (DVector<f64>, DMatrix<f64>) {
    let (count, width) = (rows.len() as f64, rows.width());
    let mut mean = DVector::zeros(width);
    for row in rows.rows() {
        mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value) / count);
    }
    let mean_row: Vec<f32> = mean.iter().map(|mean| *mean as f32).collect();
    let mut covariance = DMatrix::zeros(width, width);
    // Products in f32 for speed, their sum over the blocks in f64, for there may be millions of rows.
    for block in rows.view().axis_chunks_iter(Axis(0), BLOCK) {
        let centred = &block - &ArrayView1::from(&mean_row);
        let products = centred.t().dot(&centred);
        covariance.iter_mut().zip(products.iter()).for_each(|(sum, product)| *sum += f64::from(*product) / count);
    }
    (mean, covariance)
}

/// The projection on the `width` principal axes of the rows, the widest first.
///
/// Returns mean (D,) and weight (`width`, D) with orthonormal rows.
/// # Panics  If `width` is 0 or more than D.
pub fn principal_axes(rows: &Embeddings, width: usize) -> Projection {
    assert!((1..=rows.width()).contains(&width));
    let (mean, covariance) = moments(rows);
    let eigen = SymmetricEigen::new(covariance);
    let mut order: Vec<usize> = (0..rows.width()).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    let weight = order[..width]
        .iter()
        .flat_map(|&axis| eigen.eigenvectors.column(axis).iter().map(|v| *v as f32).collect::<Vec<_>>());
    Projection { mean: mean.iter().map(|v| *v as f32).collect(), weight: weight.collect() }
}

/// The standard deviation of each column, (D,); where a column does not vary, 1, so that it can divide.
pub fn deviations(rows: &Embeddings) -> Vec<f32> {
    let (_, covariance) = moments(rows);
    let deviation = |variance: &f64| if *variance > 1e-12 { variance.sqrt() as f32 } else { 1.0 };
    covariance.diagonal().iter().map(deviation).collect()
}

/// One Gaussian for each position: `rows` holds the pictures one after another, each of `positions` rows.
///
/// Returns whitening (P, D, D) and mean (P, D).
/// # Source  Defard et al. 2021 (PaDiM), arXiv:2011.08785. Differs: shrunk as [`gaussian`] does.
pub fn gaussians(rows: &Embeddings, positions: usize) -> Gaussian {
    let pictures = rows.len() / positions;
    let mut whitening = Vec::with_capacity(positions * rows.width() * rows.width());
    let mut mean = Vec::with_capacity(positions * rows.width());
    for position in 0..positions {
        let own: Vec<usize> = (0..pictures).map(|picture| picture * positions + position).collect();
        let gaussian = gaussian(&rows.select(&own));
        whitening.extend(gaussian.whitening);
        mean.extend_from_slice(gaussian.mean.data());
    }
    Gaussian { whitening, mean: Embeddings::new(rows.width(), mean, false), shrinkage: 0.0 }
}

/// The Gaussian of the good parts, for √((q − μ)ᵀ Σ⁻¹ (q − μ)) = ‖L⁻¹ (q − μ)‖ with Σ = L Lᵀ.
pub struct Gaussian {
    /// L⁻¹, (D, D), row by row.
    pub whitening: Vec<f32>,
    /// μ, one row.
    pub mean: Embeddings,
    /// How far Σ was shrunk, in [0, 1]; 1 leaves only its trace.
    pub shrinkage: f64,
}

/// Fits the Gaussian, its covariance shrunk towards the sphere of the same trace.
///
/// Σ = (1 − ρ) S + ρ tr(S)/D · I with the ρ that minimises the expected squared error; so Σ is invertible with fewer
/// rows than dimensions too.
/// # Source  Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices".
pub fn gaussian(rows: &Embeddings) -> Gaussian {
    let (mean, sample) = moments(rows);
    let (count, width) = (rows.len() as f64, rows.width());
    let scale = sample.trace() / width as f64;
    let dispersion = (&sample - DMatrix::identity(width, width) * scale).norm_squared();
    // The mean over rows of ‖x xᵀ − S‖² is the mean of ‖x‖⁴ less ‖S‖².
    let fourth: f64 = rows
        .rows()
        .map(|row| row.iter().zip(mean.iter()).map(|(v, m)| (f64::from(*v) - m).powi(2)).sum::<f64>().powi(2))
        .sum::<f64>()
        / count;
    let error = (fourth - sample.norm_squared()).max(0.0) / count;
    let shrinkage = if dispersion > 0.0 { (error / dispersion).min(1.0) } else { 1.0 };
    let shrunk = sample * (1.0 - shrinkage) + DMatrix::identity(width, width) * (shrinkage * scale);
    // Rounding may leave a direction without variance slightly below zero; the least floor that mends it is added.
    let floors = std::iter::successors(Some((scale * 1e-7).max(1e-12)), |floor| Some(2.0 * floor));
    let factor = floors
        .filter_map(|floor| Cholesky::new(&shrunk + DMatrix::identity(width, width) * floor))
        .next()
        .expect("some floor makes a symmetric matrix positive definite");
    let inverse =
        factor.l().solve_lower_triangular(&DMatrix::identity(width, width)).expect("its diagonal is positive");
    Gaussian {
        whitening: inverse.transpose().iter().map(|v| *v as f32).collect(),
        mean: Embeddings::new(width, mean.iter().map(|v| *v as f32).collect(), false),
        shrinkage,
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn the_first_axis_is_the_long_side_of_a_cross() {
        let rows = Embeddings::new(2, vec![-3.0, 1.0, 3.0, 1.0, 0.0, 0.0, 0.0, 2.0], false);
        let axes = principal_axes(&rows, 1);
        assert_eq!(axes.mean, [0.0, 1.0]);
        assert!((axes.weight[0].abs() - 1.0).abs() < 1e-6 && axes.weight[1].abs() < 1e-6);
    }

    #[test]
    fn whitened_rows_have_unit_variance_and_the_mahalanobis_distance_is_that_of_the_formula() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let mut normal = || rng.sample::<f32, _>(rand_distr::StandardNormal);
        let data = (0..20_000).flat_map(|_| {
            let (a, b) = (normal(), normal());
            [5.0 + 2.0 * a, 1.0 + a + 0.5 * b]
        });
        let gaussian = gaussian(&Embeddings::new(2, data.collect(), false));
        assert!(gaussian.shrinkage < 0.01);
        // Σ = [[4, 2], [2, 1.25]], Σ⁻¹ = [[1.25, −2], [−2, 4]]; for q − μ = (2, 0): √(4 · 1.25) = √5.
        let query = Embeddings::new(2, vec![7.0, 1.0], false);
        let whitening = Projection { mean: gaussian.mean.row(0).to_vec(), weight: gaussian.whitening };
        let whitened = whitening.apply(&query);
        let distance = crate::inspect::distance::euclidean(whitened.row(0), &[0.0; 2]);
        assert!((distance - 5f32.sqrt()).abs() < 0.1, "{distance}");
    }

    #[test]
    fn fewer_rows_than_dimensions_are_shrunk_and_still_give_a_distance() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(2);
        let rows =
            Embeddings::new(40, (0..400).map(|_| rng.sample::<f32, _>(rand_distr::StandardNormal)).collect(), false);
        let gaussian = gaussian(&rows);
        assert!(gaussian.shrinkage > 0.5, "{}", gaussian.shrinkage);
        assert!(gaussian.whitening.iter().all(|value| value.is_finite()));
    }
}
