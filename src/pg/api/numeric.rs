//! `num_window_embed`: the vector of one window, from arrays or from the price table.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::arguments::{day, required};
use crate::engine::numeric::pipeline::DayContext;
use crate::engine::numeric::{EntityRows, NumericModel, PriceSeries, Ready};
use crate::engine::{Day, Result as EngineResult};
use crate::pg::backfill::market::{Market, resolve};
use crate::pg::ffi::array::NumberArray;
use crate::pg::ffi::bytea::Bytea;
use crate::pg::ffi::regclass::Regclass;
use crate::pg::report::Fault;
use crate::pg::spi::relation::Relation;
use crate::pg::spi::{models, prices as price_table};

/// The model `model_id` for windows of `window_days` rows.
pub fn window_model(model_id: &str, window_days: i32) -> Result<NumericModel, Fault> {
    Ok(models::numeric_spec(model_id)?.model(window_days)?)
}

/// The vector of a window.
pub fn encode(dim: usize, rows: &EntityRows<'_>, ready: &Ready) -> EngineResult<Bytea> {
    Bytea::build(dim * 4, |out| {
        rows.encode(ready, out);
        Ok(())
    })
}

/// The vector of the latest window of prices and volumes, oldest first.
#[pg_extern(stable, strict, parallel_safe, cost = 500)]
fn num_window_embed(
    close: NumberArray<'_, f64>,
    volume: NumberArray<'_, f64>,
    window_days: default!(i32, 63),
    model_id: default!(&str, "'num-regime-core-v1'"),
) -> Result<Bytea, ErrorReport> {
    let model = window_model(model_id, window_days)?;
    let series = PriceSeries::from_columns(close.values("close")?, volume.values("volume")?)?;
    let rows = EntityRows::new(&model, series, false)?;
    let ready = rows.latest().map_err(|refused| refused.error)?;
    Ok(encode(model.dim(), &rows, &ready)?)
}

/// The vector of an instrument's window that ends on `as_of`.
#[pg_extern(stable, parallel_safe, cost = 5000, name = "num_window_embed")]
pub fn num_window_embed_lookup(
    instrument_id: Option<&str>,
    as_of: Option<Date>,
    window_days: default!(Option<i32>, 63),
    model_id: default!(Option<&str>, "'num-regime-core-v1'"),
    prices: default!(Option<Regclass>, "pg_catalog.to_regclass('prices_daily')"),
    instruments: default!(Option<Regclass>, "pg_catalog.to_regclass('instruments')"),
) -> Result<Option<Bytea>, ErrorReport> {
    let (Some(instrument_id), Some(as_of)) = (instrument_id, as_of) else { return Ok(None) };
    let as_of = day(Some(as_of), "as_of")?;
    let model = window_model(required(model_id, "model_id")?, required(window_days, "window_days")?)?;
    with_window(model, instrument_id, as_of, (prices, instruments), |model, rows, context| {
        let ready = rows.ready(as_of, context).map_err(|refused| refused.error)?;
        Ok(Some(encode(model.dim(), rows, &ready)?))
    })
}

/// What `look` makes of the rows of an instrument and of what all vectors of the date share; `tables`: prices and
/// instruments.
///
/// Errors: those of reading, and of `look`.
pub(super) fn with_window<T>(
    mut model: NumericModel,
    instrument_id: &str,
    as_of: Day,
    tables: (Option<Regclass>, Option<Regclass>),
    look: impl FnOnce(&NumericModel, &EntityRows<'_>, &DayContext) -> Result<T, ErrorReport>,
) -> Result<T, ErrorReport> {
    let (prices, instruments) = tables;
    resolve(&mut model, instruments)?;
    let prices =
        Relation::open(prices, "prices", "prices_daily", &price_table::columns(model.price_column()))?;
    let from = as_of.minus_days(model.look_back_days());
    let found = price_table::series(&prices, model.price_column(), &[instrument_id], from, as_of)?;
    let series = found.into_iter().next().map_or_else(|| Ok(PriceSeries::new()), |(_, series)| series)?;
    let rows = EntityRows::new(&model, series, model.in_universe(instrument_id))?;
    let market = Market::read(&model, &prices, &[as_of], false)?;
    let members = market.members(&model, &prices, (from, as_of))?;
    let context = model.day(as_of, market.sums.as_ref(), &members)?;
    look(&model, &rows, &context)
}
