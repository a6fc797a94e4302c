//! `register_joint_space` and `drop_joint_space`.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::arguments::required;
use super::models::check_id;
use crate::engine::Error;
use crate::engine::joint::space::{EntityType, Space, Table};
use crate::pg::ffi::array::ItemArray;
use crate::pg::ffi::json::JsonText;
use crate::pg::report::Fault;
use crate::pg::spi::spaces::{self, NewSpace, Source};

fn invalid(key: &str, problem: impl Into<String>) -> Fault {
    Error::InvalidSpace { key: key.to_owned(), problem: problem.into() }.into()
}

/// Adds a joint space, and its model if that is new.
#[pg_extern(volatile, parallel_unsafe)]
#[allow(clippy::too_many_arguments)]
pub fn register_joint_space(
    joint_type: Option<&str>,
    model_id: Option<&str>,
    entity_type: Option<&str>,
    branches: Option<JsonText>,
    fusion: default!(Option<&str>, "'average'"),
    entities: default!(Option<&str>, "'branch'"),
    scope_keys: default!(Option<ItemArray<'_, str>>, "NULL"),
    source: default!(Option<JsonText>, "'\"branches\"'"),
    description: default!(Option<&str>, "NULL"),
) -> Result<String, ErrorReport> {
    let joint_type = check_type(required(joint_type, "joint_type")?)?;
    let model_id = check_id(required(model_id, "model_id")?)?;
    let entity_type = EntityType::parse(required(entity_type, "entity_type")?)?;
    let (branches, fusion) = (required(branches, "branches")?.0, required(fusion, "fusion")?);
    let entities = required(entities, "entities")?;
    let source = required(source, "source")?.0;
    let mut space = Space::from_json(entity_type, spaces::fusion(fusion)?, &branches)?;
    space.bind(&crate::pg::spi::models::components)?;
    check_entities(entities, entity_type, &space)?;
    Source::parse(&source)?;
    spaces::check_branches(joint_type, model_id, entity_type, &space)?;
    let scope_keys = check_keys(scope_keys, entity_type)?;
    let (branches, source) = (branches.as_str(), source.as_str());
    spaces::register(&NewSpace {
        joint_type,
        model_id,
        entity_type,
        entities,
        fusion,
        branches,
        scope_keys,
        source,
        description,
    })?;
    Ok(model_id.to_owned())
}

fn check_type(joint_type: &str) -> Result<&str, Fault> {
    let inner = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let begins_well = joint_type.starts_with(|c: char| c.is_ascii_uppercase());
    if begins_well && joint_type.len() <= 32 && joint_type.chars().all(inner) {
        Ok(joint_type)
    } else {
        Err(invalid(
            "joint_type",
            "must be a letter and up to 31 letters, digits and underscores, in upper case",
        ))
    }
}

fn check_entities(entities: &str, kind: EntityType, space: &Space) -> Result<(), Fault> {
    match (entities, kind) {
        ("profiles", EntityType::Issuer) | ("instruments", EntityType::Instrument) => Ok(()),
        ("branch", _) => match space.leaves().first() {
            Some(first) if first.table != Table::Text && first.entity_type == kind => Ok(()),
            _ => {
                let problem = format!(
                    "\"branch\" needs a first branch that is numeric or joint and about {} itself",
                    kind.name()
                );
                Err(invalid("entities", problem))
            }
        },
        _ => Err(invalid(
            "entities",
            "must be \"profiles\" (for ISSUER), \"instruments\" (for INSTRUMENT) or \"branch\"",
        )),
    }
}

fn check_keys(given: Option<ItemArray<'_, str>>, kind: EntityType) -> Result<Vec<String>, Fault> {
    let (needed, others) = kind.scope_keys();
    let Some(given) = given else {
        return Ok(needed.iter().chain(others).map(|key| (*key).to_owned()).collect());
    };
    let keys = given.values("scope_keys")?;
    if let Some(odd) = keys.iter().find(|key| !needed.contains(key) && !others.contains(key)) {
        return Err(invalid("scope_keys", format!("\"{odd}\" is not known of {}", kind.name())));
    }
    if let Some(missing) = needed.iter().find(|key| !keys.contains(key)) {
        return Err(invalid("scope_keys", format!("must have \"{missing}\"")));
    }
    Ok(keys.into_iter().map(str::to_owned).collect())
}
