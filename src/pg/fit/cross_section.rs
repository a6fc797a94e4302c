//! Centres and scales of named features.

use super::{Fitted, Request, tick};
use crate::engine::named::{CrossSection, NamedSpec};
use crate::pg::report::Fault;
use crate::pg::spi::models;
use crate::pg::spi::named_rows::NamedSource;

/// Fits the dictionary of `base` to the newest row of each entity and registers it.
///
/// Errors: as [`CrossSection::fit`], [`Fault::ModelExists`], and those of reading.
pub fn fit(request: &Request<'_>, base: &NamedSpec, source: &NamedSource<'_>) -> Result<Fitted, Fault> {
    let mut seen = CrossSection::new(base);
    for row in source.newest(request.as_of, None, None)? {
        tick()?;
        // A row that cannot be read cannot be embedded either; its backfill says so.
        if let Ok(json) = serde_json::from_str(&row.json) {
            seen.add(&json)?;
        }
    }
    let entities = seen.entities();
    let fitted = seen.fit(serde_json::json!({
        "base_model_id": request.base_model_id,
        "as_of": request.as_of.to_string(),
        "entities": entities,
    }))?;
    let json = serde_json::to_string(&fitted).map_err(|error| Fault::Internal { what: error.to_string() })?;
    models::register(request.model_id, "numeric", Some(fitted.dim as i32), &json, request.description)?;
    let components = fitted.blocks.iter().map(|block| block.features.len()).sum();
    Ok(Fitted { entities, components, explained: 1.0 })
}
