//! Whether a row is among the nearest: what every way of reading rows asks of each.
//!
//! A row's scope is looked at only when its vector is among the best so far: that is what keeps the cost per row at
//! the kernel's.

use crate::engine::joint::scope::Scope;
use crate::engine::search::{Hit, TopK, Verdict};
use crate::pg::ffi::candidate::Candidate;
use crate::pg::ffi::json::RawJsonb;
use crate::pg::report::Fault;

/// Keeps the row in `top` if its vector is among the nearest, its scope contains the filter, and it is not about the entity
/// that is left out.
///
/// Errors: out of memory, and what reading the scope raises.
#[inline]
pub fn consider(top: &mut TopK, row: Candidate<'_>) -> Result<(), Fault> {
    let verdict = top.judge(row.vector().unwrap_or_default());
    if verdict == Verdict::Beaten { Ok(()) } else { offer(top, verdict, row) }
}

/// Whether [`consider`] would do nothing with a row of this vector.
#[inline]
pub fn beaten(top: &TopK, vector: &[u8]) -> bool {
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
