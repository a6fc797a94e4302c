//! `regclass` arguments.

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::pg_sys;

/// A relation given by the caller, found through the caller's search_path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Regclass(pub pg_sys::Oid);

pgrx::impl_sql_translatable!(Regclass, "regclass");

// SAFETY: regclass is an oid by another name.
unsafe impl<'fcx> ArgAbi<'fcx> for Regclass {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: as above; a NULL never reaches this (Option arguments).
        Self(unsafe { arg.unbox_arg_using_from_datum::<pg_sys::Oid>() }.unwrap_or(pg_sys::InvalidOid))
    }
}
