//! The two forms of a `joint_embeddings` table: the published one, whose rows have an id and name their entity in
//! `entity_scope`, and the distributed one (`migrations/distributed`), without an id, whose columns `entity_type` and
//! `entity_id` repeat what the scope says so that they can be a key.

use super::relation::Relation;
use crate::pg::ffi::regclass::Regclass;
use crate::pg::report::Fault;

/// Columns of a joint table that readers use.
pub const COLUMNS: [&str; 5] = ["joint_type", "as_of_date", "entity_scope", "model_id", "vector"];

const KIND: &str = "(t.entity_scope OPERATOR(pg_catalog.->>) 'entity_type')";

const ENTITY: &str = "COALESCE(t.entity_scope OPERATOR(pg_catalog.->>) 'entity_id', \
    t.entity_scope OPERATOR(pg_catalog.->>) 'portfolio_id', \
    ((t.entity_scope OPERATOR(pg_catalog.->>) 'scenario_set_id') OPERATOR(pg_catalog.||) ':') \
        OPERATOR(pg_catalog.||) (t.entity_scope OPERATOR(pg_catalog.->>) 'scenario_id'), \
    t.entity_scope OPERATOR(pg_catalog.->>) 'issuer_id')";

/// The key of the published form as `pg_get_indexdef` prints its parts.
const UNIQUE: [&str; 5] = [
    "model_id",
    "joint_type",
    "as_of_date",
    "(entity_scope ->> 'entity_type'::text)",
    "COALESCE(entity_scope ->> 'entity_id'::text, entity_scope ->> 'portfolio_id'::text, \
     ((entity_scope ->> 'scenario_set_id'::text) || ':'::text) || (entity_scope ->> 'scenario_id'::text), \
     entity_scope ->> 'issuer_id'::text)",
];

/// That of the distributed form.
const UNIQUE_COLUMNS: [&str; 5] = ["model_id", "joint_type", "as_of_date", "entity_type", "entity_id"];

/// Opens a joint table in either form. Errors: as [`Relation::open`].
pub fn open(given: Option<Regclass>, argument: &'static str, columns: &[&str]) -> Result<Relation, Fault> {
    Relation::open(given, argument, "joint_embeddings", columns)
}

/// Whether a table is in the distributed form.
pub fn has_entity_columns(relation: &Relation) -> bool {
    ["entity_type", "entity_id"].iter().all(|column| relation.has_column(column))
        && !relation.has_column("joint_id")
}

/// Whether a joint table allows one row per natural key.
pub fn has_natural_key(relation: &Relation) -> Result<bool, Fault> {
    let mut key = if has_entity_columns(relation) { UNIQUE_COLUMNS } else { UNIQUE };
    key.sort_unstable();
    Ok(relation.unique_keys()?.iter().any(|found| found[..] == key[..]))
}

/// Kind of entity of row `t`, spelled as in the natural key so that its index serves.
pub fn kind(relation: &Relation) -> &'static str {
    if has_entity_columns(relation) { "t.entity_type" } else { KIND }
}

/// Entity of row `t`, spelled likewise.
pub fn entity(relation: &Relation) -> &'static str {
    if has_entity_columns(relation) { "t.entity_id" } else { ENTITY }
}

/// Id of row `t`, which tells rows of one key apart; NULL in a table that has none.
pub fn row_id(relation: &Relation) -> &'static str {
    if relation.has_column("joint_id") { "t.joint_id::pg_catalog.int8" } else { "NULL::pg_catalog.int8" }
}
