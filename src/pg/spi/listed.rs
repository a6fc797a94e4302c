//! Entities with a fingerprint of their dates: what a job has to do, without a list of every key.

use pgrx::datum::DatumWithOid;

use super::query::{required, select};
use crate::pg::report::Fault;

/// An entity and its dates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The entity.
    pub entity: String,
    /// How many dates it has.
    pub dates: i64,
    /// Their sum, as days since 2000-01-01.
    pub sum: i64,
}

/// What `sql` gives: entity, number of dates, their sum.
pub fn listed(sql: &str, args: &[DatumWithOid<'_>]) -> Result<Vec<Listed>, Fault> {
    select(sql, args, |row| {
        Ok(Listed {
            entity: required(row.text(1)?)?,
            dates: required(row.long(2)?)?,
            sum: required(row.long(3)?)?,
        })
    })
}
