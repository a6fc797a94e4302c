//! The recipe of a pipeline model, as JSON, and its rules.

use serde::{Deserialize, Serialize};

use super::super::super::error::{Error, Result};
use super::super::super::vector::MAX_DIM;
use super::super::spec::{PriceColumn, json_problem};
use super::projection::Projection;

/// Most channels of a model.
const MAX_CHANNELS: usize = 32;

/// Longest history of one rolling feature, in rows.
const MAX_FEATURE_DAYS: u32 = 1_000;

/// Calendar days read beyond `look_back` times the rows of a rolling feature, half of which are enough.
const FEATURE_SLACK_DAYS: u32 = 10;

/// What a spec of this kind says under `encoder`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PipelineTag {
    /// The steps of this module.
    Pipeline,
}

/// One value per day, from the rows of one instrument. `p` is the price, `v` the volume, `r` the log
/// return to the previous usable row; "over n" means the last `days` rows, of which at least half must
/// have what is needed. Docs: `docs/encoders.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DayFeature {
    /// `p`.
    Price,
    /// `ln(p / p_last)`, `p_last` the newest price of the window.
    LogPrice,
    /// `r`.
    LogReturn,
    /// `|r|`.
    AbsReturn,
    /// `v`.
    Volume,
    /// `ln v`.
    LogVolume,
    /// `ln(p v)`.
    DollarVolume,
    /// `ln max(sqrt(252 mean r^2), 1e-4)` over n.
    RealisedVolatility,
    /// `ln(p / max p)` over n.
    Drawdown,
    /// `ln max(ln(max p / min p), 1e-3)` over n.
    Range,
    /// `ln max(mean |r|, 1e-6) - ln mean(p v)` over n.
    Amihud,
}

impl DayFeature {
    fn takes_days(self) -> bool {
        matches!(self, Self::RealisedVolatility | Self::Drawdown | Self::Range | Self::Amihud)
    }

    /// Whether it reads returns, and so the usable row before the first one that it looks at.
    pub(super) fn takes_returns(self) -> bool {
        matches!(self, Self::LogReturn | Self::AbsReturn | Self::RealisedVolatility | Self::Amihud)
    }

    fn takes_volume(self) -> bool {
        matches!(self, Self::Volume | Self::LogVolume | Self::DollarVolume | Self::Amihud)
    }
}

/// What a return is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relative {
    /// Nothing.
    #[default]
    None,
    /// The mean return of the rest of the universe.
    Market,
    /// The best linear fit to it over the window: `(r - mean r) - beta (m - mean m)`.
    MarketBeta,
}

/// How a channel is scaled over its window; missing days take no part.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Standardise {
    /// Not at all.
    None {},
    /// `(x - mean) / standard deviation`; 0 where nothing varies.
    Zscore {},
    /// `x / sqrt(mean x^2)`; 0 where all is 0.
    Rms {},
    /// `(x - median) / (1.4826 * median |x - median|)`; 0 where nothing varies.
    Robust {},
    /// `(x - center) / scale`: constants, so that levels stay comparable.
    Reference {
        /// Value that becomes 0.
        center: f64,
        /// Distance that becomes 1. Positive.
        scale: f64,
    },
}

impl Default for Standardise {
    fn default() -> Self {
        Self::None {}
    }
}

/// One series of values over the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// Value of a day.
    pub feature: DayFeature,
    /// Rows of a rolling feature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// What a log return is measured against.
    #[serde(default)]
    pub relative: Relative,
    /// Whether a log return is divided by the universe's dispersion of its day.
    #[serde(default)]
    pub dispersion: bool,
    /// Scaling over the window.
    #[serde(default)]
    pub standardise: Standardise,
    /// Largest magnitude kept after scaling. Positive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    /// Factor at the end. Positive.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

/// What happens to days without a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// They become 0 after scaling; short history is zeros at the old end.
    Mask,
    /// The same, but those before the first day with a value take its value, channel by channel, after scaling.
    Pad,
    /// The window is refused.
    Fail,
}

/// Where rolling features look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rolling {
    /// At the rows before a day, those before the window too.
    #[default]
    Before,
    /// Within the window: a day whose rows would begin before its oldest session has no value.
    Inside,
}

