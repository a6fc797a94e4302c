//! Principal components of stored vectors.

use super::{Fitted, Request, tick};
use crate::engine::fit::Moments;
use crate::engine::linear::MAX_EIGEN;
use crate::engine::vector::VectorRef;
use crate::pg::report::Fault;
use crate::pg::spi::models;
use crate::pg::spi::relation::Relation;
use crate::pg::spi::text_vectors;

/// Fits a mean and directions to the newest vector of each entity and registers them as a transform.
///
/// Errors: as [`Moments::components`], [`Fault::ModelExists`], and those of reading.
pub fn fit(request: &Request<'_>, source_type: &str, embeddings: &Relation) -> Result<Fitted, Fault> {
    request.check_components(MAX_EIGEN)?;
    let vectors = text_vectors::newest(embeddings, source_type, request.base_model_id, request.as_of)?;
    let mut moments: Option<Moments> = None;
    for bytes in &vectors {
        tick()?;
        let vector = VectorRef::new(bytes)?;
        let moments = match &mut moments {
            Some(moments) => moments,
            None => moments.insert(Moments::new(vector.dim())?),
        };
        moments.add(vector)?;
    }
    let keep = request.components;
    let few = crate::engine::Error::TooFewToFit { found: 0, needed: keep + 1 };
    let moments = moments.ok_or(few)?;
    let entities = moments.count();
    let components = moments.components(keep, &mut tick)?;
    let spec = serde_json::json!({
        "encoder": "components",
        "base_model_id": request.base_model_id,
        "dim_in": components.dim_in(),
        "components": keep,
        "fitted_as_of": request.as_of.to_string(),
        "fitted_entities": entities,
        "explained": components.explained,
    });
    models::register(
        request.model_id,
        "transform",
        Some(keep as i32),
        &spec.to_string(),
        request.description,
    )?;
    models::add_parts(request.model_id, &components.pack()?)?;
    Ok(Fitted { entities, components: keep, explained: components.explained })
}
