//! Whether the data of a JPEG scan are exactly those of its blocks.
//!
//! A decoder that loses a piece in the middle of the data finds its way back into the codes soon, and then paints the
//! rest of the picture in the wrong place and its end grey, without a word. So the codes are read once more here,
//! without turning them into pixels: the blocks must end where the data end. For sequential Huffman coding only, which
//! is what every camera sends. A loss of less than a block or two, and a changed byte, can still pass.

/// A Huffman table, as a JPEG holds it.
#[derive(Clone)]
pub struct HuffmanTable {
    /// By the next 9 bits: the length of their code and its value; length 0 if the code is longer.
    short: [(u8, u8); 512],
    /// By length: the first code that is longer, aligned to 16 bits, and what leads from a code to its value's place.
    limits: [(u32, i32); 17],
    values: Vec<u8>,
}

impl HuffmanTable {
    /// * `counts` — how many codes there are of each length, 1 to 16
    /// * `values` — one for each code, in the order of the codes
    ///
    /// None if there are more codes than the lengths can hold.
    pub fn new(counts: &[u8; 16], values: &[u8]) -> Option<HuffmanTable> {
        let mut table = HuffmanTable { short: [(0, 0); 512], limits: [(0, 0); 17], values: values.to_vec() };
        let (mut code, mut place) = (0u32, 0usize);
        for (length, &count) in (1u32..).zip(counts) {
            table.limits[length as usize].1 = place as i32 - code as i32;
            for _ in 0..count {
                if length <= 9 && code < 1 << length {
                    let span = 1 << (9 - length);
                    table.short[code as usize * span..][..span].fill((length as u8, *values.get(place)?));
                }
                code += 1;
                place += 1;
            }
            if code > 1 << length {
                return None;
            }
            table.limits[length as usize].0 = code << (16 - length);
            code <<= 1;
        }
        (place == values.len()).then_some(table)
    }
}

/// One component of a scan: the tables of its first and its other coefficients, and its blocks in each unit.
pub struct ScanComponent<'a> {
    pub dc: &'a HuffmanTable,
    pub ac: &'a HuffmanTable,
    pub blocks: u32,
}

/// Reads the codes of one stretch of data, which no marker interrupts.
/// * `data` — with the zero that follows each byte FF
/// * `units` — how many the stretch must hold
///
/// # Errors  A sentence's end: a code that does not exist, data that end early, or that go on after the last block.
pub fn check(data: &[u8], components: &[ScanComponent], units: u32) -> Result<(), &'static str> {
    let mut bits = Bits { data, waiting: 0, count: 0, borrowed: 0 };
    for _ in 0..units {
        for component in components {
            for _ in 0..component.blocks {
                let end = "its data end before its last block";
                skip_block(&mut bits, component).map_err(|reason| if bits.borrowed > 0 { end } else { reason })?;
            }
        }
        if bits.borrowed > bits.count {
            return Err("its data end before its last block");
        }
    }
    bits.refuse_rest()
}

fn skip_block(bits: &mut Bits, component: &ScanComponent) -> Result<(), &'static str> {
    const NONSENSE: &str = "its data hold a code that does not exist";
    let length = bits.code(component.dc).filter(|length| *length <= 11).ok_or(NONSENSE)?;
    bits.skip(length.into());
    let mut coefficient = 1;
    while coefficient < 64 {
        let code = bits.code(component.ac).ok_or(NONSENSE)?;
        let (run, length) = (code >> 4, code & 15);
        match (run, length) {
            (0, 0) => break,
            (15, 0) => coefficient += 16,
            (_, 0 | 11..) => return Err(NONSENSE),
            _ => {
                coefficient += u32::from(run) + 1;
                bits.skip(length.into());
            }
        }
        if coefficient > 64 {
            return Err("its data hold a block of more than 64 coefficients");
        }
    }
    Ok(())
}

struct Bits<'a> {
    data: &'a [u8],
    /// The next bits, the first at the top.
    waiting: u64,
    count: u32,
    /// How many of the waiting bits are ones from behind the end of the data.
    borrowed: u32,
}

impl Bits<'_> {
    fn fill(&mut self) {
        while self.count <= 56 {
            let byte = match *self.data {
                [0xFF, 0x00, ref rest @ ..] => {
                    self.data = rest;
                    0xFF
                }
                [byte, ref rest @ ..] => {
                    self.data = rest;
                    byte
                }
                [] => {
                    self.borrowed = self.borrowed.saturating_add(8);
                    0xFF
                }
            };
            self.waiting |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    fn code(&mut self, table: &HuffmanTable) -> Option<u8> {
        if self.count < 32 {
            self.fill();
        }
        let (length, value) = table.short[(self.waiting >> 55) as usize];
        if length > 0 {
            self.skip(length.into());
            return Some(value);
        }
        let next = (self.waiting >> 48) as u32;
        let length = (10..=16).find(|&length| next < table.limits[length].0)?;
        self.skip(length as u32);
        let place = (next >> (16 - length)) as i32 + table.limits[length].1;
        table.values.get(usize::try_from(place).ok()?).copied()
    }

    fn skip(&mut self, length: u32) {
        self.waiting <<= length;
        self.count -= length;
    }

    /// Padding may be left, zeros or ones; some cameras fill up to whole words.
    fn refuse_rest(&mut self) -> Result<(), &'static str> {
        let own = self.count - self.borrowed;
        let left = if own == 0 { 0 } else { self.waiting >> (64 - own) };
        let ones = if own == 0 { 0 } else { u64::MAX >> (64 - own) };
        let is_padding = |byte: &u8| matches!(byte, 0x00 | 0xFF);
        if (left == 0 || left == ones) && self.data.iter().all(is_padding) {
            return Ok(());
        }
        Err("its data go on after its last block")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two codes, 0 and 10: the first stands for "no bits" or "end of block", the second for one more bit.
    fn table() -> HuffmanTable {
        let mut counts = [0; 16];
        (counts[0], counts[1]) = (1, 1);
        HuffmanTable::new(&counts, &[0, 1]).unwrap()
    }

    fn check_grey(data: &[u8], units: u32) -> Result<(), &'static str> {
        let table = table();
        check(data, &[ScanComponent { dc: &table, ac: &table, blocks: 1 }], units)
    }

    #[test]
    fn blocks_must_end_where_the_data_end() {
        // Four blocks of two zeros each; then one block, 10 1, 10 0, 0, with one bit of padding.
        assert_eq!(check_grey(&[0b0000_0000], 4), Ok(()));
        assert_eq!(check_grey(&[0b1011_0001], 1), Ok(()));
        assert_eq!(check_grey(&[0b1011_0001, 0b0100_0000], 1), Err("its data go on after its last block"));
        assert_eq!(check_grey(&[0b1011_0001, 0xFF], 2), Err("its data end before its last block"));
        assert_eq!(check_grey(&[], 1), Err("its data end before its last block"));
    }

    #[test]
    fn a_code_that_does_not_exist_is_noticed() {
        let data = [0b1100_0000, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(check_grey(&data, 1), Err("its data hold a code that does not exist"));
    }

    #[test]
    fn the_zero_after_a_byte_ff_is_not_data() {
        // 10 1 and 0, twice over two bytes: 1010 1010 would be two blocks.
        assert_eq!(check_grey(&[0b1010_1010, 0xFF, 0x00], 2), Ok(()));
    }

    #[test]
    fn a_table_with_more_codes_than_fit_is_refused() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(HuffmanTable::new(&counts, &[0, 1, 2]).is_none());
        assert!(HuffmanTable::new(&[0; 16], &[1]).is_none());
    }
}
