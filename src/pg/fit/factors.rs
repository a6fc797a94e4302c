//! Factor portfolios of a price table.

use super::{Fitted, Request, tick};
use crate::engine::fit::FactorWeights;
use crate::engine::numeric::pipeline::spec::FactorTag;
use crate::engine::numeric::pipeline::{FactorSpec, Members, PipelineRows, PipelineSpec};
use crate::engine::numeric::{MarketSums, NumericModel, Universe};
use crate::pg::backfill::market::resolve;
use crate::pg::ffi::regclass::Regclass;
use crate::pg::report::Fault;
use crate::pg::spi::relation::Relation;
use crate::pg::spi::{models, prices as price_table};

/// Fits factors to the windows of every instrument of `prices` under the pipeline `base`, and registers them.
///
/// Errors: as [`FactorWeights::fit`], [`Fault::ModelExists`], and those of reading.
pub fn fit(
    request: &Request<'_>,
    base: &PipelineSpec,
    prices: &Relation,
    instruments: Option<Regclass>,
) -> Result<Fitted, Fault> {
    request.check_components(base.dim.min(crate::engine::linear::MAX_EIGEN))?;
    let mut model = NumericModel::Pipeline(crate::engine::numeric::pipeline::PipelineModel::new(
        base.clone(),
        request.window_days,
    )?);
    resolve(&mut model, instruments)?;
    let NumericModel::Pipeline(pipeline) = &model else {
        return Err(Fault::Internal { what: "a pipeline is a pipeline".to_owned() });
    };
    let range = (request.as_of.minus_days(model.look_back_days()), request.as_of);
    let universe = model.universe().cloned().unwrap_or(Universe::Prices {});
    let mut found = price_table::of_universe(prices, model.price_column(), &universe, range)?;
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let mut sums = MarketSums::new();
    let mut members = Vec::new();
    for (name, series) in found {
        tick()?;
        let Ok(series) = series else { continue };
        sums.add(&series, model.max_gap_days())?;
        let rows = PipelineRows::new(pipeline, series, model.in_universe(&name));
        members.push((name, rows));
    }
    let context = model.day(request.as_of, Some(&sums), &Members::default())?;
    let keep = request.components;
    let weights = FactorWeights::fit(&members, request.as_of, context.market(), keep, &mut tick)?;
    let fitted =
        Fitted { entities: weights.instruments.len(), components: keep, explained: weights.explained };
    let spec = FactorSpec {
        encoder: FactorTag::Factors,
        base: base.clone(),
        base_model_id: request.base_model_id.to_owned(),
        components: keep,
        fitted_as_of: request.as_of.to_string(),
        fitted_window_days: pipeline.window_days(),
        fitted_entities: fitted.entities,
        explained: fitted.explained,
    };
    let json = serde_json::to_string(&spec).map_err(|error| Fault::Internal { what: error.to_string() })?;
    models::register(request.model_id, "numeric", Some(base.dim as i32), &json, request.description)?;
    models::add_parts(request.model_id, &weights.pack())?;
    Ok(fitted)
}
