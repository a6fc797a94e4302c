//! Fits: what encoders learn from the user's own rows, registered under a new model id.

pub mod components;
pub mod cross_section;
pub mod factors;

use crate::engine::{Day, Error, Result as EngineResult};
use crate::pg::ffi::interrupts;

/// What a fit is told.
pub struct Request<'a> {
    /// Id of the new model.
    pub model_id: &'a str,
    /// Id of the model that it builds on.
    pub base_model_id: &'a str,
    /// Nothing later is read.
    pub as_of: Day,
    /// Window of the fit, for numeric models.
    pub window_days: i32,
    /// Factors or components to keep.
    pub components: usize,
    /// Description of the new model.
    pub description: Option<&'a str>,
}

/// What became of a fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fitted {
    /// Entities that it learned from.
    pub entities: usize,
    /// Factors or components kept.
    pub components: usize,
    /// Share of the variance that they keep, at most 1.
    pub explained: f64,
}

impl Request<'_> {
    /// Checks the number of components against what a vector can hold.
    ///
    /// Errors: [`Error::OutOfRange`].
    pub fn check_components(&self, max: usize) -> EngineResult<()> {
        if (1..=max).contains(&self.components) {
            return Ok(());
        }
        let value = self.components as i64;
        Err(Error::OutOfRange { name: "components", value, min: 1, max: max as i64 })
    }
}

/// For long loops of the engine: raises a pending cancellation.
pub fn tick() -> EngineResult<()> {
    interrupts::check();
    Ok(())
}
