//! Tiling: a region larger or longer than the network's input is looked at in overlapping tiles and gives one map.
//!
//! Goal: small defects on large or long parts, at the resolution that the product needs, without distortion. The tiles
//! have the aspect of the input and are spread evenly, the first at one edge of the region and the last at the other. In
//! a direction in which the region is shorter than a tile there is one; the tile then shrinks in both directions, so it
//! is enlarged more, but neither squeezed nor padded with pixels that no camera saw.
//!
//! One grid covers the whole region, about as fine as the patches. Each of its positions takes the embedding of the tile
//! whose centre is nearest, there of the patch that it lies in. So the patches at the border of a tile, where the network
//! saw its padding instead of the neighbouring pixels, count only where the region itself ends, given some overlap. All
//! that follows (search, median, score, heat map) sees one picture with a larger grid. With one embedding a picture, a
//! position of the grid is a tile; the rule of the score then runs over the tiles, and the mean of a small top fraction is
//! the worst tile.
//!
//! Rejected: the mean of the distances of all tiles that see a place (the padding blurs a defect at the rim, and patches
//! are searched for that hardly count), interpolation between patches (it lowers the largest distance), one network with
//! a larger input (its memory and its time before the first verdict grow with the picture, and its padding stays).

use super::recipe::{Distance, Granularity, Recipe, Tiling};
use crate::frame::MIN_SIDE_PX;

/// The longest side of a tile, in pixels.
const MAX_TILE_PX: usize = 8192;
/// More tiles than this would keep a line waiting for minutes.
pub const MAX_TILES: usize = 1024;

/// The pixels of one tile, counted from the upper left corner of the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
}

/// The tiles of a region and where their patches lie on its map.
pub struct Layout {
    /// Height and width of a tile, in pixels.
    tile: [usize; 2],
    /// Height and width of a tile's grid of patches.
    patches: [usize; 2],
    rows: Axis,
    columns: Axis,
}

/// One direction of a layout.
struct Axis {
    /// Where each tile begins, in pixels.
    starts: Vec<usize>,
    /// What each position of the map shows; the tiles in ascending order.
    cells: Vec<Cell>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    tile: usize,
    patch: usize,
}

