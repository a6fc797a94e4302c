//! Statistical factors as portfolios of named instruments.
//!
//! The principal components of a cross-section of return windows are fitted once and kept as weights of
//! the instruments, not as directions in time: on any later day the same portfolios have returns, and an
//! instrument's vector is what its own returns have in common with them.

use super::super::day::Day;
use super::super::error::{Error, Result};
use super::super::linear::{MAX_EIGEN, Matrix, dot, eigen_symmetric, normalise};
use super::super::numeric::market::MarketWindow;
use super::super::numeric::pipeline::PipelineRows;
use super::{pack_matrix, unpack_matrix};

/// Weights of instruments in factor portfolios.
#[derive(Debug, Clone, PartialEq)]
pub struct FactorWeights {
    /// Ids of the instruments, in byte order.
    pub instruments: Vec<String>,
    /// One row per factor, one column per instrument.
    weights: Matrix,
    /// Share of the squared returns that the factors keep; 0 for what was read back.
    pub explained: f64,
}

impl FactorWeights {
    /// Fits `keep` factors to the windows of `members` that end on `as_of`; members without a window take
    /// no part. At most 1024 take part: those with the most days, then by id.
    ///
    /// Errors: [`Error::TooFewToFit`] when fewer than `keep` windows vary independently; those of `tick`.
    pub fn fit(
        members: &[(String, PipelineRows<'_>)],
        as_of: Day,
        market: Option<&MarketWindow>,
        keep: usize,
        tick: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Self> {
        let mut windows: Vec<(usize, &str, Vec<f64>)> = Vec::new();
        for (name, rows) in members {
            tick()?;
            if let Ok((mut window, encoded)) = rows.components(as_of, market)
                && normalise(&mut window)
            {
                windows.push((encoded.rows, name, window));
            }
        }
        windows.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        windows.truncate(MAX_EIGEN);
        windows.sort_by(|a, b| a.1.cmp(b.1));
        let few = Error::TooFewToFit { found: windows.len(), needed: keep.max(1) };
        if windows.len() < keep || keep == 0 {
            return Err(few);
        }
        let mut gram = Matrix::zeros(windows.len(), windows.len())?;
        for (i, (_, _, a)) in windows.iter().enumerate() {
            tick()?;
            for (j, (_, _, b)) in windows[..=i].iter().enumerate() {
                let product = dot(a, b);
                gram.set(i, j, product);
                gram.set(j, i, product);
            }
        }
        let eigen = eigen_symmetric(gram, keep, tick)?;
        let mut weights = eigen.vectors;
        for (factor, &value) in eigen.values.iter().enumerate() {
            if value <= eigen.values[0] * 1e-9 {
                return Err(few);
            }
            let scale = value.sqrt();
            weights.row_mut(factor).iter_mut().for_each(|weight| *weight /= scale);
        }
        let explained = eigen.values.iter().sum::<f64>() / windows.len() as f64;
        let instruments = windows.iter().map(|(_, name, _)| (*name).to_owned()).collect();
        Ok(Self { instruments, weights, explained })
    }

    /// Number of factors.
    pub fn factors(&self) -> usize {
        self.weights.rows()
    }

    /// Returns of the factors over the window that ends on `as_of`, made orthonormal in order (shape
    /// `[factors, flat]`). `members`: the rows of [`FactorWeights::instruments`] that are known, by index.
    ///
    /// Errors: [`Error::MatrixTooLarge`], [`Error::OutOfMemory`].
    pub fn basis(
        &self,
        members: &[(usize, PipelineRows<'_>)],
        as_of: Day,
        market: Option<&MarketWindow>,
        flat: usize,
    ) -> Result<Matrix> {
        let mut basis = Matrix::zeros(self.factors(), flat)?;
        for (index, rows) in members {
            let Ok((mut window, _)) = rows.components(as_of, market) else { continue };
            if !normalise(&mut window) {
                continue;
            }
            for factor in 0..self.factors() {
                let weight = self.weights.at(factor, *index);
                let row = basis.row_mut(factor).iter_mut();
                row.zip(&window).for_each(|(slot, x)| *slot += weight * x);
            }
        }
        basis.orthonormalise_rows();
        Ok(basis)
    }

    /// The stored form: instruments, one a line, and weights.
    pub fn pack(&self) -> [(&'static str, Vec<u8>); 2] {
        [("instruments", self.instruments.join("\n").into_bytes()), ("weights", pack_matrix(&self.weights))]
    }

    /// Reads the stored form.
    ///
    /// Errors: [`Error::MalformedPart`], [`Error::MatrixTooLarge`], [`Error::OutOfMemory`].
    pub fn unpack(instruments: &[u8], weights: &[u8]) -> Result<Self> {
        let malformed = Error::MalformedPart { name: "instruments" };
        let names = std::str::from_utf8(instruments).map_err(|_| malformed.clone())?;
        let instruments: Vec<String> = names.split('\n').map(str::to_owned).collect();
        let weights = unpack_matrix("weights", weights)?;
        if weights.cols() != instruments.len() || weights.rows() == 0 {
            return Err(malformed);
        }
        Ok(Self { instruments, weights, explained: 0.0 })
    }
}
