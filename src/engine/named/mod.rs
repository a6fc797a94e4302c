#![forbid(unsafe_code)]
//! Vectors of named numbers: risk reports, fundamentals, behaviour.
//!
//! Every name has slots of its own in the vector, found by hashing, with signs: a feature that is missing
//! leaves nothing behind and moves no other. [`NamedSpec`] is the recipe, [`features`] reads names and
//! numbers out of JSON, [`encode`] makes the vector, [`fit`] learns centres and scales from a cross-section.
//! `docs/encoders.md` states every formula.

pub mod encode;
pub mod features;
pub mod fit;
pub mod spec;

pub use encode::{encode, parts};
pub use features::{Features, read_features};
pub use fit::CrossSection;
pub use spec::{Block, NamedSpec, Scaling, Transform};
