//! From rows to a vector.

use super::super::super::day::Day;
use super::super::super::error::Error;
use super::super::super::linear::normalise;
use super::super::market::{MarketWindow, usable};
use super::super::model::{Made, Refused};
use super::super::series::PriceSeries;
use super::context::{DayContext, Members};
use super::features::Rows;
use super::spec::{Channel, DayFeature, Layout, Missing, Normalise, PipelineModel};
use super::standard;

/// Why there is no vector.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// Fewer days with a value than the model allows.
    TooFewDays {
        /// Days found.
        found: usize,
        /// Days needed.
        needed: usize,
        /// Window length, in sessions.
        window_days: usize,
        /// First and last day searched.
        searched: (Day, Day),
    },
    /// The newest usable row is too old.
    Stale {
        /// Its day.
        last: Day,
        /// The as-of date.
        as_of: Day,
        /// Calendar days allowed between them.
        max_age_days: u32,
    },
    /// Every component is 0: nothing moves.
    Flat,
    /// No feature of the model is there.
    NoFeature,
    /// A component is NaN or infinite.
    NonFinite,
}

impl Refusal {
    /// Days with a value, where that is the reason.
    fn rows(&self) -> Option<usize> {
        match self {
            Self::TooFewDays { found, .. } => Some(*found),
            _ => None,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooFewDays { found, needed, window_days, searched: (from, to) } => write!(
                f,
                "need at least {needed} of {window_days} days with a usable price in {from}..{to}, found {found}"
            ),
            Self::Stale { last, as_of, max_age_days } => {
                write!(f, "last usable price is of {last}, more than {max_age_days} days before {as_of}")
            }
            Self::Flat => f.write_str("prices do not move: every component would be 0"),
            Self::NoFeature => f.write_str("no numeric feature of the model"),
            Self::NonFinite => f.write_str("values out of range: a component would not be finite"),
        }
    }
}

impl std::error::Error for Refusal {}

/// What went into a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    /// Days with a value in the window.
    pub rows: usize,
    /// Days without one.
    pub missing: usize,
    /// Day of the newest usable row.
    pub last_day: Day,
}

/// Rows of one instrument under a model.
#[derive(Debug)]
pub struct PipelineRows<'a> {
    model: &'a PipelineModel,
    rows: Rows,
    in_universe: bool,
}

/// Cells of a window: per day, oldest first, the row that fills it.
struct Grid {
    cells: Vec<Option<usize>>,
    last_day: Day,
}

impl<'a> PipelineRows<'a> {
    /// Prepares a sorted series. `in_universe`: whether the market's sums hold this instrument.
    pub fn new(model: &'a PipelineModel, series: PriceSeries, in_universe: bool) -> Self {
        let rows = Rows::new(series, model.spec());
        Self { model, rows, in_universe }
    }

    /// The components of the window that ends on `as_of` before projection, in the model's layout, missing
    /// days 0. `market` must be the window of that date, for models that have one.
    ///
    /// Errors: [`Refusal`].
    pub fn components(
        &self,
        as_of: Day,
        market: Option<&MarketWindow>,
    ) -> std::result::Result<(Vec<f64>, Encoded), Refusal> {
        let grid = self.grid(as_of, market)?;
        let channels = &self.model.spec().channels;
        let window_days = self.model.window_days();
        let mut flat = vec![0.0; self.model.flat_dim()];
        let mut present = vec![false; grid.cells.len()];
        for (index, channel) in channels.iter().enumerate() {
            let values = self.channel(index, channel, &grid, market);
            for (back, &value) in values.iter().rev().enumerate() {
                if !value.is_nan() {
                    present[values.len() - 1 - back] = true;
                    flat[position(self.model.spec().layout, back, index, window_days, channels.len())] =
                        value;
                }
            }
        }
        let found = present.iter().filter(|&&there| there).count();
        if found < self.model.min_days() {
            return Err(self.too_few(found, as_of));
        }
        if flat.iter().any(|x| !x.is_finite()) {
            return Err(Refusal::NonFinite);
        }
        Ok((flat, Encoded { rows: found, missing: window_days - found, last_day: grid.last_day }))
    }

    /// The vector of `as_of`, for which `context` was made.
    ///
    /// Errors: [`Refused`].
    pub fn make(&self, as_of: Day, context: &DayContext) -> std::result::Result<Made, Refused> {
        let needs_market = self.model.spec().market.is_some() || self.model.factors().is_some();
        if needs_market && context.market.is_none() && context.matrix.is_none() {
            return Err(Refused { rows: 0, error: Error::NeedsMarket });
        }
        let refused =
            |refusal: Refusal, rows| Refused { rows: refusal.rows().unwrap_or(rows), error: refusal.into() };
        let (flat, encoded) =
            self.components(as_of, context.market.as_ref()).map_err(|refusal| refused(refusal, 0))?;
        let mut vector = vec![0.0; self.model.dim()];
        match &context.matrix {
            Some(matrix) => matrix.times(&flat, &mut vector),
            None => vector.iter_mut().zip(&flat).for_each(|(slot, value)| *slot = *value),
        }
        let mut bytes = vec![0; vector.len() * 4];
        let normalise = self.model.spec().normalise;
        finish(normalise, &mut vector, &mut bytes).map_err(|refusal| refused(refusal, encoded.rows))?;
        Ok(Made {
            vector: bytes,
            rows: encoded.rows,
            missing: encoded.missing,
            last_day: encoded.last_day,
            digest: self.digest(as_of, context),
        })
    }

