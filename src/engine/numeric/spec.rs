//! The recipe of a numeric window model, as stored in `embed_models.spec`, and its validation.

use serde::{Deserialize, Serialize};

use super::super::error::{Error, Result};
use super::super::vector::{MAX_DIM, check_dim};

/// Longest window, in rows: forty years of trading days.
pub const MAX_WINDOW_DAYS: i32 = 10_000;

/// Largest look-back, in calendar days per window row.
const MAX_LOOK_BACK: u32 = 30;

/// One value per day and feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// The price column.
    Close,
    /// Shares traded.
    Volume,
    /// `ln(price[i] / price[i-1])`; 0 on the first row of a window.
    LogReturn,
}

/// Which price of a day is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriceColumn {
    /// As traded.
    Close,
    /// Corrected for splits and dividends.
    AdjustedClose,
    /// As [`PriceColumn::AdjustedClose`], with the volume corrected by the same factor, so that price times
    /// volume is what was traded: what pipelines make of it.
    #[serde(skip)]
    AdjustedBoth,
}

impl PriceColumn {
    /// The column's name in the price table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::AdjustedClose | Self::AdjustedBoth => "adjusted_close",
        }
    }

    /// What a pipeline reads: volume is corrected along with the price.
    pub fn with_volume(self) -> Self {
        match self {
            Self::Close => Self::Close,
            Self::AdjustedClose | Self::AdjustedBoth => Self::AdjustedBoth,
        }
    }
}

/// What happens when a window has at least the fewest rows allowed but not all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShortHistory {
    /// The last row is repeated at the end, rounded to float32 (the published rule).
    RepeatLast,
    /// The window is refused.
    Fail,
}

/// Which rows make a window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowRule {
    /// Fewest rows, as a share of the window: `max(1, trunc(window_days * min_fill))`. In (0, 1].
    pub min_fill: f64,
    /// Calendar days searched back from the as-of date, per window row. In 1..=30.
    pub look_back: u32,
    /// Rule for windows that are not full.
    pub short_history: ShortHistory,
}

/// How a window of `rows x features` float32 values becomes a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoder {
    /// Row-major, oldest day first; `window_days * features` components.
    Flatten,
    /// As `flatten`, then the first `dim` components, or zeros up to `dim`.
    PadToDim,
}

/// Recipe of a numeric window model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumericSpec {
    /// Features of a day, in column order.
    pub features: Vec<Feature>,
    /// Price behind `close` and `log_return`.
    pub price_column: PriceColumn,
    /// Which rows make a window.
    pub window: WindowRule,
    /// How a window becomes a vector.
    pub encoder: Encoder,
    /// Components of the vector, for `pad_to_dim` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dim: Option<usize>,
}

impl NumericSpec {
    /// Reads and validates a spec.
    ///
    /// Errors: [`Error::InvalidSpec`] naming the key and what is wrong with it.
    pub fn from_json(json: &str) -> Result<Self> {
        let parse = |e: serde_json::Error| invalid("spec", json_problem(&e));
        let value: serde_json::Value = serde_json::from_str(json).map_err(parse)?;
        // Else a list of the values would do for the keys.
        for (key, part) in [("spec", Some(&value)), ("window", value.get("window"))] {
            if part.is_some_and(|part| !part.is_object()) {
                return Err(invalid(key, "must be an object"));
            }
        }
        let spec: Self = serde_json::from_str(json).map_err(parse)?;
        spec.validate()?;
        Ok(spec)
    }

    fn validate(&self) -> Result<()> {
        if self.features.is_empty() {
            return Err(invalid("features", "must name at least one feature"));
        }
        if (1..self.features.len()).any(|i| self.features[..i].contains(&self.features[i])) {
            return Err(invalid("features", "must not name a feature twice"));
        }
        if !(self.window.min_fill > 0.0 && self.window.min_fill <= 1.0) {
            return Err(invalid("window.min_fill", "must be greater than 0 and at most 1"));
        }
        if !(1..=MAX_LOOK_BACK).contains(&self.window.look_back) {
            return Err(invalid("window.look_back", format!("must be between 1 and {MAX_LOOK_BACK}")));
        }
        match (self.encoder, self.dim) {
            (Encoder::Flatten, Some(_)) => {
                Err(invalid("dim", "must be left out for encoder \"flatten\": it follows from the window"))
            }
            (Encoder::PadToDim, None) => Err(invalid("dim", "is required for encoder \"pad_to_dim\"")),
            (Encoder::PadToDim, Some(dim)) if dim == 0 || dim > MAX_DIM => {
                Err(invalid("dim", format!("must be between 1 and {MAX_DIM}")))
            }
            _ => Ok(()),
        }
    }
}

/// What a JSON reader says, without a position in text that the catalog has rewritten.
pub(crate) fn json_problem(error: &serde_json::Error) -> String {
    let said = error.to_string();
    said.split_once(" at line ").map_or(said.as_str(), |(problem, _)| problem).to_owned()
}

