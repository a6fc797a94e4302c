//! Which bytes of a region are in use: first fit by address, so that what is in use lies together at its beginning, and the
//! memory behind it can be given back.

#![forbid(unsafe_code)]

/// Every block begins and ends at a multiple of this, in bytes: a cache line, and the widest load of a kernel.
const ALIGN: usize = 64;

/// Blocks in use of a region of fixed size.
#[derive(Debug, Clone)]
pub struct Blocks {
    size: usize,
    /// Begin and end of each, ascending. There are some dozens at most: a network's tensors that live at a time.
    used: Vec<(usize, usize)>,
}

impl Blocks {
    /// None in use, of `size` bytes.
    pub const fn new(size: usize) -> Self {
        Blocks { size, used: Vec::new() }
    }

    /// Where the lowest gap of `bytes` bytes begins, in use from now on; None where there is none.
    pub fn take(&mut self, bytes: usize) -> Option<usize> {
        let bytes = bytes.max(1).checked_next_multiple_of(ALIGN)?;
        let (at, (begin, _)) = self.gaps().enumerate().find(|(_, (begin, end))| end - begin >= bytes)?;
        // Without memory for the list there is none for the block.
        self.used.try_reserve(1).ok()?;
        self.used.insert(at, (begin, begin + bytes));
        Some(begin)
    }

    /// The block that begins there is in use no more. Whether there was one.
    pub fn give(&mut self, begin: usize) -> bool {
        let found = self.used.binary_search_by_key(&begin, |&(begin, _)| begin);
        found.map(|at| self.used.remove(at)).is_ok()
    }

    /// Where the last block in use ends.
    pub fn end(&self) -> usize {
        self.used.last().map_or(0, |&(_, end)| end)
    }

    /// Begin and end of what is before the first block, between each two, and behind the last one: empty ones, too.
    fn gaps(&self) -> impl Iterator<Item = (usize, usize)> {
        let begins = std::iter::once(0).chain(self.used.iter().map(|&(_, end)| end));
        begins.zip(self.used.iter().map(|&(begin, _)| begin).chain(std::iter::once(self.size)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_lowest_gap_that_is_wide_enough_is_taken() {
        let mut blocks = Blocks::new(1024);
        let taken: Vec<_> = [100, 64, 0, 1].into_iter().map(|bytes| blocks.take(bytes)).collect();
        assert_eq!(taken, [Some(0), Some(128), Some(192), Some(256)]);
        assert!(blocks.give(0) && blocks.give(192));
        assert_eq!(blocks.take(129), Some(320), "both gaps are narrower");
        assert_eq!((blocks.take(64), blocks.take(64), blocks.take(64)), (Some(0), Some(64), Some(192)));
        assert_eq!(blocks.end(), 512);
        assert_eq!(blocks.take(513), None);
        assert_eq!(blocks.take(usize::MAX), None);
        assert_eq!(blocks.take(512), Some(512));
        assert!(!blocks.give(5), "no block begins there");
    }

    proptest! {
        #[test]
        fn no_two_blocks_overlap(steps in prop::collection::vec((any::<bool>(), 0usize..3000), 0..200)) {
            let mut blocks = Blocks::new(16_384);
            let mut mine: Vec<(usize, usize)> = Vec::new();
            for (take, number) in steps {
                if take || mine.is_empty() {
                    if let Some(begin) = blocks.take(number) {
                        let end = begin + number.max(1);
                        prop_assert!(begin % ALIGN == 0 && end <= 16_384);
                        prop_assert!(mine.iter().all(|&(b, e)| end <= b || e <= begin));
                        mine.push((begin, end));
                    }
                } else {
                    let (begin, _) = mine.swap_remove(number % mine.len());
                    prop_assert!(blocks.give(begin) && !blocks.give(begin));
                }
                prop_assert_eq!(blocks.end(), mine.iter().map(|&(_, e)| e.next_multiple_of(ALIGN)).max().unwrap_or(0));
            }
            mine.iter().for_each(|&(begin, _)| assert!(blocks.give(begin)));
            prop_assert_eq!(blocks.take(16_384), Some(0));
        }
    }
}
