//! The [`arena`] as ONNX Runtime knows memory: its table of functions. What the arena has no room for comes from the runtime's
//! own allocator, which throws where there is no memory: a null pointer the runtime would use.

use std::ffi::c_void;

use super::arena;
use crate::engine::onnx::lending::{
    AllocationDevice, AllocatorType, AsPointer, Environment, MemoryInfo, MemoryType, OrtAllocator,
    OrtMemoryInfo, OrtStatusPtr, api,
};

/// The table, and what the runtime is told about the memory behind it.
#[repr(C)]
struct TensorMemory {
    // First: the runtime hands its address to the functions.
    table: OrtAllocator,
    info: MemoryInfo<'static>,
    heap: *mut OrtAllocator,
}

/// A function of the table that may throw: an exception of C++ passes through a frame of ours that has nothing to drop.
type Throwing = unsafe extern "C-unwind" fn(*mut OrtAllocator, usize) -> *mut c_void;
/// As the table declares it.
type Declared = unsafe extern "system" fn(*mut OrtAllocator, usize) -> *mut c_void;
/// Likewise.
type DeclaredConst = unsafe extern "system" fn(*const OrtAllocator, usize) -> *mut c_void;

/// Some kernels of the runtime read a little beyond what they asked for; its own allocator reckons with that, too.
const BEYOND: usize = 64;

/// Has sessions of `environment` that ask for it take tensors from the arena. Whether they can.
pub fn lend(environment: &Environment) -> bool {
    let info = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default);
    let Ok(info) = info else { return false };
    let mut heap = std::ptr::null_mut();
    // SAFETY: sets `heap` where it succeeds.
    if !unsafe { succeeds((api().GetAllocatorWithDefaultOptions)(&mut heap)) } || heap.is_null() {
        return false;
    }
    arena::make();
    // SAFETY: a table without functions; they follow. Whether a function may throw is not part of how it is called.
    let table = unsafe {
        let mut table = OrtAllocator::default();
        table.Alloc = Some(std::mem::transmute::<Throwing, Declared>(allocate));
        table.Reserve = Some(std::mem::transmute::<Throwing, DeclaredConst>(reserve));
        table.Free = Some(free);
        table.Info = Some(describe);
        table
    };
    // The runtime uses it until the process ends.
    let memory = Box::leak(Box::new(TensorMemory { table, info, heap }));
    // SAFETY: environment and table are alive.
    unsafe { succeeds((api().RegisterAllocator)(environment.ptr().cast_mut(), (&raw mut *memory).cast())) }
}

/// # Safety
/// The status is what a function of the runtime returned, and not used after this.
unsafe fn succeeds(status: OrtStatusPtr) -> bool {
    if status.0.is_null() {
        return true;
    }
    // SAFETY: as the caller promises.
    unsafe { (api().ReleaseStatus)(status.0) };
    false
}

/// For the length of a run.
unsafe extern "C-unwind" fn allocate(table: *mut OrtAllocator, bytes: usize) -> *mut c_void {
    match bytes.checked_add(BEYOND).and_then(arena::allocate) {
        Some(memory) => memory,
        // SAFETY: the table is that of `lend`.
        None => unsafe { reserve(table, bytes) },
    }
}

/// For as long as a model: not between what goes after a run.
unsafe extern "C-unwind" fn reserve(table: *mut OrtAllocator, bytes: usize) -> *mut c_void {
    // SAFETY: the table is the first field of what `lend` made, and its heap the runtime's own, which has this function.
    unsafe {
        let heap = (*table.cast::<TensorMemory>()).heap;
        let Some(allocate) = (*heap).Alloc else { return std::ptr::null_mut() };
        std::mem::transmute::<Declared, Throwing>(allocate)(heap, bytes)
    }
}

unsafe extern "system" fn free(table: *mut OrtAllocator, memory: *mut c_void) {
    if arena::free(memory) {
        return;
    }
    // SAFETY: as for `reserve`; the runtime frees what it was given, once.
    unsafe {
        let heap = (*table.cast::<TensorMemory>()).heap;
        if let Some(free) = (*heap).Free {
            free(heap, memory);
        }
    }
}

unsafe extern "system" fn describe(table: *const OrtAllocator) -> *const OrtMemoryInfo {
    // SAFETY: the table is the first field of what `lend` made.
    unsafe { (*table.cast::<TensorMemory>()).info.ptr() }
}
