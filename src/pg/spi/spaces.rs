//! The catalog of joint spaces, `embed_spaces`.

use super::extension::schema;
use super::models;
use super::query::{execute, required, select, select_kept};
use crate::engine::Error;
use crate::engine::joint::space::{EntityType, Fusion, Space, Table};
use crate::pg::report::{Fault, JointFault};

/// A joint space as the catalog has it.
#[derive(Debug, Clone)]
pub struct SpaceRow {
    /// Joint type.
    pub joint_type: String,
    /// Joint model.
    pub model_id: String,
    /// Kind of entity.
    pub entity_type: EntityType,
    /// Where the entities of a date come from: `profiles`, `instruments` or `branch`.
    pub entities: String,
    /// Branches and fusion.
    pub space: Space,
    /// Keys of a scope beside those that every scope has.
    pub scope_keys: Vec<String>,
    /// What `source` says.
    pub source: Source,
}

/// What the member `source` of a scope says.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// Names of the branches used.
    Branches,
    /// Models of the branches used.
    Models,
    /// A fixed text.
    Text(String),
}

impl Source {
    /// Reads the JSON of the column. Errors: [`Error::InvalidSpace`].
    pub fn parse(json: &str) -> Result<Self, Fault> {
        let invalid = |e: serde_json::Error| Error::InvalidSpace {
            key: "source".to_owned(),
            problem: format!("must be \"branches\", \"models\" or {{\"text\": \"...\"}}: {e}"),
        };
        Ok(serde_json::from_str(json).map_err(invalid)?)
    }
}

/// Reads a fusion by its SQL name. Errors: [`Error::InvalidSpace`].
pub fn fusion(name: &str) -> Result<Fusion, Fault> {
    let problem = "must be \"average\", \"blend\", \"identity\" or \"concat\"".to_owned();
    let invalid = |_| Error::InvalidSpace { key: "fusion".to_owned(), problem };
    Ok(serde_json::from_value(name.into()).map_err(invalid)?)
}

/// The spaces of a joint type and model, of all kinds of entities.
pub fn of_model(joint_type: &str, model_id: &str) -> Result<Vec<SpaceRow>, Fault> {
    read(
        "s.joint_type OPERATOR(pg_catalog.=) $1 AND s.model_id OPERATOR(pg_catalog.=) $2",
        &[joint_type.into(), model_id.into()],
    )
}

