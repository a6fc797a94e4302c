//! The model catalog `embed_models`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::datum::DatumWithOid;

use super::extension::schema;
use super::query::{execute, required, select, select_first, select_kept};
use crate::engine::Error;
use crate::engine::fit::Components;
use crate::engine::named::NamedSpec;
use crate::engine::numeric::Recipe;
use crate::engine::numeric::pipeline::Projection;
use crate::pg::ffi::row::Row;
use crate::pg::ffi::transaction::RunningCommand;
use crate::pg::projection;
use crate::pg::report::Fault;

/// Names this much alike (Jaro-Winkler) are offered when a model is not found.
const LIKENESS: f64 = 0.8;

thread_local! {
    /// Specs read by the command that runs, so that a call per row costs no query per row.
    static READ: RefCell<(Option<RunningCommand>, HashMap<String, Rc<Recipe>>)> = RefCell::new((None, HashMap::new()));
}

/// The spec of a registered numeric model.
///
/// Errors: [`Fault::UnknownModel`] (42704) with like names, [`Fault::WrongModality`] (42809).
pub fn numeric_spec(model_id: &str) -> Result<Rc<Recipe>, Fault> {
    let command = Some(RunningCommand::now());
    let cached = READ.with(|read| {
        let read = read.try_borrow().ok()?;
        (read.0 == command).then(|| read.1.get(model_id).cloned()).flatten()
    });
    if let Some(spec) = cached {
        return Ok(spec);
    }
    let json = spec_json(model_id, "numeric")?;
    let graph = |given: &Projection| projection::graph(given, model_id);
    let spec = Rc::new(Recipe::stored(&json, |name| part(model_id, name), graph)?);
    READ.with(|read| {
        if let Ok(mut read) = read.try_borrow_mut() {
            if read.0 != command {
                *read = (command, HashMap::new());
            }
            read.1.insert(model_id.to_owned(), Rc::clone(&spec));
        }
    });
    Ok(spec)
}

/// The spec of a registered model of `modality`, as JSON text. Errors: as [`numeric_spec`].
pub fn spec_json(model_id: &str, modality: &'static str) -> Result<String, Fault> {
    let sql = format!(
        "SELECT m.modality, m.spec::pg_catalog.text FROM {}.embed_models m \
         WHERE m.model_id OPERATOR(pg_catalog.=) $1",
        schema()?
    );
    let read = |row: &Row<'_>| Ok((required(row.text(1)?)?, required(row.text(2)?)?));
    let found = select_kept(&sql, &[model_id.into()], read)?.pop();
    match found {
        Some((found, spec)) if found == modality => Ok(spec),
        Some((found, _)) => {
            Err(Fault::WrongModality { model_id: model_id.to_owned(), found, wanted: modality })
        }
        None => Err(Fault::UnknownModel { model_id: model_id.to_owned(), near: near(model_id)? }),
    }
}

fn near(model_id: &str) -> Result<Vec<String>, Fault> {
    let sql = format!("SELECT m.model_id FROM {}.embed_models m", schema()?);
    let asked = model_id.to_lowercase();
    let mut names: Vec<(f64, String)> = select(&sql, &[], |row| required(row.text(1)?))?
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&asked, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .collect();
    names.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    Ok(names.into_iter().take(3).map(|(_, name)| name).collect())
}

/// Adds a model. `spec` must have been validated; `dim` is absent where it follows from the window.
///
/// Errors: [`Fault::ModelExists`] (42710), and 42501 for a caller without the right to insert.
pub fn register(
    model_id: &str,
    modality: &str,
    dim: Option<i32>,
    spec: &str,
    description: Option<&str>,
) -> Result<(), Fault> {
    let args = [model_id.into(), modality.into(), dim.into(), spec.into(), description.into()];
    insert("", "", &args, model_id)
}

/// As [`register`], for a numeric model with an artefact whose bytes have the digest `sha256`.
pub fn register_pinned(
    model_id: &str,
    dim: i32,
    spec: &str,
    description: Option<&str>,
    sha256: &str,
) -> Result<(), Fault> {
    let args =
        [model_id.into(), "numeric".into(), dim.into(), spec.into(), description.into(), sha256.into()];
    insert(", sha256", ", $6", &args, model_id)
}

