//! A pipeline for one window length.

use std::rc::Rc;

use super::super::super::error::{Error, Result};
use super::super::super::fit::FactorWeights;
use super::super::super::vector::check_dim;
use super::super::spec::MAX_WINDOW_DAYS;
use super::projection::{Project, Projection};
use super::spec::{Channel, MarketRule, Missing, PipelineSpec, Rolling, Universe, invalid};

/// Calendar days read beyond `look_back` times the window, for holidays.
const SLACK_DAYS: u32 = 30;

/// A validated recipe for one window length.
#[derive(Debug, Clone)]
pub struct PipelineModel {
    spec: PipelineSpec,
    window_days: usize,
    factors: Option<Rc<FactorWeights>>,
    given: Option<Rc<dyn Project>>,
}

impl PipelineModel {
    /// Fixes the window length, in sessions.
    ///
    /// Errors: [`Error::OutOfRange`] unless `1 <= window_days <= 10000`; [`Error::TooManyDimensions`] when
    /// the window has too many components; [`Error::InvalidSpec`] when `pad` would have to cut, when no feature fits
    /// inside the window, and when fewer days can have a value than a vector needs.
    pub fn new(spec: PipelineSpec, window_days: i32) -> Result<Self> {
        if !(1..=MAX_WINDOW_DAYS).contains(&window_days) {
            let (min, max) = (1, MAX_WINDOW_DAYS.into());
            return Err(Error::OutOfRange { name: "window_days", value: window_days.into(), min, max });
        }
        let days = (window_days as usize).div_ceil(spec.window.every as usize);
        let flat = days * spec.channels.len();
        check_dim(flat)?;
        if spec.projection == (Projection::Pad {}) && flat > spec.dim {
            let problem = format!(
                "\"pad\" keeps every component, but a window of {window_days} days has {flat} and the model {}; \
                 name \"orthogonal\", \"gaussian\" or \"truncate\"",
                spec.dim
            );
            return Err(invalid("projection.kind", problem));
        }
        let mut spec = spec;
        if let Some(MarketRule { universe: Universe::Instruments { ids }, .. }) = &mut spec.market {
            ids.sort_unstable();
        }
        let model = Self { spec, window_days: window_days as usize, factors: None, given: None };
        if model.days_with_value() == 0 {
            let problem =
                format!("\"inside\" leaves a window of {window_days} days no value: its features take more");
            return Err(invalid("window.rolling", problem));
        }
        let (values, needed) = (model.days_with_value(), model.min_days());
        if values < needed {
            let problem = format!(
                "{values} of {window_days} can have a value, and a vector needs {needed}; name a longer window"
            );
            return Err(invalid("window_days", problem));
        }
        Ok(model)
    }

    /// The same, projected on fitted factors.
    pub fn with_factors(mut self, factors: Rc<FactorWeights>) -> Self {
        self.factors = Some(factors);
        self
    }

    /// The same, projected by what the user gave.
    ///
    /// Errors: [`Error::InvalidSpec`] when it is for other windows or other vectors.
    pub fn with_projection(mut self, given: Rc<dyn Project>) -> Result<Self> {
        for (key, what, does, wanted, found) in [
            ("window_days", "the window has", "takes", given.dim_in(), self.flat_dim()),
            ("dim", "the vectors have", "gives", given.dim_out(), self.dim()),
        ] {
            if let Some(wanted) = wanted.filter(|&wanted| wanted != found) {
                let problem = format!("{what} {found} components, the projection {does} {wanted}");
                return Err(invalid(key, problem));
            }
        }
        self.given = Some(given);
        Ok(self)
    }

    /// Says which instruments the market's universe is.
    pub fn set_universe(&mut self, mut ids: Vec<String>) {
        ids.sort_unstable();
        if let Some(market) = &mut self.spec.market {
            market.universe = Universe::Instruments { ids };
        }
    }

    /// The projection that the user gave, if there is one.
    pub fn projection(&self) -> Option<&Rc<dyn Project>> {
        self.given.as_ref()
    }

    /// The factors to project on, if there are any.
    pub fn factors(&self) -> Option<&FactorWeights> {
        self.factors.as_deref()
    }

    /// The recipe.
    pub fn spec(&self) -> &PipelineSpec {
        &self.spec
    }

    /// Window length, in sessions.
    pub fn window_days(&self) -> usize {
        self.window_days
    }

    /// Sessions from one day of a window to the next.
    pub fn every(&self) -> usize {
        self.spec.window.every as usize
    }

    /// Days of a window: its sessions, or every so many of them.
    pub fn days(&self) -> usize {
        self.window_days.div_ceil(self.every())
    }

    /// So many of the newest days can have a value of `channel`: all, or those whose rows lie in the window.
    pub(super) fn days_of(&self, channel: &Channel) -> usize {
        match (self.spec.window.rolling, channel.days) {
            (Rolling::Inside, Some(rows)) => {
                (self.window_days + 1).saturating_sub(rows as usize).div_ceil(self.every())
            }
            _ => self.days(),
        }
    }

    /// Days of a window that can have a value of some channel: the newest.
    pub fn days_with_value(&self) -> usize {
        self.spec.channels.iter().map(|channel| self.days_of(channel)).max().unwrap_or(0)
    }

    /// Components before projection.
    pub fn flat_dim(&self) -> usize {
        self.days() * self.spec.channels.len()
    }

    /// Components of the vectors.
    pub fn dim(&self) -> usize {
        self.spec.dim
    }

    /// Fewest days with a value.
    pub fn min_days(&self) -> usize {
        match self.spec.window.short_history {
            Missing::Mask | Missing::Pad => {
                ((self.days_with_value() as f64 * self.spec.window.min_fill) as usize).max(2)
            }
            Missing::Fail => self.days_with_value(),
        }
    }

    /// Calendar days before the as-of date that sessions and values are taken from.
    pub fn look_back_days(&self) -> u32 {
        self.spec.calendar_days(self.window_days as u32) + SLACK_DAYS
    }

    /// Calendar days before the as-of date that rows are read from: the look-back, the history of the
    /// longest rolling feature, and the gap that the first return may span.
    pub fn read_back_days(&self) -> u32 {
        let history = self.spec.channels.iter().map(|channel| self.spec.history_days(channel)).max();
        self.look_back_days() + history.unwrap_or(0) + self.spec.window.max_gap_days
    }

    /// So many usable rows up to a date make its vector, whatever older ones there are; absent for models with a market,
    /// whose days are those of the market.
    pub fn rows_needed(&self) -> Option<usize> {
        let rows = |channel: &Channel| {
            let oldest = self.days_of(channel).saturating_sub(1) * self.every();
            oldest + channel.days.unwrap_or(1) as usize + usize::from(channel.feature.takes_returns())
        };
        let rows = self.spec.channels.iter().map(rows).max().unwrap_or(0);
        (self.spec.market.is_none() && self.factors.is_none()).then_some(rows)
    }

    /// Whether vectors depend on the rows of the market's sessions, the gap before the first of them, and no others.
    pub fn needs_sessions_only(&self) -> bool {
        self.spec.market.is_some() && self.spec.channels.iter().all(|channel| channel.days.is_none())
    }
}
