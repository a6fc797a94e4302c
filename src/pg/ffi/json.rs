//! `jsonb` arguments: as JSON text, or untouched until they are looked at. pgrx's own type parses while it reads arguments, and turns what its parser
//! refuses and Postgres allows (deep nesting, huge numbers) into an internal error.

use std::ffi::{CStr, CString};

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::errors::keep_code;
use crate::engine::Error;
use crate::pg::report::Fault;

/// Bytes of a document that is read: a parser asks for many times as much, in ways that cannot be refused.
const MOST: usize = 2 << 20;

/// A `jsonb` value as its text, for a parser that reports what it cannot read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonText(pub String);

pgrx::impl_sql_translatable!(JsonText, "jsonb");

// SAFETY: the declared SQL type is jsonb.
unsafe impl<'fcx> ArgAbi<'fcx> for JsonText {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: as above; a NULL never reaches this (STRICT functions and Option arguments).
        unsafe { arg.unbox_arg_using_from_datum::<Self>() }.unwrap_or_else(|| Self(String::new()))
    }
}

impl FromDatum for JsonText {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: as above; looks at the header only.
        let bytes = unsafe { pg_sys::toast_raw_datum_size(datum) };
        if bytes > MOST {
            return refuse(Error::JsonTooLarge { bytes, most: MOST }.into());
        }
        // SAFETY: the caller passes a jsonb datum, which jsonb_out detoasts itself and prints into memory of
        // the call; the text is copied before anything can free it.
        let text =
            keep_code(|| unsafe { pgrx::direct_function_call::<&CStr>(pg_sys::jsonb_out, &[Some(datum)]) })?;
        let text = text.to_string_lossy();
        let mut copy = String::new();
        if copy.try_reserve_exact(text.len()).is_err() {
            return refuse(Error::OutOfMemory.into());
        }
        copy.push_str(&text);
        Some(Self(copy))
    }
}

/// Ends the call: what reads an argument has no other way to say what is wrong.
fn refuse<T>(fault: Fault) -> Option<T> {
    ErrorReport::from(fault).report(PgLogLevel::ERROR);
    None
}

/// A document as a `jsonb` datum in the current memory context; None where its text holds a NUL.
pub(super) fn jsonb(document: &str) -> Option<pg_sys::Datum> {
    let document = CString::new(document).ok()?;
    // SAFETY: jsonb_in reads the NUL-terminated text and raises where it is no document.
    unsafe { pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[document.as_c_str().into_datum()]) }
}

/// A `jsonb` argument, neither detoasted nor parsed.
#[derive(Debug, Clone, Copy)]
pub struct RawJsonb(pg_sys::Datum);

impl RawJsonb {
    /// Of a datum that is a jsonb.
    pub(super) fn new(datum: pg_sys::Datum) -> Self {
        Self(datum)
    }

    /// Its text, as a cast to `text` gives it.
    pub fn text(self) -> String {
        // SAFETY: the datum is a jsonb.
        let text = unsafe { JsonText::from_polymorphic_datum(self.0, false, pg_sys::JSONBOID) };
        text.map_or_else(String::new, |text| text.0)
    }

    /// Whether it contains `other`, as the operator `@>` says.
    pub fn contains(self, other: Self) -> bool {
        let args = [Some(self.0), Some(other.0)];
        // SAFETY: jsonb_contains takes two jsonb and returns a boolean.
        keep_code(|| unsafe { pgrx::direct_function_call::<bool>(pg_sys::jsonb_contains, &args) })
            .unwrap_or(false)
    }
}
