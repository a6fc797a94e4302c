//! What models with a market need before the first vector: the universe's prices, in one scan.

use std::collections::HashMap;

use crate::engine::Day;
use crate::engine::numeric::pipeline::Members;
use crate::engine::numeric::{MarketSums, NumericModel, PriceSeries, Universe};
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
    /// Where not all that is searched for rows was read: from when on, because nothing older can change a session of
    /// the dates in question.
    since: Option<Day>,
}

impl Market {
    /// The market as it was read before.
    pub fn known(sums: Option<MarketSums>) -> Self {
        Self { sums, ..Self::default() }
    }

    /// Reads what `model` needs for the as-of dates `days`, which ascend. `keep`: whether series of the
    /// universe are of use afterwards.
    ///
    /// Errors: those of reading, and [`crate::engine::Error::OutOfMemory`].
    pub fn read(model: &NumericModel, prices: &Relation, days: &[Day], keep: bool) -> Result<Self, Fault> {
        let (Some(universe), Some(&first), Some(&last)) = (model.universe(), days.first(), days.last())
        else {
            return Ok(Self::default());
        };
        let all = first.minus_days(model.look_back_days());
        if let Some(since) = usual(model, first, last)
            && prices::has_one_row_a_day(prices)?
        {
            // Sums are whole once a return can be taken from a row that was read.
            let whole = Day(since.0 + model.max_gap_days() as i32);
            let most = prices::most_rows_of_a_day(prices, universe, (all, whole.minus_days(1)))?;
            let market = Self::between(model, prices, universe, (since, last), keep)?;
            let sums = market.sums.as_ref();
            if sums.is_some_and(|sums| days.iter().all(|&day| model.is_certain(sums, day, whole, most))) {
                return Ok(Self { since: Some(since), ..market });
            }
        }
        Self::between(model, prices, universe, (all, last), keep)
    }

    fn between(
        model: &NumericModel,
        prices: &Relation,
        universe: &Universe,
        range: (Day, Day),
        keep: bool,
    ) -> Result<Self, Fault> {
        let (price, gap) = (model.price_column(), model.max_gap_days());
        if !(keep && prices::is_smaller_than(prices, SMALL_TABLE_ROWS)?) {
            return Ok(Self::known(Some(prices::market(prices, price, universe, gap, range)?)));
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
        Ok(Self { sums: Some(sums), series: Some(series.into_iter().collect()), since: None })
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
        (first, last): (Day, Day),
    ) -> Result<HashMap<String, crate::engine::Result<PriceSeries>>, Fault> {
        let all = first.minus_days(model.look_back_days());
        let read = |from, names: &[&str]| prices::series(prices, model.price_column(), names, from, last);
        // A repeated day stays one, whatever came before.
        let enough = |read: &crate::engine::Result<PriceSeries>| {
            read.as_ref().map_or(true, |series| model.is_enough(series.rows_until(first)))
        };
        match (self.series.as_mut(), self.since) {
            (Some(series), since) => {
                let found = |name: &&str| -> Option<Named> { series.remove_entry(*name) };
                let found = names.iter().filter_map(found).collect();
                if since.is_none() { Ok(found) } else { complete(found, names, all, read, enough) }
            }
            (None, Some(since)) => {
                complete(read(since, names)?.into_iter().collect(), names, all, read, enough)
            }
            (None, None) => match usual(model, first, last).filter(|_| model.universe().is_none()) {
                Some(since) => complete(read(since, names)?.into_iter().collect(), names, all, read, enough),
                None => Ok(read(all, names)?.into_iter().collect()),
            },
        }
    }
}

/// The packed series of `names` for as-of dates between two days. Errors: those of reading.
pub fn packed(
    model: &NumericModel,
    prices: &Relation,
    names: &[&str],
    (first, last): (Day, Day),
) -> Result<HashMap<String, Vec<u8>>, Fault> {
    let all = first.minus_days(model.look_back_days());
    let read = |from, names: &[&str]| prices::packed(prices, model.price_column(), names, from, last);
    let enough = |packed: &Vec<u8>| model.is_enough(PriceSeries::packed_rows_until(packed, first));
    match usual(model, first, last).filter(|_| model.universe().is_none()) {
        Some(since) => complete(read(since, names)?.into_iter().collect(), names, all, read, enough),
        None => Ok(read(all, names)?.into_iter().collect()),
    }
}

/// From when on rows are read at first, where that saves something: all rows of a vector of `first` usually lie there.
fn usual(model: &NumericModel, first: Day, last: Day) -> Option<Day> {
    let since = first.minus_days(model.usual_days()?);
    let all = first.minus_days(model.look_back_days());
    let saves = i64::from(last.0.abs_diff(since.0)) * 8 < i64::from(last.0.abs_diff(all.0)) * 7;
    saves.then_some(since)
}

/// `found`, and for those of `names` that have not `enough` there what `read` finds from day `all` on.
fn complete<T>(
    mut found: HashMap<String, T>,
    names: &[&str],
    all: Day,
    read: impl Fn(Day, &[&str]) -> Result<Vec<(String, T)>, Fault>,
    enough: impl Fn(&T) -> bool,
) -> Result<HashMap<String, T>, Fault> {
    let full = |name: &str| found.get(name).is_some_and(&enough);
    let short: Vec<&str> = names.iter().copied().filter(|name| !full(name)).collect();
    if !short.is_empty() {
        found.extend(read(all, &short)?);
    }
    Ok(found)
}
