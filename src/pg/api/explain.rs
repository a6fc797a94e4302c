//! What `sql/51_explain.sql` cannot compute: branches brought back out of their places, and named features.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::arguments::day;
use super::numeric::{window_model, with_window};
use crate::engine::joint::concat::{Place, place_all, pull_back};
use crate::engine::linear::dot;
use crate::engine::named;
use crate::engine::numeric::EntityRows;
use crate::engine::numeric::pipeline::explain::Part;
use crate::engine::vector::{VectorRef, check_dim};
use crate::engine::{Error, Result as EngineResult};
use crate::pg::ffi::array::NumberArray;
use crate::pg::ffi::json::JsonText;
use crate::pg::ffi::regclass::Regclass;
use crate::pg::report::{Fault, JointFault};
use crate::pg::spi::models;

/// The vector of `dims` components whose dot product with a branch is that of `place` with the branch in its place.
#[pg_extern(immutable, parallel_safe, cost = 1000)]
pub fn embed_place_back(
    place: Option<&[u8]>,
    dims: Option<i32>,
    seed: Option<i64>,
) -> Result<Option<Vec<f64>>, ErrorReport> {
    let (Some(place), Some(dims)) = (place, dims) else { return Ok(None) };
    let outside = crate::engine::Error::OutOfRange { name: "dims", value: dims.into(), min: 1, max: 65_535 };
    let dims = usize::try_from(dims).ok().filter(|dims| *dims > 0).ok_or(outside)?;
    check_dim(dims)?;
    let seed = seed.and_then(|seed| u32::try_from(seed).ok());
    let place: Vec<f64> = VectorRef::new(place)?.values().map(f64::from).collect();
    Ok(Some(pull_back(&place, dims, seed)?))
}

/// What each feature of a row contributes to the dot product of its vector, before that is scaled, with `along`.
#[pg_extern(stable, strict, parallel_safe, cost = 1000)]
pub fn embed_named_parts(
    model_id: &str,
    features: JsonText,
    along: NumberArray<'_, f64>,
) -> Result<
    TableIterator<'static, (name!(block, String), name!(feature, String), name!(part, f64))>,
    ErrorReport,
> {
    let spec = models::named_spec(model_id)?;
    let row = serde_json::from_str(&features.0)
        .map_err(|_| Fault::from(JointFault::NotAnObject { argument: "features" }))?;
    let parts = named::parts(&spec, &row, along.values("along")?);
    let parts: Vec<_> = parts.into_iter().map(|(block, name, part)| (block.to_owned(), name, part)).collect();
    Ok(TableIterator::new(parts))
}

/// What each feature of each session of an instrument's window contributes to the dot products of its vector, before that
/// is scaled, with `a` and with `b`; nothing where the window cannot be read again, or goes through a projection that is
/// not linear, which [`embed_shared_parts`] is for.
#[pg_extern(stable, parallel_safe, cost = 5000)]
#[allow(clippy::too_many_arguments, clippy::type_complexity)]
pub fn embed_window_parts(
    model_id: Option<&str>,
    instrument_id: Option<&str>,
    as_of: Option<Date>,
    window_days: Option<i32>,
    a: Option<NumberArray<'_, f64>>,
    b: Option<NumberArray<'_, f64>>,
    prices: Option<Regclass>,
    instruments: Option<Regclass>,
) -> Result<
    TableIterator<
        'static,
        (name!(feature, String), name!(lag, Option<i32>), name!(part_a, f64), name!(part_b, f64)),
    >,
    ErrorReport,
> {
    let (Some(model_id), Some(instrument_id), Some(as_of), Some(window_days), Some(a), Some(b)) =
        (model_id, instrument_id, as_of, window_days, a, b)
    else {
        return Ok(TableIterator::new(Vec::new()));
    };
    let (a, b) = (a.values("a")?, b.values("b")?);
    let (model, as_of) = (window_model(model_id, window_days)?, day(Some(as_of), "as_of")?);
    let parts = with_window(model, instrument_id, as_of, (prices, instruments), |_, rows, context| {
        let EntityRows::Pipeline(rows) = rows else { return Ok(Vec::new()) };
        let along = |along| rows.parts(as_of, context, along).ok().flatten().unwrap_or_default();
        let told = |Part { feature, lag, value }, of_a: bool| {
            let (a, b) = if of_a { (value, 0.0) } else { (0.0, value) };
            (feature, lag.map(|lag: usize| lag as i32), a, b)
        };
        let of_a = along(a).into_iter().map(|part| told(part, true));
        Ok(of_a.chain(along(b).into_iter().map(|part| told(part, false))).collect())
    })?;
    Ok(TableIterator::new(parts))
}

/// What the features of each block of days of two instruments' windows add to the cosine of their vectors, brought into
/// places of `dims` components, as `seed` says; with the part `baseline` they add up to it. The lag is the first of the
/// block. Nothing where a window cannot be read again.
#[pg_extern(stable, parallel_safe, cost = 100000)]
#[allow(clippy::too_many_arguments, clippy::type_complexity)]
pub fn embed_shared_parts(
    model_id: Option<&str>,
    a: Option<&str>,
    b: Option<&str>,
    as_of: Option<Date>,
    window_days: Option<i32>,
    dims: Option<i32>,
    seed: Option<i64>,
    prices: Option<Regclass>,
    instruments: Option<Regclass>,
) -> Result<
    TableIterator<'static, (name!(feature, String), name!(lag, Option<i32>), name!(part, f64))>,
    ErrorReport,
> {
    let (Some(model_id), Some(a), Some(b), Some(as_of), Some(window_days), Some(dims)) =
        (model_id, a, b, as_of, window_days, dims)
    else {
        return Ok(TableIterator::new(Vec::new()));
    };
    let (model, as_of) = (window_model(model_id, window_days)?, day(Some(as_of), "as_of")?);
    let place = Place {
        dims: usize::try_from(dims).unwrap_or_default(),
        weight: 1.0,
        seed: seed.and_then(|seed| u32::try_from(seed).ok()),
        ..Place::default()
    };
    let tables = (prices, instruments);
    let parts = with_window(model.clone(), a, as_of, tables, |_, own, own_day| {
        with_window(model, b, as_of, tables, |_, others, others_day| {
            let (EntityRows::Pipeline(own), EntityRows::Pipeline(others)) = (own, others) else {
                return Ok(Vec::new());
            };
            let alike = |a: &[u8], b: &[u8]| cosine(a, b, &place);
            match own.shared(others, as_of, (own_day, others_day), &alike) {
                Err(Error::NoVector(_)) => Ok(Vec::new()),
                parts => Ok(parts?),
            }
        })
    })?;
    let told = |Part { feature, lag, value }| (feature, lag.map(|lag: usize| lag as i32), value);
    Ok(TableIterator::new(parts.into_iter().map(told).collect::<Vec<_>>()))
}

/// The cosine of two vectors in a place; 0 where one has no direction.
fn cosine(a: &[u8], b: &[u8], place: &Place) -> EngineResult<f64> {
    let mut placed = place_all(&[Some(VectorRef::new(a)?), Some(VectorRef::new(b)?)], place).into_iter();
    let (Some(a), Some(b)) = (placed.next().transpose()?.flatten(), placed.next().transpose()?.flatten())
    else {
        return Ok(0.0);
    };
    Ok(dot(&a, &b))
}
