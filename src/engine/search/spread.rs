//! How far the vectors of a cross-section lie apart: whether a search among them can tell one from another.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use super::super::linear::{dot, normalise};
use super::super::vector::VectorRef;

/// Vectors that are compared with each other; of a larger cross-section those whose ids have the smallest
/// hashes, so that the choice is neither chance nor in the order of names.
pub const SAMPLE: usize = 256;

/// Fewest vectors of which anything is said.
const FEWEST: usize = 2;

/// What tells a vector of the sample: the hash of its id, the id, and which of its vectors it is.
type Key = (u64, String, String);

/// A sample of a cross-section, gathered in any order.
#[derive(Debug, Default, Clone)]
pub struct Sample {
    kept: BTreeMap<Key, Vec<f64>>,
}

/// How far apart they lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Vectors compared.
    pub vectors: usize,
    /// Median over the vectors of the cosine to their nearest.
    pub nearest: f64,
    /// Median cosine over all pairs.
    pub median: f64,
}

impl Sample {
    /// Offers a vector of the entity `id`; `tag` tells it from others of the same entity, with which it is not
    /// compared. What has no direction, or is not finite, takes no part.
    pub fn offer(&mut self, id: &str, tag: &str, vector: VectorRef<'_>) {
        let hash = xxh3_64(id.as_bytes());
        if self.kept.len() == SAMPLE && self.kept.last_key_value().is_some_and(|(last, _)| last.0 < hash) {
            return;
        }
        let mut values: Vec<f64> = vector.values().map(f64::from).collect();
        if values.iter().all(|x| x.is_finite()) && normalise(&mut values) {
            self.kept.insert((hash, id.to_owned(), tag.to_owned()), values);
        }
        if self.kept.len() > SAMPLE {
            self.kept.pop_last();
        }
    }

    /// How far apart the vectors of the most frequent dimension lie; None of fewer than two entities.
    pub fn spread(&self) -> Option<Spread> {
        let mut dims: BTreeMap<usize, usize> = BTreeMap::new();
        self.kept.values().for_each(|values| *dims.entry(values.len()).or_default() += 1);
        let (&dim, _) = dims.iter().max_by_key(|(_, count)| **count)?;
        let same: Vec<_> = self.kept.iter().filter(|(_, values)| values.len() == dim).collect();
        let mut nearest = vec![f64::NEG_INFINITY; same.len()];
        let mut cosines = Vec::with_capacity(same.len() * same.len() / 2);
        for (i, (key, values)) in same.iter().enumerate() {
            let others = same[..i].iter().enumerate().filter(|(_, (other, _))| other.1 != key.1);
            for (j, (_, others)) in others {
                let cosine = dot(values, others).clamp(-1.0, 1.0);
                nearest[i] = nearest[i].max(cosine);
                nearest[j] = nearest[j].max(cosine);
                cosines.push(cosine);
            }
        }
        nearest.retain(|cosine| cosine.is_finite());
        if nearest.len() < FEWEST {
            return None;
        }
        Some(Spread { vectors: nearest.len(), nearest: median(nearest), median: median(cosines) })
    }
}

/// Middle of some numbers (mean of the two middle ones).
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::random::SplitMix64;
    use super::*;

    fn sample(count: usize, common: f32, reversed: bool) -> Sample {
        let mut random = SplitMix64::new(4);
        let mut all: Vec<(String, Vec<u8>)> = (0..count)
            .map(|i| {
                let component = |k: usize| random.next_gaussian() as f32 + if k == 0 { common } else { 0.0 };
                (format!("I{i}"), (0..16).map(component).flat_map(f32::to_le_bytes).collect())
            })
            .collect();
        if reversed {
            all.reverse();
        }
        let mut sample = Sample::default();
        all.iter().for_each(|(id, bytes)| sample.offer(id, "", VectorRef::new(bytes).unwrap()));
        sample
    }

    #[test]
    fn what_is_common_to_all_shows() {
        let spread = sample(100, 0.0, false).spread().unwrap();
        assert!(spread.vectors == 100 && spread.median.abs() < 0.1 && spread.nearest < 0.8, "{spread:?}");
        let spread = sample(100, 1000.0, false).spread().unwrap();
        assert!(spread.median > 0.9999 && spread.nearest > 0.9999, "{spread:?}");
    }

    #[test]
    fn the_sample_is_bounded_and_the_same_in_any_order() {
        let (one, other) = (sample(2000, 1.0, false), sample(2000, 1.0, true));
        assert_eq!(one.kept.len(), SAMPLE);
        assert_eq!(one.spread(), other.spread());
    }

    #[test]
    fn what_cannot_be_compared_takes_no_part() {
        let mut sample = Sample::default();
        let bytes = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
        for (id, tag, values) in [
            ("a", "", &[1.0, 0.0][..]),
            ("b", "", &[0.0, 0.0]),
            ("c", "", &[f32::NAN, 1.0]),
            ("d", "", &[1.0, 1.0, 1.0]),
            ("a", "x", &[1.0, 0.1]),
        ] {
            sample.offer(id, tag, VectorRef::new(&bytes(values)).unwrap());
        }
        assert_eq!(sample.spread(), None, "an entity is not compared with itself");
        sample.offer("e", "", VectorRef::new(&bytes(&[0.0, 2.0])).unwrap());
        let spread = sample.spread().unwrap();
        assert_eq!((spread.vectors, spread.nearest < 0.1), (3, true));
    }
}
