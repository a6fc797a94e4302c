//! The directories of the running server's own installation, and its list of setting prefixes.

use std::ffi::{CStr, c_char};
use std::path::PathBuf;

use pgrx::pg_sys;

/// Where the server's loadable modules are.
pub fn library_directory() -> PathBuf {
    // SAFETY: a NUL-terminated array of the server, filled when it started.
    text(unsafe { CStr::from_ptr((&raw const pg_sys::pkglib_path).cast::<c_char>()) })
}

/// Where the server's shared files are.
pub fn share_directory() -> PathBuf {
    let mut path = [0 as c_char; pg_sys::MAXPGPATH as usize];
    // SAFETY: my_exec_path is as above; the function writes at most MAXPGPATH bytes with the terminator.
    unsafe {
        pg_sys::get_share_path((&raw const pg_sys::my_exec_path).cast::<c_char>(), path.as_mut_ptr());
        text(CStr::from_ptr(path.as_ptr()))
    }
}

fn text(path: &CStr) -> PathBuf {
    PathBuf::from(path.to_string_lossy().into_owned())
}

/// Tells the server that settings beginning with `prefix` are ours: unknown ones are refused.
#[cfg(not(feature = "pg14"))]
pub fn reserve_setting_prefix(prefix: &'static CStr) {
    // SAFETY: copies the string.
    unsafe { pg_sys::MarkGUCPrefixReserved(prefix.as_ptr()) };
}