/// Which rows make a window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineWindow {
    /// Fewest days with a value, as a share of the window: `max(2, trunc(window_days * min_fill))`. In (0, 1].
    pub min_fill: f64,
    /// Calendar days read per row of a window (and 30 more) or of a rolling feature (and 10 more). In 1..=30.
    pub look_back: f64,
    /// Rule for days without a row.
    pub short_history: Missing,
    /// Calendar days that a return may span. In 1..=366.
    pub max_gap_days: u32,
    /// Calendar days that the newest row may lie before the as-of date. In 1..=366.
    pub max_age_days: u32,
    /// Sessions from one day of a window to the next, counted from the newest; those between are left out. In 1..=252.
    #[serde(default = "each", skip_serializing_if = "is_each")]
    pub every: u32,
    /// Where rolling features look.
    #[serde(default, skip_serializing_if = "is_before")]
    pub rolling: Rolling,
}

fn each() -> u32 {
    1
}

fn is_each(every: &u32) -> bool {
    *every == each()
}

fn is_before(rolling: &Rolling) -> bool {
    *rolling == Rolling::Before
}

/// The instruments whose mean return is the market.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Universe {
    /// Every instrument of the price table.
    Prices {},
    /// The named ones: an index instrument alone, or a list.
    Instruments {
        /// Their ids.
        ids: Vec<String>,
    },
    /// The equities of a market, whatever their status: that of today must not tell what became of them.
    Market {
        /// The market, as table `instruments` has it.
        market_id: String,
    },
}

/// The market that returns are measured against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarketRule {
    /// Its instruments, equally weighted.
    pub universe: Universe,
    /// How strongly a day's dispersion is pulled towards the window's, in instruments. Not negative.
    pub shrink: f64,
}

/// Order of the components before projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Day by day, the newest first: component `lag * channels + channel`.
    NewestFirst,
    /// Day by day, the oldest first: component `day * channels + channel`.
    DayMajor,
    /// Channel by channel, each newest first: component `channel * window_days + lag`.
    FeatureMajor,
}

/// Scaling of the finished vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalise {
    /// None.
    None,
    /// To unit length.
    L2,
}

/// Recipe of a pipeline model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineSpec {
    /// Kind of spec.
    pub encoder: PipelineTag,
    /// Price behind every feature.
    pub price_column: PriceColumn,
    /// Which rows make a window.
    pub window: PipelineWindow,
    /// The market, for channels that need one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub market: Option<MarketRule>,
    /// What is computed.
    pub channels: Vec<Channel>,
    /// Order of the components.
    pub layout: Layout,
    /// How the components become `dim`.
    pub projection: Projection,
    /// Components of the vector.
    pub dim: usize,
    /// Scaling of the finished vector.
    pub normalise: Normalise,
}

impl PipelineSpec {
    /// Reads and validates a spec.
    ///
    /// Errors: [`Error::InvalidSpec`] naming the key and what is wrong with it.
    pub fn from_json(json: &str) -> Result<Self> {
        let spec: Self = serde_json::from_str(json).map_err(|e| invalid("spec", json_problem(&e)))?;
        spec.validate()?;
        Ok(spec)
    }

    fn validate(&self) -> Result<()> {
        let window = &self.window;
        check(
            window.min_fill > 0.0 && window.min_fill <= 1.0,
            "window.min_fill",
            "must be greater than 0 and at most 1",
        )?;
        check((1.0..=30.0).contains(&window.look_back), "window.look_back", "must be between 1 and 30")?;
        check((1..=366).contains(&window.max_gap_days), "window.max_gap_days", "must be between 1 and 366")?;
        check((1..=366).contains(&window.max_age_days), "window.max_age_days", "must be between 1 and 366")?;
        check((1..=252).contains(&window.every), "window.every", "must be between 1 and 252")?;
        let sampled = window.every > 1 && self.market.is_some();
        check(!sampled, "window.every", "is for specs without a market, whose returns are of every session")?;
        check(!self.channels.is_empty(), "channels", "must name at least one channel")?;
        check(self.channels.len() <= MAX_CHANNELS, "channels", "must name at most 32 channels")?;
        let dim_fits = self.dim > 0 && self.dim <= MAX_DIM;
        check(dim_fits, "dim", format!("must be between 1 and {MAX_DIM}"))?;
        self.validate_market()?;
        self.projection.validate()?;
        (0..)
            .zip(&self.channels)
            .try_for_each(|(index, channel)| channel.validate(index, self.market.is_some()))
    }

