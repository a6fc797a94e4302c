//! The Postgres floor.

use pgrx::prelude::*;

pgrx::pg_module_magic!();

/// Library version, as compiled.
#[pg_extern(immutable, parallel_safe)]
fn embed_version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
