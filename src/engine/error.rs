//! The one error type of the engine. Variants carry values; wording and SQLSTATEs for SQL callers live in
//! `pg/report.rs`, which matches every variant.

/// What can go wrong on the pure floor.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// A stored vector whose byte length is no positive multiple of four.
    #[error("vector of {bytes} bytes is not a whole, positive number of float32 values")]
    VectorBytes {
        /// Length found, in bytes.
        bytes: usize,
    },
}

/// Result of the engine.
pub type Result<T> = std::result::Result<T, Error>;
