//! Distances -> distances: one that stands alone counts less than those that stand together.

/// Each distance replaced by the mean of those around it, weighed 1, 2, 1 along columns and along rows (a Gaussian of
/// σ = 0.7 positions); what lies outside the map does not count.
///
/// * `distances` — (H · W,), row by row
/// * `grid` — H and W
///
/// Returns as many. What is no number stays none, and so do its neighbours.
/// # Source  Maps are smoothed by PatchCore's code and by PaDiM's, with σ = 4 px at full size. Differs: on the grid of
/// patches and before the score is taken, so that the score and the map agree.
///
/// ```
/// use rejectd::inspect::smooth::smooth;
/// assert_eq!(smooth(&[0.0, 4.0, 0.0, 0.0], [1, 4]), [4.0 / 3.0, 2.0, 1.0, 0.0]);
/// ```
pub fn smooth(distances: &[f32], [height, width]: [usize; 2]) -> Vec<f32> {
    assert_eq!(distances.len(), height * width, "the distances are not those of this grid");
    let mut along_rows = Vec::with_capacity(distances.len());
    for row in distances.chunks_exact(width) {
        along_rows.extend((0..width).map(|x| weighed(x, width, |x| row[x])));
    }
    let at = |i: usize| weighed(i / width, height, |y| along_rows[y * width + i % width]);
    (0..distances.len()).map(at).collect()
}

/// The weighed mean of the values at `at` − 1, `at` and `at` + 1, of those that are below `count`.
fn weighed(at: usize, count: usize, value: impl Fn(usize) -> f32) -> f32 {
    let (mut sum, mut weights) = (2.0 * value(at), 2.0);
    for neighbour in [at.checked_sub(1), (at + 1 < count).then_some(at + 1)].into_iter().flatten() {
        sum += value(neighbour);
        weights += 1.0;
    }
    sum / weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_is_spread_over_its_neighbours_and_an_even_map_stays() {
        let mut map = [0.0; 25];
        map[12] = 16.0;
        let smoothed = smooth(&map, [5, 5]);
        assert_eq!(smoothed[6..9], [1.0, 2.0, 1.0]);
        assert_eq!(smoothed[11..14], [2.0, 4.0, 2.0]);
        assert_eq!(smoothed[0..5], [0.0; 5]);
        assert_eq!(smooth(&[3.0; 6], [2, 3]), [3.0; 6]);
        // 3, 4.5, 3 along its row, of which two thirds stay there and one third goes to the other.
        assert_eq!(smooth(&[0.0, 9.0, 0.0, 0.0, 0.0, 0.0], [2, 3]), [2.0, 3.0, 2.0, 1.0, 1.5, 1.0]);
    }

    #[test]
    fn the_only_position_stays_and_one_that_is_no_number_is_not_hidden() {
        assert_eq!(smooth(&[7.0], [1, 1]), [7.0]);
        let smoothed = smooth(&[0.0, 0.0, 0.0, f32::NAN], [1, 4]);
        assert!(smoothed[3].is_nan() && smoothed[2].is_nan() && smoothed[1] == 0.0);
    }
}