fn invalid(key: &str, problem: impl Into<String>) -> Error {
    Error::InvalidSpec { key: key.to_owned(), problem: problem.into() }
}

/// A validated recipe for one window length.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowModel {
    spec: NumericSpec,
    window_days: usize,
    dim: usize,
    min_rows: usize,
}

impl WindowModel {
    /// Fixes the window length, in rows.
    ///
    /// Errors: [`Error::OutOfRange`] unless `1 <= window_days <= 10000`;
    /// [`Error::TooManyDimensions`] when a flattened window has too many components.
    pub fn new(spec: NumericSpec, window_days: i32) -> Result<Self> {
        if !(1..=MAX_WINDOW_DAYS).contains(&window_days) {
            return Err(Error::OutOfRange {
                name: "window_days",
                value: window_days.into(),
                min: 1,
                max: MAX_WINDOW_DAYS.into(),
            });
        }
        let days = window_days as usize;
        let flat = days * spec.features.len();
        let dim = spec.dim.unwrap_or(flat);
        check_dim(dim)?;
        // The product is taken in float64 and cut: 63 * 0.87 = 54.81 gives 54.
        let min_rows = ((window_days as f64 * spec.window.min_fill) as usize).max(1);
        Ok(Self { spec, window_days: days, dim, min_rows })
    }

    /// The recipe.
    pub fn spec(&self) -> &NumericSpec {
        &self.spec
    }

    /// Window length, in rows.
    pub fn window_days(&self) -> usize {
        self.window_days
    }

    /// Components of the vectors.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Fewest rows of a window.
    pub fn min_rows(&self) -> usize {
        match self.spec.window.short_history {
            ShortHistory::RepeatLast => self.min_rows,
            ShortHistory::Fail => self.window_days,
        }
    }

    /// Calendar days searched back from the as-of date.
    pub fn look_back_days(&self) -> u32 {
        self.window_days as u32 * self.spec.window.look_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORE: &str = r#"{"features": ["close", "volume", "log_return"], "price_column": "close",
        "window": {"min_fill": 0.87, "look_back": 3, "short_history": "repeat_last"},
        "encoder": "pad_to_dim", "dim": 384}"#;

    fn model(days: i32) -> WindowModel {
        WindowModel::new(NumericSpec::from_json(CORE).unwrap(), days).unwrap()
    }

    #[test]
    fn fewest_rows_are_the_truncated_share() {
        for (days, rows) in
            [(1, 1), (5, 4), (21, 18), (63, 54), (100, 87), (126, 109), (128, 111), (200, 174), (252, 219)]
        {
            assert_eq!(model(days).min_rows(), rows, "window of {days}");
        }
        assert!((1..=2000).all(|days| model(days).min_rows() == (87 * days as usize / 100).max(1)));
    }

    #[test]
    fn window_lengths_out_of_range_are_refused() {
        for days in [0, -1, i32::MIN, MAX_WINDOW_DAYS + 1, 10_000_000] {
            let spec = NumericSpec::from_json(CORE).unwrap();
            assert!(matches!(WindowModel::new(spec, days), Err(Error::OutOfRange { .. })), "{days}");
        }
    }

    #[test]
    fn specs_are_validated_to_the_last_key() {
        for (from, to, key) in [
            ("\"close\",", "", "spec"),
            ("[\"close\", \"volume\", \"log_return\"]", "[]", "features"),
            ("\"volume\"", "\"close\"", "features"),
            ("\"volume\"", "\"turnover\"", "spec"),
            ("0.87", "0", "window.min_fill"),
            ("0.87", "1.01", "window.min_fill"),
            ("\"look_back\": 3", "\"look_back\": 0", "window.look_back"),
            ("\"look_back\": 3", "\"look_back\": 31", "window.look_back"),
            ("\"look_back\": 3", "\"lookback\": 3", "spec"),
            ("\"look_back\": 3", "\"look_back\": -3", "spec"),
            (", \"dim\": 384", "", "dim"),
            ("384", "0", "dim"),
            ("384", "65536", "dim"),
            ("pad_to_dim", "flatten", "dim"),
            ("\"dim\": 384", "\"dim\": 384, \"seed\": 1", "spec"),
            ("\"price_column\": \"close\"", "\"price_column\": \"open\"", "spec"),
        ] {
            let json = CORE.replacen(from, to, 1);
            let json = if from == "\"close\"," && to.is_empty() {
                CORE.replace("\"price_column\": \"close\",", "")
            } else {
                json
            };
            match NumericSpec::from_json(&json) {
                Err(Error::InvalidSpec { key: found, .. }) => assert_eq!(found, key, "{json}"),
                other => panic!("{json} gave {other:?}"),
            }
        }
    }

    #[test]
    fn dimension_follows_from_the_encoder() {
        assert_eq!(model(63).dim(), 384);
        let flat = CORE.replace("pad_to_dim", "flatten").replace(", \"dim\": 384", "");
        let spec = NumericSpec::from_json(&flat).unwrap();
        assert_eq!(WindowModel::new(spec, 63).unwrap().dim(), 189);
    }
}