fn read(condition: &str, args: &[pgrx::datum::DatumWithOid<'_>]) -> Result<Vec<SpaceRow>, Fault> {
    let sql = format!(
        "SELECT s.joint_type, s.model_id, s.entity_type, s.entities, s.fusion, s.branches::pg_catalog.text, \
           pg_catalog.array_to_string(s.scope_keys, ','), s.source::pg_catalog.text \
         FROM {}.embed_spaces s WHERE {condition} ORDER BY s.entity_type COLLATE \"C\"",
        schema()?
    );
    select_kept(&sql, args, |row| {
        let text = |column| required(row.text(column)?);
        let entity_type = EntityType::parse(&text(3)?)?;
        Ok(SpaceRow {
            joint_type: text(1)?,
            model_id: text(2)?,
            entity_type,
            entities: text(4)?,
            space: Space::from_json(entity_type, fusion(&text(5)?)?, &text(6)?)?,
            scope_keys: text(7)?.split(',').map(str::to_owned).collect(),
            source: Source::parse(&text(8)?)?,
        })
    })
}

/// The one space that the arguments mean.
///
/// Errors: [`JointFault::UnknownSpace`], [`JointFault::SeveralModels`], [`JointFault::UnknownSpaceModel`],
/// [`JointFault::SeveralKinds`], [`Fault::UnknownModel`].
pub fn find(
    joint_type: &str,
    model_id: Option<&str>,
    entity_type: Option<EntityType>,
) -> Result<SpaceRow, Fault> {
    let model = match model_id {
        Some(model_id) => model_id.to_owned(),
        None => only_model(joint_type)?,
    };
    let mut spaces = of_model(joint_type, &model)?;
    if spaces.is_empty() {
        let known = models_of(joint_type)?;
        if known.is_empty() {
            return Err(JointFault::UnknownSpace {
                joint_type: joint_type.to_owned(),
                known: joint_types()?,
            }
            .into());
        }
        models::spec_json(&model, "joint")?;
        return Err(JointFault::UnknownSpaceModel {
            joint_type: joint_type.to_owned(),
            model_id: model,
            known,
        }
        .into());
    }
    let kinds: Vec<String> = spaces.iter().map(|space| space.entity_type.name().to_owned()).collect();
    if let Some(kind) = entity_type {
        spaces.retain(|space| space.entity_type == kind);
    }
    match spaces.len() {
        1 => {
            let mut row = spaces.remove(0);
            row.space.bind(&models::components)?;
            Ok(row)
        }
        _ => Err(JointFault::SeveralKinds { joint_type: joint_type.to_owned(), kinds }.into()),
    }
}

/// The model of a joint type that has one: the published one, or the only one. Errors: [`JointFault::UnknownSpace`], [`JointFault::SeveralModels`].
pub fn only_model(joint_type: &str) -> Result<String, Fault> {
    let sql = format!(
        "SELECT s.model_id FROM {}.embed_spaces s WHERE s.joint_type OPERATOR(pg_catalog.=) $1 AND s.builtin \
         ORDER BY s.model_id COLLATE \"C\" LIMIT 1",
        schema()?
    );
    // The published space is what a call without a model means, whatever was added.
    if let Some(published) = select(&sql, &[joint_type.into()], |row| required(row.text(1)?))?.pop() {
        return Ok(published);
    }
    let mut models = models_of(joint_type)?;
    match models.len() {
        0 => {
            Err(JointFault::UnknownSpace { joint_type: joint_type.to_owned(), known: joint_types()? }.into())
        }
        1 => Ok(models.remove(0)),
        _ => Err(JointFault::SeveralModels { joint_type: joint_type.to_owned(), models }.into()),
    }
}

fn models_of(joint_type: &str) -> Result<Vec<String>, Fault> {
    let sql = format!(
        "SELECT DISTINCT s.model_id COLLATE \"C\" FROM {}.embed_spaces s \
         WHERE s.joint_type OPERATOR(pg_catalog.=) $1 ORDER BY 1",
        schema()?
    );
    select(&sql, &[joint_type.into()], |row| required(row.text(1)?))
}

/// Joint types that have a space.
pub fn joint_types() -> Result<Vec<String>, Fault> {
    let sql =
        format!("SELECT DISTINCT s.joint_type COLLATE \"C\" FROM {}.embed_spaces s ORDER BY 1", schema()?);
    select(&sql, &[], |row| required(row.text(1)?))
}

/// What a new row holds, as SQL takes it.
#[derive(Debug)]
pub struct NewSpace<'a> {
    /// Joint type.
    pub joint_type: &'a str,
    /// Joint model.
    pub model_id: &'a str,
    /// Kind of entity.
    pub entity_type: EntityType,
    /// Where entities come from.
    pub entities: &'a str,
    /// Fusion, by its SQL name.
    pub fusion: &'a str,
    /// Branches, as JSON.
    pub branches: &'a str,
    /// Keys of a scope.
    pub scope_keys: Vec<String>,
    /// What `source` says, as JSON.
    pub source: &'a str,
    /// What it is for.
    pub description: Option<&'a str>,
}

