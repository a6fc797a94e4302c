//! What `sql/51_explain.sql` cannot compute: branches brought back out of their places, and named features.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::engine::joint::concat::pull_back;
use crate::engine::named;
use crate::engine::vector::{VectorRef, check_dim};
use crate::pg::ffi::array::NumberArray;
use crate::pg::ffi::json::JsonText;
use crate::pg::report::{Fault, JointFault};
use crate::pg::spi::models;

/// The vector of `dims` components whose dot product with a branch is that of `place` with the branch in its place.
#[pg_extern(immutable, parallel_safe, cost = 1000)]
pub fn embed_place_back(
    place: Option<&[u8]>,
    dims: Option<i32>,
    seed: Option<i64>,
) -> Result<Option<Vec<f64>>, ErrorReport> {
    let (Some(place), Some(dims)) = (place, dims) else { return Ok(None) };
    let outside = crate::engine::Error::OutOfRange { name: "dims", value: dims.into(), min: 1, max: 65_535 };
    let dims = usize::try_from(dims).ok().filter(|dims| *dims > 0).ok_or(outside)?;
    check_dim(dims)?;
    let seed = seed.and_then(|seed| u32::try_from(seed).ok());
    let place: Vec<f64> = VectorRef::new(place)?.values().map(f64::from).collect();
    Ok(Some(pull_back(&place, dims, seed)?))
}

/// What each feature of a row contributes to the dot product of its vector, before that is scaled, with `along`.
#[pg_extern(stable, strict, parallel_safe, cost = 1000)]
pub fn embed_named_parts(
    model_id: &str,
    features: JsonText,
    along: NumberArray<'_, f64>,
) -> Result<
    TableIterator<'static, (name!(block, String), name!(feature, String), name!(part, f64))>,
    ErrorReport,
> {
    let spec = models::named_spec(model_id)?;
    let row = serde_json::from_str(&features.0)
        .map_err(|_| Fault::from(JointFault::NotAnObject { argument: "features" }))?;
    let parts = named::parts(&spec, &row, along.values("along")?);
    let parts: Vec<_> = parts.into_iter().map(|(block, name, part)| (block.to_owned(), name, part)).collect();
    Ok(TableIterator::new(parts))
}