impl Tiling {
    /// Whether a recipe can have it.
    /// # Errors  A clause that says why not.
    pub fn check(&self, recipe: &Recipe) -> Result<(), String> {
        let ([height, width], [input_height, input_width]) = (self.tile_px, recipe.input_px);
        let sides = MIN_SIDE_PX as usize..=MAX_TILE_PX;
        if !self.tile_px.iter().all(|side| sides.contains(side)) {
            return Err(format!("tiles of {width} × {height} px are not within {MIN_SIDE_PX} to {MAX_TILE_PX} px"));
        }
        let [across, along] = [height as u64 * input_width as u64, width as u64 * input_height as u64];
        if across.abs_diff(along) >= input_height.max(input_width) as u64 {
            let fitting = scaled(width, [input_width, input_height]);
            return Err(format!(
                "tiles of {width} × {height} px do not have the aspect of the input of {input_width} × {input_height} px \
                 and would be distorted; a tile {width} px wide must be {fitting} px high"
            ));
        }
        if !(0.0..=0.5).contains(&self.overlap) {
            return Err(format!("the overlap of the tiles is {}, not 0 to 0.5 of a tile", self.overlap));
        }
        if recipe.distance == Distance::MahalanobisPerPosition {
            return Err(
                "a Gaussian for each position needs as many positions in every picture, which tiles do not give; \
                        choose another distance, or no tiles"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

impl Layout {
    /// * `region` — height and width, in pixels
    /// * `patches` — height and width of the grid of one tile; 1 × 1 for one embedding a picture
    pub fn new(region: [usize; 2], tiling: Tiling, patches: [usize; 2], granularity: Granularity) -> Layout {
        let tile = fitted(tiling.tile_px, region);
        let [rows, columns] = [0, 1].map(|axis| {
            let starts = starts(region[axis], tile[axis], tiling.overlap);
            let cells = match granularity {
                Granularity::Patch => cells(region[axis], tile[axis], &starts, patches[axis]),
                Granularity::Image => (0..starts.len()).map(|tile| Cell { tile, patch: 0 }).collect(),
            };
            Axis { starts, cells }
        });
        Layout { tile, patches, rows, columns }
    }

    /// The number of tiles.
    pub fn count(&self) -> usize {
        self.rows.starts.len() * self.columns.starts.len()
    }

    /// The tiles in raster order.
    pub fn tiles(&self) -> impl Iterator<Item = Tile> {
        let [height, width] = self.tile;
        let row = move |&top: &usize| self.columns.starts.iter().map(move |&left| Tile { top, left, height, width });
        self.rows.starts.iter().flat_map(row)
    }

    /// Height and width of the map of the whole region, in patches.
    pub fn map_size(&self) -> [usize; 2] {
        [self.rows.cells.len(), self.columns.cells.len()]
    }

    /// Copies what the map shows of a tile to its place.
    /// * `tile` — its number in raster order
    /// * `from` — the tile's patches in raster order, `width` values each
    /// * `map` — the positions of the map in raster order, `width` values each
    pub fn place<T: Copy>(&self, tile: usize, width: usize, from: &[T], map: &mut [T]) {
        let (tile_row, tile_column) = (tile / self.columns.starts.len(), tile % self.columns.starts.len());
        let columns = self.columns.shown(tile_column);
        for row in self.rows.shown(tile_row) {
            let from = &from[self.rows.cells[row].patch * self.patches[1] * width..];
            let to = &mut map[row * self.columns.cells.len() * width..];
            for column in columns.clone() {
                let patch = self.columns.cells[column].patch;
                to[column * width..][..width].copy_from_slice(&from[patch * width..][..width]);
            }
        }
    }
}

impl Axis {
    /// The positions of the map that show `tile`.
    fn shown(&self, tile: usize) -> std::ops::Range<usize> {
        let before = |end: usize| self.cells.partition_point(|cell| cell.tile < end);
        before(tile)..before(tile + 1)
    }
}

/// A tile of the same aspect, to the pixel, that is nowhere longer than the region.
fn fitted([height, width]: [usize; 2], [region_height, region_width]: [usize; 2]) -> [usize; 2] {
    let narrower = [region_height, scaled(region_height, [height, width]).min(region_width)];
    let lower = [scaled(region_width, [width, height]).min(region_height), region_width];
    match (height <= region_height, width <= region_width) {
        (true, true) => [height, width],
        (true, false) => lower,
        (false, true) => narrower,
        (false, false) if narrower[0] <= lower[0] => narrower,
        (false, false) => lower,
    }
}

/// `side` · to ÷ from, at least 1.
fn scaled(side: usize, [from, to]: [usize; 2]) -> usize {
    ((side as f64 * to as f64 / from as f64).round() as usize).max(1)
}

/// Where the tiles of one direction begin: as few as share `overlap` of their side, to the pixel, spread evenly from edge
/// to edge.
fn starts(region: usize, tile: usize, overlap: f64) -> Vec<usize> {
    let slack = region - tile;
    // A hair less than the quotient, so that its rounding never adds a tile.
    let gaps = (slack as f64 / (tile as f64 * (1.0 - overlap)) - 1e-9).ceil() as usize;
    let from_edge = |number: usize| (slack as f64 * number as f64 / gaps.max(1) as f64).round() as usize;
    let start = |number| if 2 * number <= gaps { from_edge(number) } else { slack - from_edge(gaps - number) };
    (0..=gaps).map(start).collect()
}

/// What the positions of one direction show: as many as it takes for none to be wider than a patch, so that no patch of
/// the nearest tile is passed over.
fn cells(region: usize, tile: usize, starts: &[usize], patches: usize) -> Vec<Cell> {
    let pitch = tile as f64 / patches as f64;
    let count = (region as f64 / pitch - 1e-9).ceil() as usize;
    let mut nearest = 0;
    let cell = |number: usize| {
        let at = (number as f64 + 0.5) * region as f64 / count as f64;
        let from_centre = |start: usize| (start as f64 + tile as f64 / 2.0 - at).abs();
        while starts.get(nearest + 1).is_some_and(|&next| from_centre(next) < from_centre(starts[nearest])) {
            nearest += 1;
        }
        let patch = ((at - starts[nearest] as f64) / pitch) as usize;
        Cell { tile: nearest, patch: patch.min(patches - 1) }
    };
    (0..count).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiling(height: usize, width: usize, overlap: f64) -> Tiling {
        Tiling { tile_px: [height, width], overlap }
    }

    fn layout(region: [usize; 2], tiling: Tiling, patches: [usize; 2]) -> Layout {
        Layout::new(region, tiling, patches, Granularity::Patch)
    }

    /// The map that is put together from what `value` says of the places of each tile's patches, in pixels.
    fn merged(layout: &Layout, value: impl Fn([f64; 2]) -> f64) -> Vec<f64> {
        let [height, width] = layout.map_size();
        let mut map = vec![f64::NAN; height * width];
        for (number, tile) in layout.tiles().enumerate() {
            let [rows, columns] = layout.patches;
            let place = |start: usize, side: usize, patch: usize, patches: usize| {
                start as f64 + (patch as f64 + 0.5) * side as f64 / patches as f64
            };
            let of_patch = |i: usize| {
                value([
                    place(tile.top, tile.height, i / columns, rows),
                    place(tile.left, tile.width, i % columns, columns),
                ])
            };
            let patches: Vec<f64> = (0..rows * columns).map(of_patch).collect();
            layout.place(number, 1, &patches, &mut map);
        }
        map
    }

    #[test]
    fn tiles_are_as_few_as_the_overlap_allows_and_end_at_the_edges() {
        assert_eq!(starts(10, 4, 0.0), [0, 3, 6]);
        assert_eq!(starts(12, 4, 0.0), [0, 4, 8]);
        assert_eq!(starts(10, 4, 0.5), [0, 2, 4, 6]);
        assert_eq!(starts(4, 4, 0.5), [0]);
        assert_eq!(starts(5, 4, 0.25), [0, 1]);
        assert_eq!(starts(280, 100, 0.1), [0, 90, 180]);
    }

    #[test]
    fn tiles_cover_every_pixel_share_their_overlap_and_lie_the_same_way_from_both_edges() {
        for (tile, overlap) in [(4, 0.0), (5, 0.2), (7, 0.5), (16, 0.25)] {
            for region in tile..200 {
                let starts = starts(region, tile, overlap);
                assert_eq!((starts[0], starts[starts.len() - 1]), (0, region - tile));
                let shared = starts.windows(2).map(|pair| tile as f64 - (pair[1] - pair[0]) as f64);
                let least = if overlap == 0.0 { 0.0 } else { tile as f64 * overlap - 1.0 };
                assert!(shared.into_iter().all(|shared| shared >= least), "{region}, {tile}: {starts:?}");
                let last = starts.len() - 1;
                let middle = |i: usize| 2 * i == last;
                let mirrored = |i: usize| starts[i] + starts[last - i] == region - tile;
                assert!((0..=last).all(|i| middle(i) || mirrored(i)), "{region}, {tile}: {starts:?}");
            }
        }
    }

    #[test]
    fn a_map_takes_each_place_from_the_tile_whose_centre_is_nearest() {
        let cell = |tile, patch| Cell { tile, patch };
        // Tiles of 4 px at 0 and 2, centres at 2 and 4, a patch a pixel; the border lies at 3.
        assert_eq!(cells(6, 4, &[0, 2], 4), [cell(0, 0), cell(0, 1), cell(0, 2), cell(1, 1), cell(1, 2), cell(1, 3)]);
        // A tile that is the whole region shows its patches one by one.
        assert_eq!(cells(300, 300, &[0], 3), [cell(0, 0), cell(0, 1), cell(0, 2)]);
    }

    #[test]
    fn a_long_region_is_seen_in_a_row_of_tiles_of_its_height() {
        let layout = layout([128, 512], tiling(128, 128, 0.25), [16, 16]);
        let lefts: Vec<usize> = layout.tiles().map(|tile| tile.left).collect();
        assert_eq!(lefts, [0, 96, 192, 288, 384]);
        assert!(layout.tiles().all(|tile| (tile.top, tile.height, tile.width) == (0, 128, 128)));
        assert_eq!((layout.count(), layout.map_size()), (5, [16, 64]));
    }

    #[test]
    fn a_tile_longer_than_the_region_shrinks_with_its_aspect() {
        assert_eq!(fitted([100, 200], [50, 1000]), [50, 100]);
        assert_eq!(fitted([100, 200], [1000, 50]), [25, 50]);
        assert_eq!(fitted([100, 200], [60, 90]), [45, 90]);
        assert_eq!(fitted([100, 200], [30, 190]), [30, 60]);
        assert_eq!(fitted([100, 200], [100, 200]), [100, 200]);
        let one = layout([64, 64], tiling(256, 256, 0.25), [8, 8]);
        assert_eq!((one.count(), one.map_size()), (1, [8, 8]));
    }

    #[test]
    fn equal_tiles_merge_into_one_even_map_without_a_hole() {
        for region in [[128, 512], [333, 128], [200, 301], [90, 700], [129, 129]] {
            let layout = layout(region, tiling(128, 128, 0.25), [16, 16]);
            assert!(merged(&layout, |_| 0.5).iter().all(|&value| value == 0.5), "{region:?}");
        }
    }

    #[test]
    fn a_ramp_over_the_region_shows_no_seam() {
        for region in [[128, 512], [333, 128], [200, 301], [90, 700]] {
            let layout = layout(region, tiling(128, 128, 0.25), [16, 16]);
            let [height, width] = layout.map_size();
            let pitch = layout.tile.map(|side| side as f64 / 16.0);
            for axis in [0, 1] {
                let ramp = merged(&layout, |place| place[axis]);
                for (i, value) in ramp.into_iter().enumerate() {
                    let [place, count] = [[i / width, height], [i % width, width]][axis];
                    let expected = (place as f64 + 0.5) * region[axis] as f64 / count as f64;
                    assert!((value - expected).abs() <= pitch[axis] / 2.0 + 1e-6, "{region:?} at {i}: {value}");
                }
            }
        }
    }

    #[test]
    fn no_patch_of_the_nearest_tile_is_passed_over() {
        for region in 64..400 {
            let starts = starts(region, 64, 0.25);
            let cells = cells(region, 64, &starts, 8);
            let step = |pair: &[Cell]| pair[0].tile != pair[1].tile || pair[1].patch - pair[0].patch <= 1;
            assert!(cells.windows(2).all(step), "{region}: {cells:?}");
            assert_eq!((cells[0].patch, cells[cells.len() - 1].patch), (0, 7));
        }
    }

    #[test]
    fn with_one_embedding_a_picture_the_map_is_the_grid_of_tiles() {
        let layout = Layout::new([100, 350], tiling(100, 100, 0.0), [1, 1], Granularity::Image);
        assert_eq!(layout.map_size(), [1, 4]);
        let mut map = [0; 4];
        (0..4).for_each(|tile| layout.place(tile, 1, &[tile + 10], &mut map));
        assert_eq!(map, [10, 11, 12, 13]);
    }

    #[test]
    fn rows_of_several_values_are_placed_whole() {
        let layout = layout([2, 4], tiling(2, 2, 0.0), [2, 2]);
        let mut map = [0; 16];
        layout.place(0, 2, &[1, 2, 3, 4, 5, 6, 7, 8], &mut map);
        layout.place(1, 2, &[11, 12, 13, 14, 15, 16, 17, 18], &mut map);
        assert_eq!(map, [1, 2, 3, 4, 11, 12, 13, 14, 5, 6, 7, 8, 15, 16, 17, 18]);
    }
}
