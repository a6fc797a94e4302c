//! Numeric models of every kind behind one face: recipe, model for one window length, rows of an entity.

use std::rc::Rc;

use super::super::day::Day;
use super::super::error::{Error, Result};
use super::super::fit::FactorWeights;
use super::super::named::NamedSpec;
use super::super::registry::sha256_hex;
use super::features::FeatureRows;
use super::market::MarketSums;
use super::pipeline::{
    DayContext, FactorSpec, Members, Network, PipelineModel, PipelineRows, PipelineSpec, Project, Projection,
    Universe,
};
use super::series::PriceSeries;
use super::spec::{NumericSpec, PriceColumn, WindowModel, json_problem};
use super::window::Window;

/// A validated recipe.
#[derive(Debug, Clone)]
pub enum Recipe {
    /// Windows copied into a vector, as published.
    Window(NumericSpec),
    /// Encoders by steps.
    Pipeline(PipelineSpec),
    /// The same, projected by what the user gave.
    Projected(PipelineSpec, Rc<dyn Project>),
    /// The same, projected on fitted factor portfolios.
    Factors(FactorSpec, Rc<FactorWeights>),
    /// Features by name; they have no window.
    Named(NamedSpec),
}

impl Recipe {
    /// Reads and validates a recipe; `encoder` says of which kind it is.
    ///
    /// Errors: [`Error::InvalidSpec`] naming the key and what is wrong with it.
    pub fn from_json(json: &str) -> Result<Self> {
        let invalid = |problem: String| Error::InvalidSpec { key: "spec".to_owned(), problem };
        let value: serde_json::Value = serde_json::from_str(json).map_err(|e| invalid(json_problem(&e)))?;
        match value.get("encoder").and_then(|encoder| encoder.as_str()) {
            Some("pipeline") => PipelineSpec::from_json(json).map(Self::Pipeline),
            Some("named") => NamedSpec::from_json(json).map(Self::Named),
            Some("factors") => Err(Error::InvalidSpec {
                key: "encoder".to_owned(),
                problem: "\"factors\" come out of fit_embedding_model(), not out of a spec".to_owned(),
            }),
            _ => NumericSpec::from_json(json).map(Self::Window),
        }
    }

