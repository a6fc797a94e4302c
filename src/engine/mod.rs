//! The pure floor: numbers in, vectors out. No Postgres, no SQL, no environment, no clock.
//!
//! * [`vector`]: stored vectors (little-endian float32 bytes), norms and similarities.
//! * [`numeric`]: price series, windows and their encoders.
//! * [`text`]: documents, tokens, batches, pooling; [`registry`]: a model's files, checked; [`onnx`]: the
//!   networks, run by ONNX Runtime. [`host`]: what these ask of the program around them.
//! * [`joint`]: fusing vectors of several models into one.
//! * [`search`]: the nearest of many vectors.
//! * [`day`]: calendar days.
//! * [`named`]: vectors of named numbers.
//! * [`partition`]: which part of a split an entity belongs to.
//! * [`fit`]: what encoders learn; [`linear`], [`random`], [`kept`]: what projections and fits need.
//! * [`shapley`]: what each part of something adds to it.
//! * [`error`]: what can go wrong, as values.

pub mod day;
pub mod error;
pub mod fit;
pub mod host;
pub mod joint;
pub mod kept;
pub mod linear;
pub mod logarithm;
pub mod named;
pub mod numeric;
#[cfg(feature = "onnx")]
pub mod onnx;
pub mod partition;
pub mod random;
pub mod registry;
pub mod search;
pub mod shapley;
pub mod simd;
pub mod text;
pub mod vector;

pub use day::Day;
pub use error::{Error, Result};
