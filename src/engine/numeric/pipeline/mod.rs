//! Encoders by recipe: features per day, the market taken out, standardised over the window, laid out by
//! lag, projected, of unit length.
//!
//! [`PipelineSpec`] is the recipe, [`PipelineModel`] the recipe for one window length, [`PipelineRows`] the
//! rows of one instrument under it, and [`PipelineRows::encode`] makes the vector of one as-of date.
//! `docs/encoders.md` states every formula. What the vector of a date depends on lies in
//! `[as_of - read_back_days, as_of]`, whatever else is supplied; mostly in its newer part, as
//! [`PipelineModel::rows_needed`] and the fingerprint of the rows know.

mod cells;
pub mod context;
pub mod encode;
pub mod explain;
mod features;
pub mod model;
pub mod network;
pub mod projection;
mod rolling;
pub mod spec;
pub(crate) mod standard;
#[cfg(test)]
mod tests;

pub use context::{DayContext, Members};
pub use encode::{Encoded, PipelineRows, Refusal};
pub use model::PipelineModel;
pub use network::Network;
pub use projection::{Project, Projection};
pub use spec::{FactorSpec, PipelineSpec, Universe};
