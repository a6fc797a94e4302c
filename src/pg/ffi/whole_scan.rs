//! Whether the server would answer a statement by reading a whole table: what the planner knows of sizes, indexes, row
//! security, partitions and settings, asked before a table is read without the executor.

use std::ffi::CString;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;

/// How a table would be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholeScan {
    /// Parallel workers beside the session's own process.
    pub workers: usize,
}

/// The plan of `sql`, an aggregate without groups, where it reads every row of table `oid` once, sees whether `conditions`
/// conditions hold, and hands the row to the aggregate; None where it does anything else, and outside an SPI session,
/// which frees the statement at its end.
///
/// Errors: what parsing and planning raise.
pub fn of(sql: &str, args: &[DatumWithOid<'_>], oid: pg_sys::Oid, conditions: usize) -> Option<WholeScan> {
    let text = CString::new(sql).ok()?;
    let mut types: Vec<pg_sys::Oid> = args.iter().map(DatumWithOid::oid).collect();
    // SAFETY: without a session there is no statement. The plan is that of a statement that is not kept, so no resource owner counts it;
    // nothing of it is looked at after it is released.
    unsafe {
        let plan = pg_sys::SPI_prepare_cursor(
            text.as_ptr(),
            types.len() as i32,
            types.as_mut_ptr(),
            pg_sys::CURSOR_OPT_PARALLEL_OK as i32,
        );
        if plan.is_null() {
            return None;
        }
        let sources = pg_sys::SPI_plan_get_plan_sources(plan);
        let source = member::<pg_sys::CachedPlanSource>(sources, 0)?;
        let (owner, no_tables) = (std::ptr::null_mut(), std::ptr::null_mut());
        let cached = pg_sys::GetCachedPlan(source, parameters(args), owner, no_tables);
        let found = member::<pg_sys::PlannedStmt>((*cached).stmt_list, 0)
            .and_then(|planned| look(&*planned, oid, conditions));
        pg_sys::ReleaseCachedPlan(cached, owner);
        found
    }
}

/// The arguments as the planner takes them: constants of this run.
///
/// # Safety
/// Datums of the arguments outlive what is returned, which lives in the current memory context.
unsafe fn parameters(args: &[DatumWithOid<'_>]) -> pg_sys::ParamListInfo {
    // SAFETY: makeParamList makes room for as many.
    unsafe {
        let list = pg_sys::makeParamList(args.len() as i32);
        for (arg, place) in args.iter().zip((*list).params.as_mut_slice(args.len())) {
            let datum = arg.datum();
            place.isnull = datum.is_none();
            place.value = datum.map_or(pg_sys::Datum::null(), |datum| datum.sans_lifetime());
            place.ptype = arg.oid();
            place.pflags = pg_sys::PARAM_FLAG_CONST as u16;
        }
        list
    }
}

/// # Safety
/// The plan is alive.
unsafe fn look(planned: &pg_sys::PlannedStmt, oid: pg_sys::Oid, conditions: usize) -> Option<WholeScan> {
    if planned.dependsOnRole || !planned.subplans.is_null() {
        return None;
    }
    // SAFETY: nodes are of the type that their tag says; an absent one is null.
    unsafe {
        let top = node::<pg_sys::Agg>(planned.planTree, pg_sys::NodeTag::T_Agg)?;
        if top.numCols != 0 || !top.plan.qual.is_null() {
            return None;
        }
        let mut below = top.plan.lefttree;
        let mut workers = 0;
        if let Some(gather) = node::<pg_sys::Gather>(below, pg_sys::NodeTag::T_Gather) {
            workers = gather.num_workers;
            below = gather.plan.lefttree;
            // Workers aggregate what they find, or hand over the rows where few are expected.
            if let Some(partial) = node::<pg_sys::Agg>(below, pg_sys::NodeTag::T_Agg) {
                below = partial.plan.lefttree;
            }
        }
        // A SeqScan is a Scan with nothing added, in every version.
        let scan = node::<pg_sys::Scan>(below, pg_sys::NodeTag::T_SeqScan)?;
        let position = usize::try_from(scan.scanrelid).ok()?.checked_sub(1)?;
        let table = member::<pg_sys::RangeTblEntry>(planned.rtable, position)?;
        let checked = scan.plan.qual.as_ref().map_or(0, |list| list.length as usize);
        let same = (*table).relid == oid && checked == conditions && scan.plan.initPlan.is_null();
        same.then_some(WholeScan { workers: workers.try_into().unwrap_or(0) })
    }
}

/// # Safety
/// The node is alive, or null.
unsafe fn node<'a, T>(plan: *mut pg_sys::Plan, tag: pg_sys::NodeTag) -> Option<&'a T> {
    // SAFETY: every node begins with its tag.
    unsafe {
        plan.as_ref()
            .filter(|plan| plan.type_ == tag)
            .and_then(|plan| (&raw const *plan).cast::<T>().as_ref())
    }
}

/// # Safety
/// The list is one of pointers to this type, and alive, or null.
unsafe fn member<T>(list: *mut pg_sys::List, position: usize) -> Option<*mut T> {
    // SAFETY: a list has as many cells as its length says.
    unsafe {
        let list = list.as_ref().filter(|list| position < usize::try_from(list.length).unwrap_or(0))?;
        Some((*list.elements.add(position)).ptr_value.cast())
    }
}
