//! Settings of other extensions, changed for one query of ours and put back.

use std::ffi::CStr;

use pgrx::pg_sys;

/// Settings as they were before; an error puts them back too, when it ends the (sub)transaction.
#[derive(Debug)]
pub struct ChangedSettings(i32);

impl ChangedSettings {
    /// Sets each to its value, as the `SET` clause of a function would.
    pub fn set(settings: &[(&CStr, &CStr)]) -> Self {
        // SAFETY: opens a nesting level on the backend's own thread and sets within it, with NUL-terminated names
        // and values; a value that is refused raises, and the abort closes the level.
        unsafe {
            let level = pg_sys::NewGUCNestLevel();
            for (name, value) in settings {
                pg_sys::set_config_option(
                    name.as_ptr(),
                    value.as_ptr(),
                    pg_sys::GucContext::PGC_USERSET,
                    pg_sys::GucSource::PGC_S_SESSION,
                    pg_sys::GucAction::GUC_ACTION_SAVE,
                    true,
                    0,
                    false,
                );
            }
            Self(level)
        }
    }

    /// Puts them back.
    pub fn restore(self) {
        // SAFETY: closes the level that `set` opened, in the same (sub)transaction.
        unsafe { pg_sys::AtEOXact_GUC(true, self.0) }
    }
}
