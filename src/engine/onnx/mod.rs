//! Text models and projections run by ONNX Runtime: the library, one session each, and the models of this process. The
//! only room that knows `ort`, and the only owner of sessions and thread counts.

mod blocks;
mod cpu;
mod graph;
mod pool;
mod runtime;
mod session;

pub use blocks::Blocks;
pub use cpu::kind as cpu_kind;
pub use graph::GraphSession;
pub use pool::{LoadRequest, Loaded, ModelPool, Usage};
pub use runtime::{Runtime, check as check_runtime, loaded_build};

/// What a host needs that lends the runtime memory ([`super::host::Host::lend_memory`]).
pub mod lending {
    pub use ort::environment::Environment;
    pub use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
    pub use ort::sys::{OrtAllocator, OrtMemoryInfo, OrtStatusPtr};
    pub use ort::{AsPointer, api};
}
