#![forbid(unsafe_code)]
//! Vectors as they are stored: float32 components, little endian, no header. `4 * dim` bytes.

use super::error::{Error, Result};
use super::simd;

/// Most components a vector may have.
pub const MAX_DIM: usize = 65_535;

/// A stored vector: a positive number of little-endian float32 components.
///
/// Bytes are read where they lie; their address need not be a multiple of four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VectorRef<'a>(&'a [u8]);

impl<'a> VectorRef<'a> {
    /// Checks the length of `bytes` (shape `[4 * dim]`).
    ///
    /// Errors: [`Error::VectorBytes`] for a length that is zero or no multiple of four,
    /// [`Error::TooManyDimensions`] beyond [`MAX_DIM`].
    pub fn new(bytes: &'a [u8]) -> Result<Self> {
        if bytes.is_empty() || !bytes.len().is_multiple_of(4) {
            return Err(Error::VectorBytes { bytes: bytes.len() });
        }
        check_dim(bytes.len() / 4)?;
        Ok(Self(bytes))
    }

    /// Number of components.
    pub fn dim(self) -> usize {
        self.0.len() / 4
    }

    /// The stored form.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Components in order.
    pub fn values(self) -> impl ExactSizeIterator<Item = f32> + 'a {
        self.0.as_chunks::<4>().0.iter().map(|component| f32::from_le_bytes(*component))
    }

    /// Euclidean norm, in float64.
    pub fn l2_norm(self) -> f64 {
        same_nan(simd::products(self.0, self.0).dot.sqrt())
    }

    /// Number of components that are NaN or infinite.
    pub fn count_non_finite(self) -> usize {
        simd::count_non_finite(self.0)
    }
}

/// Whether a vector of `dim` components may exist. Errors: [`Error::TooManyDimensions`].
pub fn check_dim(dim: usize) -> Result<()> {
    if dim > MAX_DIM { Err(Error::TooManyDimensions { dim, max: MAX_DIM }) } else { Ok(()) }
}

fn same_dim(a: VectorRef<'_>, b: VectorRef<'_>) -> Result<()> {
    if a.dim() == b.dim() { Ok(()) } else { Err(Error::DimensionMismatch { left: a.dim(), right: b.dim() }) }
}

/// The value, or the one NaN: which of several a sum hands on depends on the order of its operands and on the CPU.
fn same_nan(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value }
}

/// Cosine similarity in [-1, 1]; exactly 0 when either norm is 0, NaN when a component is NaN or infinite.
///
/// Errors: [`Error::DimensionMismatch`].
pub fn cosine_similarity(a: VectorRef<'_>, b: VectorRef<'_>) -> Result<f64> {
    same_dim(a, b)?;
    let sums = simd::products(a.0, b.0);
    if sums.norm_a == 0.0 || sums.norm_b == 0.0 {
        return Ok(0.0);
    }
    // One root of the product: equal vectors give exactly 1.
    Ok(same_nan((sums.dot / (sums.norm_a * sums.norm_b).sqrt()).clamp(-1.0, 1.0)))
}

/// Dot product. Errors: [`Error::DimensionMismatch`].
pub fn dot_product(a: VectorRef<'_>, b: VectorRef<'_>) -> Result<f64> {
    same_dim(a, b)?;
    Ok(same_nan(simd::products(a.0, b.0).dot))
}

/// Euclidean distance. Errors: [`Error::DimensionMismatch`].
pub fn euclidean_distance(a: VectorRef<'_>, b: VectorRef<'_>) -> Result<f64> {
    same_dim(a, b)?;
    Ok(same_nan(simd::squared_distance(a.0, b.0).sqrt()))
}

/// Writes `values` as little-endian float32 into `out` (shape `[4 * values.len()]`); stops at the shorter one.
pub fn write_values(values: impl Iterator<Item = f32>, out: &mut [u8]) {
    for (slot, value) in out.as_chunks_mut::<4>().0.iter_mut().zip(values) {
        *slot = value.to_le_bytes();
    }
}

