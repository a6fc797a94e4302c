//! `backfill_numeric`: vectors of many instruments at one date or over a range.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::arguments::{day, required};
use crate::engine::Day;
use crate::engine::numeric::NumericModel;
use crate::pg::backfill::OnExisting;
use crate::pg::backfill::ledger::{Entry, Outcomes};
use crate::pg::backfill::market::resolve;
use crate::pg::backfill::numeric::NumericBackfill;
use crate::pg::ffi::array::ItemArray;
use crate::pg::ffi::regclass::Regclass;
use crate::pg::ffi::rowstore::RowStore;
use crate::pg::ffi::scratch::scratch;
use crate::pg::report::Fault;
use crate::pg::spi::numeric_rows::NumericTarget;
use crate::pg::spi::relation::Relation;
use crate::pg::spi::{instruments as instrument_table, models, prices as price_table};

/// Which dates a call is about.
enum Days {
    One(Day),
    Range(Day, Day),
}

/// The arguments that all forms share.
#[derive(Default)]
pub(super) struct Arguments<'a> {
    pub(super) window_days: Option<i32>,
    pub(super) market_id: Option<&'a str>,
    pub(super) instrument_ids: Option<ItemArray<'a, str>>,
    pub(super) model_id: Option<&'a str>,
    pub(super) max_entities: Option<i32>,
    pub(super) skip_entities: Option<i32>,
    pub(super) on_existing: Option<&'a str>,
    pub(super) prices: Option<Regclass>,
    pub(super) instruments: Option<Regclass>,
    pub(super) target: Option<Regclass>,
}

/// What the arguments name, found and checked.
pub(super) struct Opened {
    pub(super) model: NumericModel,
    pub(super) prices: Relation,
    pub(super) target: NumericTarget,
    pub(super) on_existing: OnExisting,
}

impl Opened {
    /// The backfill of `entities` at `days`.
    pub(super) fn backfill<'a>(&'a self, entities: &'a [String], days: &'a [Day]) -> NumericBackfill<'a> {
        NumericBackfill {
            model: &self.model,
            entities,
            days,
            prices: &self.prices,
            target: &self.target,
            on_existing: self.on_existing,
            pool: None,
        }
    }
}

