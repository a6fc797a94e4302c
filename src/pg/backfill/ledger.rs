//! What became of each entity and date: small records, worded only when they are read.

use crate::engine::Day;
use crate::pg::report::Fault;

/// Where a run tells what became of its keys: in the order of entities, and of dates within each.
pub trait Outcomes {
    /// One more key.
    fn tell(&mut self, entry: Entry) -> Result<(), Fault>;

    /// Forgets what was told: the run begins again.
    fn restart(&mut self);
}

/// The fate of one key.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// A row was added.
    Inserted(Vector),
    /// A row was overwritten.
    Replaced(Vector),
    /// A row was there and was left.
    Skipped,
    /// A row was there, made from the same prices, and was left.
    Current,
    /// No vector could be made.
    Failed {
        /// Rows that were found.
        rows: u32,
        /// Why.
        reason: Box<str>,
    },
}

/// What is worth saying about a vector that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vector {
    /// Rows that it was made from.
    pub rows: u32,
    /// Copies of the last row that fill its window.
    pub padded: u32,
    /// Components that are NaN or infinite.
    pub non_finite: u32,
}

/// One key and its fate.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Index of the entity among those asked for.
    pub entity: u32,
    /// The as-of date.
    pub day: Day,
    /// What became of it.
    pub fate: Fate,
}

impl Entry {
    /// The word in column `status`.
    pub fn status(&self) -> &'static str {
        match self.fate {
            Fate::Inserted(_) => "inserted",
            Fate::Replaced(_) => "replaced",
            Fate::Skipped | Fate::Current => "skipped",
            Fate::Failed { .. } => "failed",
        }
    }

    /// Whether a vector of the key is in the table now.
    pub fn has_vector(&self) -> bool {
        !matches!(self.fate, Fate::Failed { .. })
    }

    /// Rows read for it; unknown where nothing was computed.
    pub fn rows_used(&self) -> Option<i32> {
        match &self.fate {
            Fate::Inserted(vector) | Fate::Replaced(vector) => Some(vector.rows as i32),
            Fate::Skipped | Fate::Current => None,
            Fate::Failed { rows, .. } => Some(*rows as i32),
        }
    }

    /// What a reader should know, for a vector of `dim` components.
    pub fn detail(&self, dim: usize) -> Option<String> {
        match &self.fate {
            Fate::Inserted(vector) | Fate::Replaced(vector) => vector.detail(dim),
            Fate::Skipped => Some("row exists".to_owned()),
            Fate::Current => Some("up to date".to_owned()),
            Fate::Failed { reason, .. } => Some(reason.to_string()),
        }
    }
}

impl Vector {
    fn detail(&self, dim: usize) -> Option<String> {
        let padded = (self.padded > 0).then(|| format!("last row repeated {} times", self.padded));
        let odd =
            (self.non_finite > 0).then(|| format!("{} of {dim} values are not finite", self.non_finite));
        let parts: Vec<String> = padded.into_iter().chain(odd).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}
