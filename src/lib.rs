//! `prometheus_embed`: embeddings of financial data computed, stored and searched inside PostgreSQL.
//!
//! Two floors:
//! * [`engine`]: pure Rust. Windows, encoders, joint spaces, similarity, text models. It knows neither
//!   Postgres nor SQL and builds and tests without either.
//! * `pg`: everything Postgres (feature `postgres`): datums, SPI, error codes, settings, the SQL surface.
//!
//! A reader's path: `docs/reference.md` names a SQL function, the file of the same subject in `pg/api`
//! declares it, one call leads into the engine room that does the work.

pub mod engine;

#[cfg(feature = "postgres")]
mod pg;

#[cfg(all(feature = "postgres", not(panic = "unwind")))]
compile_error!(
    "a panic must unwind to where it becomes an error; where it aborts, it ends every session of the server"
);
