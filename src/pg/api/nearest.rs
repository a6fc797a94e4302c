//! `embed_nearest`: the aggregate behind every search, so that the planner may split the scan among workers.
//!
//! The CREATE AGGREGATE statement is in `sql/21_nearest.sql`.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::arguments::required;
use crate::engine::search::TopK;
use crate::engine::vector::VectorRef;
use crate::pg::ffi::aggregate::{AggregateMemory, State};
use crate::pg::ffi::bytea::Bytea;
use crate::pg::ffi::candidate::Candidate;
use crate::pg::nearest::consider;

type Report<T> = std::result::Result<T, ErrorReport>;

pgrx::impl_sql_translatable!(State<TopK>, "internal");

/// Offers a row: kept if its vector is among the `top_k` nearest to `query`, its scope contains `filter`,
/// and it is not about the entity `exclude`.
#[pg_extern(
    immutable,
    parallel_safe,
    sql = r#"
CREATE FUNCTION embed_nearest_step(state internal, joint_id bigint, as_of_date date, entity_scope jsonb, vector bytea,
                                   query bytea, top_k int, filter jsonb, exclude text) RETURNS internal
    IMMUTABLE PARALLEL SAFE COST 25 LANGUAGE c AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#
)]
pub fn embed_nearest_step(fcinfo: pg_sys::FunctionCallInfo) -> Report<Option<State<TopK>>> {
    let row = Candidate::of(&fcinfo);
    let mut state = match row.state::<TopK>() {
        Some(state) => state,
        None => {
            let query = VectorRef::new(required(row.query(), "query")?)?;
            let top = TopK::new(query, required(row.top_k(), "top_k")?.into())?;
            AggregateMemory::of(fcinfo)?.keep(top)?
        }
    };
    consider(state.get_mut(), row)?;
    Ok(Some(state))
}

/// Joins what two workers found.
#[pg_extern(immutable, parallel_safe)]
pub fn embed_nearest_combine(
    a: Option<State<TopK>>,
    b: Option<State<TopK>>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Report<Option<State<TopK>>> {
    let Some(b) = b else { return Ok(a) };
    match a {
        Some(mut a) => {
            a.get_mut().merge(b.get())?;
            Ok(Some(a))
        }
        None => Ok(Some(AggregateMemory::of(fcinfo)?.keep(b.get().clone())?)),
    }
}

/// The packed form of a list: the result of the aggregate and its partial state.
#[pg_extern(immutable, strict, parallel_safe)]
pub fn embed_nearest_pack(state: State<TopK>) -> Report<Bytea> {
    let top = state.get();
    Ok(Bytea::build(top.packed_len(), |out| {
        top.pack(out);
        Ok(())
    })?)
}

/// A list from its packed form; the second argument only says where the state lives.
#[pg_extern(immutable, strict, parallel_safe)]
pub fn embed_nearest_unpack(
    packed: &[u8],
    _context: pgrx::Internal,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Report<State<TopK>> {
    Ok(AggregateMemory::until_joined(fcinfo)?.keep(TopK::unpack(packed)?)?)
}
