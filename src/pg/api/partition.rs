//! Splitting a backfill over several connections: `embed_partition`, and the arguments `partition` and `partitions`.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::arguments::required;
use crate::engine::Error;
use crate::engine::partition::{self, Part};
use crate::pg::ffi::array::ItemArray;
use crate::pg::report::Fault;

/// Which of `partitions` parts an entity belongs to, from 1 to `partitions`.
#[pg_extern(immutable, strict, parallel_safe)]
pub fn embed_partition(entity_id: &str, partitions: i32) -> Result<i32, ErrorReport> {
    let count = within("partitions", partitions, i32::MAX)?;
    Ok(partition::of(entity_id, count) as i32)
}

/// Reads the arguments `partition` and `partitions`.
///
/// Errors: [`Fault::NullArgument`] (22004), [`Error::OutOfRange`] (22023).
pub fn part(partition: Option<i32>, partitions: Option<i32>) -> Result<Part, Fault> {
    let parts = required(partitions, "partitions")?;
    let of = within("partitions", parts, i32::MAX)?;
    Ok(Part { number: within("partition", required(partition, "partition")?, parts)?, of })
}

/// Checks the argument `batch_entities`, which may be NULL. Errors: [`Error::OutOfRange`] (22023).
pub fn batch_size(batch_entities: Option<i32>) -> Result<(), Fault> {
    batch_entities.map_or(Ok(()), |size| within("batch_entities", size, i32::MAX).map(|_| ()))
}

/// The entities of one batch. Errors: as [`required`] and [`ItemArray::values`].
pub fn batch_names(entities: Option<ItemArray<'_, str>>) -> Result<Vec<String>, Fault> {
    let entities = required(entities, "entities")?;
    Ok(entities.values("entities")?.into_iter().map(str::to_owned).collect())
}

/// An argument from 1 to `max`. Errors: [`Error::OutOfRange`] (22023).
pub fn within(name: &'static str, value: i32, max: i32) -> Result<u32, Fault> {
    let inside = u32::try_from(value).ok().filter(|_| (1..=max).contains(&value));
    inside.ok_or_else(|| Error::OutOfRange { name, value: value.into(), min: 1, max: max.into() }.into())
}
