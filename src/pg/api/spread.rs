//! The aggregate `embed_spread(id, tag, vector)`: how far the vectors of a cross-section lie apart.
//!
//! Its CREATE AGGREGATE is in `sql/22_spread.sql`. The result does not depend on the order of the rows.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::engine::search::spread::Sample;
use crate::engine::vector::VectorRef;
use crate::pg::ffi::aggregate::{AggregateMemory, State};

type Report<T> = std::result::Result<T, ErrorReport>;

pgrx::impl_sql_translatable!(State<Sample>, "internal");

/// Offers a vector to the sample; what is none takes no part.
#[pg_extern(immutable, parallel_safe, cost = 5)]
pub fn embed_spread_step(
    state: Option<State<Sample>>,
    id: Option<&str>,
    tag: Option<&str>,
    vector: Option<&[u8]>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Report<Option<State<Sample>>> {
    let (Some(id), Some(vector)) = (id, vector.and_then(|bytes| VectorRef::new(bytes).ok())) else {
        return Ok(state);
    };
    let mut state = match state {
        Some(state) => state,
        None => AggregateMemory::of(fcinfo)?.keep(Sample::default())?,
    };
    state.get_mut().offer(id, tag.unwrap_or_default(), vector);
    Ok(Some(state))
}

/// Vectors compared, median cosine to the nearest, median cosine of all pairs; NULL of fewer than two entities.
#[pg_extern(immutable, strict, parallel_safe)]
pub fn embed_spread_final(state: State<Sample>) -> Option<Vec<f64>> {
    state.get().spread().map(|spread| vec![spread.vectors as f64, spread.nearest, spread.median])
}
