//! `joint_average`: vectors of one dimension fused in float32.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::engine::Error;
use crate::engine::joint;
use crate::engine::vector::VectorRef;
use crate::pg::ffi::array::{ItemArray, NumberArray};
use crate::pg::ffi::bytea::Bytea;

/// `(num_weight * num + text_weight * text) / (num_weight + text_weight)`, as the published joint models
/// compute it.
#[pg_extern(immutable, strict, parallel_safe, cost = 20)]
pub fn joint_average(
    num: &[u8],
    text: &[u8],
    num_weight: default!(f64, 0.5),
    text_weight: default!(f64, 0.5),
) -> Result<Bytea, ErrorReport> {
    let (num, text) = (VectorRef::new(num)?, VectorRef::new(text)?);
    let weights = [num_weight, text_weight];
    Ok(Bytea::build(num.bytes().len(), |out| joint::blend(num, text, weights, out))?)
}

/// Weighted mean of any number of vectors, as the published branch averages compute it.
#[pg_extern(immutable, strict, parallel_safe, cost = 50, name = "joint_average")]
pub fn joint_average_of_many(
    vectors: ItemArray<'_, [u8]>,
    weights: NumberArray<'_, f64>,
) -> Result<Bytea, ErrorReport> {
    let weights = weights.values("weights")?;
    let vectors = vectors.values("vectors")?;
    let vectors: Vec<VectorRef<'_>> =
        vectors.iter().map(|bytes| VectorRef::new(bytes)).collect::<Result<_, Error>>()?;
    let len = vectors.first().map_or(0, |first| first.bytes().len());
    Ok(Bytea::build(len, |out| joint::weighted_average(&vectors, weights, out))?)
}
