//! Which texts ride together: sorted by length, so that little is padded, and bounded by padded tokens, so
//! that time and memory of a run are bounded.

/// Token ids of one run, one text a row, padded to the longest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBatch {
    /// Texts.
    pub rows: usize,
    /// Tokens of the longest text.
    pub columns: usize,
    /// `rows * columns` token ids, zero where padded.
    pub ids: Vec<i64>,
    /// `rows * columns` ones, zero where padded. A text may itself hold the padding token.
    pub mask: Vec<i64>,
}

impl TokenBatch {
    /// Pads the given texts into one batch.
    pub fn new(texts: &[&[u32]]) -> TokenBatch {
        let columns = texts.iter().map(|ids| ids.len()).max().unwrap_or(0);
        let size = texts.len() * columns;
        let (mut ids, mut mask) = (Vec::with_capacity(size), Vec::with_capacity(size));
        for (row, text) in texts.iter().enumerate() {
            ids.extend(text.iter().map(|&id| i64::from(id)));
            mask.resize(row * columns + text.len(), 1);
            ids.resize((row + 1) * columns, 0);
            mask.resize((row + 1) * columns, 0);
        }
        TokenBatch { rows: texts.len(), columns, ids, mask }
    }
}

/// Groups texts of the given token counts: each group holds indices, its longest text times its size is at
/// most `max_padded`, but for a single longer text. Ties keep their order, so a plan is a function of the
/// lengths alone.
pub fn plan(lengths: &[usize], max_padded: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    let length = |index: usize| lengths.get(index).copied().unwrap_or(0);
    order.sort_by_key(|&index| length(index));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for index in order {
        match groups.last_mut() {
            // Ascending order: the newest is the longest.
            Some(group) if (group.len() + 1) * length(index) <= max_padded => group.push(index),
            _ => groups.push(vec![index]),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn padding_is_masked() {
        let batch = TokenBatch::new(&[&[101, 0, 102], &[101, 102]]);
        assert_eq!((batch.rows, batch.columns), (2, 3));
        assert_eq!(batch.ids, [101, 0, 102, 101, 102, 0]);
        assert_eq!(batch.mask, [1, 1, 1, 1, 1, 0]);
    }

    #[test]
    fn a_text_longer_than_the_bound_rides_alone() {
        assert_eq!(plan(&[600, 4, 700], 512), [vec![1], vec![0], vec![2]]);
    }

    proptest! {
        #[test]
        fn every_text_rides_once_within_the_bound(
            lengths in prop::collection::vec(1usize..520, 0..200), bound in 1usize..4096,
        ) {
            let groups = plan(&lengths, bound);
            let mut seen: Vec<usize> = groups.iter().flatten().copied().collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            for group in groups {
                let longest = group.iter().map(|&i| lengths[i]).max().unwrap_or(0);
                prop_assert!(group.len() == 1 || group.len() * longest <= bound);
            }
        }
    }
}
