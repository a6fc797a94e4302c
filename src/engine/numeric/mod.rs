#![forbid(unsafe_code)]
//! Price windows and their encoders.
//!
//! A [`PriceSeries`] holds the daily rows of one instrument; [`WindowModel`] is a validated
//! [`NumericSpec`] for one window length; [`FeatureRows`] holds the features of every day, computed
//! once; [`FeatureRows::window`] picks the rows of one as-of date and [`FeatureRows::encode`] copies
//! them into a vector. [`pipeline`] makes vectors by steps; [`model`] is the face of both. `docs/numeric-rules.md` states every rule to the bit.

pub mod features;
pub mod listing;
pub mod market;
pub mod model;
pub mod moving;
pub mod panel;
pub mod pipeline;
pub mod series;
pub mod spec;
pub mod window;

pub use features::FeatureRows;
pub use market::{MarketSums, MarketWindow};
pub use model::{EntityRows, Made, NumericModel, Ready, Recipe, Refused};
pub use moving::MovingSeries;
pub use panel::PricePanel;
pub use pipeline::Universe;
pub use series::PriceSeries;
pub use spec::{Encoder, Feature, NumericSpec, PriceColumn, ShortHistory, WindowModel, WindowRule};
pub use window::{TooFewRows, Window};
