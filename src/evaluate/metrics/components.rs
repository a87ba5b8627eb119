//! The connected components of a mask.

/// Labels the connected components of `mask`; pixels that touch by a side or a corner are connected (8-connectivity).
///
/// * `mask` — `height` × `width`, row by row
///
/// Returns the label of each pixel: 0 where the mask is not set, and from 1 on for the components, in the order in which
/// their first pixels are met, row by row.
///
/// ```
/// use rejectd::evaluate::metrics::connected_components;
/// let mask = [1, 0, 0, 1, //
///             0, 1, 0, 1, //
///             0, 0, 0, 0, //
///             1, 1, 0, 0].map(|pixel| pixel == 1);
/// assert_eq!(connected_components(&mask, 4, 4), [1, 0, 0, 2, //
///                                                0, 1, 0, 2, //
///                                                0, 0, 0, 0, //
///                                                3, 3, 0, 0]);
/// ```
/// # Panics  if `mask` does not hold `width · height` pixels.
/// # Source  `scipy.ndimage.label(mask, structure=np.ones((3, 3)))`
pub fn connected_components(mask: &[bool], width: usize, height: usize) -> Vec<u32> {
    assert_eq!(mask.len(), width * height, "a mask holds one value a pixel");
    let mut labels = vec![0; mask.len()];
    let mut count = 0;
    let mut open = Vec::new();
    for first in 0..mask.len() {
        if !mask[first] || labels[first] != 0 {
            continue;
        }
        count += 1;
        labels[first] = count;
        open.push(first);
        while let Some(pixel) = open.pop() {
            let (x, y) = (pixel % width, pixel / width);
            for y in y.saturating_sub(1)..(y + 2).min(height) {
                for x in x.saturating_sub(1)..(x + 2).min(width) {
                    let neighbour = y * width + x;
                    if mask[neighbour] && labels[neighbour] == 0 {
                        labels[neighbour] = count;
                        open.push(neighbour);
                    }
                }
            }
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(rows: &[&str]) -> Vec<u32> {
        let mask: Vec<bool> = rows.concat().chars().map(|pixel| pixel == '#').collect();
        connected_components(&mask, rows[0].len(), rows.len())
    }

    #[test]
    fn corners_connect_and_the_edge_of_the_picture_does_not_wrap() {
        assert_eq!(labels(&["#..", ".#.", "..#"]), [1, 0, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!(labels(&["..#", "#..", "..#"]), [0, 0, 1, 2, 0, 0, 0, 0, 3]);
    }

    #[test]
    fn arms_that_meet_below_are_one_component() {
        assert_eq!(labels(&["#.#.#", "#.#.#", "###.#"]), [1, 0, 1, 0, 2, 1, 0, 1, 0, 2, 1, 1, 1, 0, 2]);
        // A spiral, and a single pixel in its middle that it does not touch.
        let spiral = labels(&["#######", "......#", "#####.#", "#...#.#", "#.#...#", "#.....#", "#######"]);
        assert_eq!(spiral[4 * 7 + 2], 2);
        assert!(spiral.iter().enumerate().all(|(pixel, &label)| label < 2 || pixel == 4 * 7 + 2));
    }

    #[test]
    fn nothing_all_and_no_picture_at_all() {
        assert_eq!(labels(&["..", ".."]), [0; 4]);
        assert_eq!(labels(&["##", "##"]), [1; 4]);
        assert_eq!(connected_components(&[], 0, 0), [0; 0]);
        assert_eq!(connected_components(&[], 0, 5), [0; 0]);
    }
}
