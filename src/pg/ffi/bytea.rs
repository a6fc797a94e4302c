//! `bytea` results written once, straight into the memory that Postgres will read; and values of variable length read where
//! they lie.

use std::ptr::NonNull;

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::pg_sys;
use pgrx::prelude::*;
use pgrx::varlena;

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

/// What a value of variable length holds.
///
/// # Safety
///
/// The datum must be a bytea, text or varchar that lives for 'a. What is stored compressed or out of line is read into
/// the current memory context first.
#[inline]
pub(super) unsafe fn bytes_of<'a>(datum: pg_sys::Datum) -> &'a [u8] {
    // SAFETY: as above; what is unpacked is plain.
    unsafe {
        plain_bytes(datum).unwrap_or_else(|| {
            let unpacked = pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr());
            plain_bytes(pg_sys::Datum::from(unpacked)).unwrap_or_default()
        })
    }
}

/// What a value of variable length holds where it lies; None where it has to be unpacked first.
///
/// # Safety
///
/// As of [`bytes_of`].
#[inline]
pub(super) unsafe fn plain_bytes<'a>(datum: pg_sys::Datum) -> Option<&'a [u8]> {
    let pointer = datum.cast_mut_ptr::<pg_sys::varlena>();
    // SAFETY: as above; a header says how long the value behind it is.
    unsafe {
        let plain = varlena::varatt_is_4b_u(pointer)
            || (varlena::varatt_is_1b(pointer) && !varlena::varatt_is_1b_e(pointer));
        plain.then(|| {
            let len = varlena::varsize_any_exhdr(pointer);
            std::slice::from_raw_parts(varlena::vardata_any(pointer).cast::<u8>(), len)
        })
    }
}
