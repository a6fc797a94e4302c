//! From rows to a vector.

use std::cell::RefCell;
use std::ops::Range;

use super::super::super::day::Day;
use super::super::super::error::Error;
use super::super::super::linear::{normalise, sum_of};
use super::super::super::simd::{Wide, wide};
use super::super::market::{MarketDay, MarketWindow};
use super::super::model::{Made, Refused};
use super::super::series::PriceSeries;
use super::cells::Cells;
use super::context::{DayContext, Members};
use super::features::Rows;
use super::model::PipelineModel;
use super::spec::{Channel, DayFeature, Layout, Missing, Normalise};
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
        /// Days of the window that can have a value.
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
    /// Place of the oldest row that the vector depends on.
    first_row: usize,
}

/// Rows of one instrument under a model.
#[derive(Debug)]
pub struct PipelineRows<'a> {
    model: &'a PipelineModel,
    rows: Rows,
    in_universe: bool,
    /// Mean return of the others on the day of each row, once a window has asked for it; NaN before.
    others: RefCell<Vec<f64>>,
}

struct Grid {
    cells: Cells,
    last_day: Day,
}

impl<'a> PipelineRows<'a> {
    /// Prepares a sorted series. `in_universe`: whether the market's sums hold this instrument.
    pub fn new(model: &'a PipelineModel, series: PriceSeries, in_universe: bool) -> Self {
        let rows = Rows::new(series, model.spec());
        Self { model, rows, in_universe, others: RefCell::default() }
    }

    /// The model.
    pub(super) fn model(&self) -> &PipelineModel {
        self.model
    }

    /// The components of the window that ends on `as_of` before projection, in the model's layout, missing
    /// days 0. `market` must be the window of that date, for models that have one, and always out of the same
    /// sums.
    ///
    /// Errors: [`Refusal`].
    pub fn components(
        &self,
        as_of: Day,
        market: Option<&MarketWindow>,
    ) -> std::result::Result<(Vec<f64>, Encoded), Refusal> {
        wide(Components { rows: self, as_of, market })
    }

    /// The vector of `as_of`, for which `context` was made.
    ///
    /// Errors: [`Refused`].
    pub fn make(&self, as_of: Day, context: &DayContext) -> std::result::Result<Made, Refused> {
        wide(Make { rows: self, as_of, context })
    }

    #[inline(always)]
    fn components_wide(
        &self,
        as_of: Day,
        market: Option<&MarketWindow>,
    ) -> std::result::Result<(Vec<f64>, Encoded), Refusal> {
        let grid = self.grid(as_of, market)?;
        let spec = self.model.spec();
        let channels = spec.channels.len();
        let columns = self.rows.values(grid.cells.span(), grid.cells.step());
        let mut flat = vec![0.0; self.model.flat_dim()];
        let mut found = standard::Found::new(grid.cells.len(), channels);
        let pads = spec.window.short_history == Missing::Pad;
        let (mut values, mut means) = (Vec::new(), Vec::new());
        for (index, channel) in spec.channels.iter().enumerate() {
            let (column, newest) = (columns.column(index), self.model.days_of(channel));
            match &grid.cells {
                Cells::Run { rows, step: 1 } if channel.is_daily() && !pads => {
                    let column = &column[rows.start.max(rows.end.saturating_sub(newest))..rows.end];
                    lay(spec.layout, (index, channels), column, &mut flat);
                    found.add(column);
                }
                cells => {
                    cells.pick(newest, column, &mut values);
                    if !channel.is_daily() {
                        self.scale(channel, &mut values, &mut means, cells, market);
                    }
                    found.add(&values);
                    if pads {
                        pad(&mut values, newest);
                    }
                    lay(spec.layout, (index, channels), &values, &mut flat);
                }
            }
        }
        let found = found.count();
        if found < self.model.min_days() {
            return Err(self.too_few(found, as_of));
        }
        // 0 times a number is 0, but for those that are not finite.
        if sum_of(&flat, |x| x * 0.0) != 0.0 {
            return Err(Refusal::NonFinite);
        }
        let oldest = |channel: &Channel| grid.cells.oldest(self.model.days_of(channel));
        let first_row = self.rows.reach(spec.channels.iter().map(oldest)).unwrap_or(grid.cells.span().start);
        let missing = self.model.days_with_value() - found;
        Ok((flat, Encoded { rows: found, missing, last_day: grid.last_day, first_row }))
    }