/// A column is named only where it is filled: a caller may have the right to some of them.
fn insert(column: &str, value: &str, args: &[DatumWithOid<'_>], model_id: &str) -> Result<(), Fault> {
    let sql = format!(
        "INSERT INTO {}.embed_models (model_id, modality, dim, spec, description{column}) \
         VALUES ($1, $2, $3, $4::pg_catalog.jsonb, $5{value}) ON CONFLICT (model_id) DO NOTHING",
        schema()?
    );
    match execute(&sql, args)? {
        0 => Err(Fault::ModelExists { model_id: model_id.to_owned() }),
        _ => Ok(()),
    }
}

/// Whether a model of that id is registered.
pub fn exists(model_id: &str) -> Result<bool, Fault> {
    let sql = format!(
        "SELECT m.model_id FROM {}.embed_models m WHERE m.model_id OPERATOR(pg_catalog.=) $1",
        schema()?
    );
    Ok(select_first(&sql, &[model_id.into()], |_| Ok(()))?.is_some())
}

/// The registered models of `modality`, in byte order.
pub fn ids(modality: &str) -> Result<Vec<String>, Fault> {
    let sql = format!(
        "SELECT m.model_id FROM {}.embed_models m WHERE m.modality OPERATOR(pg_catalog.=) $1 \
         ORDER BY m.model_id COLLATE \"C\"",
        schema()?
    );
    select(&sql, &[modality.into()], |row| required(row.text(1)?))
}

/// Refuses a caller who may not read files of the server. Errors: [`Fault::FileRights`] (42501).
pub fn check_file_rights() -> Result<(), Fault> {
    let sql = "SELECT 'yes'::pg_catalog.text \
               WHERE pg_catalog.pg_has_role('pg_read_server_files'::pg_catalog.name, 'USAGE'::pg_catalog.text)";
    select_first(sql, &[], |_| Ok(()))?.ok_or(Fault::FileRights)
}

/// The spec of a registered model of named features.
///
/// Errors: as [`numeric_spec`], and [`Error::WrongInputs`] for a model of prices.
pub fn named_spec(model_id: &str) -> Result<NamedSpec, Fault> {
    match &*numeric_spec(model_id)? {
        Recipe::Named(spec) => Ok(spec.clone()),
        _ => Err(Error::WrongInputs { found: "windows of prices", wanted: "named features" }.into()),
    }
}

/// A fitted transform. Errors: as [`spec_json`], [`Error::MalformedPart`].
pub fn components(model_id: &str) -> Result<Components, Fault> {
    spec_json(model_id, "transform")?;
    Ok(Components::unpack(&part(model_id, "mean")?, &part(model_id, "directions")?)?)
}

/// The modality of a registered model. Errors: [`Fault::UnknownModel`] (42704).
pub fn modality(model_id: &str) -> Result<String, Fault> {
    let sql = format!(
        "SELECT m.modality FROM {}.embed_models m WHERE m.model_id OPERATOR(pg_catalog.=) $1",
        schema()?
    );
    let found = select_first(&sql, &[model_id.into()], |row| required(row.text(1)?))?;
    found
        .map_or_else(|| Err(Fault::UnknownModel { model_id: model_id.to_owned(), near: near(model_id)? }), Ok)
}

/// Stores what a fit learned beside its model.
pub fn add_parts(model_id: &str, parts: &[(&'static str, Vec<u8>)]) -> Result<(), Fault> {
    let sql =
        format!("INSERT INTO {}.embed_model_parts (model_id, part, content) VALUES ($1, $2, $3)", schema()?);
    for (part, content) in parts {
        execute(&sql, &[model_id.into(), (*part).into(), content.as_slice().into()])?;
    }
    Ok(())
}

/// What a fit stored beside its model. Errors: [`Error::MalformedPart`] when it is not there.
pub fn part(model_id: &str, part: &'static str) -> Result<Vec<u8>, Fault> {
    let sql = format!(
        "SELECT p.content FROM {}.embed_model_parts p WHERE p.model_id OPERATOR(pg_catalog.=) $1 \
           AND p.part OPERATOR(pg_catalog.=) $2",
        schema()?
    );
    let found = select_first(&sql, &[model_id.into(), part.into()], |row| required(row.bytes(1)?))?;
    Ok(found.ok_or(Error::MalformedPart { name: part })?)
}

/// Removes a model that a user registered; whether there was one.
pub fn drop_model(model_id: &str) -> Result<bool, Fault> {
    let sql = format!("DELETE FROM {}.embed_models m WHERE m.model_id OPERATOR(pg_catalog.=) $1", schema()?);
    Ok(execute(&sql, &[model_id.into()])? > 0)
}
