//! What models with a market need before the first vector: the universe's prices, in one scan.

use std::collections::HashMap;

use crate::engine::Day;
use crate::engine::numeric::pipeline::Members;
use crate::engine::numeric::{MarketSums, NumericModel, PriceSeries};
use crate::pg::ffi::interrupts;
use crate::pg::ffi::regclass::Regclass;
use crate::pg::report::Fault;
use crate::pg::spi::instruments as instrument_table;
use crate::pg::spi::prices::{self, Named};
use crate::pg::spi::relation::Relation;

/// Price tables of up to this many rows are read as series, which the vectors are then made from too;
/// larger ones are summed inside the database, and each batch of instruments is read again.
const SMALL_TABLE_ROWS: f32 = 4e6;

/// Columns that say which instruments a market has.
const COLUMNS: [&str; 3] = ["instrument_id", "market_id", "asset_class"];

/// Looks up which instruments the universe of `model` is, where its spec names a market.
///
/// Errors: those of [`Relation::open`], [`Fault::UnknownMarket`] (22023).
pub fn resolve(model: &mut NumericModel, instruments: Option<Regclass>) -> Result<(), Fault> {
    let Some(market_id) = model.unknown_market().map(str::to_owned) else { return Ok(()) };
    let table = Relation::open(instruments, "instruments", "instruments", &COLUMNS)?;
    model.set_universe(instrument_table::universe(&table, &market_id)?);
    Ok(())
}

/// The market of a run.
#[derive(Debug, Default)]
pub struct Market {
    /// Sums of every day; absent for models without a market.
    pub sums: Option<MarketSums>,
    /// Every series of the universe, if it was read as such.
    pub series: Option<HashMap<String, crate::engine::Result<PriceSeries>>>,
}

impl Market {
    /// Reads what `model` needs for as-of dates whose rows lie in `range`. `keep`: whether series of the
    /// universe are of use afterwards.
    ///
    /// Errors: those of reading, and [`crate::engine::Error::OutOfMemory`].
    pub fn read(
        model: &NumericModel,
        prices: &Relation,
        range: (Day, Day),
        keep: bool,
    ) -> Result<Self, Fault> {
        let Some(universe) = model.universe() else { return Ok(Self::default()) };
        let (price, gap) = (model.price_column(), model.max_gap_days());
        if !(keep && prices::is_smaller_than(prices, SMALL_TABLE_ROWS)?) {
            let sums = prices::market(prices, price, universe, gap, range)?;
            return Ok(Self { sums: Some(sums), series: None });
        }
        let series = prices::of_universe(prices, price, universe, range)?;
        let mut sums = MarketSums::new();
        for (_, series) in &series {
            interrupts::check();
            // A series with a repeated day takes no part, as in the database's own sums.
            if let Ok(series) = series {
                sums.add(series, gap)?;
            }
        }
        Ok(Self { sums: Some(sums), series: Some(series.into_iter().collect()) })
    }

    /// The series of the instruments that the model's factors are made of.
    ///
    /// Errors: those of reading.
    pub fn members<'m>(
        &self,
        model: &'m NumericModel,
        prices: &Relation,
        (from, to): (Day, Day),
    ) -> Result<Members<'m>, Fault> {
        let ids: Vec<&str> = model.member_ids().iter().map(String::as_str).collect();
        if ids.is_empty() {
            return Ok(Members::default());
        }
        if let Some(series) = &self.series {
            return Ok(model.members(|name| series.get(name)?.as_ref().ok().cloned()));
        }
        let read = prices::series(prices, model.price_column(), &ids, from, to)?;
        let mut read: HashMap<_, _> =
            read.into_iter().filter_map(|(name, s)| Some((name, s.ok()?))).collect();
        Ok(model.members(|name| read.remove(name)))
    }

    /// The series of `names` for as-of dates between two days: those at hand, or read from the price table where
    /// none are.
    ///
    /// Errors: those of reading.
    pub fn take(
        &mut self,
        model: &NumericModel,
        prices: &Relation,
        names: &[&str],
        dates: (Day, Day),
    ) -> Result<HashMap<String, crate::engine::Result<PriceSeries>>, Fault> {
        let Some(series) = self.series.as_mut() else {
            let since =
                |from, names: &[&str]| prices::series(prices, model.price_column(), names, from, dates.1);
            // A repeated day stays one, whatever came before.
            let rows = |read: &crate::engine::Result<PriceSeries>, until| {
                read.as_ref().map_or(usize::MAX, |series| series.rows_until(until))
            };
            return read(model, names, dates, since, rows);
        };
        let found = |name: &&str| -> Option<Named> { series.remove_entry(*name) };
        Ok(names.iter().filter_map(found).collect())
    }
}

/// The packed series of `names` for as-of dates between two days. Errors: those of reading.
pub fn packed(
    model: &NumericModel,
    prices: &Relation,
    names: &[&str],
    dates: (Day, Day),
) -> Result<HashMap<String, Vec<u8>>, Fault> {
    let since = |from, names: &[&str]| prices::packed(prices, model.price_column(), names, from, dates.1);
    read(model, names, dates, since, |packed, until| PriceSeries::packed_rows_until(packed, until))
}

/// What `since` reads of `names` from a day on: from where a whole window usually begins, and from where the search
/// for rows ends for those with too few of them, as `rows` counts them up to a day; at once where that saves little.
fn read<T>(
    model: &NumericModel,
    names: &[&str],
    (first, last): (Day, Day),
    since: impl Fn(Day, &[&str]) -> Result<Vec<(String, T)>, Fault>,
    rows: impl Fn(&T, Day) -> usize,
) -> Result<HashMap<String, T>, Fault> {
    let all = first.minus_days(model.look_back_days());
    let usual = model.usual_days().map(|days| first.minus_days(days));
    let saves = |from: &Day| i64::from(last.0.abs_diff(from.0)) * 4 < i64::from(last.0.abs_diff(all.0)) * 3;
    let Some(usual) = usual.filter(saves) else { return Ok(since(all, names)?.into_iter().collect()) };
    let mut read: HashMap<String, T> = since(usual, names)?.into_iter().collect();
    let full = |name: &str| read.get(name).is_some_and(|read| rows(read, first) >= model.rows_kept());
    let short: Vec<&str> = names.iter().copied().filter(|name| !full(name)).collect();
    if !short.is_empty() {
        read.extend(since(all, &short)?);
    }
    Ok(read)
}
