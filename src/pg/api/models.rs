//! The model catalog: registering and dropping recipes.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::arguments::required;
use crate::engine::numeric::Recipe;
use crate::pg::ffi::json::JsonText;
use crate::pg::report::Fault;
use crate::pg::spi::models;

/// Most characters of a model id: that of the tables' columns.
const MAX_ID: usize = 63;

/// Adds a numeric model under a new id.
#[pg_extern(volatile, parallel_unsafe)]
pub fn register_numeric_model(
    model_id: Option<&str>,
    spec: Option<JsonText>,
    description: default!(Option<&str>, "NULL"),
) -> Result<String, ErrorReport> {
    let model_id = check_id(required(model_id, "model_id")?)?;
    let json = required(spec, "spec")?.0;
    let recipe = Recipe::from_json(&json)?;
    models::register(model_id, "numeric", recipe.dim().map(|dim| dim as i32), &json, description)?;
    Ok(model_id.to_owned())
}

/// Removes a model that was registered by a user; its embeddings stay.
#[pg_extern(volatile, parallel_unsafe)]
pub fn drop_embedding_model(model_id: Option<&str>) -> Result<(), ErrorReport> {
    let model_id = required(model_id, "model_id")?;
    let dropped = models::drop_model(model_id)?;
    if dropped {
        Ok(())
    } else {
        Err(Fault::UnknownModel { model_id: model_id.to_owned(), near: Vec::new() })?
    }
}

/// An id that a model may have. Errors: [`Fault::InvalidModelId`] (42602).
pub fn check_id(model_id: &str) -> Result<&str, Fault> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let begins_well = model_id.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins_well && model_id.len() <= MAX_ID && model_id.chars().all(inner) {
        Ok(model_id)
    } else {
        Err(Fault::InvalidModelId { model_id: model_id.to_owned() })
    }
}
