//! The arguments of `embed_nearest_step`, each read when it is looked at: of most rows only the vector is. And the rows of a
//! table as such arguments, without the executor between.

use pgrx::prelude::*;

use super::aggregate::State;
use super::bytea::{bytes_of, plain_bytes};
use super::json::{self, RawJsonb};
use super::parallel::{NEAREST, Shares, Team};
use super::table_rows::{Condition, TableRows, Taker};
use crate::pg::report::Fault;

/// A call of `embed_nearest_step(state, joint_id, as_of_date, entity_scope, vector, query, top_k, filter, exclude)`.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a>(&'a [pg_sys::NullableDatum]);

/// Arguments of the function, as `sql/21_nearest.sql` declares it.
const ARGUMENTS: usize = 9;

impl Candidate<'_> {
    /// The arguments of the running function, which must be the one above.
    pub fn of(fcinfo: &pg_sys::FunctionCallInfo) -> Candidate<'_> {
        // SAFETY: Postgres' call information of the running function, which outlives the call. Nothing is read of
        // it but the arguments, whose types the SQL declaration promises.
        unsafe {
            let given = usize::try_from((**fcinfo).nargs).unwrap_or_default().min(ARGUMENTS);
            Candidate((**fcinfo).args.as_slice(given))
        }
    }
}

/// The cells of a row: arguments of the function from its second one on.
const CELLS: [(&str, pg_sys::Oid); 4] = [
    ("joint_id", pg_sys::INT8OID),
    ("as_of_date", pg_sys::DATEOID),
    ("entity_scope", pg_sys::JSONBOID),
    ("vector", pg_sys::BYTEAOID),
];

/// Candidates read from their table without a call of the function for each.
pub struct Candidates(TableRows<{ CELLS.len() }>);

impl Candidates {
    /// Of a table that can be read so: as [`TableRows::open`].
    pub fn open(oid: pg_sys::Oid, pages: u32, conditions: &[Condition]) -> Option<Self> {
        TableRows::open(oid, pages, conditions, CELLS).map(Self)
    }

    /// Hands each to `take`, with what their scopes must contain (JSON) and the entity that is left out, but for
    /// those whose vectors are `beaten`, which must call nothing of Postgres.
    ///
    /// Errors: as [`TableRows::each`].
    pub fn each<T>(
        &self,
        share: Option<Shares>,
        filter: &str,
        exclude: &str,
        best: &mut T,
        beaten: impl Fn(&T, &[u8]) -> bool,
        take: impl Fn(&mut T, Candidate<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let given = |value: Option<pg_sys::Datum>| pg_sys::NullableDatum {
            value: value.unwrap_or(pg_sys::Datum::null()),
            isnull: value.is_none(),
        };
        let mut arguments = [given(None); ARGUMENTS];
        arguments[7] = given(json::jsonb(filter));
        arguments[8] = given(exclude.into_datum());
        self.0.each(share, &mut Sieve { arguments, best, beaten, take })
    }

    /// How many of `planned` workers make it quicker: as [`TableRows::workers`].
    pub fn workers(&self, planned: usize) -> usize {
        self.0.workers(planned)
    }

    /// Starts up to `workers` workers that read them, too: `order` is for
    /// `nearest::share`.
    pub fn share(&self, workers: usize, order: &[u8]) -> Team {
        // SAFETY: the function of that name serves.
        unsafe { self.0.share(NEAREST, workers, order) }
    }

    /// Lets go of the table.
    pub fn close(self) {
        self.0.close();
    }
}

/// What keeps the best of the rows that it is handed.
struct Sieve<'t, T, B, K> {
    arguments: [pg_sys::NullableDatum; ARGUMENTS],
    best: &'t mut T,
    beaten: B,
    take: K,
}

impl<T, B, K> Taker<{ CELLS.len() }> for Sieve<'_, T, B, K>
where
    B: Fn(&T, &[u8]) -> bool,
    K: Fn(&mut T, Candidate<'_>) -> Result<(), Fault>,
{
    #[inline]
    fn skips(&self, vector: pg_sys::NullableDatum) -> bool {
        // SAFETY: the cell is a bytea, as `open` made sure of.
        let plain = || unsafe { plain_bytes(vector.value) };
        !vector.isnull && plain().is_some_and(|vector| (self.beaten)(self.best, vector))
    }

    fn take(&mut self, cells: &[pg_sys::NullableDatum; CELLS.len()]) -> Result<(), Fault> {
        self.arguments[1..=CELLS.len()].copy_from_slice(cells);
        (self.take)(self.best, Candidate(&self.arguments))
    }
}

impl<'a> Candidate<'a> {
    fn datum(self, index: usize) -> Option<pg_sys::Datum> {
        self.0.get(index).filter(|argument| !argument.isnull).map(|argument| argument.value)
    }

    fn bytes(self, index: usize) -> Option<&'a [u8]> {
        // SAFETY: the argument is a bytea, text or varchar that lives as long as the call.
        self.datum(index).map(|datum| unsafe { bytes_of(datum) })
    }

    /// The aggregate's state, once there is one.
    pub fn state<T>(self) -> Option<State<T>> {
        // SAFETY: only the functions of one aggregate pass this argument, always of one type.
        self.datum(0).and_then(|datum| unsafe { State::from_datum(datum) })
    }

    /// Row id.
    pub fn joint_id(self) -> Option<i64> {
        self.datum(1).map(|datum| datum.value() as i64)
    }

    /// Day of the row, as days since 2000-01-01.
    pub fn day(self) -> Option<i32> {
        self.datum(2).map(|datum| datum.value() as i32)
    }

    /// The row's scope.
    pub fn entity_scope(self) -> Option<RawJsonb> {
        self.datum(3).map(RawJsonb::new)
    }

    /// The row's vector.
    #[inline]
    pub fn vector(self) -> Option<&'a [u8]> {
        self.bytes(4)
    }

    /// What is compared to.
    pub fn query(self) -> Option<&'a [u8]> {
        self.bytes(5)
    }

    /// Results wanted.
    pub fn top_k(self) -> Option<i32> {
        self.datum(6).map(|datum| datum.value() as i32)
    }

    /// What a scope must contain.
    pub fn filter(self) -> Option<RawJsonb> {
        self.datum(7).map(RawJsonb::new)
    }

    /// The identity that is left out.
    pub fn exclude(self) -> Option<&'a [u8]> {
        self.bytes(8)
    }
}
