//! What can go wrong with joint spaces and searches: messages, SQLSTATEs, details and hints.

use pgrx::prelude::*;

use super::{Wording, list};

/// What can go wrong with joint spaces and searches.
#[derive(Debug, thiserror::Error)]
pub enum JointFault {
    /// A JSON argument that is no object.
    #[error("argument \"{argument}\" must be a JSON object")]
    NotAnObject { argument: &'static str },
    /// A joint type without a space.
    #[error("joint type \"{joint_type}\" has no space")]
    UnknownSpace { joint_type: String, known: Vec<String> },
    /// A joint type with several models, and none was named.
    #[error("joint type \"{joint_type}\" has several models")]
    SeveralModels { joint_type: String, models: Vec<String> },
    /// A scope that fits several entities where one is wanted.
    #[error("scope {scope} fits several entities")]
    AmbiguousScope { scope: String, entities: Vec<String> },
    /// No joint vector of an entity at a date.
    #[error("no {joint_type} embedding of {scope} at {day} for model \"{model_id}\"")]
    NoEmbedding {
        joint_type: String,
        scope: String,
        day: String,
        model_id: String,
        /// Dates that have one of this entity and model.
        dates: Vec<String>,
        /// Dates that have one of this model.
        other_dates: Vec<String>,
        /// Models that have one of this entity and date.
        models: Vec<String>,
    },
    /// A scenario set that is not there.
    #[error("scenario set \"{id}\" does not exist")]
    UnknownScenarioSet { id: String, known: Vec<String> },
    /// Neither a date nor a range, or both.
    #[error("either \"as_of\" or \"start_date\" and \"end_date\" must be given, not both")]
    DatesUnclear,
    /// A joint type with spaces of several kinds of entities, and none was named.
    #[error("joint type \"{joint_type}\" has spaces of several kinds of entities")]
    SeveralKinds { joint_type: String, kinds: Vec<String> },
    /// A space that is not there.
    #[error("joint type \"{joint_type}\" has no space of model \"{model_id}\"")]
    UnknownSpaceModel { joint_type: String, model_id: String, known: Vec<String> },
    /// A space that is there.
    #[error("joint space \"{joint_type}\" of model \"{model_id}\" and {entity_type} already exists")]
    SpaceExists { joint_type: String, model_id: String, entity_type: String },
    /// A space that needs its own vectors.
    #[error("joint space is circular: {path}")]
    CircularSpace { path: String },
    /// A joint branch of no space.
    #[error(
        "branch \"{branch}\": joint type \"{joint_type}\" has no space of model \"{model_id}\" and {entity_type}"
    )]
    MissingBranchSpace { branch: String, joint_type: String, model_id: String, entity_type: String },
    /// A search through an index that is not there.
    #[error("no HNSW index holds the vectors of model \"{model_id}\" in \"{relation}\"")]
    NoHnswIndex { relation: String, model_id: String },
    /// A vector that the index cannot hold.
    #[error("index \"{index}\" cannot hold the target's vector of {dim} dimensions")]
    NotIndexable { index: String, dim: usize },
    /// A search through an index of a table that may hold several rows of one entity and date.
    #[error("\"{relation}\" has no unique key, which method \"hnsw\" needs")]
    HnswNeedsKey { relation: String },
    /// An argument that does not fit the space.
    #[error("argument \"{argument}\" has no meaning for entities of type {entity_type}")]
    UnfitArgument { argument: &'static str, entity_type: &'static str },
    /// A branch that a space does not have.
    #[error("joint type \"{joint_type}\" has no branch \"{branch}\"")]
    UnknownBranch { joint_type: String, branch: String, known: Vec<String> },
}

