//! The nearest of many vectors: exact, one pass, bounded memory.
//!
//! Order: cosine descending, then Euclidean distance ascending, then the candidate's tie key (bytes), then
//! its row id descending. The order is total, so the result does not depend on the order of the rows nor on
//! how they were split among workers.

#![forbid(unsafe_code)]

mod packed;
pub mod spread;

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::error::{Error, Result};
use super::simd;
use super::vector::VectorRef;

/// Most results of one search.
pub const MAX_TOP_K: i64 = 1_000_000;

/// A candidate among the best.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// Cosine similarity to the query.
    pub cosine: f64,
    /// Euclidean distance to the query.
    pub distance: f64,
    /// What ties are broken by.
    pub key: Box<str>,
    /// Row id: tells rows of one key apart.
    pub row: i64,
    /// Day of the row, as days since 2000-01-01.
    pub day: i32,
    /// What the caller wants to know of it.
    pub payload: Box<str>,
}

impl Hit {
    /// `Less` for the better one.
    fn order(&self, other: &Self) -> Ordering {
        other
            .cosine
            .total_cmp(&self.cosine)
            .then_with(|| self.distance.total_cmp(&other.distance))
            .then_with(|| self.key.as_bytes().cmp(other.key.as_bytes()))
            .then_with(|| other.row.cmp(&self.row))
    }
}

impl Eq for Hit {}

impl PartialOrd for Hit {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Hit {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order(other)
    }
}

/// Candidates that cannot be ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftOut {
    /// Rows without a vector, or with bytes that are none.
    pub no_vector: u64,
    /// Vectors of another dimension than the query's.
    pub other_dim: u64,
    /// Vectors with NaN or infinite components.
    pub non_finite: u64,
}

impl LeftOut {
    /// All of them. Counts come from packed states too, which may hold anything.
    pub fn total(&self) -> u64 {
        self.no_vector.saturating_add(self.other_dim).saturating_add(self.non_finite)
    }
}

/// How a vector compares to the query, before anything else is known of its row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// Worse than all that are kept: nothing more to do.
    Beaten,
    /// Perhaps among the best.
    Contender {
        /// Cosine similarity.
        cosine: f64,
        /// Euclidean distance.
        distance: f64,
    },
    /// Cannot be ranked.
    NoVector,
    /// Cannot be ranked: another dimension.
    OtherDim,
    /// Cannot be ranked: NaN or infinite components.
    NonFinite,
}

/// The query: its components in both precisions, and its squared norm.
#[derive(Debug, Clone, PartialEq)]
struct Query {
    bytes: Box<[u8]>,
    values: Box<[f64]>,
    rough: Box<[f32]>,
    norm: f64,
}

/// Squared norms whose sums in float32 neither overflow nor lose digits to underflow, by a wide margin.
const ROUGH_NORMS: std::ops::RangeInclusive<f64> = 1e-18..=1e36;

/// The best `k` of the vectors seen.
#[derive(Debug, Clone)]
pub struct TopK {
    query: Option<Query>,
    k: usize,
    // The worst on top.
    kept: BinaryHeap<Hit>,
    left_out: LeftOut,
    /// A vector whose rough dot product is at most 0, or whose square is less than this times the rough squared
    /// norm, is surely worse than all that are kept.
    bound: Option<f64>,
}

impl TopK {
    /// An empty list for `k` results.
    ///
    /// Errors: [`Error::OutOfRange`] unless `1 <= k <= 1000000`, [`Error::NonFiniteVector`] for a query that
    /// nothing can be compared to.
    pub fn new(query: VectorRef<'_>, k: i64) -> Result<Self> {
        let k = check_top_k(k)?;
        let count = query.count_non_finite();
        if count > 0 {
            return Err(Error::NonFiniteVector { count, dim: query.dim() });
        }
        let values: Box<[f64]> = query.values().map(f64::from).collect();
        let (norm, _) = simd::query_products(&values, query.bytes());
        let rough = query.values().collect();
        let query = Query { bytes: query.bytes().into(), values, rough, norm };
        let left_out = LeftOut::default();
        Ok(Self { query: Some(query), k, kept: BinaryHeap::new(), left_out, bound: None })
    }

