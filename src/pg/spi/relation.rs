//! The user's relations: found by the caller, checked before they are used, quoted once.

use pgrx::pg_sys;

use super::query::{required, select_kept};
use crate::pg::ffi::regclass::Regclass;
use crate::pg::report::Fault;

/// A relation that exists and has the columns asked for.
#[derive(Debug, Clone)]
pub struct Relation {
    /// Its OID.
    pub oid: pg_sys::Oid,
    /// Schema-qualified and quoted, for SQL text.
    pub sql: String,
    /// Names, and whether Postgres computes the value.
    columns: Vec<(String, bool)>,
}

impl Relation {
    /// Checks the relation that the caller gave as `argument`, or that his search_path found under the
    /// default name; `columns` are those that will be used.
    ///
    /// Errors: [`Fault::MissingRelation`] (42P01), [`Fault::WrongRelationKind`] (42809),
    /// [`Fault::MissingColumn`] (42703).
    pub fn open(
        given: Option<Regclass>,
        argument: &'static str,
        default_name: &'static str,
        columns: &[&str],
    ) -> Result<Self, Fault> {
        let missing = Fault::MissingRelation { name: default_name, argument };
        let Some(Regclass(oid)) = given else { return Err(missing) };
        let sql = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), c.relkind::pg_catalog.text \
                   FROM pg_catalog.pg_class c \
                   JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
                   WHERE c.oid OPERATOR(pg_catalog.=) $1";
        let found =
            select_kept(sql, &[oid.into()], |row| Ok((required(row.text(1)?)?, required(row.text(2)?)?)))?;
        let Some((sql, kind)) = found.into_iter().next() else { return Err(missing) };
        if !["r", "p", "v", "m", "f"].contains(&kind.as_str()) {
            return Err(Fault::WrongRelationKind { name: sql, argument });
        }
        let relation = Self { oid, sql, columns: columns_of(oid)? };
        match columns.iter().find(|column| !relation.has_column(column)) {
            None => Ok(relation),
            Some(column) => {
                Err(Fault::MissingColumn { relation: relation.sql, column: (*column).to_owned(), argument })
            }
        }
    }

    /// Whether the relation has a column of that name.
    pub fn has_column(&self, column: &str) -> bool {
        self.is_generated(column).is_some()
    }

    /// Whether a column is a generated one, if the relation has it.
    pub fn is_generated(&self, column: &str) -> Option<bool> {
        self.columns.iter().find(|(name, _)| name == column).map(|(_, generated)| *generated)
    }

    /// The key definitions of each unique, valid, unconditional index, each sorted; operators and types of
    /// pg_catalog without their schema, which Postgres prints where the caller's search_path hides them.
    pub fn unique_keys(&self) -> Result<Vec<Vec<String>>, Fault> {
        let sql = "SELECT pg_catalog.array_to_string(ARRAY(SELECT pg_catalog.pg_get_indexdef(i.indexrelid, k, true) \
                     FROM pg_catalog.generate_series(1, i.indnkeyatts)  k), E'\\x01') \
                   FROM pg_catalog.pg_index i \
                   WHERE i.indrelid OPERATOR(pg_catalog.=) $1 AND i.indisunique AND i.indisvalid \
                     AND i.indimmediate AND i.indpred IS NULL";
        let keys = select_kept(sql, &[self.oid.into()], |row| required(row.text(1)?))?;
        let parts = |key: &String| {
            let mut parts: Vec<String> = key.split('\u{1}').map(plain).collect();
            parts.sort_unstable();
            parts
        };
        Ok(keys.iter().map(parts).collect())
    }
}

/// A definition as Postgres prints it where pg_catalog comes first, and `quote_all_identifiers` is off.
fn plain(definition: &str) -> String {
    let mut text = definition.replace('"', "").replace("::pg_catalog.", "::");
    for operator in ["->>", "||"] {
        text = text.replace(&format!("OPERATOR(pg_catalog.{operator})"), operator);
    }
    text
}

fn columns_of(oid: pg_sys::Oid) -> Result<Vec<(String, bool)>, Fault> {
    let sql = "SELECT a.attname::pg_catalog.text, a.attgenerated::pg_catalog.text FROM pg_catalog.pg_attribute a \
               WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attnum OPERATOR(pg_catalog.>) 0 \
                 AND NOT a.attisdropped";
    select_kept(sql, &[oid.into()], |row| Ok((required(row.text(1)?)?, !required(row.text(2)?)?.is_empty())))
}
