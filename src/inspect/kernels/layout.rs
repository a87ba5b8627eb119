//! How feature maps lie in memory: row by row, in each panel by panel, in each pixel by pixel, with a border of zeros.

use super::PANEL;

/// Zeros around a map: rows above and below, columns left and right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Border {
    pub top: usize,
    pub bottom: usize,
    pub left: usize,
    pub right: usize,
}

impl Border {
    /// What is enough for both.
    pub fn union(self, other: Border) -> Border {
        Border {
            top: self.top.max(other.top),
            bottom: self.bottom.max(other.bottom),
            left: self.left.max(other.left),
            right: self.right.max(other.right),
        }
    }
}

/// The shape of a map and of its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// Channels of a panel in memory: 16, zeros fill the last panel; or the channels of a picture, of which there are fewer.
    pub depth: usize,
    pub border: Border,
}

/// One row of a map, from some pixel on: channel c of pixel x is `data[c / depth · pitch + x · depth + c % depth]`.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    pub data: &'a [f32],
    /// From one panel to the next.
    pub pitch: usize,
}

/// One row of a map that is written, from its first pixel on.
pub struct LineMut<'a> {
    pub data: &'a mut [f32],
    /// From one panel to the next.
    pub pitch: usize,
}

impl Layout {
    /// A map that a kernel writes.
    pub fn new(height: usize, width: usize, channels: usize) -> Layout {
        Layout { height, width, channels, depth: PANEL, border: Border::default() }
    }

    /// A map that comes from outside.
    pub fn of_picture(height: usize, width: usize, channels: usize) -> Layout {
        Layout { depth: channels.min(PANEL), ..Layout::new(height, width, channels) }
    }

    pub fn panels(&self) -> usize {
        self.channels.div_ceil(PANEL)
    }

    /// Values from one panel to the next.
    pub fn pitch(&self) -> usize {
        (self.border.left + self.width + self.border.right) * self.depth
    }

    /// Values from one row to the next.
    pub fn row(&self) -> usize {
        self.panels() * self.pitch()
    }

    /// Values of the whole map with its border.
    pub fn size(&self) -> usize {
        (self.border.top + self.height + self.border.bottom) * self.row()
    }

    /// The rows without those of the border.
    pub fn rows<'a>(&self, map: &'a [f32]) -> &'a [f32] {
        &map[self.border.top * self.row()..][..self.height * self.row()]
    }

    /// The rows without those of the border, to be written.
    pub fn rows_mut<'a>(&self, map: &'a mut [f32]) -> &'a mut [f32] {
        &mut map[self.border.top * self.row()..][..self.height * self.row()]
    }

    /// The pixels of a row; the first `before` of them are of the left border.
    /// * `row` — [`Layout::row`] values
    pub fn line<'a>(&self, row: &'a [f32], before: usize) -> Line<'a> {
        Line { data: &row[(self.border.left - before) * self.depth..], pitch: self.pitch() }
    }

    /// The pixels of row `y`, which counts from `above` rows above the map; the first `before` are of the left border.
    pub fn line_of<'a>(&self, map: &'a [f32], y: usize, above: usize, before: usize) -> Line<'a> {
        let row = (self.border.top - above + y) * self.row();
        self.line(&map[row..][..self.row()], before)
    }

    /// The pixels of a row without its border, to be written.
    /// * `row` — [`Layout::row`] values
    pub fn line_mut<'a>(&self, row: &'a mut [f32]) -> LineMut<'a> {
        LineMut { data: &mut row[self.border.left * self.depth..], pitch: self.pitch() }
    }

    /// Sets the border left and right of a row to zero.
    /// * `row` — [`Layout::row`] values
    pub fn clear_border(&self, row: &mut [f32]) {
        let (left, right) = (self.border.left * self.depth, self.border.right * self.depth);
        for panel in row.chunks_exact_mut(self.pitch()) {
            let end = panel.len() - right;
            panel[..left].fill(0.0);
            panel[end..].fill(0.0);
        }
    }

    /// Writes a map that lies channel by channel; the border and what fills up the last panel stay as they are.
    /// * `planes` — (channels, height, width)
    pub fn fill_from_planes(&self, map: &mut [f32], planes: &[f32]) {
        let (depth, pitch) = (self.depth, self.pitch());
        for (y, row) in self.rows_mut(map).chunks_exact_mut(self.row()).enumerate() {
            for (channel, plane) in planes.chunks_exact(self.height * self.width).enumerate() {
                let to = &mut row[channel / PANEL * pitch + self.border.left * depth + channel % PANEL..];
                let from = &plane[y * self.width..][..self.width];
                to.iter_mut().step_by(depth).zip(from).for_each(|(to, from)| *to = *from);
            }
        }
    }

    /// The map channel by channel.
    /// * `planes` — (channels, height, width)
    pub fn copy_to_planes(&self, map: &[f32], planes: &mut [f32]) {
        let (depth, pitch) = (self.depth, self.pitch());
        for (y, row) in self.rows(map).chunks_exact(self.row()).enumerate() {
            for (channel, plane) in planes.chunks_exact_mut(self.height * self.width).enumerate() {
                let from = &row[channel / PANEL * pitch + self.border.left * depth + channel % PANEL..];
                let to = &mut plane[y * self.width..][..self.width];
                to.iter_mut().zip(from.iter().step_by(depth)).for_each(|(to, from)| *to = *from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_comes_back_from_its_panels_and_its_border_is_not_touched() {
        let border = Border { top: 1, bottom: 0, left: 2, right: 1 };
        let layout = Layout { border, ..Layout::new(2, 3, 18) };
        let planes: Vec<f32> = (0..18 * 6).map(|value| value as f32 + 1.0).collect();
        let mut map = vec![0.0; layout.size()];
        layout.fill_from_planes(&mut map, &planes);
        assert_eq!(map.iter().filter(|value| **value != 0.0).count(), planes.len());
        // Row 0 of the map, panel 1, pixel 1: channels 16 and 17 at (0, 1).
        let line = layout.line_of(&map, 1, 1, 0);
        assert_eq!(line.data[line.pitch + PANEL..][..3], [16.0 * 6.0 + 2.0, 17.0 * 6.0 + 2.0, 0.0]);
        let mut back = vec![0.0; planes.len()];
        layout.copy_to_planes(&map, &mut back);
        assert_eq!(back, planes);
    }

    #[test]
    fn the_channels_of_a_picture_lie_side_by_side_without_filling() {
        let layout = Layout::of_picture(1, 2, 3);
        let mut map = vec![0.0; layout.size()];
        layout.fill_from_planes(&mut map, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(map, [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
    }
}
