//! Splitting work by the hash of what it is about, the same on every machine and in every version.

/// Which of `partitions` parts (1 to `partitions`) an entity belongs to; 1 where there is only one.
pub fn of(entity: &str, partitions: u32) -> u32 {
    let hash = xxhash_rust::xxh3::xxh3_64(entity.as_bytes());
    // The remainder is below a u32.
    hash.checked_rem(u64::from(partitions)).map_or(1, |rest| rest as u32 + 1)
}

/// One part of a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Which one, from 1.
    pub number: u32,
    /// Of how many.
    pub of: u32,
}

impl Part {
    /// All of it.
    pub const WHOLE: Part = Part { number: 1, of: 1 };

    /// Whether what has this name belongs to it.
    pub fn has(self, name: &str) -> bool {
        of(name, self.of) == self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_stable_and_about_equal() {
        // Recorded: a part that changes would make rows twice or never.
        assert_eq!(["AAPL.US", "MSFT.US", "", "Ä"].map(|id| of(id, 4)), RECORDED);
        let mut sizes = [0; 5];
        (0..10_000).for_each(|i| sizes[of(&format!("I{i}.US"), 5) as usize - 1] += 1);
        assert!(sizes.iter().all(|size| (1_900..2_100).contains(size)), "{sizes:?}");
    }

    #[test]
    fn every_name_belongs_to_one_part() {
        for name in ["AAPL.US", "", "ISS_A:2024-12-31"] {
            assert!(Part::WHOLE.has(name));
            assert_eq!((1..=7).filter(|&number| Part { number, of: 7 }.has(name)).count(), 1);
        }
    }

    #[test]
    fn few_partitions_are_no_trouble() {
        assert_eq!((of("A", 1), of("A", 0)), (1, 1));
    }

    const RECORDED: [u32; 4] = [1, 3, 3, 2];
}