    /// Reads a recipe from the catalog; `part` finds what is stored beside the spec, `graph` the ONNX graph of
    /// a spec's projection.
    ///
    /// Errors: as [`Recipe::from_json`], [`Error::MalformedPart`] for what nobody stored or what is not the bytes
    /// whose digest the spec names, and those of `part` and `graph`.
    pub fn stored<E: From<Error>>(
        json: &str,
        part: impl Fn(&'static str) -> std::result::Result<Vec<u8>, E>,
        graph: impl Fn(&Projection) -> std::result::Result<Rc<dyn Project>, E>,
    ) -> std::result::Result<Self, E> {
        if let Ok(spec) = serde_json::from_str::<FactorSpec>(json) {
            let weights = FactorWeights::unpack(&part("instruments")?, &part("weights")?)?;
            return Ok(Self::Factors(spec, Rc::new(weights)));
        }
        let recipe = Self::from_json(json)?;
        match recipe {
            Self::Pipeline(spec) if matches!(spec.projection, Projection::Onnx { .. }) => {
                let graph = graph(&spec.projection)?;
                Ok(Self::Projected(spec, graph))
            }
            Self::Pipeline(spec) if spec.projection.is_given() => {
                let bytes = part(Self::WEIGHTS)?;
                if spec.projection.sha256() != Some(&sha256_hex(&bytes)) {
                    return Err(Error::MalformedPart { name: Self::WEIGHTS }.into());
                }
                let network = Network::from_safetensors(&spec.projection, &bytes)?;
                Ok(Self::Projected(spec, Rc::new(network)))
            }
            recipe => Ok(recipe),
        }
    }

    /// Name of the part that holds the weights of a projection.
    pub const WEIGHTS: &'static str = "projection";

    /// Components of the vectors; absent where they follow from the window.
    pub fn dim(&self) -> Option<usize> {
        match self {
            Self::Window(spec) => spec.dim,
            Self::Factors(FactorSpec { base: spec, .. }, _)
            | Self::Projected(spec, _)
            | Self::Pipeline(spec) => Some(spec.dim),
            Self::Named(spec) => Some(spec.dim),
        }
    }

    /// The model for windows of `window_days`.
    ///
    /// Errors: as [`WindowModel::new`] and [`PipelineModel::new`]; [`Error::WrongInputs`] for named features.
    pub fn model(&self, window_days: i32) -> Result<NumericModel> {
        match self {
            Self::Window(spec) => WindowModel::new(spec.clone(), window_days).map(NumericModel::Window),
            Self::Pipeline(spec) if spec.projection.is_given() => Err(Error::InvalidSpec {
                key: "projection".to_owned(),
                problem: "needs the weights or the graph that it names".to_owned(),
            }),
            Self::Pipeline(spec) => PipelineModel::new(spec.clone(), window_days).map(NumericModel::Pipeline),
            Self::Projected(spec, projection) => PipelineModel::new(spec.clone(), window_days)?
                .with_projection(Rc::clone(projection))
                .map(NumericModel::Pipeline),
            Self::Named(_) => {
                Err(Error::WrongInputs { found: "named features", wanted: "windows of prices" })
            }
            Self::Factors(spec, weights) => {
                let model = PipelineModel::new(spec.base.clone(), window_days)?;
                Ok(NumericModel::Pipeline(model.with_factors(Rc::clone(weights))))
            }
        }
    }
}

/// A recipe for one window length.
#[derive(Debug, Clone)]
pub enum NumericModel {
    /// Windows copied into a vector.
    Window(WindowModel),
    /// Encoders by steps.
    Pipeline(PipelineModel),
}

impl NumericModel {
    /// Components of the vectors.
    pub fn dim(&self) -> usize {
        match self {
            Self::Window(model) => model.dim(),
            Self::Pipeline(model) => model.dim(),
        }
    }

    /// Window length.
    pub fn window_days(&self) -> usize {
        match self {
            Self::Window(model) => model.window_days(),
            Self::Pipeline(model) => model.window_days(),
        }
    }

    /// Price behind the features.
    pub fn price_column(&self) -> PriceColumn {
        match self {
            Self::Window(model) => model.spec().price_column,
            Self::Pipeline(model) => model.spec().reads(),
        }
    }

    /// Calendar days before the as-of date that rows are read from.
    pub fn look_back_days(&self) -> u32 {
        match self {
            Self::Window(model) => model.look_back_days(),
            Self::Pipeline(model) => model.read_back_days(),
        }
    }

    /// Calendar days that hold all rows of a vector, of what trades on every business day, holidays allowed for; absent
    /// where that is no less than all that is searched, or where it cannot be told.
    pub fn usual_days(&self) -> Option<u32> {
        let (rows, gap) = match self {
            Self::Window(model) => (model.window_days(), 0),
            Self::Pipeline(model) => match model.rows_needed() {
                Some(rows) => (rows, 0),
                None if model.needs_sessions_only() => (model.window_days(), self.max_gap_days()),
                None => return None,
            },
        };
        let usual = (rows as u32).saturating_mul(3) / 2 + 7 + gap;
        (usual < self.look_back_days()).then_some(usual)
    }

    /// Whether rows before those at hand change no vector of `day` or later, nor the reason why there is none: there are
    /// `rows` up to that day, `priced` of them with a price. Of a model with a market it must be known that
    /// the sessions of those dates are.
    pub fn is_enough(&self, (rows, priced): (usize, usize)) -> bool {
        match self {
            Self::Window(model) => rows >= model.window_days(),
            Self::Pipeline(model) => priced >= model.rows_needed().unwrap_or(1),
        }
    }