    fn validate_market(&self) -> Result<()> {
        let Some(market) = &self.market else { return Ok(()) };
        check(
            market.shrink >= 0.0 && market.shrink <= 1e6,
            "market.shrink",
            "must be between 0 and 1000000",
        )?;
        check(
            self.channels.iter().any(Channel::needs_market),
            "market",
            "is of no use: no channel is relative to it",
        )?;
        match &market.universe {
            Universe::Prices {} => Ok(()),
            Universe::Instruments { ids } => {
                check(!ids.is_empty(), "market.universe.ids", "must name at least one instrument")?;
                check(ids.len() <= 100_000, "market.universe.ids", "must name at most 100000 instruments")
            }
            Universe::Market { market_id } => {
                check(!market_id.is_empty(), "market.universe.market_id", "must name a market")
            }
        }
    }

    /// Whether any value depends on volumes.
    pub(crate) fn takes_volume(&self) -> bool {
        self.channels.iter().any(|channel| channel.feature.takes_volume())
    }

    /// The price that is read: with the volume brought to its unit where volumes count.
    pub fn reads(&self) -> PriceColumn {
        if self.takes_volume() { self.price_column.with_volume() } else { self.price_column }
    }

    /// Calendar days before a day that the value of `channel` on it may depend on, but for the first return's gap.
    pub(crate) fn history_days(&self, channel: &Channel) -> u32 {
        channel.days.map_or(0, |days| self.calendar_days(days) + FEATURE_SLACK_DAYS)
    }

    /// Calendar days in which so many rows are looked for.
    pub(super) fn calendar_days(&self, rows: u32) -> u32 {
        (f64::from(rows) * self.window.look_back).ceil() as u32
    }
}

impl Channel {
    /// Whether this channel reads the market.
    pub fn needs_market(&self) -> bool {
        self.relative != Relative::None || self.dispersion
    }

    /// Whether a day's component depends on no other day of the window.
    pub(crate) fn is_daily(&self) -> bool {
        matches!(self.standardise, Standardise::None {} | Standardise::Reference { .. })
            && self.feature != DayFeature::LogPrice
            && !self.needs_market()
    }

    fn validate(&self, index: usize, has_market: bool) -> Result<()> {
        let key = |name: &str| format!("channels[{index}].{name}");
        let positive = |value: f64| value > 0.0 && value.is_finite();
        match (self.feature.takes_days(), self.days) {
            (true, None) => return Err(invalid(&key("days"), "is required for a rolling feature")),
            (true, Some(days)) => {
                let fits = (2..=MAX_FEATURE_DAYS).contains(&days);
                check(fits, &key("days"), format!("must be between 2 and {MAX_FEATURE_DAYS}"))?;
            }
            (false, days) => check(days.is_none(), &key("days"), "is for rolling features only")?,
        }
        if self.needs_market() {
            let name = if self.dispersion { "dispersion" } else { "relative" };
            check(self.feature == DayFeature::LogReturn, &key(name), "is for log_return only")?;
            check(has_market, &key(name), "needs a market in the spec")?;
        }
        if let Standardise::Reference { center, scale } = self.standardise {
            check(center.is_finite(), &key("standardise.center"), "must be finite")?;
            check(positive(scale), &key("standardise.scale"), "must be positive and finite")?;
        }
        check(self.clip.is_none_or(positive), &key("clip"), "must be positive and finite")?;
        check(positive(self.weight), &key("weight"), "must be positive and finite")
    }
}

pub(super) fn check(holds: bool, key: &str, problem: impl Into<String>) -> Result<()> {
    if holds { Ok(()) } else { Err(invalid(key, problem)) }
}

pub(super) fn invalid(key: &str, problem: impl Into<String>) -> Error {
    Error::InvalidSpec { key: key.to_owned(), problem: problem.into() }
}

/// What a spec of fitted factors says under `encoder`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactorTag {
    /// A pipeline projected on factor portfolios.
    Factors,
}

/// Recipe of a pipeline projected on fitted factors; the portfolios are stored beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactorSpec {
    /// Kind of spec.
    pub encoder: FactorTag,
    /// Recipe of the windows.
    pub base: PipelineSpec,
    /// Id of the model that it was taken from.
    pub base_model_id: String,
    /// Number of factors.
    pub components: usize,
    /// As-of date of the fit.
    pub fitted_as_of: String,
    /// Window of the fit, in sessions.
    pub fitted_window_days: usize,
    /// Instruments that the factors are made of.
    pub fitted_entities: usize,
    /// Share of the squared returns that the factors kept at the fit.
    pub explained: f64,
}
