//! What is installed.

use pgrx::prelude::*;

/// Version of the loaded library.
#[pg_extern(immutable, strict, parallel_safe)]
fn embed_version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