    /// Latest rows that a vector of the newest date can depend on.
    pub fn rows_kept(&self) -> usize {
        match self {
            Self::Window(model) => model.window_days(),
            Self::Pipeline(model) => model.read_back_days() as usize + 1,
        }
    }

    /// Whether the sessions of `day` are those of all rows, as [`MarketSums::is_certain`] tells.
    pub fn is_certain(&self, sums: &MarketSums, day: Day, since: Day, most: u64) -> bool {
        match self {
            Self::Window(_) => true,
            Self::Pipeline(model) => {
                let from = day.minus_days(model.look_back_days());
                sums.is_certain(from, day, model.window_days(), since, most)
            }
        }
    }

    /// The instruments whose prices every vector depends on, if there are any.
    pub fn universe(&self) -> Option<&Universe> {
        match self {
            Self::Window(_) => None,
            Self::Pipeline(model) => model.spec().market.as_ref().map(|market| &market.universe),
        }
    }

    /// Whether the universe, if there is one, holds `instrument`.
    pub fn in_universe(&self, instrument: &str) -> bool {
        match self.universe() {
            None => false,
            Some(Universe::Prices {}) => true,
            Some(Universe::Instruments { ids }) => {
                ids.binary_search_by(|id| id.as_str().cmp(instrument)).is_ok()
            }
            Some(Universe::Market { .. }) => false,
        }
    }

    /// The market whose instruments are the universe, where they are not known yet.
    pub fn unknown_market(&self) -> Option<&str> {
        match self.universe() {
            Some(Universe::Market { market_id }) => Some(market_id),
            _ => None,
        }
    }

    /// Says which instruments the universe is.
    pub fn set_universe(&mut self, ids: Vec<String>) {
        if let Self::Pipeline(model) = self {
            model.set_universe(ids);
        }
    }

    /// Calendar days that a return of the market may span.
    pub fn max_gap_days(&self) -> u32 {
        match self {
            Self::Window(_) => 0,
            Self::Pipeline(model) => model.spec().window.max_gap_days,
        }
    }

    /// The instruments whose prices the factors of every date depend on; none for models without factors.
    pub fn member_ids(&self) -> &[String] {
        match self {
            Self::Window(_) => &[],
            Self::Pipeline(model) => model.factors().map_or(&[], |factors| &factors.instruments),
        }
    }

    /// Prepares the series of [`NumericModel::member_ids`] that `find` knows.
    pub fn members(&self, mut find: impl FnMut(&str) -> Option<PriceSeries>) -> Members<'_> {
        let Self::Pipeline(model) = self else { return Members::default() };
        let found = |(index, name): (usize, &String)| {
            let rows = PipelineRows::new(model, find(name)?, self.in_universe(name));
            Some((index, rows))
        };
        Members(self.member_ids().iter().enumerate().filter_map(found).collect())
    }

    /// What all vectors of one as-of date share. `members` as [`NumericModel::members`] prepared them,
    /// `sums` are those of the universe, from at least
    /// `look_back_days` before the date.
    ///
    /// Errors: [`Error::OutOfMemory`], [`Error::MatrixTooLarge`].
    pub fn day(&self, as_of: Day, sums: Option<&MarketSums>, members: &Members<'_>) -> Result<DayContext> {
        match self {
            Self::Window(_) => Ok(DayContext::default()),
            Self::Pipeline(model) => DayContext::new(model, as_of, sums, members),
        }
    }
}

/// Rows of one instrument under a model.
#[derive(Debug)]
pub enum EntityRows<'a> {
    /// Features of every day.
    Window(FeatureRows<'a>),
    /// Rows and returns.
    Pipeline(Box<PipelineRows<'a>>),
}

/// A window that has a vector.
#[derive(Debug)]
pub enum Ready {
    /// Rows to copy.
    Window(Window),
    /// A vector that is finished.
    Made(Made),
}

/// A finished vector and what it was made from.
#[derive(Debug)]
pub struct Made {
    /// The vector, up to `4 * dim` bytes: what is behind them is 0.
    pub vector: Vec<u8>,
    /// Days with a value.
    pub rows: usize,
    /// Days of the window without one.
    pub missing: usize,
    /// Day of the newest usable row.
    pub last_day: Day,
    /// Fingerprint of the rows.
    pub digest: [u8; 16],
}

/// Why there is no vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// Rows that were found.
    pub rows: usize,
    /// The reason, as the engine's error.
    pub error: Error,
}

