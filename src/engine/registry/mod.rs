//! The files of a text model or a projection: what its manifest says, and whether the files on disk are those. Data and
//! checks only; what is registered is kept by the caller.

mod files;
mod graph;
mod manifest;
mod recipe;

pub use files::{Assurance, ModelFiles, read_single, sha256_hex};
pub use graph::{check_graph, check_graph_bytes};
pub use manifest::{FileEntry, MANIFEST, Manifest};
pub use recipe::Recipe;