    /// The vector of the latest rows, whatever their dates.
    ///
    /// Errors: [`Refused`].
    pub fn make_latest(&self) -> std::result::Result<Made, Refused> {
        let as_of = self.rows.rows().last().map_or(Day(0), |row| row.day);
        let context = DayContext::new(self.model, as_of, None, &Members::default())
            .map_err(|error| Refused { rows: 0, error })?;
        self.make(as_of, &context)
    }

    /// Fingerprint of what the vector of `as_of` depends on: own rows and the market's days.
    fn digest(&self, as_of: Day, context: &DayContext) -> [u8; 16] {
        let from = as_of.minus_days(self.model.read_back_days());
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        let rows = self.rows.rows();
        let start = rows.partition_point(|row| row.day < from);
        let end = rows.partition_point(|row| row.day <= as_of).max(start);
        hasher.update(self.rows.packed(start..end));
        hasher.update(&context.digest.to_le_bytes());
        hasher.digest128().to_be_bytes()
    }

    /// Which row fills which day. Days are the market's sessions, or the instrument's own usable rows.
    fn grid(&self, as_of: Day, market: Option<&MarketWindow>) -> std::result::Result<Grid, Refusal> {
        let rows = self.rows.rows();
        let from = as_of.minus_days(self.model.look_back_days());
        let end = rows.partition_point(|row| row.day <= as_of);
        let start = rows.partition_point(|row| row.day < from).min(end);
        let usable_rows = |range: std::ops::Range<usize>| range.filter(|&i| usable(rows[i].price));
        let Some(last) = usable_rows(start..end).next_back() else {
            return Err(self.too_few(0, as_of));
        };
        let max_age_days = self.model.spec().window.max_age_days;
        if rows[last].day < as_of.minus_days(max_age_days) {
            return Err(Refusal::Stale { last: rows[last].day, as_of, max_age_days });
        }
        let cells = match market {
            Some(market) => {
                let mut at = start;
                let find = |day: Day| {
                    at += rows[at..end].partition_point(|row| row.day < day);
                    Some(at).filter(|&at| at < end && rows[at].day == day && usable(rows[at].price))
                };
                market.days.iter().map(|session| session.day).map(find).collect()
            }
            None => {
                let mut newest: Vec<_> =
                    usable_rows(start..end).rev().take(self.model.window_days()).map(Some).collect();
                newest.reverse();
                newest
            }
        };
        Ok(Grid { cells, last_day: rows[last].day })
    }

    fn channel(
        &self,
        index: usize,
        channel: &Channel,
        grid: &Grid,
        market: Option<&MarketWindow>,
    ) -> Vec<f64> {
        let value_of = |cell: &Option<usize>| cell.map_or(f64::NAN, |row| self.rows.value(index, row));
        let mut values: Vec<f64> = grid.cells.iter().map(value_of).collect();
        if channel.feature == DayFeature::LogPrice {
            let newest = values.iter().rev().find(|value| !value.is_nan()).copied().unwrap_or(0.0);
            values.iter_mut().for_each(|value| *value -= newest);
        }
        if let Some(market) = market.filter(|_| channel.needs_market()) {
            let own_return = |cell: &Option<usize>| cell.and_then(|row| self.rows.returns[row]);
            let own: Vec<_> =
                grid.cells.iter().map(own_return).map(|own| own.filter(|_| self.in_universe)).collect();
            standard::against_market(channel, &mut values, &own, market);
        }
        standard::finish(channel, &mut values);
        values
    }

    fn too_few(&self, found: usize, as_of: Day) -> Refusal {
        let searched = (as_of.minus_days(self.model.look_back_days()), as_of);
        let (needed, window_days) = (self.model.min_days(), self.model.window_days());
        debug_assert!(self.model.spec().window.short_history == Missing::Mask || needed == window_days);
        Refusal::TooFewDays { found, needed, window_days, searched }
    }
}

/// Component of channel `channel` on the day `back` days before the newest.
fn position(layout: Layout, back: usize, channel: usize, window_days: usize, channels: usize) -> usize {
    match layout {
        Layout::NewestFirst => back * channels + channel,
        Layout::DayMajor => (window_days - 1 - back) * channels + channel,
        Layout::FeatureMajor => channel * window_days + back,
    }
}

/// Brings `vector` to unit length if asked, and writes it as float32.
///
/// Errors: [`Refusal::Flat`], [`Refusal::NonFinite`].
pub(crate) fn finish(
    rule: Normalise,
    vector: &mut [f64],
    out: &mut [u8],
) -> std::result::Result<(), Refusal> {
    if rule == Normalise::L2 && !normalise(vector) {
        return Err(if vector.iter().all(|x| *x == 0.0) { Refusal::Flat } else { Refusal::NonFinite });
    }
    if vector.iter().any(|&x| !(x as f32).is_finite()) {
        return Err(Refusal::NonFinite);
    }
    super::super::super::vector::write_values(vector.iter().map(|&x| x as f32), out);
    Ok(())
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Error::NoVector(refusal)
    }
}
