//! Text models: registering, checking, looking at what this session has loaded.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::arguments::required;
use super::models::check_id;
use crate::engine::onnx::ModelPool;
use crate::engine::registry::{Assurance, ModelFiles, Recipe, check_graph};
use crate::engine::text::Pooling;
use crate::pg::ffi::host::{self, Backend};
use crate::pg::report::Fault;
use crate::pg::spi::models;
use crate::pg::{settings, text};

/// Adds a text model: the directory's files, compared with its manifest byte by byte and tried out.
#[pg_extern(volatile, parallel_unsafe)]
#[allow(clippy::too_many_arguments)]
pub fn register_text_model(
    model_id: Option<&str>,
    directory: Option<&str>,
    description: default!(Option<&str>, "NULL"),
    max_tokens: default!(Option<i32>, "NULL"),
    pooling: default!(Option<&str>, "NULL"),
    normalise: default!(Option<bool>, "NULL"),
    allow_dynamic_quantisation: default!(Option<bool>, "false"),
) -> Result<String, ErrorReport> {
    models::check_file_rights()?;
    let model_id = check_id(required(model_id, "model_id")?)?;
    let directory = required(directory, "directory")?;
    if models::exists(model_id)? {
        Err(Fault::ModelExists { model_id: model_id.to_owned() })?;
    }
    let files = open(directory, model_id)?;
    let mut recipe = Recipe::of(&files, directory);
    recipe.allow_dynamic_quantisation = required(allow_dynamic_quantisation, "allow_dynamic_quantisation")?;
    if let Some(tokens) = max_tokens {
        recipe.max_tokens = token_limit(tokens, recipe.max_tokens)?;
    }
    if let Some(pooling) = pooling {
        recipe.pooling = pooling_of(pooling)?;
    }
    recipe.normalise = normalise.unwrap_or(recipe.normalise);
    try_out(&files, model_id, &recipe)?;
    models::register(model_id, "text", Some(recipe.dim as i32), &recipe.to_json()?, description)?;
    Ok(model_id.to_owned())
}

/// Drops the text models that this session has loaded and forgets why others failed to load.
#[pg_extern(volatile, parallel_restricted)]
pub fn unload_text_models() -> Result<i32, ErrorReport> {
    let dropped = text::with_pool(|pool| Ok(pool.unload()))?;
    host::release_all_memory();
    Ok(i32::try_from(dropped).unwrap_or(i32::MAX))
}

/// Text models that this session has loaded.
#[pg_extern(volatile, parallel_restricted)]
#[allow(clippy::type_complexity)]
pub fn embed_session_text_models() -> Result<
    TableIterator<
        'static,
        (
            name!(model_id, String),
            name!(bytes, i64),
            name!(load_ms, f64),
            name!(texts, i64),
            name!(tokens, i64),
            name!(ms, f64),
            name!(packed, bool),
            name!(files_read, i32),
        ),
    >,
    ErrorReport,
> {
    let rows: Vec<_> = text::with_pool(|pool| {
        let row = |model: &crate::engine::onnx::Loaded| {
            let usage = model.usage;
            (
                model.model_id().to_owned(),
                model.bytes as i64,
                model.load_time.as_secs_f64() * 1e3,
                usage.texts as i64,
                usage.tokens as i64,
                usage.time.as_secs_f64() * 1e3,
                model.packed,
                model.files_read as i32,
            )
        };
        Ok(pool.loaded().iter().map(row).collect())
    })?;
    Ok(TableIterator::new(rows))
}

/// Compares the files of every registered text model with their digests and tries each model out.
#[pg_extern(volatile, parallel_unsafe, cost = 1000000)]
#[allow(clippy::type_complexity)]
pub fn embed_check_models() -> Result<
    TableIterator<
        'static,
        (name!(model_id, String), name!(ok, bool), name!(bytes, Option<i64>), name!(detail, Option<String>)),
    >,
    ErrorReport,
> {
    models::check_file_rights()?;
    let mut rows = Vec::new();
    for model_id in models::ids("text")? {
        let checked = check(&model_id);
        let (bytes, detail) = match checked {
            Ok(bytes) => (Some(bytes), None),
            Err(Fault::Engine(error)) => (None, Some(error.to_string())),
            Err(other) => Err(other)?,
        };
        rows.push((model_id, detail.is_none(), bytes, detail));
    }
    host::release_memory();
    Ok(TableIterator::new(rows))
}

fn check(model_id: &str) -> Result<i64, Fault> {
    let recipe = text::recipe(model_id)?;
    let files = open(&recipe.directory, model_id)?;
    recipe.check(&files, model_id)?;
    try_out(&files, model_id, &recipe)?;
    Ok(files.manifest.bytes() as i64)
}

fn open(directory: &str, model_id: &str) -> Result<ModelFiles, Fault> {
    Ok(ModelFiles::open(&settings::model_directory(), directory, model_id)?)
}

/// Compares all digests, looks into every graph, loads the model apart from the session's and runs it.
fn try_out(files: &ModelFiles, model_id: &str, recipe: &Recipe) -> Result<(), Fault> {
    files.verify(Assurance::Digests, &Backend)?;
    let manifest = &files.manifest;
    for graph in std::iter::once(&manifest.graph).chain(&manifest.plain_graph) {
        check_graph(files, graph, model_id, recipe.allow_dynamic_quantisation)?;
    }
    let mut pool = ModelPool::default();
    Ok(text::load(&mut pool, &text::request(model_id, recipe.clone()))?.probe(&Backend)?)
}

fn token_limit(tokens: i32, max: usize) -> Result<usize, Fault> {
    match usize::try_from(tokens) {
        Ok(wanted) if (3..=max).contains(&wanted) => Ok(wanted),
        _ => Err(crate::engine::Error::OutOfRange {
            name: "max_tokens",
            value: tokens.into(),
            min: 3,
            max: max as i64,
        })?,
    }
}

fn pooling_of(word: &str) -> Result<Pooling, Fault> {
    match word {
        "mean" => Ok(Pooling::Mean),
        "cls" => Ok(Pooling::Cls),
        "none" => Ok(Pooling::None),
        other => Err(Fault::InvalidChoice {
            argument: "pooling",
            value: other.to_owned(),
            allowed: "\"mean\", \"cls\" and \"none\"",
        }),
    }
}
