//! The row source of the bulk writer, as SQL sees it.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::pg::ffi::staged;

/// The rows of the running backfill's batch; only backfills call it.
#[pg_extern(sql = r#"
CREATE FUNCTION embed_staged_rows() RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 1000
    AS 'MODULE_PATHNAME', 'embed_staged_rows_wrapper';
"#)]
fn embed_staged_rows(fcinfo: pg_sys::FunctionCallInfo) -> Result<(), ErrorReport> {
    Ok(staged::fill(fcinfo)?)
}
