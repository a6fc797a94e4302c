//! Backfills: what was asked for, computed in batches, written in one statement per batch, and told row
//! by row.

pub mod job;
pub mod joint;
pub mod ledger;
pub mod made;
pub mod market;
pub mod named;
pub mod numeric;
pub mod pool;
pub mod text;

use crate::pg::report::Fault;

/// What to do with a key that already has a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExisting {
    /// Overwrite it.
    Replace,
    /// Leave it and compute nothing.
    Skip,
    /// Leave it where it was made from the very rows that are there now, else overwrite it.
    Update,
    /// Add another row beside it, as the published system does.
    Append,
}

impl OnExisting {
    /// As [`OnExisting::parse`], for a backfill that does not compare inputs. Errors: [`Fault::InvalidChoice`].
    pub fn parse_plain(value: &str) -> Result<Self, Fault> {
        match Self::parse(value) {
            Ok(Self::Update) | Err(Fault::InvalidChoice { .. }) => Err(Fault::InvalidChoice {
                argument: "on_existing",
                value: value.to_owned(),
                allowed: "\"replace\", \"skip\" and \"append\"",
            }),
            parsed => parsed,
        }
    }

    /// Reads the argument `on_existing`. Errors: [`Fault::InvalidChoice`] (22023).
    pub fn parse(value: &str) -> Result<Self, Fault> {
        match value {
            "replace" => Ok(Self::Replace),
            "skip" => Ok(Self::Skip),
            "update" => Ok(Self::Update),
            "append" => Ok(Self::Append),
            other => Err(Fault::InvalidChoice {
                argument: "on_existing",
                value: other.to_owned(),
                allowed: "\"replace\", \"skip\", \"update\" and \"append\"",
            }),
        }
    }
}