    #[inline(always)]
    pub(super) fn make_wide(&self, as_of: Day, context: &DayContext) -> std::result::Result<Made, Refused> {
        let needs_market = self.model.spec().market.is_some() || self.model.factors().is_some();
        if needs_market && context.market.is_none() && context.projection.is_none() {
            return Err(Refused { rows: 0, error: Error::NeedsMarket });
        }
        let refused =
            |refusal: Refusal, rows| Refused { rows: refusal.rows().unwrap_or(rows), error: refusal.into() };
        let (mut vector, encoded) =
            self.components_wide(as_of, context.market.as_ref()).map_err(|refusal| refused(refusal, 0))?;
        if let Some(projection) = &context.projection {
            let mut projected = vec![0.0; self.model.dim()];
            let done = projection.project(&vector, &mut projected);
            done.map_err(|error| Refused { rows: encoded.rows, error })?;
            vector = projected;
        }
        vector.truncate(self.model.dim());
        let mut bytes = vec![0; vector.len() * 4];
        let normalise = self.model.spec().normalise;
        finish(normalise, &mut vector, &mut bytes).map_err(|refusal| refused(refusal, encoded.rows))?;
        Ok(Made {
            vector: bytes,
            rows: encoded.rows,
            missing: encoded.missing,
            last_day: encoded.last_day,
            digest: self.digest(encoded.first_row, as_of, context),
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

    /// Fingerprint of what the vector of `as_of` depends on, and of nothing else: own rows from `first` on, and the
    /// market's days.
    fn digest(&self, first: usize, as_of: Day, context: &DayContext) -> [u8; 16] {
        let end = self.rows.dates.partition_point(|&day| day <= as_of.0).max(first);
        let rows = self.rows.packed(first..end);
        xxhash_rust::xxh3::xxh3_128_with_seed(rows, context.digest).to_be_bytes()
    }

    /// Which row fills which day. Days are the market's sessions, or the instrument's own usable rows.
    #[inline(always)]
    fn grid(&self, as_of: Day, market: Option<&MarketWindow>) -> std::result::Result<Grid, Refusal> {
        let rows = self.rows.rows();
        let from = as_of.minus_days(self.model.look_back_days());
        let end = self.rows.dates.partition_point(|&day| day <= as_of.0);
        let start = self.rows.dates.partition_point(|&day| day < from.0).min(end);
        let Some(last) = (start..end).rev().find(|&row| self.rows.is_usable(row)) else {
            return Err(self.too_few(0, as_of));
        };
        let max_age_days = self.model.spec().window.max_age_days;
        if rows[last].day < as_of.minus_days(max_age_days) {
            return Err(Refusal::Stale { last: rows[last].day, as_of, max_age_days });
        }
        let cells = match market {
            Some(market) => self.sessions(market, start..end),
            None => self.newest(start..end),
        };
        Ok(Grid { cells, last_day: rows[last].day })
    }

    /// The newest usable rows of `range`, as many as the window has days.
    #[inline(always)]
    fn newest(&self, range: Range<usize>) -> Cells {
        let (window_days, every) = (self.model.window_days(), self.model.every());
        let run = range.end.saturating_sub(window_days).max(range.start)..range.end;
        if self.rows.are_usable(&run) {
            return Cells::run(run, every, self.model.days());
        }
        let usable = range.rev().filter(|&row| self.rows.is_usable(row));
        let mut newest: Vec<_> = usable.take(window_days).step_by(every).map(Some).collect();
        newest.reverse();
        Cells::Sparse(newest)
    }

    /// The usable rows of `range` on the days of the market.
    #[inline(always)]
    fn sessions(&self, market: &MarketWindow, range: Range<usize>) -> Cells {
        let rows = self.rows.rows();
        let sessions = &market.days;
        let first = sessions.first().map_or(0, |first| {
            range.start + self.rows.dates[range.clone()].partition_point(|&day| day < first.day.0)
        });
        let run = first..first + sessions.len();
        if run.end <= range.end
            && self.rows.are_usable(&run)
            && self.rows.dates[run.clone()] == market.dates[..]
        {
            return Cells::Run { rows: run, step: 1 };
        }
        let mut at = first;
        let find = |session: &MarketDay| {
            while at < range.end && rows[at].day < session.day {
                at += 1;
            }
            Some(at).filter(|&at| at < range.end && rows[at].day == session.day && self.rows.is_usable(at))
        };
        Cells::Sparse(sessions.iter().map(find).collect())
    }

    /// Takes the market out of a channel's values and scales them; `means`: memory to work in.
    #[inline(always)]
    fn scale(
        &self,
        channel: &Channel,
        values: &mut [f64],
        means: &mut Vec<f64>,
        cells: &Cells,
        market: Option<&MarketWindow>,
    ) {
        if channel.feature == DayFeature::LogPrice {
            let newest = values.iter().rev().find(|value| !value.is_nan()).copied().unwrap_or(0.0);
            values.iter_mut().for_each(|value| *value -= newest);
        }
        if let Some(market) = market.filter(|_| channel.needs_market()) {
            self.means(cells, market, means);
            standard::against_market(channel, values, means, market);
        }
        standard::finish(channel, values);
    }

    /// Mean return of the others on the day of each cell, into `means`; 0 where a cell is empty.
    #[inline(always)]
    fn means(&self, cells: &Cells, market: &MarketWindow, means: &mut Vec<f64>) {
        let mut others = self.others.borrow_mut();
        others.resize(self.rows.rows().len(), f64::NAN);
        let fill = |known: &mut f64, row: usize, day: &MarketDay| {
            if known.is_nan() {
                let own = if self.in_universe { self.rows.log_return(row) } else { f64::NAN };
                *known = day.mean_of_others(own);
            }
        };
        means.clear();
        match cells {
            Cells::Run { rows: range, .. } => {
                let known = &mut others[range.clone()];
                // Of a window that follows another one only the newest are not known.
                let mut missing = known.len() - standard::count(known);
                for ((known, row), day) in known.iter_mut().zip(range.clone()).zip(&market.days).rev() {
                    if missing == 0 {
                        break;
                    }
                    missing -= usize::from(known.is_nan());
                    fill(known, row, day);
                }
                means.extend_from_slice(known);
            }
            Cells::Sparse(cells) => {
                means.extend(cells.iter().zip(&market.days).map(|(cell, day)| match *cell {
                    Some(row) => {
                        fill(&mut others[row], row, day);
                        others[row]
                    }
                    None => 0.0,
                }))
            }
        }
    }

    fn too_few(&self, found: usize, as_of: Day) -> Refusal {
        let searched = (as_of.minus_days(self.model.look_back_days()), as_of);
        let (needed, window_days) = (self.model.min_days(), self.model.days_with_value());
        debug_assert!(self.model.spec().window.short_history != Missing::Fail || needed == window_days);
        Refusal::TooFewDays { found, needed, window_days, searched }
    }
}

/// [`PipelineRows::components`], compiled for the CPU at hand.
struct Components<'r, 'a> {
    rows: &'r PipelineRows<'a>,
    as_of: Day,
    market: Option<&'r MarketWindow>,
}

impl Wide for Components<'_, '_> {
    type Output = std::result::Result<(Vec<f64>, Encoded), Refusal>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        self.rows.components_wide(self.as_of, self.market)
    }
}

/// [`PipelineRows::make`], likewise.
struct Make<'r, 'a> {
    rows: &'r PipelineRows<'a>,
    as_of: Day,
    context: &'r DayContext,
}

impl Wide for Make<'_, '_> {
    type Output = std::result::Result<Made, Refused>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        self.rows.make_wide(self.as_of, self.context)
    }
}

/// Gives what is missing before the first value of a channel that value, so that there are `days` of them.
fn pad(values: &mut Vec<f64>, days: usize) {
    let Some(first) = values.iter().position(|value| !value.is_nan()) else { return };
    let oldest = values[first];
    values[..first].fill(oldest);
    let absent = days.saturating_sub(values.len());
    values.splice(..0, std::iter::repeat_n(oldest, absent));
}

/// Puts the values of a channel, oldest first, into their places among the components; `channel`: which of
/// how many. What is missing is left 0.
#[inline(always)]
fn lay(layout: Layout, (channel, channels): (usize, usize), values: &[f64], flat: &mut [f64]) {
    let known = |value: f64| if value.is_nan() { 0.0 } else { value };
    let newest_first = values.iter().rev().map(|&value| known(value));
    let window_days = flat.len() / channels;
    match layout {
        // One channel is the same in both.
        Layout::NewestFirst if channels > 1 => {
            let days = flat.chunks_exact_mut(channels).zip(newest_first);
            days.for_each(|(day, value)| day[channel] = value);
        }
        Layout::DayMajor => flat
            .chunks_exact_mut(channels)
            .rev()
            .zip(newest_first)
            .for_each(|(day, value)| day[channel] = value),
        Layout::FeatureMajor | Layout::NewestFirst => {
            let slots = &mut flat[channel * window_days..][..values.len()];
            slots.iter_mut().zip(newest_first).for_each(|(slot, value)| *slot = value);
        }
    }
}

/// Brings `vector` to unit length if asked, and writes it as float32; `out` may be longer, and is of no use after an
/// error.
///
/// Errors: [`Refusal::Flat`], [`Refusal::NonFinite`].
#[inline(always)]
pub(crate) fn finish(
    rule: Normalise,
    vector: &mut [f64],
    out: &mut [u8],
) -> std::result::Result<(), Refusal> {
    if rule == Normalise::L2 && !normalise(vector) {
        return Err(if vector.iter().all(|x| *x == 0.0) { Refusal::Flat } else { Refusal::NonFinite });
    }
    for (slot, &x) in out.as_chunks_mut::<4>().0.iter_mut().zip(vector.iter()) {
        *slot = (x as f32).to_le_bytes();
    }
    // 0 times a number is 0, but for those that are not finite.
    let finite = sum_of(vector, |x| f64::from(x as f32) * 0.0) == 0.0;
    if finite { Ok(()) } else { Err(Refusal::NonFinite) }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Error::NoVector(refusal)
    }
}
