//! Aggregate states: Rust values that live exactly as long as Postgres' aggregate memory.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::NonNull;

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::pg_sys;

use crate::pg::report::Fault;

/// A state of type `T`, passed between the functions of one aggregate as `internal`.
#[derive(Debug)]
pub struct State<T>(NonNull<T>, PhantomData<T>);

/// The memory of the aggregate on whose behalf a function runs.
pub struct AggregateMemory(pg_sys::MemoryContext);

impl AggregateMemory {
    /// Where the aggregate's states live.
    ///
    /// Errors: [`Fault::NotAnAggregate`] when the function is called outside an aggregate.
    pub fn of(fcinfo: pg_sys::FunctionCallInfo) -> Result<Self, Fault> {
        let mut context = std::ptr::null_mut();
        // SAFETY: fcinfo is the call information that Postgres passed to the running function.
        let kind = unsafe { pg_sys::AggCheckCallContext(fcinfo, &mut context) };
        if kind == 0 { Err(Fault::NotAnAggregate) } else { Ok(Self(context)) }
    }

    /// Where a partial state lives that is read only to be joined to another: until the next row. Whoever
    /// joins must copy from it, never hand it on.
    ///
    /// Errors: as [`AggregateMemory::of`].
    pub fn until_joined(fcinfo: pg_sys::FunctionCallInfo) -> Result<Self, Fault> {
        Self::of(fcinfo)?;
        // SAFETY: reads a variable of the backend. Postgres calls deserialisation functions in the memory of
        // the row at hand, and joins what they return before it goes on to the next.
        Ok(Self(unsafe { pg_sys::CurrentMemoryContext }))
    }

    /// Moves `value` into the aggregate's memory; it is dropped with it, also after an error.
    pub fn keep<T>(&self, value: T) -> Result<State<T>, Fault> {
        let size = size_of::<pg_sys::MemoryContextCallback>();
        // The callback is allocated before the value leaves Rust's hands, so that an error in between
        // leaks nothing.
        // SAFETY: the context is the live aggregate context; the callback struct is allocated in it, and
        // the boxed value is freed by exactly one call of `drop_value`.
        unsafe {
            let callback =
                pg_sys::MemoryContextAllocZero(self.0, size).cast::<pg_sys::MemoryContextCallback>();
            let value = Box::into_raw(Box::new(value));
            (*callback).func = Some(drop_value::<T>);
            (*callback).arg = value.cast::<c_void>();
            pg_sys::MemoryContextRegisterResetCallback(self.0, callback);
            NonNull::new(value).map(|value| State(value, PhantomData)).ok_or(Fault::NotAnAggregate)
        }
    }
}

unsafe extern "C-unwind" fn drop_value<T>(value: *mut c_void) {
    // SAFETY: registered once for a pointer that came from Box::into_raw.
    drop(unsafe { Box::from_raw(value.cast::<T>()) });
}

impl<T> State<T> {
    /// The value.
    pub fn get(&self) -> &T {
        // SAFETY: the box lives until the aggregate memory is reset, and one backend thread uses it.
        unsafe { self.0.as_ref() }
    }

    /// A state from the `internal` datum of an aggregate's argument.
    ///
    /// # Safety
    ///
    /// The datum must be one that functions of this aggregate returned for a `State<T>` of this `T`.
    pub(super) unsafe fn from_datum(datum: pg_sys::Datum) -> Option<Self> {
        NonNull::new(datum.cast_mut_ptr::<T>()).map(|pointer| Self(pointer, PhantomData))
    }

    /// The value, to change it.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: as above; Postgres passes a state to one running function at a time.
        unsafe { self.0.as_mut() }
    }
}

// SAFETY: only functions of one aggregate pass this type around, always as `internal`, which no SQL
// expression can produce.
unsafe impl<'fcx, T> ArgAbi<'fcx> for State<T> {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: as above; NULL states arrive as None of Option<State<T>>.
        let pointer = unsafe { arg.unbox_arg_using_from_datum::<Pointer>() };
        match pointer {
            Some(Pointer(pointer)) => State(pointer.cast(), PhantomData),
            None => State(NonNull::dangling(), PhantomData),
        }
    }
}

struct Pointer(NonNull<c_void>);

impl pgrx::FromDatum for Pointer {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Self> {
        if is_null { None } else { NonNull::new(datum.cast_mut_ptr()).map(Self) }
    }
}

// SAFETY: the declared SQL type is `internal`.
unsafe impl<T> BoxRet for State<T> {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        // SAFETY: as above.
        unsafe { fcinfo.return_raw_datum(pg_sys::Datum::from(self.0.as_ptr())) }
    }
}
