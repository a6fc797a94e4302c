//! What all vectors of one model and as-of date share, computed once.

use std::cell::RefCell;
use std::rc::Rc;

use super::super::super::day::Day;
use super::super::super::error::Result;
use super::super::super::linear::Matrix;
use super::super::market::{MarketSums, MarketWindow};
use super::encode::PipelineRows;
use super::model::PipelineModel;
use super::projection::{Project, Projection};

/// Projection matrices kept by a thread: making one takes up to a second.
const KEPT_MATRICES: usize = 4;

thread_local! {
    static MATRICES: RefCell<Vec<(Projection, usize, usize, Rc<Matrix>)>> =
        const { RefCell::new(Vec::new()) };
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
    let kept = MATRICES.with(|kept| {
        let kept = kept.try_borrow().ok()?;
        kept.iter()
            .find(|(p, d, f, _)| (p, *d, *f) == (projection, dim, flat))
            .map(|(.., matrix)| Rc::clone(matrix))
    });
    if kept.is_some() {
        return Ok(kept);
    }
    let matrix = Rc::new(make(projection, dim, flat)?);
    MATRICES.with(|kept| {
        if let Ok(mut kept) = kept.try_borrow_mut() {
            if kept.len() == KEPT_MATRICES {
                kept.remove(0);
            }
            kept.push((projection.clone(), dim, flat, Rc::clone(&matrix)));
        }
    });
    Ok(Some(matrix))
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
