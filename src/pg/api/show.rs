//! `show_joint`: the joint vectors of a space, one line each. Its faces are in `sql/50_joint.sql`.

use pgrx::datum::JsonB;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::arguments::{day, required};
use super::search::{bounds, object};
use crate::engine::joint::scope::Scope;
use crate::pg::ffi::json::JsonText;
use crate::pg::ffi::regclass::Regclass;
use crate::pg::report::{Fault, JointFault};
use crate::pg::spi::joint_list;
use crate::pg::spi::spaces;

/// The joint vectors of a type and model, by date and row id.
#[pg_extern(stable, parallel_safe, cost = 10000)]
#[allow(clippy::too_many_arguments)]
pub fn show_joint(
    joint_type: Option<&str>,
    as_of: default!(Option<Date>, "NULL"),
    start_date: default!(Option<Date>, "NULL"),
    end_date: default!(Option<Date>, "NULL"),
    scope: default!(Option<JsonText>, "NULL"),
    model_id: default!(Option<&str>, "NULL"),
    max_rows: default!(Option<i32>, 1000),
    embeddings: default!(Option<Regclass>, "pg_catalog.to_regclass('joint_embeddings')"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(as_of_date, Date),
            name!(entity_id, Option<String>),
            name!(entity_scope, JsonB),
            name!(model_id, String),
            name!(dim, i32),
            name!(l2_norm, Option<f64>),
        ),
    >,
    ErrorReport,
> {
    let joint_type = required(joint_type, "joint_type")?;
    let (from, to) = match (as_of, bounds(start_date, end_date)?) {
        (None, range) => range,
        (Some(as_of), (None, None)) => {
            let day = day(Some(as_of), "as_of")?;
            (Some(day), Some(day))
        }
        _ => Err(Fault::from(JointFault::DatesUnclear))?,
    };
    let model = match model_id {
        Some(model_id) => model_id.to_owned(),
        None => spaces::only_model(joint_type)?,
    };
    let scope = scope.map(|scope| object(scope, "scope")).transpose()?;
    let request = joint_list::Request {
        joint_type,
        model_id: &model,
        from,
        to,
        scope: scope.as_deref(),
        // As published: no limit and 0 or less mean all.
        limit: max_rows.filter(|rows| *rows > 0),
    };
    let lines = joint_list::read(embeddings, &request)?;
    Ok(TableIterator::new(lines.into_iter().map(move |line| {
        let scope = Scope::parse(&line.scope);
        let day = Date::saturating_from_raw(line.day.0);
        (day, scope.entity(), JsonB(scope.into_json()), model.clone(), line.dim, line.norm)
    })))
}
