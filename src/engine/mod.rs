//! The pure floor: numbers in, vectors out. No Postgres, no SQL, no environment, no clock.

pub mod error;

pub use error::{Error, Result};
