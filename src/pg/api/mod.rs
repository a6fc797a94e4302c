//! The SQL surface: thin functions that read arguments, call one room of the engine or of `spi`, and
//! return.

pub mod about;
pub mod aggregate;
pub mod arguments;
pub mod backfill_entities;
pub mod backfill_joint;
pub mod backfill_joint_job;
pub mod backfill_numeric;
pub mod backfill_numeric_job;
pub mod backfill_profile;
pub mod backfill_text;
pub mod backfill_text_job;
pub mod explain;
pub mod fit;
pub mod joint_average;
pub mod market;
pub mod migrate;
pub mod models;
pub mod moving;
pub mod nearest;
pub mod numeric;
pub mod panel;
pub mod partition;
pub mod search;
pub mod show;
pub mod spaces;
pub mod spread;
pub mod staged;
pub mod text;
pub mod text_models;
pub mod vectors;
