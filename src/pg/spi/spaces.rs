//! The catalog of joint spaces, `embed_spaces`.

use super::extension::schema;
use super::query::{required, select};
use crate::pg::report::{Fault, JointFault};

/// The model of a joint type that has one. Errors: [`JointFault::UnknownSpace`], [`JointFault::SeveralModels`].
pub fn only_model(joint_type: &str) -> Result<String, Fault> {
    let sql = format!(
        "SELECT DISTINCT s.model_id COLLATE \"C\" FROM {}.embed_spaces s \
         WHERE s.joint_type OPERATOR(pg_catalog.=) $1 ORDER BY 1",
        schema()?
    );
    let mut models = select(&sql, &[joint_type.into()], |row| required(row.text(1)?))?;
    match models.len() {
        0 => {
            Err(JointFault::UnknownSpace { joint_type: joint_type.to_owned(), known: joint_types()? }.into())
        }
        1 => Ok(models.remove(0)),
        _ => Err(JointFault::SeveralModels { joint_type: joint_type.to_owned(), models }.into()),
    }
}

/// Joint types that have a space.
pub fn joint_types() -> Result<Vec<String>, Fault> {
    let sql =
        format!("SELECT DISTINCT s.joint_type COLLATE \"C\" FROM {}.embed_spaces s ORDER BY 1", schema()?);
    select(&sql, &[], |row| required(row.text(1)?))
}
