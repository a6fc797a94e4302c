//! `embed_price_panel`: the aggregate that backfills read prices with.
//!
//! It gathers the rows of all instruments in one state, since grouping them in SQL costs about as much as reading
//! them. Its CREATE AGGREGATE is in `sql/20_aggregates.sql`. A row with a NULL instrument, date, price or volume is
//! left out.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::arguments::day;
use crate::engine::numeric::PricePanel;
use crate::pg::ffi::aggregate::{AggregateMemory, State};
use crate::pg::ffi::bytea::Bytea;
use crate::pg::ffi::price_row::PriceRow;

type Report<T> = std::result::Result<T, ErrorReport>;

pgrx::impl_sql_translatable!(State<PricePanel>, "internal");

/// Adds a row.
#[pg_extern(
    immutable,
    parallel_safe,
    sql = r#"
CREATE FUNCTION embed_price_panel_step(state internal, instrument_id text, trade_date date, price float8, volume float8)
    RETURNS internal IMMUTABLE PARALLEL SAFE LANGUAGE c AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#
)]
pub fn embed_price_panel_step(fcinfo: pg_sys::FunctionCallInfo) -> Report<Option<State<PricePanel>>> {
    step(&fcinfo, false)
}

/// Adds a row with an adjusted price, whose volume belongs to the close.
#[pg_extern(
    immutable,
    parallel_safe,
    sql = r#"
CREATE FUNCTION embed_price_panel_adjusted_step(state internal, instrument_id text, trade_date date, price float8,
                                                volume float8, close float8)
    RETURNS internal IMMUTABLE PARALLEL SAFE LANGUAGE c AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#
)]
pub fn embed_price_panel_adjusted_step(
    fcinfo: pg_sys::FunctionCallInfo,
) -> Report<Option<State<PricePanel>>> {
    step(&fcinfo, true)
}

#[inline(always)]
fn step(fcinfo: &pg_sys::FunctionCallInfo, adjusted: bool) -> Report<Option<State<PricePanel>>> {
    let row = PriceRow::of(fcinfo);
    let state = row.state::<PricePanel>();
    let (Some(instrument), Some(date), Some(price), Some(volume)) =
        (row.instrument(), row.trade_date(), row.price(), row.volume())
    else {
        return Ok(state);
    };
    let mut state = match state {
        Some(state) => state,
        None => AggregateMemory::of(*fcinfo)?.keep(PricePanel::new())?,
    };
    let date = day(Some(date), "trade_date")?;
    let panel = state.get_mut();
    match adjusted {
        true => panel.push_adjusted(instrument, date, price, volume, row.close())?,
        false => panel.push(instrument, date, price, volume)?,
    }
    Ok(Some(state))
}

/// Joins two partial panels.
#[pg_extern(immutable, parallel_safe)]
pub fn embed_price_panel_combine(
    a: Option<State<PricePanel>>,
    b: Option<State<PricePanel>>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Report<Option<State<PricePanel>>> {
    let Some(b) = b else { return Ok(a) };
    let mut a = match a {
        Some(a) => a,
        None => AggregateMemory::of(fcinfo)?.keep(PricePanel::new())?,
    };
    a.get_mut().append(b.get())?;
    Ok(Some(a))
}

/// The packed form of a panel: the result of the aggregate and its partial state.
#[pg_extern(immutable, strict, parallel_safe)]
pub fn embed_price_panel_pack(state: State<PricePanel>) -> Report<Bytea> {
    let panel = state.get();
    Ok(Bytea::build(panel.packed_len(), |out| {
        panel.pack(out);
        Ok(())
    })?)
}

/// A panel from its packed form.
#[pg_extern(immutable, strict, parallel_safe)]
pub fn embed_price_panel_unpack(
    packed: &[u8],
    _context: pgrx::Internal,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Report<State<PricePanel>> {
    Ok(AggregateMemory::until_joined(fcinfo)?.keep(PricePanel::unpack(packed)?)?)
}
