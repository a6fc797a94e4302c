//! Whether a row is among the nearest: what every way of reading rows asks of each. And the way that needs no executor, in
//! one process or several.
//!
//! A row's scope is looked at only when its vector is among the best so far: that is what keeps the cost per row at
//! the kernel's.

use pgrx::prelude::*;
use serde::{Deserialize, Serialize};

use crate::engine::joint::scope::Scope;
use crate::engine::search::{Hit, TopK, Verdict};
use crate::engine::vector::VectorRef;
use crate::pg::ffi::candidate::{Candidate, Candidates};
use crate::pg::ffi::json::RawJsonb;
use crate::pg::ffi::page_stream;
use crate::pg::ffi::parallel::Shares;
use crate::pg::ffi::table_rows::Condition;
use crate::pg::report::Fault;

/// A search of a whole table: what its workers are told, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct WholeSearch {
    /// OID of the table.
    pub table: u32,
    /// What candidates are of.
    pub joint_type: String,
    /// Likewise.
    pub model_id: String,
    /// Their first and last day, as days since 2000-01-01.
    pub days: (Option<i32>, Option<i32>),
    /// The vector that they are compared to.
    pub query: Vec<u8>,
    /// Results wanted.
    pub top_k: i32,
    /// JSON that their scopes contain.
    pub filter: String,
    /// Identity of the entity that is left out.
    pub exclude: String,
}

impl WholeSearch {
    /// The table, if it has `pages` pages and can be read so: as [`Candidates::open`].
    pub fn open(&self, pages: u32) -> Option<Candidates> {
        let mut conditions = vec![
            Condition::Text("joint_type", self.joint_type.clone()),
            Condition::Text("model_id", self.model_id.clone()),
        ];
        let (first, last) = self.days;
        if first.is_some() || last.is_some() {
            conditions.push(Condition::Days("as_of_date", first, last));
        }
        Candidates::open(self.table.into(), pages, &conditions)
    }

    /// The nearest, found by this process and as many of the `planned` workers as make it quicker.
    ///
    /// Errors: those of [`consider`], and of workers.
    pub fn run(&self, rows: &Candidates, planned: usize) -> Result<TopK, Fault> {
        let mut best = self.nothing_yet()?;
        let workers = rows.workers(planned);
        if workers == 0 {
            self.read(rows, None, &mut best)?;
            return Ok(best);
        }
        let order = serde_json::to_vec(self).map_err(|error| Fault::Internal { what: error.to_string() })?;
        let team = rows.share(workers, &order);
        if let Some(share) = team.own_share()
            && let Err(fault) = self.read(rows, Some(share), &mut best)
        {
            team.dismiss();
            return Err(fault);
        }
        team.finish(|found| Ok(best.merge(&TopK::unpack(found)?)?))?;
        Ok(best)
    }

    fn nothing_yet(&self) -> Result<TopK, Fault> {
        Ok(TopK::new(VectorRef::new(&self.query)?, self.top_k.into())?)
    }

    fn read(&self, rows: &Candidates, share: Option<Shares>, best: &mut TopK) -> Result<(), Fault> {
        rows.each(share, &self.filter, &self.exclude, best, beaten, consider)
    }
}

/// What a parallel worker of [`WholeSearch::run`] finds in its share of the table, packed.
///
/// Errors: as of [`WholeSearch::run`].
pub fn share(order: &[u8], share: Shares) -> Result<Vec<u8>, Fault> {
    let lost = |what: &str| Fault::Internal { what: format!("a parallel worker cannot read {what}") };
    let search: WholeSearch = serde_json::from_slice(order).map_err(|_| lost("its order"))?;
    let rows = search.open(0).ok_or_else(|| lost("the table as the session does"))?;
    debug1!("reading a share of a table without the executor");
    let mut best = search.nothing_yet()?;
    search.read(&rows, Some(share), &mut best)?;
    rows.close();
    let mut packed = vec![0; best.packed_len()];
    best.pack(&mut packed);
    Ok(packed)
}

/// Keeps the row in `top` if its vector is among the nearest, its scope contains the filter, and it is not about the entity
/// that is left out.
///
/// Errors: out of memory, and what reading the scope raises.
#[inline]
pub fn consider(top: &mut TopK, row: Candidate<'_>) -> Result<(), Fault> {
    let vector = row.vector().unwrap_or_default();
    page_stream::meet(vector);
    let verdict = top.judge(vector);
    if verdict == Verdict::Beaten { Ok(()) } else { offer(top, verdict, row) }
}

/// Whether [`consider`] would do nothing with a row of this vector.
#[inline]
pub fn beaten(top: &TopK, vector: &[u8]) -> bool {
    page_stream::meet(vector);
    top.judge(vector) == Verdict::Beaten
}

/// What happens to a row whose vector is not beaten: rare once the list is full.
#[cold]
fn offer(top: &mut TopK, verdict: Verdict, row: Candidate<'_>) -> Result<(), Fault> {
    let matches = |scope: &RawJsonb| row.filter().is_none_or(|filter| scope.contains(filter));
    let Some(raw) = row.entity_scope().filter(matches) else { return Ok(()) };
    let payload = raw.text();
    let scope = Scope::parse(&payload);
    if row.exclude().is_some_and(|exclude| scope.identity().as_bytes() == exclude) {
        return Ok(());
    }
    match verdict {
        Verdict::Contender { cosine, distance } => top.keep(Hit {
            cosine,
            distance,
            key: scope.tie_key().into(),
            row: row.joint_id().unwrap_or_default(),
            day: row.day().unwrap_or_default(),
            payload: payload.into(),
        })?,
        odd => top.leave_out(odd),
    }
    Ok(())
}
