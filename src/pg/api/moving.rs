//! `num_window_agg` over a frame that moves (`OVER (... ROWS BETWEEN 125 PRECEDING AND CURRENT ROW)`): a row of
//! the result costs one row in and one out, not the whole frame anew.
//!
//! The forms with one state per group are in `aggregate.rs`; both give the same vectors.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::aggregate::window_vector;
use super::arguments::{day, required};
use super::numeric::window_model;
use crate::engine::numeric::{MovingSeries, NumericModel};
use crate::pg::ffi::aggregate::{AggregateMemory, State};
use crate::pg::ffi::bytea::Bytea;
use crate::pg::report::Fault;

type Report<T> = std::result::Result<T, ErrorReport>;

/// Rows of the frame, and what to make of them once there is one.
#[derive(Debug, Default)]
pub struct MovingState {
    rows: MovingSeries,
    model: Option<(String, NumericModel)>,
}

pgrx::impl_sql_translatable!(State<MovingState>, "internal");

/// A row joins the frame. Never NULL, which Postgres does not allow here.
#[pg_extern(stable, parallel_safe)]
pub fn num_window_join(
    state: Option<State<MovingState>>,
    trade_date: Option<Date>,
    close: Option<f64>,
    volume: Option<f64>,
    window_days: Option<i32>,
    model_id: Option<&str>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Report<State<MovingState>> {
    let mut state = match state {
        Some(state) => state,
        None => AggregateMemory::of(fcinfo)?.keep(MovingState::default())?,
    };
    let (Some(date), Some(close), Some(volume)) = (trade_date, close, volume) else { return Ok(state) };
    let (window_days, model_id) = (required(window_days, "window_days")?, required(model_id, "model_id")?);
    let MovingState { rows, model } = state.get_mut();
    let (id, model) = match model {
        Some(model) => model,
        None => model.insert((model_id.to_owned(), window_model(model_id, window_days)?)),
    };
    if model.window_days() as i64 != i64::from(window_days) {
        Err(Fault::ChangingArgument { argument: "window_days" })?;
    }
    if id != model_id {
        Err(Fault::ChangingArgument { argument: "model_id" })?;
    }
    rows.join(day(Some(date), "trade_date")?, close, volume, model.rows_kept())?;
    Ok(state)
}

/// The row that joined first leaves the frame. NULL, after which Postgres begins anew, if it is another.
#[pg_extern(stable, parallel_safe)]
pub fn num_window_leave(
    state: Option<State<MovingState>>,
    trade_date: Option<Date>,
    close: Option<f64>,
    volume: Option<f64>,
    _window_days: Option<i32>,
    _model_id: Option<&str>,
) -> Report<Option<State<MovingState>>> {
    let Some(mut state) = state else { return Ok(None) };
    let (Some(date), Some(close), Some(volume)) = (trade_date, close, volume) else { return Ok(Some(state)) };
    let moving = state.get_mut();
    if !moving.rows.leave(day(Some(date), "trade_date")?, close, volume) {
        return Ok(None);
    }
    if moving.rows.is_empty() {
        moving.model = None;
    }
    Ok(Some(state))
}

/// The vector of the frame's latest window; NULL when there are fewer rows than the model allows.
#[pg_extern(stable, parallel_safe)]
pub fn num_window_moved(state: Option<State<MovingState>>) -> Report<Option<Bytea>> {
    let Some(state) = state else { return Ok(None) };
    let moving = state.get();
    match &moving.model {
        Some((_, model)) => window_vector(model, moving.rows.latest(model.rows_kept())?),
        None => Ok(None),
    }
}
