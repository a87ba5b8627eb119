//! Distances between embeddings; smaller is closer.

use super::embedding::{dot, squared_distance};

/// Cosine, for unit vectors: d = 1 − ⟨a, b⟩ ∈ [0, 2].
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    (1.0 - dot(a, b)).clamp(0.0, 2.0)
}

/// Euclidean: d = ‖a − b‖. Between whitened vectors it is the Mahalanobis distance.
pub fn euclidean(a: &[f32], b: &[f32]) -> f32 {
    squared_distance(a, b).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_of_vectors_that_a_person_can_check() {
        assert!((cosine(&[0.6, 0.8], &[1.0, 0.0]) - 0.4).abs() < 1e-7);
        assert_eq!(euclidean(&[3.0, 0.0], &[0.0, 4.0]), 5.0);
    }
}
