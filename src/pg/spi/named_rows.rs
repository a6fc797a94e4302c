//! Rows of named numbers: one object per entity, of the newest row up to a date.

use pgrx::datum::Date;
use pgrx::spi::{quote_identifier, quote_literal};

use super::query::{required, select};
use super::relation::Relation;
use crate::engine::Day;
use crate::pg::report::Fault;

/// Which rows of a relation are read, and how.
#[derive(Debug)]
pub struct NamedSource<'a> {
    /// The relation.
    pub relation: &'a Relation,
    /// Its column with the entity's id.
    pub entity_column: &'a str,
    /// Its column with the date on which a row was known.
    pub date_column: &'a str,
    /// Columns that the model reads; those that the relation lacks are missing in every row.
    pub columns: Vec<&'a str>,
}

/// The newest row of an entity.
#[derive(Debug)]
pub struct NamedRow {
    /// Its id.
    pub entity_id: String,
    /// Its date.
    pub day: Day,
    /// JSON text of an object with a member per column.
    pub json: String,
}

impl NamedSource<'_> {
    /// The newest row up to `as_of` of each entity, or of those named, in byte order of the id; at most
    /// `limit` entities.
    pub fn newest(
        &self,
        as_of: Day,
        entities: Option<&[String]>,
        limit: Option<i32>,
    ) -> Result<Vec<NamedRow>, Fault> {
        let (id, day) = (quote_identifier(self.entity_column), quote_identifier(self.date_column));
        let members: Vec<String> = self
            .columns
            .iter()
            .filter(|column| self.relation.has_column(column))
            .map(|column| format!("{}, s.{}", quote_literal(column), quote_identifier(column)))
            .collect();
        let sql = format!(
            "SELECT DISTINCT ON (s.{id}::pg_catalog.text COLLATE \"C\") s.{id}::pg_catalog.text, \
               s.{day}::pg_catalog.date, pg_catalog.jsonb_build_object({members})::pg_catalog.text \
             FROM {source} s WHERE s.{id} IS NOT NULL AND s.{day}::pg_catalog.date OPERATOR(pg_catalog.<=) $1 \
               AND ($2 IS NULL OR s.{id}::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($2)) \
             ORDER BY s.{id}::pg_catalog.text COLLATE \"C\", s.{day}::pg_catalog.date DESC, 3 LIMIT $3",
            members = members.join(", "),
            source = self.relation.sql,
        );
        let entities: Option<Vec<String>> = entities.map(<[String]>::to_vec);
        let args = [Date::saturating_from_raw(as_of.0).into(), entities.into(), limit.into()];
        select(&sql, &args, |row| {
            Ok(NamedRow {
                entity_id: required(row.text(1)?)?,
                day: Day(required(row.date(2)?)?.to_pg_epoch_days()),
                json: required(row.text(3)?)?,
            })
        })
    }
}