    /// Compares a stored vector to the query; the kernel of a search.
    #[inline]
    pub fn judge(&self, vector: &[u8]) -> Verdict {
        let Some(query) = &self.query else { return Verdict::NoVector };
        if vector.len() != query.bytes.len() {
            let none = vector.is_empty() || !vector.len().is_multiple_of(4);
            return if none { Verdict::NoVector } else { Verdict::OtherDim };
        }
        if self.surely_beaten(query, vector) {
            return Verdict::Beaten;
        }
        let (dot, norm) = simd::query_products(&query.values, vector);
        if !norm.is_finite() {
            return Verdict::NonFinite;
        }
        // The same expression as vector::cosine_similarity, hence the same bits.
        let zero = norm == 0.0 || query.norm == 0.0;
        let cosine = if zero { 0.0 } else { (dot / (query.norm * norm).sqrt()).clamp(-1.0, 1.0) };
        if self.kept.len() == self.k && self.kept.peek().is_some_and(|worst| cosine < worst.cosine) {
            return Verdict::Beaten;
        }
        let distance = simd::squared_distance(&query.bytes, vector).sqrt();
        Verdict::Contender { cosine, distance }
    }

    /// Whether float32 sums are enough to tell that the vector is worse than all that are kept. What they do not
    /// tell, nor what they cannot be trusted in, is compared exactly: so the result is the same on every CPU.
    #[inline]
    fn surely_beaten(&self, query: &Query, vector: &[u8]) -> bool {
        let Some(bound) = self.bound else { return false };
        let (dot, norm) = simd::rough_products(&query.rough, vector);
        let (dot, norm) = (f64::from(dot), f64::from(norm));
        ROUGH_NORMS.contains(&norm) && (dot <= 0.0 || dot * dot < bound * norm)
    }

    /// The bound for rough sums, when the list is full.
    fn set_bound(&mut self) {
        let (Some(query), Some(worst)) = (&self.query, self.kept.peek()) else { return };
        // With e the error of a rough sum, a true cosine is below (w - 4e)(1 + e) + e < w when the rough one is
        // below w - 4e.
        let below = worst.cosine - 4.0 * simd::rough_error(query.values.len());
        let usable = self.kept.len() == self.k && below > 0.0 && ROUGH_NORMS.contains(&query.norm);
        self.bound = usable.then_some(below * below * query.norm);
    }

    /// Keeps a contender if it is among the best so far.
    ///
    /// Errors: [`Error::OutOfMemory`].
    pub fn keep(&mut self, hit: Hit) -> Result<()> {
        if self.kept.len() < self.k {
            self.kept.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
            self.kept.push(hit);
        } else if let Some(mut worst) = self.kept.peek_mut().filter(|worst| hit < **worst) {
            *worst = hit;
        }
        self.set_bound();
        Ok(())
    }

    /// Counts a candidate that cannot be ranked.
    pub fn leave_out(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::NoVector => self.left_out.no_vector += 1,
            Verdict::OtherDim => self.left_out.other_dim += 1,
            Verdict::NonFinite => self.left_out.non_finite += 1,
            Verdict::Beaten | Verdict::Contender { .. } => {}
        }
    }

    /// Adds what another worker found. Errors: [`Error::OutOfMemory`].
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        self.left_out.no_vector = self.left_out.no_vector.saturating_add(other.left_out.no_vector);
        self.left_out.other_dim = self.left_out.other_dim.saturating_add(other.left_out.other_dim);
        self.left_out.non_finite = self.left_out.non_finite.saturating_add(other.left_out.non_finite);
        other.kept.iter().try_for_each(|hit| self.keep(hit.clone()))
    }

    /// The best, best first.
    pub fn into_sorted(self) -> Vec<Hit> {
        self.kept.into_sorted_vec()
    }

    /// Candidates that could not be ranked.
    pub fn left_out(&self) -> LeftOut {
        self.left_out
    }
}

/// A number of results. Errors: [`Error::OutOfRange`].
pub fn check_top_k(k: i64) -> Result<usize> {
    if (1..=MAX_TOP_K).contains(&k) {
        Ok(k as usize)
    } else {
        Err(Error::OutOfRange { name: "top_k", value: k, min: 1, max: MAX_TOP_K })
    }
}

#[cfg(test)]
mod tests;