/// Adds a space, and its model if that is new. It must have been validated.
///
/// Errors: [`JointFault::SpaceExists`] (42710), [`Fault::WrongModality`], [`Fault::ModelExists`] for a model of
/// another joint type, 42501 for a caller without the right to insert.
pub fn register(new: &NewSpace<'_>) -> Result<(), Fault> {
    let sql = format!(
        "SELECT 1 FROM {schema}.embed_spaces s WHERE s.model_id OPERATOR(pg_catalog.=) $1 \
           AND s.joint_type OPERATOR(pg_catalog.<>) $2",
        schema = schema()?
    );
    if !select(&sql, &[new.model_id.into(), new.joint_type.into()], |_| Ok(()))?.is_empty() {
        return Err(Fault::ModelExists { model_id: new.model_id.to_owned() });
    }
    if models::exists(new.model_id)? {
        models::spec_json(new.model_id, "joint")?;
    } else {
        let spec = serde_json::json!({ "joint_type": new.joint_type }).to_string();
        models::register(new.model_id, "joint", None, &spec, new.description)?;
    }
    let sql = format!(
        "INSERT INTO {}.embed_spaces (joint_type, model_id, entity_type, entities, fusion, branches, scope_keys, \
           source, description) VALUES ($1, $2, $3, $4, $5, $6::pg_catalog.jsonb, $7, $8::pg_catalog.jsonb, $9) \
         ON CONFLICT (joint_type, model_id, entity_type) DO NOTHING",
        schema()?
    );
    let args = [
        new.joint_type.into(),
        new.model_id.into(),
        new.entity_type.name().into(),
        new.entities.into(),
        new.fusion.into(),
        new.branches.into(),
        new.scope_keys.clone().into(),
        new.source.into(),
        new.description.into(),
    ];
    match execute(&sql, &args)? {
        0 => Err(JointFault::SpaceExists {
            joint_type: new.joint_type.to_owned(),
            model_id: new.model_id.to_owned(),
            entity_type: new.entity_type.name().to_owned(),
        }
        .into()),
        _ => Ok(()),
    }
}

/// Checks that what the branches name exists, and that following them never leads back to the space itself.
///
/// Errors: [`Fault::UnknownModel`], [`Fault::WrongModality`], [`JointFault::MissingBranchSpace`],
/// [`JointFault::CircularSpace`].
pub fn check_branches(
    joint_type: &str,
    model_id: &str,
    entity_type: EntityType,
    space: &Space,
) -> Result<(), Fault> {
    let all = read("true", &[])?;
    let origin = (joint_type.to_owned(), model_id.to_owned(), entity_type);
    // Paths still to follow, each with the nodes on the way.
    let mut open = vec![(vec![origin.clone()], space.clone())];
    while let Some((path, space)) = open.pop() {
        for leaf in space.leaves() {
            if leaf.table != Table::Joint {
                if path.len() == 1 {
                    models::spec_json(&leaf.model_id, leaf.table.modality())?;
                }
                continue;
            }
            let node = (leaf.joint_type.clone().unwrap_or_default(), leaf.model_id.clone(), leaf.entity_type);
            let mut path = path.clone();
            path.push(node.clone());
            if node == origin {
                return Err(JointFault::CircularSpace { path: told(&path) }.into());
            }
            let next = all
                .iter()
                .find(|row| (&row.joint_type, &row.model_id, row.entity_type) == (&node.0, &node.1, node.2));
            let Some(next) = next else {
                models::spec_json(&leaf.model_id, "joint")?;
                return Err(JointFault::MissingBranchSpace {
                    branch: leaf.name.clone(),
                    joint_type: node.0,
                    model_id: node.1,
                    entity_type: node.2.name().to_owned(),
                }
                .into());
            };
            if path.len() <= all.len() + 1 {
                open.push((path, next.space.clone()));
            }
        }
    }
    Ok(())
}

fn told(path: &[(String, String, EntityType)]) -> String {
    let nodes: Vec<String> = path
        .iter()
        .map(|(joint_type, model, kind)| format!("{joint_type} ({model}, {})", kind.name()))
        .collect();
    nodes.join(" -> ")
}
