//! The files of a text model: what its manifest says, and whether the files on disk are those. Data and
//! checks only; what is registered is kept by the caller.

mod files;
mod graph;
mod manifest;
mod recipe;

pub use files::{Assurance, ModelFiles};
pub use graph::check_graph;
pub use manifest::{FileEntry, MANIFEST, Manifest};
pub use recipe::Recipe;
