//! `embed_nearest`: the aggregate behind every search, so that the planner may split the scan among workers.
//!
//! The CREATE AGGREGATE statement is in `sql/21_nearest.sql`. A row's scope is looked at only when its vector
//! is among the best so far: that is what keeps the cost per row at the kernel's.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::arguments::required;
use crate::engine::joint::scope::Scope;
use crate::engine::search::{Hit, TopK, Verdict};
use crate::engine::vector::VectorRef;
use crate::pg::ffi::aggregate::{AggregateMemory, State};
use crate::pg::ffi::bytea::Bytea;
use crate::pg::ffi::json::RawJsonb;

type Report<T> = std::result::Result<T, ErrorReport>;

pgrx::impl_sql_translatable!(State<TopK>, "internal");

/// Offers a row: kept if its vector is among the `top_k` nearest to `query`, its scope contains `filter`,
/// and it is not about the entity `exclude`.
#[pg_extern(immutable, parallel_safe, cost = 25)]
#[allow(clippy::too_many_arguments)]
pub fn embed_nearest_step(
    state: Option<State<TopK>>,
    joint_id: Option<i64>,
    as_of_date: Option<Date>,
    entity_scope: Option<RawJsonb>,
    vector: Option<&[u8]>,
    query: Option<&[u8]>,
    top_k: Option<i32>,
    filter: Option<RawJsonb>,
    exclude: Option<&str>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Report<Option<State<TopK>>> {
    let mut state = match state {
        Some(state) => state,
        None => {
            let query = VectorRef::new(required(query, "query")?)?;
            let top = TopK::new(query, required(top_k, "top_k")?.into())?;
            AggregateMemory::of(fcinfo)?.keep(top)?
        }
    };
    let top = state.get_mut();
    let verdict = top.judge(vector.unwrap_or_default());
    if verdict == Verdict::Beaten {
        return Ok(Some(state));
    }
    let Some(raw) = entity_scope.filter(|scope| filter.is_none_or(|filter| scope.contains(filter))) else {
        return Ok(Some(state));
    };
    let payload = raw.text();
    let scope = Scope::parse(&payload);
    if exclude.is_some_and(|exclude| scope.identity() == exclude) {
        return Ok(Some(state));
    }
    match verdict {
        Verdict::Contender { cosine, distance } => top.keep(Hit {
            cosine,
            distance,
            key: scope.tie_key().into(),
            row: joint_id.unwrap_or_default(),
            day: as_of_date.map_or(0, |date| date.to_pg_epoch_days()),
            payload: payload.into(),
        })?,
        odd => top.leave_out(odd),
    }
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
