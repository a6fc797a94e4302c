//! What all vectors of one model and as-of date share, computed once.

use std::rc::Rc;

use super::super::super::day::Day;
use super::super::super::error::Result;
use super::super::super::kept::Kept;
use super::super::super::linear::Matrix;
use super::super::market::{MarketSums, MarketWindow};
use super::encode::PipelineRows;
use super::model::PipelineModel;
use super::projection::{Project, Projection};

thread_local! {
    /// Projections by how they are made and their shape.
    static MATRICES: Kept<(Projection, usize, usize)> = const { Kept::new() };
}

/// The market's sessions and the projection of one as-of date.
#[derive(Debug, Clone, Default)]
pub struct DayContext {
    pub(crate) market: Option<MarketWindow>,
    pub(crate) projection: Option<Rc<dyn Project>>,
    pub(crate) digest: u64,
}

/// Rows of the instruments that fitted factors are made of, by their index among them.
#[derive(Debug, Default)]
pub struct Members<'a>(pub(crate) Vec<(usize, PipelineRows<'a>)>);

impl DayContext {
    /// Prepares `as_of`. `sums` are those of the universe, from at least `read_back_days` before; `members`
    /// those of the model's factors.
    ///
    /// Errors: [`super::super::super::Error::OutOfMemory`], [`super::super::super::Error::MatrixTooLarge`].
    pub fn new(
        model: &PipelineModel,
        as_of: Day,
        sums: Option<&MarketSums>,
        members: &Members<'_>,
    ) -> Result<Self> {
        let rule = model.spec().market.as_ref();
        let market = match (rule, sums) {
            (Some(rule), Some(sums)) => {
                let from = as_of.minus_days(model.look_back_days());
                Some(sums.window(from, as_of, model.window_days(), rule.shrink)?)
            }
            _ => None,
        };
        let digest = market.as_ref().map_or(0, MarketWindow::digest);
        let projection: Option<Rc<dyn Project>> = match (model.factors(), model.projection()) {
            (Some(factors), _) => {
                Some(Rc::new(factors.basis(&members.0, as_of, market.as_ref(), model.flat_dim())?))
            }
            (None, Some(given)) => Some(Rc::clone(given)),
            (None, None) => projection_matrix(model)?.map(|matrix| matrix as Rc<dyn Project>),
        };
        Ok(Self { market, projection, digest })
    }
}

impl DayContext {
    /// The market's sessions, for models that have one.
    pub fn market(&self) -> Option<&MarketWindow> {
        self.market.as_ref()
    }
}

/// The matrix that a model projects with, if its window needs one.
///
/// Errors: [`super::super::super::Error::OutOfMemory`], [`super::super::super::Error::MatrixTooLarge`].
pub fn projection_matrix(model: &PipelineModel) -> Result<Option<Rc<Matrix>>> {
    let (flat, dim, projection) = (model.flat_dim(), model.dim(), &model.spec().projection);
    let seeded = matches!(projection, Projection::Orthogonal { .. } | Projection::Gaussian { .. });
    if flat <= dim || !seeded {
        return Ok(None);
    }
    let key = (projection.clone(), dim, flat);
    MATRICES.with(|kept| kept.get(key, || make(projection, dim, flat))).map(Some)
}

fn make(projection: &Projection, dim: usize, flat: usize) -> Result<Matrix> {
    match projection {
        Projection::Orthogonal { seed } => Matrix::orthogonal(dim, flat, (*seed).into()),
        Projection::Gaussian { seed } => {
            let mut matrix = Matrix::gaussian(dim, flat, (*seed).into())?;
            let scale = (dim as f64).sqrt();
            (0..dim).for_each(|i| matrix.row_mut(i).iter_mut().for_each(|x| *x /= scale));
            Ok(matrix)
        }
        _ => Matrix::zeros(0, flat),
    }
}
