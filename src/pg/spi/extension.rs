//! Where the extension's own objects are.

use pgrx::spi::quote_identifier;

use super::query::{required, select_kept};
use crate::pg::report::Fault;

/// The extension's schema, quoted.
///
/// Errors: [`Fault::NotInstalled`] (55000).
pub fn schema() -> Result<String, Fault> {
    let sql = "SELECT n.nspname::pg_catalog.text FROM pg_catalog.pg_extension e \
               JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace \
               WHERE e.extname OPERATOR(pg_catalog.=) 'prometheus_embed'";
    let found = select_kept(sql, &[], |row| required(row.text(1)?))?;
    found.first().map(quote_identifier).ok_or(Fault::NotInstalled)
}
