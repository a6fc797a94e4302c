//! Listing joint vectors.

use pgrx::datum::Date;

use super::joint_form;
use super::query::{required, select};
use crate::engine::Day;
use crate::engine::vector::VectorRef;
use crate::pg::ffi::regclass::Regclass;
use crate::pg::report::Fault;

/// Which rows are wanted.
#[derive(Debug)]
pub struct Request<'a> {
    /// Joint type.
    pub joint_type: &'a str,
    /// Joint model.
    pub model_id: &'a str,
    /// First day, if bounded.
    pub from: Option<Day>,
    /// Last day, if bounded.
    pub to: Option<Day>,
    /// JSON that the scope contains.
    pub scope: Option<&'a str>,
    /// Most rows.
    pub limit: Option<i32>,
}

/// A row.
#[derive(Debug)]
pub struct Line {
    /// Its date.
    pub day: Day,
    /// Its scope, as JSON.
    pub scope: String,
    /// Components; 0 without a vector.
    pub dim: i32,
    /// Norm; 0 without a vector, None for bytes that are none.
    pub norm: Option<f64>,
}

/// The rows by date, then by row id. Errors: as [`Relation::open`].
pub fn read(given: Option<Regclass>, request: &Request<'_>) -> Result<Vec<Line>, Fault> {
    let relation = joint_form::open(given, "embeddings", &joint_form::COLUMNS)?;
    let mut condition = String::new();
    for (given, text) in [
        (request.from.is_some(), " AND t.as_of_date OPERATOR(pg_catalog.>=) $3"),
        (request.to.is_some(), " AND t.as_of_date OPERATOR(pg_catalog.<=) $4"),
        (request.scope.is_some(), " AND t.entity_scope OPERATOR(pg_catalog.@>) $5::pg_catalog.jsonb"),
    ] {
        if given {
            condition.push_str(text);
        }
    }
    let sql = format!(
        "SELECT t.as_of_date::pg_catalog.date, t.entity_scope::pg_catalog.text, t.vector::pg_catalog.bytea \
         FROM {} t WHERE t.joint_type::pg_catalog.text OPERATOR(pg_catalog.=) $1 \
           AND t.model_id::pg_catalog.text OPERATOR(pg_catalog.=) $2{condition} \
         ORDER BY t.as_of_date, {order} LIMIT $6",
        relation.sql,
        order = if relation.has_column("joint_id") { "t.joint_id" } else { joint_form::entity(&relation) },
    );
    let date = |day: Option<Day>| day.map(|day| Date::saturating_from_raw(day.0));
    let args = [
        request.joint_type.into(),
        request.model_id.into(),
        date(request.from).into(),
        date(request.to).into(),
        request.scope.into(),
        request.limit.map(i64::from).into(),
    ];
    select(&sql, &args, |row| {
        let bytes = row.bytes(3)?.unwrap_or_default();
        let vector = VectorRef::new(&bytes);
        let norm = if bytes.is_empty() { Some(0.0) } else { vector.ok().map(VectorRef::l2_norm) };
        Ok(Line {
            day: Day(required(row.date(1)?)?.to_pg_epoch_days()),
            scope: required(row.text(2)?)?,
            dim: (bytes.len() / 4) as i32,
            norm,
        })
    })
}