/// Computes and stores the window vectors of instruments at one date.
#[pg_extern(sql = r#"
CREATE FUNCTION backfill_numeric(
    as_of date,
    window_days integer DEFAULT 63, market_id text DEFAULT NULL,
    instrument_ids text[] DEFAULT NULL, model_id text DEFAULT 'num-regime-core-v1', max_entities integer DEFAULT NULL,
    skip_entities integer DEFAULT NULL, on_existing text DEFAULT 'replace',
    prices regclass DEFAULT pg_catalog.to_regclass('prices_daily'),
    instruments regclass DEFAULT pg_catalog.to_regclass('instruments'),
    target regclass DEFAULT pg_catalog.to_regclass('numeric_window_embeddings')
)
    RETURNS TABLE (entity_id text, as_of_date date, model_id text, status text, dim integer, rows_used integer, detail text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE COST 100000
    AS 'MODULE_PATHNAME', 'backfill_numeric_wrapper';
"#)]
#[allow(clippy::too_many_arguments)]
pub fn backfill_numeric(
    as_of: Option<Date>,
    window_days: Option<i32>,
    market_id: Option<&str>,
    instrument_ids: Option<ItemArray<'_, str>>,
    model_id: Option<&str>,
    max_entities: Option<i32>,
    skip_entities: Option<i32>,
    on_existing: Option<&str>,
    prices: Option<Regclass>,
    instruments: Option<Regclass>,
    target: Option<Regclass>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Result<(), ErrorReport> {
    let days = Days::One(day(as_of, "as_of")?);
    let arguments = Arguments {
        window_days,
        market_id,
        instrument_ids,
        model_id,
        max_entities,
        skip_entities,
        on_existing,
        prices,
        instruments,
        target,
    };
    Ok(arguments.run(days, fcinfo)?)
}

/// Computes and stores the window vectors of instruments at every trading day of a range.
#[pg_extern(sql = r#"
CREATE FUNCTION backfill_numeric(
    start_date date, end_date date,
    window_days integer DEFAULT 63, market_id text DEFAULT NULL,
    instrument_ids text[] DEFAULT NULL, model_id text DEFAULT 'num-regime-core-v1', max_entities integer DEFAULT NULL,
    skip_entities integer DEFAULT NULL, on_existing text DEFAULT 'replace',
    prices regclass DEFAULT pg_catalog.to_regclass('prices_daily'),
    instruments regclass DEFAULT pg_catalog.to_regclass('instruments'),
    target regclass DEFAULT pg_catalog.to_regclass('numeric_window_embeddings')
)
    RETURNS TABLE (entity_id text, as_of_date date, model_id text, status text, dim integer, rows_used integer, detail text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000000
    AS 'MODULE_PATHNAME', 'backfill_numeric_days_wrapper';
"#)]
#[allow(clippy::too_many_arguments)]
pub fn backfill_numeric_days(
    start_date: Option<Date>,
    end_date: Option<Date>,
    window_days: Option<i32>,
    market_id: Option<&str>,
    instrument_ids: Option<ItemArray<'_, str>>,
    model_id: Option<&str>,
    max_entities: Option<i32>,
    skip_entities: Option<i32>,
    on_existing: Option<&str>,
    prices: Option<Regclass>,
    instruments: Option<Regclass>,
    target: Option<Regclass>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Result<(), ErrorReport> {
    let (start, end) = range(start_date, end_date)?;
    let arguments = Arguments {
        window_days,
        market_id,
        instrument_ids,
        model_id,
        max_entities,
        skip_entities,
        on_existing,
        prices,
        instruments,
        target,
    };
    Ok(arguments.run(Days::Range(start, end), fcinfo)?)
}

/// Both bounds of a range of dates.
///
/// Errors: those of [`day`], [`Fault::EmptyRange`] (22023).
pub(super) fn range(start_date: Option<Date>, end_date: Option<Date>) -> Result<(Day, Day), Fault> {
    let (start, end) = (day(start_date, "start_date")?, day(end_date, "end_date")?);
    if end < start {
        return Err(Fault::EmptyRange { start: start.to_string(), end: end.to_string() });
    }
    Ok((start, end))
}

impl Arguments<'_> {
    fn run(&self, days: Days, fcinfo: pg_sys::FunctionCallInfo) -> Result<(), Fault> {
        let opened = self.open()?;
        let entities = self.entities()?;
        let days = match days {
            Days::One(day) => vec![day],
            Days::Range(start, end) => {
                scratch(|| price_table::trading_days(&opened.prices, &entities, start, end))?
            }
        };
        let model_id = required(self.model_id, "model_id")?;
        let rows = RowStore::of(fcinfo)?;
        let mut told = Told { rows, entities: &entities, model_id, dim: opened.model.dim() };
        opened.backfill(&entities, &days).run(None, &mut told)
    }

    /// Finds and checks what the arguments name.
    pub(super) fn open(&self) -> Result<Opened, Fault> {
        let model_id = required(self.model_id, "model_id")?;
        let window_days = required(self.window_days, "window_days")?;
        let on_existing = OnExisting::parse(required(self.on_existing, "on_existing")?)?;
        let mut model = models::numeric_spec(model_id)?.model(window_days)?;
        resolve(&mut model, self.instruments)?;
        let prices = Relation::open(
            self.prices,
            "prices",
            "prices_daily",
            &price_table::columns(model.price_column()),
        )?;
        let target = NumericTarget::open(self.target, "INSTRUMENT", model_id, window_days)?;
        Ok(Opened { model, prices, target, on_existing })
    }

    /// The instruments asked for, without repeats: those named and those of the market, in byte order.
    pub(super) fn entities(&self) -> Result<Vec<String>, Fault> {
        for (name, value) in [("max_entities", self.max_entities), ("skip_entities", self.skip_entities)] {
            if let Some(value) = value.filter(|value| *value < 0) {
                Err(crate::engine::Error::OutOfRange {
                    name,
                    value: value.into(),
                    min: 0,
                    max: i32::MAX.into(),
                })?;
            }
        }
        if self.market_id.is_none() && self.instrument_ids.is_none() {
            return Err(Fault::NothingSelected);
        }
        let mut entities: Vec<String> = match &self.instrument_ids {
            Some(named) => named.values("instrument_ids")?.into_iter().map(str::to_owned).collect(),
            None => Vec::new(),
        };
        if let Some(market_id) = self.market_id {
            let columns = ["instrument_id", "market_id", "asset_class", "status"];
            let table = Relation::open(self.instruments, "instruments", "instruments", &columns)?;
            entities.extend(instrument_table::of_market(
                &table,
                market_id,
                self.max_entities,
                self.skip_entities,
            )?);
        }
        entities.sort_unstable();
        entities.dedup();
        Ok(entities)
    }
}

/// Outcomes as rows of the result.
struct Told<'a> {
    rows: RowStore,
    entities: &'a [String],
    model_id: &'a str,
    dim: usize,
}

impl Outcomes for Told<'_> {
    fn tell(&mut self, entry: Entry) -> Result<(), Fault> {
        let (entities, model_id, dim) = (self.entities, self.model_id, self.dim);
        self.rows.put(|cells| {
            cells.text(0, entities.get(entry.entity as usize).map_or("", String::as_str));
            cells.date(1, entry.day);
            cells.text(2, model_id);
            cells.text(3, entry.status());
            if entry.has_vector() {
                cells.int(4, dim as i32);
            }
            if let Some(rows_used) = entry.rows_used() {
                cells.int(5, rows_used);
            }
            if let Some(detail) = entry.detail(dim) {
                cells.text(6, &detail);
            }
            Ok(true)
        })?;
        Ok(())
    }

    fn restart(&mut self) {
        self.rows.clear();
    }
}
