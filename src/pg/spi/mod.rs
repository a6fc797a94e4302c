//! The only room with SQL text. Every name of ours is qualified by the extension's schema, every
//! built-in by `pg_catalog` (operators too), so that no search_path changes what a query means; the
//! user's relations are found by OID. Queries run with the caller's rights.

pub mod extension;
pub mod instruments;
pub mod joint_form;
pub mod joint_hnsw;
pub mod joint_keys;
pub mod joint_list;
pub mod joint_rows;
pub mod joint_search;
pub mod listed;
pub mod migrations;
pub mod models;
pub mod named_rows;
pub mod numeric_rows;
pub mod prices;
pub mod profiles;
pub mod query;
pub mod relation;
pub mod reports;
pub mod spaces;
pub mod text_rows;
pub mod text_vectors;
