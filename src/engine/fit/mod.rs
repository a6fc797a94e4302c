#![forbid(unsafe_code)]
//! What encoders learn from a cross-section, without labels: factor portfolios, principal components,
//! centres and scales. Every fit is a fixed sequence of float64 operations: same rows, same bytes.

pub mod components;
pub mod factors;

pub use components::{Components, Moments};
pub use factors::FactorWeights;

use super::error::{Error, Result};
use super::linear::Matrix;

/// A matrix as stored bytes: rows and columns as uint32, then float64, all little endian, row by row.
pub(crate) fn pack_matrix(matrix: &Matrix) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + matrix.rows() * matrix.cols() * 8);
    out.extend_from_slice(&(matrix.rows() as u32).to_le_bytes());
    out.extend_from_slice(&(matrix.cols() as u32).to_le_bytes());
    for i in 0..matrix.rows() {
        matrix.row(i).iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes()));
    }
    out
}

/// A matrix from its stored bytes, of which nothing is believed.
///
/// Errors: [`Error::MalformedPart`], [`Error::MatrixTooLarge`], [`Error::OutOfMemory`].
pub(crate) fn unpack_matrix(name: &'static str, bytes: &[u8]) -> Result<Matrix> {
    let malformed = Error::MalformedPart { name };
    let (head, rest) = bytes.split_first_chunk::<8>().ok_or(malformed.clone())?;
    let size = |b: &[u8]| b.iter().rev().fold(0usize, |n, byte| n << 8 | usize::from(*byte));
    let mut matrix = Matrix::zeros(size(&head[..4]), size(&head[4..]))?;
    let (values, tail) = rest.as_chunks::<8>();
    if values.len() != matrix.rows() * matrix.cols() || !tail.is_empty() {
        return Err(malformed);
    }
    let cols = matrix.cols();
    for (index, value) in values.iter().enumerate() {
        let value = f64::from_le_bytes(*value);
        if !value.is_finite() {
            return Err(malformed);
        }
        matrix.set(index / cols, index % cols, value);
    }
    Ok(matrix)
}
