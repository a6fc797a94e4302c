//! The pure floor: numbers in, vectors out. No Postgres, no SQL, no environment, no clock.
//!
//! * [`vector`]: stored vectors (little-endian float32 bytes), norms and similarities.
//! * [`numeric`]: price series, windows and their encoders.
//! * [`day`]: calendar days.
//! * [`error`]: what can go wrong, as values.

pub mod day;
pub mod error;
pub mod numeric;
pub mod simd;
pub mod vector;

pub use day::Day;
pub use error::{Error, Result};