pub(super) fn wording(fault: &JointFault) -> Wording {
    use PgSqlErrorCode::*;
    match fault {
        JointFault::NotAnObject { .. } => Wording::code(ERRCODE_INVALID_PARAMETER_VALUE),
        JointFault::UnknownSpace { known, .. } => Wording::code(ERRCODE_UNDEFINED_OBJECT)
            .hint(format!("Joint types with a space: {}. register_joint_space() adds one.", list(known))),
        JointFault::SeveralModels { models, .. } => Wording::code(ERRCODE_INVALID_PARAMETER_VALUE)
            .hint(format!("Name one as model_id: {}.", list(models))),
        JointFault::AmbiguousScope { entities, .. } => Wording::code(ERRCODE_CARDINALITY_VIOLATION)
            .detail(format!("Among them are {}.", list(entities)))
            .hint("Name the entity_type and the id of one entity."),
        JointFault::UnknownScenarioSet { known, .. } => {
            let wording = Wording::code(ERRCODE_UNDEFINED_OBJECT);
            if known.is_empty() { wording } else { wording.hint(format!("Scenario sets: {}.", list(known))) }
        }
        JointFault::DatesUnclear => Wording::code(ERRCODE_INVALID_PARAMETER_VALUE)
            .hint("Pass as_of => '2024-12-31', or start_date => '2024-01-01', end_date => '2024-12-31'."),
        JointFault::SeveralKinds { kinds, .. } => Wording::code(ERRCODE_INVALID_PARAMETER_VALUE)
            .hint(format!("Name one as entity_type: {}.", list(kinds))),
        JointFault::UnknownSpaceModel { known, .. } => Wording::code(ERRCODE_UNDEFINED_OBJECT)
            .hint(format!("It has spaces of: {}. register_joint_space() adds one.", list(known))),
        JointFault::SpaceExists { .. } => Wording::code(ERRCODE_DUPLICATE_OBJECT)
            .detail("A model id never changes its meaning.")
            .hint("Register the changed space under a new model id."),
        JointFault::CircularSpace { .. } => Wording::code(ERRCODE_INVALID_PARAMETER_VALUE)
            .detail("A space cannot be built from vectors that need its own."),
        JointFault::MissingBranchSpace { .. } => Wording::code(ERRCODE_UNDEFINED_OBJECT)
            .hint("Register that space first. SELECT joint_type, model_id, entity_type FROM embed_spaces lists them."),
        JointFault::NoHnswIndex { .. } => Wording::code(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE)
            .hint("Run SELECT embed_enable_pgvector(), then create the index of docs/search.md; method \"exact\" needs none."),
        JointFault::NotIndexable { .. } => Wording::code(ERRCODE_DATA_EXCEPTION)
            .hint("An index holds vectors of one dimension, finite and not zero. Method \"exact\" takes any."),
        JointFault::HnswNeedsKey { .. } => Wording::code(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE)
            .hint("Create it with SELECT embed_migrate(), or use method \"exact\"."),
        JointFault::UnfitArgument { .. } => Wording::code(ERRCODE_INVALID_PARAMETER_VALUE),
        JointFault::UnknownBranch { known, .. } => Wording::code(ERRCODE_INVALID_PARAMETER_VALUE)
            .hint(format!("Its branches are {}.", list(known))),
        JointFault::NoEmbedding { dates, other_dates, models, .. } => {
            no_embedding(dates, other_dates, models)
        }
    }
}

fn no_embedding(dates: &[String], other_dates: &[String], models: &[String]) -> Wording {
    let wording = Wording::code(PgSqlErrorCode::ERRCODE_NO_DATA_FOUND);
    let mut told = Vec::new();
    if !dates.is_empty() {
        told.push(format!("This model has the entity at {}.", dates.join(", ")));
    }
    if !models.is_empty() {
        told.push(format!("Models that have the entity at this date: {}.", list(models)));
    }
    if told.is_empty() && !other_dates.is_empty() {
        told.push(format!(
            "This model has no embedding of the entity; its newest dates are {}.",
            other_dates.join(", ")
        ));
    }
    if told.is_empty() {
        told.push("This model has no embeddings at all.".to_owned());
    }
    wording.detail(told.join(" ")).hint("Backfills make embeddings: see backfill_joint().")
}