impl<'a> EntityRows<'a> {
    /// Prepares a sorted series; `in_universe` as [`NumericModel::in_universe`] says.
    ///
    /// Errors: [`Error::OutOfMemory`].
    pub fn new(model: &'a NumericModel, series: PriceSeries, in_universe: bool) -> Result<Self> {
        match model {
            NumericModel::Window(model) => FeatureRows::new(model, series).map(Self::Window),
            NumericModel::Pipeline(model) => {
                Ok(Self::Pipeline(Box::new(PipelineRows::new(model, series, in_universe))))
            }
        }
    }

    /// The window of `as_of`, for which `context` was made.
    ///
    /// Errors: [`Refused`].
    pub fn ready(&self, as_of: Day, context: &DayContext) -> std::result::Result<Ready, Refused> {
        match self {
            Self::Window(rows) => rows.window(as_of).map(Ready::Window).map_err(too_few),
            Self::Pipeline(rows) => rows.make(as_of, context).map(Ready::Made),
        }
    }

    /// The window of the latest rows, whatever their dates. Models with a market need dates.
    ///
    /// Errors: [`Refused`].
    pub fn latest(&self) -> std::result::Result<Ready, Refused> {
        match self {
            Self::Window(rows) => rows.latest_window().map(Ready::Window).map_err(too_few),
            Self::Pipeline(rows) => rows.make_latest().map(Ready::Made),
        }
    }

    /// Writes the vector of `ready` into `out` (shape `[4 * dim]`).
    pub fn encode(&self, ready: &Ready, out: &mut [u8]) {
        match (self, ready) {
            (Self::Window(rows), Ready::Window(window)) => rows.encode(window, out),
            (_, Ready::Made(made)) => {
                let (vector, behind) = out.split_at_mut(made.vector.len().min(out.len()));
                vector.copy_from_slice(&made.vector[..vector.len()]);
                behind.fill(0);
            }
            (Self::Pipeline(_), Ready::Window(_)) => out.fill(0),
        }
    }

    /// Whether every component of the vector of `ready` is known to be finite, without looking at it.
    pub fn is_finite(&self, ready: &Ready) -> bool {
        match (self, ready) {
            (Self::Window(rows), Ready::Window(window)) => rows.is_finite(window),
            (Self::Pipeline(_), Ready::Window(_)) => false,
            // Others are refused.
            (_, Ready::Made(_)) => true,
        }
    }

    /// Fingerprint of the rows behind `ready`.
    pub fn digest(&self, ready: &Ready) -> [u8; 16] {
        match (self, ready) {
            (Self::Window(rows), Ready::Window(window)) => rows.digest(window),
            (_, Ready::Made(made)) => made.digest,
            (Self::Pipeline(_), Ready::Window(_)) => [0; 16],
        }
    }
}

impl Ready {
    /// Rows that the vector was made from.
    pub fn rows(&self) -> usize {
        match self {
            Self::Window(window) => window.rows,
            Self::Made(made) => made.rows,
        }
    }

    /// Days of the window that had none.
    pub fn padded(&self) -> usize {
        match self {
            Self::Window(window) => window.padded,
            Self::Made(made) => made.missing,
        }
    }

    /// Day of the newest row.
    pub fn last_day(&self) -> Day {
        match self {
            Self::Window(window) => window.last_day,
            Self::Made(made) => made.last_day,
        }
    }
}

fn too_few(short: super::window::TooFewRows) -> Refused {
    Refused { rows: short.found, error: short.into() }
}
