//! Text models and projections run by ONNX Runtime: the library, one session each, and the models of this process. The
//! only room that knows `ort`, and the only owner of sessions and thread counts.

mod cpu;
mod graph;
mod pool;
mod runtime;
mod session;

pub use cpu::kind as cpu_kind;
pub use graph::GraphSession;
pub use pool::{LoadRequest, Loaded, ModelPool, Usage};
pub use runtime::{Runtime, check as check_runtime, loaded_build};
