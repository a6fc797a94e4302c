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
