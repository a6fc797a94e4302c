//! Aggregates over daily price rows: `num_window_agg` and the series that backfills read.
//!
//! The CREATE AGGREGATE statements are in `sql/20_aggregates.sql`. Rows come in any order; a row with a
//! NULL date, price or volume is left out, as SQL aggregates do.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::arguments::day;
use super::numeric::{encode, window_model};
use crate::engine::Error;
use crate::engine::numeric::{EntityRows, NumericModel, PriceSeries};
use crate::pg::ffi::aggregate::{AggregateMemory, State};
use crate::pg::ffi::bytea::Bytea;
use crate::pg::report::Fault;

type Report<T> = std::result::Result<T, ErrorReport>;

/// State of `num_window_agg`: the latest rows and what to make of them.
#[derive(Debug)]
pub struct WindowState {
    series: PriceSeries,
    model: NumericModel,
    model_id: String,
}

pgrx::impl_sql_translatable!(State<PriceSeries>, "internal");
pgrx::impl_sql_translatable!(State<WindowState>, "internal");

/// Adds a row to a series.
#[pg_extern(immutable, parallel_safe)]
pub fn embed_price_series_step(
    state: Option<State<PriceSeries>>,
    trade_date: Option<Date>,
    price: Option<f64>,
    volume: Option<f64>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Report<Option<State<PriceSeries>>> {
    let (Some(date), Some(price), Some(volume)) = (trade_date, price, volume) else { return Ok(state) };
    let mut state = match state {
        Some(state) => state,
        None => AggregateMemory::of(fcinfo)?.keep(PriceSeries::new())?,
    };
    state.get_mut().push(day(Some(date), "trade_date")?, price, volume)?;
    Ok(Some(state))
}

/// Adds a row with an adjusted price, whose volume belongs to the close.
#[pg_extern(immutable, parallel_safe)]
pub fn embed_price_series_adjusted_step(
    state: Option<State<PriceSeries>>,
    trade_date: Option<Date>,
    price: Option<f64>,
    volume: Option<f64>,
    close: Option<f64>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Report<Option<State<PriceSeries>>> {
    let (Some(date), Some(price), Some(volume)) = (trade_date, price, volume) else { return Ok(state) };
    let mut state = match state {
        Some(state) => state,
        None => AggregateMemory::of(fcinfo)?.keep(PriceSeries::new())?,
    };
    state.get_mut().push_adjusted(day(Some(date), "trade_date")?, price, volume, close)?;
    Ok(Some(state))
}

/// Joins two partial series.
#[pg_extern(immutable, parallel_safe)]
pub fn embed_price_series_combine(
    a: Option<State<PriceSeries>>,
    b: Option<State<PriceSeries>>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Report<Option<State<PriceSeries>>> {
    let Some(b) = b else { return Ok(a) };
    let mut a = match a {
        Some(a) => a,
        None => AggregateMemory::of(fcinfo)?.keep(PriceSeries::new())?,
    };
    a.get_mut().append(b.get())?;
    Ok(Some(a))
}

/// The packed form of a series: the result of the aggregate and its partial state.
#[pg_extern(immutable, strict, parallel_safe)]
pub fn embed_price_series_pack(state: State<PriceSeries>) -> Report<Bytea> {
    let series = state.get();
    Ok(Bytea::build(series.packed_len(), |out| {
        series.pack(out);
        Ok(())
    })?)
}

/// A series from its packed form.
#[pg_extern(immutable, strict, parallel_safe)]
pub fn embed_price_series_unpack(
    packed: &[u8],
    _context: pgrx::Internal,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Report<State<PriceSeries>> {
    Ok(AggregateMemory::until_joined(fcinfo)?.keep(PriceSeries::unpack(packed)?)?)
}

/// Adds a row to a window.
#[pg_extern(stable, parallel_safe)]
pub fn num_window_step(
    state: Option<State<WindowState>>,
    trade_date: Option<Date>,
    close: Option<f64>,
    volume: Option<f64>,
    window_days: Option<i32>,
    model_id: Option<&str>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Report<Option<State<WindowState>>> {
    let (Some(date), Some(close), Some(volume)) = (trade_date, close, volume) else { return Ok(state) };
    let (Some(window_days), Some(model_id)) = (window_days, model_id) else {
        let argument = if window_days.is_none() { "window_days" } else { "model_id" };
        Err(Fault::NullArgument { argument })?
    };
    let mut state = match state {
        Some(state) => state,
        None => AggregateMemory::of(fcinfo)?.keep(WindowState {
            series: PriceSeries::new(),
            model: window_model(model_id, window_days)?,
            model_id: model_id.to_owned(),
        })?,
    };
    let window = state.get_mut();
    if window.model.window_days() as i64 != i64::from(window_days) {
        Err(Fault::ChangingArgument { argument: "window_days" })?;
    }
    if window.model_id != model_id {
        Err(Fault::ChangingArgument { argument: "model_id" })?;
    }
    window.series.push(day(Some(date), "trade_date")?, close, volume)?;
    window.series.trim_to_latest(window.model.rows_kept());
    Ok(Some(state))
}

/// Joins two partial windows.
#[pg_extern(stable, parallel_safe)]
pub fn num_window_combine(
    a: Option<State<WindowState>>,
    b: Option<State<WindowState>>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Report<Option<State<WindowState>>> {
    let Some(b) = b else { return Ok(a) };
    let from = b.get();
    let mut a = match a {
        Some(a) => a,
        None => AggregateMemory::of(fcinfo)?.keep(WindowState {
            series: PriceSeries::new(),
            model: from.model.clone(),
            model_id: from.model_id.clone(),
        })?,
    };
    let window = a.get_mut();
    if window.model_id != from.model_id || window.model.window_days() != from.model.window_days() {
        Err(Fault::ChangingArgument { argument: "model_id" })?;
    }
    window.series.append(&from.series)?;
    window.series.trim_to_latest(window.model.rows_kept());
    Ok(Some(a))
}

/// A partial window as bytes: window length (int32), length of the model id (int32), the id, the series.
#[pg_extern(immutable, strict, parallel_safe)]
pub fn num_window_serialize(state: State<WindowState>) -> Report<Bytea> {
    let window = state.get();
    let id = window.model_id.as_bytes();
    Ok(Bytea::build(8 + id.len() + window.series.packed_len(), |out| {
        out[..4].copy_from_slice(&(window.model.window_days() as i32).to_le_bytes());
        out[4..8].copy_from_slice(&(id.len() as i32).to_le_bytes());
        out[8..8 + id.len()].copy_from_slice(id);
        window.series.pack(&mut out[8 + id.len()..]);
        Ok(())
    })?)
}

/// A partial window from its bytes, of which nothing is believed.
#[pg_extern(stable, strict, parallel_safe)]
pub fn num_window_deserialize(
    bytes: &[u8],
    _context: pgrx::Internal,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Report<State<WindowState>> {
    let memory = AggregateMemory::until_joined(fcinfo)?;
    let int = |at: usize| {
        let bytes = bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).ok_or(Fault::MalformedState)?;
        Ok::<i32, Fault>(i32::from_le_bytes(bytes))
    };
    let length = usize::try_from(int(4)?).map_err(|_| Fault::MalformedState)?;
    let (id, series) =
        bytes.get(8..).and_then(|rest| rest.split_at_checked(length)).ok_or(Fault::MalformedState)?;
    let model_id = std::str::from_utf8(id).map_err(|_| Fault::MalformedState)?.to_owned();
    let model = window_model(&model_id, int(0)?)?;
    Ok(memory.keep(WindowState { series: PriceSeries::unpack(series)?, model, model_id })?)
}

/// The vector of the latest window; NULL when there are fewer rows than the model allows.
#[pg_extern(stable, parallel_safe)]
pub fn num_window_final(state: Option<State<WindowState>>) -> Report<Option<Bytea>> {
    let Some(state) = state else { return Ok(None) };
    let window = state.get();
    window_vector(&window.model, window.series.latest(window.model.rows_kept())?)
}

/// The vector of the latest window of sorted rows; none when there are fewer than the model allows.
pub fn window_vector(model: &NumericModel, latest: PriceSeries) -> Report<Option<Bytea>> {
    let rows = EntityRows::new(model, latest, false)?;
    match rows.latest() {
        Ok(ready) => Ok(Some(encode(model.dim(), &rows, &ready)?)),
        Err(refused) if refused.error == Error::NeedsMarket => Err(refused.error)?,
        Err(_) => Ok(None),
    }
}
