//! Searching through an HNSW index of pgvector, where there is one.

use std::ffi::CString;

use super::query::{required, select, select_first};
use super::relation::Relation;
use crate::pg::ffi::guc::ChangedSettings;
use crate::pg::report::{Fault, JointFault};

/// Largest `hnsw.ef_search` that pgvector takes.
const MAX_EF_SEARCH: i64 = 1000;

/// An index that ranks the vectors of a joint table by cosine distance.
#[derive(Debug)]
pub struct HnswIndex {
    /// Its name.
    name: String,
    /// What is indexed: an expression over column `vector`.
    expression: String,
    /// The distance, as an operator between two of them.
    operator: String,
}

impl HnswIndex {
    /// One that holds the rows of a model. Whether it is cheaper than reading them all is for the planner to say.
    ///
    /// Errors: [`JointFault::NoHnswIndex`].
    pub fn find(relation: &Relation, model_id: &str) -> Result<Self, Fault> {
        let sql = "SELECT c.relname::pg_catalog.text, pg_catalog.pg_get_indexdef(i.indexrelid, 1, true), \
                     pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname) \
                   FROM pg_catalog.pg_index i \
                   JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid \
                   JOIN pg_catalog.pg_am a ON a.oid OPERATOR(pg_catalog.=) c.relam \
                   JOIN pg_catalog.pg_opclass k ON k.oid OPERATOR(pg_catalog.=) i.indclass[0] \
                   JOIN pg_catalog.pg_amop m ON m.amopfamily OPERATOR(pg_catalog.=) k.opcfamily \
                     AND m.amoppurpose::pg_catalog.text OPERATOR(pg_catalog.=) 'o' \
                   JOIN pg_catalog.pg_operator o ON o.oid OPERATOR(pg_catalog.=) m.amopopr \
                   JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) o.oprnamespace \
                   WHERE i.indrelid OPERATOR(pg_catalog.=) $1 AND i.indisvalid \
                     AND a.amname::pg_catalog.text OPERATOR(pg_catalog.=) 'hnsw' \
                     AND k.opcname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ('{vector_cosine_ops,halfvec_cosine_ops}') \
                     AND (i.indpred IS NULL OR pg_catalog.strpos(pg_catalog.pg_get_expr(i.indpred, i.indrelid), \
                          pg_catalog.quote_literal($2)) OPERATOR(pg_catalog.>) 0) \
                   ORDER BY i.indpred IS NULL, c.relname LIMIT 1";
        let found = select_first(sql, &[relation.oid.into(), model_id.into()], |row| {
            let (name, expression) = (required(row.text(1)?)?, required(row.text(2)?)?);
            Ok(Self { name, expression, operator: required(row.text(3)?)? })
        })?;
        found.ok_or_else(|| {
            JointFault::NoHnswIndex { relation: relation.sql.clone(), model_id: model_id.to_owned() }.into()
        })
    }

    /// The rows of a table under a condition, those nearest to the vector `query` (an argument) first, as many as
    /// `limit` (an argument) says: a subquery that the index can answer.
    pub fn nearest_rows(&self, relation: &Relation, condition: &str, query: &str, limit: &str) -> String {
        let Self { expression, operator, .. } = self;
        format!(
            "(SELECT t.* FROM {} t WHERE {condition} ORDER BY {expression} {operator} \
               (SELECT {expression} FROM (SELECT {query}::pg_catalog.bytea AS vector) q) LIMIT {limit})",
            relation.sql
        )
    }

    /// Makes a search look at `candidates` rows at least, and go on where a condition takes rows away.
    ///
    /// Errors: [`JointFault::NotIndexable`] for a vector that the index cannot hold.
    pub fn widen(&self, vector: &[u8], candidates: i64) -> Result<ChangedSettings, Fault> {
        // The query loads pgvector, which defines its settings only then.
        let sql = format!(
            "SELECT CASE WHEN {} IS NOT NULL THEN 1 END FROM (SELECT $1::pg_catalog.bytea AS vector) q",
            self.expression
        );
        if select(&sql, &[vector.into()], |row| row.int(1))?.pop().flatten().is_none() {
            let (index, dim) = (self.name.clone(), vector.len() / 4);
            return Err(JointFault::NotIndexable { index, dim }.into());
        }
        let sql = "SELECT pg_catalog.current_setting('hnsw.ef_search', true), \
                     pg_catalog.current_setting('hnsw.iterative_scan', true)";
        let (breadth, iterative) =
            select(sql, &[], |row| Ok((row.text(1)?, row.text(2)?)))?.pop().unwrap_or_default();
        let breadth = breadth.and_then(|value| value.parse::<i64>().ok()).unwrap_or(0);
        let breadth = breadth.max(candidates).clamp(1, MAX_EF_SEARCH);
        let breadth = CString::new(breadth.to_string()).unwrap_or_default();
        // A look-up of milliseconds, dear only by the estimate: compiling it would take a hundred times as long.
        let mut settings = vec![(c"hnsw.ef_search", breadth.as_c_str()), (c"jit", c"off")];
        // pgvector 0.8 and later; before, rows that a condition takes away are missing from the result.
        if iterative.as_deref() == Some("off") {
            settings.push((c"hnsw.iterative_scan", c"strict_order"));
        }
        Ok(ChangedSettings::set(&settings))
    }
}
