//! The model catalog: registering and dropping recipes.

use std::rc::Rc;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::arguments::required;
use crate::engine::Error;
use crate::engine::numeric::Recipe;
use crate::engine::numeric::pipeline::{Network, PipelineSpec, Project, Projection};
use crate::engine::registry::sha256_hex;
use crate::engine::vector::check_dim;
use crate::pg::ffi::json::JsonText;
use crate::pg::projection;
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
    weights: default!(Option<&[u8]>, "NULL"),
) -> Result<String, ErrorReport> {
    let model_id = check_id(required(model_id, "model_id")?)?;
    let json = required(spec, "spec")?.0;
    match Recipe::from_json(&json)? {
        Recipe::Pipeline(spec) if spec.projection.is_given() => {
            register_projected(model_id, spec, description, weights)?;
        }
        _ if weights.is_some() => Err(invalid("projection.kind", "is not one that takes weights"))?,
        recipe => {
            let dim = recipe.dim().map(|dim| dim as i32);
            models::register(model_id, "numeric", dim, &json, description)?;
        }
    }
    Ok(model_id.to_owned())
}

/// Registers a pipeline with the weights or the graph that its projection names. Weights go into the catalog, a
/// graph stays a file; the spec names the digest of either.
fn register_projected(
    model_id: &str,
    mut spec: PipelineSpec,
    description: Option<&str>,
    weights: Option<&[u8]>,
) -> Result<(), Fault> {
    let bytes = match (weights, spec.projection.file()) {
        (Some(_), Some(_)) => return Err(invalid("projection.file", "must not be named beside weights")),
        (Some(weights), None) => weights.to_vec(),
        (None, Some(file)) => {
            models::check_file_rights()?;
            projection::file(file, model_id)?
        }
        (None, None) => {
            return Err(invalid("projection.file", "must be named, or the weights passed as weights => ..."));
        }
    };
    let found = sha256_hex(&bytes);
    if spec.projection.sha256().is_some_and(|wanted| wanted != found) {
        return Err(invalid("projection.sha256", format!("is not that of the bytes, which is {found}")));
    }
    spec.projection.pin(&found);
    let graph = matches!(spec.projection, Projection::Onnx { .. });
    let given: Rc<dyn Project> = match graph {
        true => projection::graph(&spec.projection, model_id)?,
        false => Rc::new(Network::from_safetensors(&spec.projection, &bytes)?),
    };
    try_out(&*given, &spec)?;
    let json = serde_json::to_string(&spec).map_err(|error| Fault::Internal { what: error.to_string() })?;
    models::register_pinned(model_id, spec.dim as i32, &json, description, &found)?;
    if graph { Ok(()) } else { models::add_parts(model_id, &[(Recipe::WEIGHTS, bytes)]) }
}

/// What a projection says of its ends is compared with the spec, and what says nothing of them is run once.
fn try_out(given: &dyn Project, spec: &PipelineSpec) -> Result<(), Fault> {
    let channels = spec.channels.len();
    if let Some(takes) = given.dim_in().filter(|takes| takes % channels != 0) {
        let problem = format!("takes {takes} components, no multiple of the {channels} channels");
        return Err(invalid("projection", problem));
    }
    if let Some(gives) = given.dim_out().filter(|gives| *gives != spec.dim) {
        return Err(invalid("dim", format!("is {}, the projection gives {gives} components", spec.dim)));
    }
    let takes = given.dim_in().unwrap_or(channels);
    check_dim(takes.max(spec.dim))?;
    Ok(given.project(&vec![0.0; takes], &mut vec![0.0; spec.dim])?)
}

fn invalid(key: &str, problem: impl Into<String>) -> Fault {
    Error::InvalidSpec { key: key.to_owned(), problem: problem.into() }.into()
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
