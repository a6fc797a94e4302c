//! `bytea` results written once, straight into the memory that Postgres will read.

use std::ptr::NonNull;

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::engine::{self, Error};

/// Bytes of a varlena's length word.
const HEADER: usize = 4;

/// Largest payload of a datum: Postgres allocates less than 1 GB at a time.
const MAX_BYTES: usize = 0x3fff_ffff - HEADER;

/// A `bytea` in the current memory context.
#[derive(Debug)]
pub struct Bytea(NonNull<pg_sys::varlena>);

pgrx::impl_sql_translatable!(Bytea, "bytea");

impl Bytea {
    /// Allocates `len` bytes in the current memory context and lets `write` fill them.
    ///
    /// Errors: [`Error::OutOfMemory`] beyond what a datum can hold, and those of `write`.
    pub fn build(len: usize, write: impl FnOnce(&mut [u8]) -> engine::Result<()>) -> engine::Result<Self> {
        if len > MAX_BYTES {
            return Err(Error::OutOfMemory);
        }
        let size = len + HEADER;
        // SAFETY: palloc0 returns `size` initialised bytes or raises; the length word is set before the
        // datum is seen by anyone, and the slice covers exactly the payload of this allocation.
        unsafe {
            let datum = pg_sys::palloc0(size).cast::<pg_sys::varlena>();
            pgrx::set_varsize_4b(datum, size as i32);
            write(std::slice::from_raw_parts_mut(datum.cast::<u8>().add(HEADER), len))?;
            NonNull::new(datum).map(Self).ok_or(Error::OutOfMemory)
        }
    }

    pub(super) fn datum(&self) -> pg_sys::Datum {
        pg_sys::Datum::from(self.0.as_ptr())
    }
}

// SAFETY: the pointer is a valid bytea varlena in the current memory context.
unsafe impl BoxRet for Bytea {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        // SAFETY: as above; the SQL type is declared as bytea.
        unsafe { fcinfo.return_raw_datum(self.datum()) }
    }
}

impl IntoDatum for Bytea {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(self.datum())
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::BYTEAOID
    }
}