/// Writes the vector scaled to unit norm into `out` (shape of the input). A zero vector stays zero.
///
/// Errors: [`Error::NonFiniteVector`] when a component is NaN or infinite, since no unit vector exists.
pub fn l2_normalize(vector: VectorRef<'_>, out: &mut [u8]) -> Result<()> {
    let count = vector.count_non_finite();
    if count > 0 {
        return Err(Error::NonFiniteVector { count, dim: vector.dim() });
    }
    let norm = vector.l2_norm();
    let scaled = |v: f32| if norm == 0.0 { v } else { (f64::from(v) / norm) as f32 };
    write_values(vector.values().map(scaled), out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    #[test]
    fn lengths_that_are_no_vector_are_refused() {
        for length in [0, 1, 2, 3, 5, 1535, 1537] {
            assert_eq!(VectorRef::new(&vec![0; length]), Err(Error::VectorBytes { bytes: length }));
        }
        assert_eq!(
            VectorRef::new(&vec![0; (MAX_DIM + 1) * 4]),
            Err(Error::TooManyDimensions { dim: MAX_DIM + 1, max: MAX_DIM })
        );
    }

    #[test]
    fn cosine_of_equal_opposite_zero_and_unaligned_vectors() {
        let a = bytes(&[3.0, 4.0, -1.5e30]);
        let b = bytes(&[-3.0, -4.0, 1.5e30]);
        let zero = bytes(&[0.0, -0.0, 0.0]);
        let shifted: Vec<u8> = std::iter::once(7).chain(a.iter().copied()).collect();
        let cos = |x: &[u8], y: &[u8]| {
            cosine_similarity(VectorRef::new(x).unwrap(), VectorRef::new(y).unwrap()).unwrap()
        };
        assert_eq!(cos(&a, &a), 1.0);
        assert_eq!(cos(&a, &shifted[1..]), 1.0);
        assert_eq!(cos(&a, &b), -1.0);
        assert_eq!(cos(&a, &zero), 0.0);
        assert!(cos(&a, &bytes(&[f32::NAN, 0.0, 0.0])).is_nan());
    }

    /// Regression: the sign and payload of the result's NaN were those of one of the operands, after their order.
    #[test]
    fn every_nan_that_comes_out_is_the_same() {
        let odd =
            [f32::NAN, -f32::NAN, f32::from_bits(0xffff_ff00), f32::from_bits(0x7f80_0001), f32::INFINITY];
        for (x, y) in odd.iter().flat_map(|&x| odd.map(|y| (x, y))) {
            let (a, b) = (bytes(&[x, y, 1.0]), bytes(&[y, -x, f32::NAN]));
            let (a, b) = (VectorRef::new(&a).unwrap(), VectorRef::new(&b).unwrap());
            let calls = [cosine_similarity, dot_product, euclidean_distance];
            for value in calls.map(|call| call(a, b).unwrap()).into_iter().chain([b.l2_norm()]) {
                assert_eq!(value.to_bits(), f64::NAN.to_bits());
            }
        }
    }

    #[test]
    fn different_dimensions_are_named() {
        let (a, b) = (bytes(&[1.0, 2.0]), bytes(&[1.0]));
        let (a, b) = (VectorRef::new(&a).unwrap(), VectorRef::new(&b).unwrap());
        assert_eq!(dot_product(a, b), Err(Error::DimensionMismatch { left: 2, right: 1 }));
        assert_eq!(euclidean_distance(b, a), Err(Error::DimensionMismatch { left: 1, right: 2 }));
    }

    #[test]
    fn unit_vectors_come_out_of_normalisation() {
        let input = bytes(&[3.0, 4.0]);
        let mut out = [0; 8];
        l2_normalize(VectorRef::new(&input).unwrap(), &mut out).unwrap();
        assert_eq!(out.as_slice(), bytes(&[0.6, 0.8]));
        let bad = bytes(&[3.0, f32::INFINITY]);
        assert_eq!(
            l2_normalize(VectorRef::new(&bad).unwrap(), &mut out),
            Err(Error::NonFiniteVector { count: 1, dim: 2 })
        );
    }
}
