//! The aggregate `embed_market_sums(series, max_gap_days)`: the market of each day from packed series.
//!
//! Its CREATE AGGREGATE is in `sql/20_aggregates.sql`. Sums are integers, so neither the order of the
//! series nor the number of workers changes a bit of the result.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::engine::Error;
use crate::engine::numeric::{MarketSums, PriceSeries};
use crate::pg::ffi::aggregate::{AggregateMemory, State};
use crate::pg::ffi::bytea::Bytea;

type Report<T> = std::result::Result<T, ErrorReport>;

pgrx::impl_sql_translatable!(State<MarketSums>, "internal");

/// Adds the returns of one instrument.
#[pg_extern(immutable, parallel_safe)]
pub fn embed_market_sums_step(
    state: Option<State<MarketSums>>,
    series: Option<&[u8]>,
    max_gap_days: Option<i32>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Report<Option<State<MarketSums>>> {
    let (Some(series), Some(max_gap_days)) = (series, max_gap_days) else { return Ok(state) };
    let mut state = match state {
        Some(state) => state,
        None => AggregateMemory::of(fcinfo)?.keep(MarketSums::new())?,
    };
    let mut series = PriceSeries::unpack(series)?;
    match series.sort() {
        // Which of two rows of a day counts would be chance.
        Err(Error::DuplicateDay { .. }) => {}
        Err(error) => Err(error)?,
        Ok(()) => state.get_mut().add(&series, max_gap_days.max(0) as u32)?,
    }
    Ok(Some(state))
}

/// Joins two partial sums.
#[pg_extern(immutable, parallel_safe)]
pub fn embed_market_sums_combine(
    a: Option<State<MarketSums>>,
    b: Option<State<MarketSums>>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Report<Option<State<MarketSums>>> {
    let Some(b) = b else { return Ok(a) };
    let mut a = match a {
        Some(a) => a,
        None => AggregateMemory::of(fcinfo)?.keep(MarketSums::new())?,
    };
    a.get_mut().merge(b.get())?;
    Ok(Some(a))
}

/// The packed form of the sums: the result of the aggregate and its partial state.
#[pg_extern(immutable, strict, parallel_safe)]
pub fn embed_market_sums_pack(state: State<MarketSums>) -> Report<Bytea> {
    let packed = state.get().pack();
    Ok(Bytea::build(packed.len(), |out| {
        out.copy_from_slice(&packed);
        Ok(())
    })?)
}

/// Sums from their packed form; the second argument only says where the state lives.
#[pg_extern(immutable, strict, parallel_safe)]
pub fn embed_market_sums_unpack(
    packed: &[u8],
    _context: pgrx::Internal,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Report<State<MarketSums>> {
    Ok(AggregateMemory::until_joined(fcinfo)?.keep(MarketSums::unpack(packed)?)?)
}
