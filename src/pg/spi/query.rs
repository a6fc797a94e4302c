//! Running a statement: arguments in, rows read in place, everything freed at the end.

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::rc::Rc;

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::OwnedPreparedStatement;

use crate::pg::ffi::errors::keep_code;
use crate::pg::ffi::row::{Row, Rows};
use crate::pg::ffi::transaction;
use crate::pg::report::Fault;

/// Runs a reading statement and maps its rows.
///
/// It takes no transaction id, so it works on a standby and in parallel workers. Memory of the result is
/// freed before this returns.
pub fn select<T>(
    sql: &str,
    args: &[DatumWithOid<'_>],
    mut map: impl FnMut(&Row<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    Spi::connect(|client| {
        let table = keep_code(|| client.select(sql, None, args))?;
        Rows::of(&table).map(|row| map(&row)).collect()
    })
}

/// Plans of this session by their statement.
type Plans = HashMap<String, Rc<OwnedPreparedStatement>>;

thread_local! {
    /// Never dropped: plans go with the process.
    static PLANS: ManuallyDrop<RefCell<Plans>> = ManuallyDrop::new(RefCell::new(HashMap::new()));
}

/// As [`select`], for what every call of a function asks: planned once in a session. `sql` is one of few texts.
pub fn select_kept<T>(
    sql: &str,
    args: &[DatumWithOid<'_>],
    mut map: impl FnMut(&Row<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let known = PLANS.with(|plans| plans.try_borrow().ok()?.get(sql).cloned());
    Spi::connect(|client| {
        let plan = match known {
            Some(plan) => plan,
            None => {
                let types: Vec<PgOid> = args.iter().map(|given| given.oid().into()).collect();
                let plan = Rc::new(keep_code(|| client.prepare(sql, &types))?.keep());
                PLANS.with(|plans| {
                    if let Ok(mut plans) = plans.try_borrow_mut() {
                        plans.insert(sql.to_owned(), Rc::clone(&plan));
                    }
                });
                plan
            }
        };
        let table = keep_code(|| client.select(&*plan, None, args))?;
        Rows::of(&table).map(|row| map(&row)).collect()
    })
}

/// As [`select`], for a statement with at most one row of interest.
pub fn select_first<T>(
    sql: &str,
    args: &[DatumWithOid<'_>],
    map: impl FnMut(&Row<'_>) -> Result<T, Fault>,
) -> Result<Option<T>, Fault> {
    Ok(select(sql, args, map)?.into_iter().next())
}

/// As [`select`], for a writer's statement: it sees what the transaction has done and what others have committed until
/// now. `read` gets all rows, which lie where they are until it is done.
pub fn select_newest<T>(
    sql: &str,
    args: &[DatumWithOid<'_>],
    read: impl FnOnce(Rows<'_>) -> Result<T, Fault>,
) -> Result<T, Fault> {
    Spi::connect_mut(|client| read(Rows::of(&keep_code(|| client.update(sql, None, args))?)))
}

/// Runs a writing statement; the number of rows it wrote.
///
/// From here on every query of the transaction sees what others have committed before it began, not before
/// the caller's statement began.
pub fn execute(sql: &str, args: &[DatumWithOid<'_>]) -> Result<u64, Fault> {
    transaction::refuse_read_only();
    Spi::connect_mut(|client| Ok(keep_code(|| client.update(sql, None, args))?.len() as u64))
}

/// A column that our own query never returns as NULL.
pub fn required<T>(value: Option<T>) -> Result<T, Fault> {
    value.ok_or_else(|| Fault::Internal { what: "a query returned an unexpected null".to_owned() })
}
