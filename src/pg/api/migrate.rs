//! `embed_migrate`: makes what is missing of the data tables, from inside the database.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::pg::spi::migrations::{self, Kind, Outcome};

/// Applies the migrations to a schema: one row per migration, `applied`, `already there` or `incomplete`.
///
/// It runs with the caller's rights and creates nothing that the caller could not create by hand, so
/// everyone may execute it.
#[pg_extern(volatile, parallel_unsafe, cost = 100000)]
pub fn embed_migrate(
    schema: default!(Option<&str>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (name!(migration, String), name!(status, &'static str), name!(detail, Option<String>)),
    >,
    ErrorReport,
> {
    let outcomes = migrations::apply(schema)?;
    Ok(TableIterator::new(
        outcomes
            .into_iter()
            .map(|outcome| (outcome.migration.to_owned(), status(&outcome), detail(&outcome))),
    ))
}

fn status(outcome: &Outcome) -> &'static str {
    match (&outcome.left_undone, outcome.added.is_empty()) {
        (Some(_), _) => "incomplete",
        (None, false) => "applied",
        (None, true) => "already there",
    }
}

/// What was added, a line per kind and table or per kind, then what could not be.
fn detail(outcome: &Outcome) -> Option<String> {
    let mut lines: Vec<(String, Vec<String>)> = Vec::new();
    for (kind, table, name) in &outcome.added {
        let (heading, name) = match kind {
            Kind::Table => ("tables".to_owned(), name.clone()),
            Kind::Column => (format!("columns of {table}"), name.clone()),
            Kind::ForeignKey => ("foreign keys".to_owned(), name.clone()),
            Kind::Index => ("indexes".to_owned(), name.clone()),
            Kind::Storage => (format!("storage of {table}"), name.clone()),
            // A comment has no name, only the number of its column.
            Kind::Comment => ("comments on".to_owned(), table.clone()),
        };
        match lines.last_mut() {
            Some((last, names)) if *last == heading => names.push(name),
            _ => lines.push((heading, vec![name])),
        }
    }
    for (_, names) in &mut lines {
        names.dedup();
    }
    let added = lines.into_iter().map(|(heading, names)| format!("{heading}: {}", names.join(", ")));
    let all: Vec<String> = added.chain(outcome.left_undone.clone()).collect();
    (!all.is_empty()).then(|| all.join("\n"))
}
