//! Documents, vectors and token counts of texts.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::arguments::required;
use crate::engine::text::{TextError, document};
use crate::pg::ffi::array::ItemArray;
use crate::pg::ffi::bytea::Bytea;
use crate::pg::ffi::host::{Backend, BatchMemory};
use crate::pg::report::Fault;
use crate::pg::{settings, text};

/// Bytes of a result beyond which Postgres cannot hold it.
const MAX_RESULT_BYTES: usize = 1 << 30;

/// What an array spends on an element beside its bytes.
const ELEMENT_OVERHEAD: usize = 16;

/// Puts the texts of a profile together: trimmed, empty ones left out, joined by a blank line.
#[pg_extern(immutable, parallel_safe, cost = 10)]
pub fn embed_profile_document(
    business_description: Option<&str>,
    risk_summary: Option<&str>,
    recent_events_summary: Option<&str>,
) -> Option<String> {
    document::document([business_description, risk_summary, recent_events_summary])
}

/// Vector of a document, trimmed; NULL for one without text.
#[pg_extern(stable, parallel_restricted, cost = 100000)]
pub fn text_profile_embed(
    document: Option<&str>,
    model_id: default!(Option<&str>, "'text-profile-v1'"),
) -> Result<Option<Bytea>, ErrorReport> {
    let model_id = required(model_id, "model_id")?;
    match document.map(document::trim).filter(|text| !text.is_empty()) {
        Some(document) => Ok(embed(&[document], model_id)?.pop()),
        None => Ok(None),
    }
}

/// Vectors of texts, in order, each as it is; NULL for NULL.
#[pg_extern(stable, strict, parallel_restricted, cost = 1000000)]
fn text_embed(
    texts: ItemArray<'_, str>,
    model_id: default!(&str, "'text-profile-v1'"),
) -> Result<Vec<Option<Bytea>>, ErrorReport> {
    let texts = texts.values_and_nulls("texts")?;
    let present: Vec<&str> = texts.iter().flatten().copied().collect();
    let mut vectors = embed(&present, model_id)?.into_iter();
    Ok(texts.iter().map(|text| text.and_then(|_| vectors.next())).collect())
}

/// Tokens of a text as the model counts them, special ones included, before it is cut.
#[pg_extern(stable, strict, parallel_restricted, cost = 10000)]
fn text_token_count(text: &str, model_id: default!(&str, "'text-profile-v1'")) -> Result<i32, ErrorReport> {
    let count = text::with_registered(model_id, |model| Ok(model.tokenizer().count(text, &Backend)?))?;
    Ok(i32::try_from(count).unwrap_or(i32::MAX))
}

/// Stored form of the vectors of `texts`.
fn embed(texts: &[&str], model_id: &str) -> Result<Vec<Bytea>, Fault> {
    let recipe = text::recipe(model_id)?;
    let limit = MAX_RESULT_BYTES / (recipe.dim * 4 + ELEMENT_OVERHEAD);
    if texts.len() > limit {
        let (texts, dim) = (texts.len(), recipe.dim);
        return Err(crate::engine::Error::from(TextError::TooManyTexts { texts, dim, limit }).into());
    }
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let request = text::request(model_id, recipe);
    let memory = BatchMemory::keep();
    let embedded =
        text::with_model(&request, |model| Ok(model.embed(texts, settings::batch_tokens(), &Backend)?))?;
    let vectors = embedded.into_iter().map(|text| stored(&text.vector)).collect();
    drop(memory);
    vectors
}

/// Little-endian float32 without header.
fn stored(vector: &[f32]) -> Result<Bytea, Fault> {
    let fill = |out: &mut [u8]| {
        for (bytes, value) in out.chunks_exact_mut(4).zip(vector) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        Ok(())
    };
    Ok(Bytea::build(vector.len() * 4, fill)?)
}
