//! Joint vectors: several vectors of one dimension fused into one, in the published float32 arithmetic.
//!
//! * [`blend`]: two vectors, `(a * x + b * y) / (a + b)`.
//! * [`weighted_average`]: any number of vectors.
//! * [`space`]: which vectors are fused, and how.
//! * [`concat`]: branches of unit length, each in a place of its own.
//! * [`scope`]: whom a joint vector is about.

#![forbid(unsafe_code)]

pub mod concat;
pub mod scope;
pub mod space;

use super::error::{Error, Result};
use super::vector::{VectorRef, write_values};

/// Weighted mean of two vectors into `out` (shape `[4 * dim]`): products, their sum and the quotient are each
/// rounded to float32; the weights are added in float64 first.
///
/// Errors: [`Error::DimensionMismatch`], [`Error::InvalidWeight`], [`Error::ZeroWeights`].
pub fn blend(x: VectorRef<'_>, y: VectorRef<'_>, weights: [f64; 2], out: &mut [u8]) -> Result<()> {
    if x.dim() != y.dim() {
        return Err(Error::DimensionMismatch { left: x.dim(), right: y.dim() });
    }
    let (a, b) = (weight(weights[0], 1)?, weight(weights[1], 2)?);
    let total = (weights[0] + weights[1]) as f32;
    if total == 0.0 {
        return Err(Error::ZeroWeights);
    }
    write_values(x.values().zip(y.values()).map(|(x, y)| (a * x + b * y) / total), out);
    Ok(())
}

/// Weighted mean of any number of vectors into `out` (shape `[4 * dim]`): weights are rounded to float32,
/// products are summed in order from zero, and the sum is divided by the sum of the weights, all in
/// float32. A vector of weight 0 is left out, whatever it holds.
///
/// Errors: [`Error::WeightCount`], [`Error::InvalidWeight`], [`Error::ZeroWeights`] (also for no vectors),
/// [`Error::DimensionMismatch`].
pub fn weighted_average(vectors: &[VectorRef<'_>], weights: &[f64], out: &mut [u8]) -> Result<()> {
    if vectors.len() != weights.len() {
        return Err(Error::WeightCount { vectors: vectors.len(), weights: weights.len() });
    }
    let mut used: Vec<(VectorRef<'_>, f32)> = Vec::with_capacity(vectors.len());
    for (index, (&vector, &value)) in vectors.iter().zip(weights).enumerate() {
        let weight = weight(value, index + 1)?;
        if vectors[0].dim() != vector.dim() {
            return Err(Error::DimensionMismatch { left: vectors[0].dim(), right: vector.dim() });
        }
        if weight > 0.0 {
            used.push((vector, weight));
        }
    }
    let total: f32 = used.iter().map(|(_, weight)| weight).sum();
    if total == 0.0 || used.is_empty() {
        return Err(Error::ZeroWeights);
    }
    // Vector by vector, so that the compiler can use whole registers; each sum still runs in order, and from
    // +0, as the published one does: a lone -0 becomes +0.
    let mut sums = vec![0.0_f32; out.len() / 4];
    for (vector, weight) in &used {
        for (sum, value) in sums.iter_mut().zip(vector.values()) {
            *sum += weight * value;
        }
    }
    write_values(sums.into_iter().map(|sum| sum / total), out);
    Ok(())
}

/// A weight as float32. Errors: [`Error::InvalidWeight`].
pub fn weight(value: f64, position: usize) -> Result<f32> {
    let weight = value as f32;
    if weight.is_finite() && value >= 0.0 {
        Ok(weight)
    } else {
        Err(Error::InvalidWeight { position, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn averaged(vectors: &[&[f32]], weights: &[f64]) -> Result<Vec<f32>> {
        let stored: Vec<Vec<u8>> = vectors.iter().map(|v| bytes(v)).collect();
        let refs: Vec<VectorRef<'_>> = stored.iter().map(|b| VectorRef::new(b).unwrap()).collect();
        let mut out = vec![0; stored.first().map_or(0, Vec::len)];
        weighted_average(&refs, weights, &mut out)?;
        Ok(VectorRef::new(&out).unwrap().values().collect())
    }

    fn blended(x: &[f32], y: &[f32], weights: [f64; 2]) -> Result<Vec<f32>> {
        let (x, y) = (bytes(x), bytes(y));
        let mut out = vec![0; x.len()];
        blend(VectorRef::new(&x).unwrap(), VectorRef::new(&y).unwrap(), weights, &mut out)?;
        Ok(VectorRef::new(&out).unwrap().values().collect())
    }

    #[test]
    fn the_two_forms_differ_only_in_negative_zero() {
        let (x, y) = ([-0.0_f32, 1.0, 2.5], [-0.0_f32, 3.0, -2.5]);
        let blended = blended(&x, &y, [0.5, 0.5]).unwrap();
        let averaged = averaged(&[&x, &y], &[0.5, 0.5]).unwrap();
        assert_eq!(blended, averaged);
        assert_eq!(blended, [0.0, 2.0, 0.0]);
        assert!(blended[0].is_sign_negative() && averaged[0].is_sign_positive());
    }

    #[test]
    fn arithmetic_is_rounded_at_every_step() {
        // 0.1f32 * 3 / 0.1f32: what float64 would give differs in the last bit.
        let z = averaged(&[&[3.0, 7.0]], &[0.1]).unwrap();
        let w = 0.1_f32;
        assert_eq!(z, [(w * 3.0) / w, (w * 7.0) / w]);
        let z = averaged(&[&[16_777_216.0], &[1.0], &[1.0]], &[1.0, 1.0, 1.0]).unwrap();
        assert_eq!(z, [16_777_216.0 / 3.0], "float32 sums in order lose both ones");
    }

    #[test]
    fn bad_weights_are_told_apart() {
        let (x, y): (&[f32], &[f32]) = (&[1.0], &[2.0]);
        for value in [-1.0, -1e-300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e39] {
            for result in [averaged(&[x, y], &[1.0, value]), blended(x, y, [1.0, value])] {
                assert!(matches!(result, Err(Error::InvalidWeight { position: 2, .. })), "{value}");
            }
        }
        for (a, b) in [(0.0, 0.0), (1e-60, 0.0), (0.0, -0.0)] {
            assert_eq!(averaged(&[x, y], &[a, b]), Err(Error::ZeroWeights));
            assert_eq!(blended(x, y, [a, b]), Err(Error::ZeroWeights));
        }
        assert_eq!(averaged(&[], &[]), Err(Error::ZeroWeights));
        assert_eq!(averaged(&[x, y], &[1.0]), Err(Error::WeightCount { vectors: 2, weights: 1 }));
        let mismatch = Err(Error::DimensionMismatch { left: 1, right: 2 });
        assert_eq!(averaged(&[x, &[1.0, 2.0]], &[1.0, 1.0]), mismatch);
        assert_eq!(blended(x, &[1.0, 2.0], [1.0, 1.0]), mismatch);
    }

    #[test]
    fn a_vector_without_weight_is_left_out_whatever_it_holds() {
        assert_eq!(averaged(&[&[4.0], &[f32::NAN]], &[2.0, 0.0]).unwrap(), [4.0]);
        assert_eq!(averaged(&[&[f32::INFINITY], &[4.0]], &[0.0, 3.0]).unwrap(), [4.0]);
        let mismatch = Err(Error::DimensionMismatch { left: 2, right: 1 });
        assert_eq!(averaged(&[&[1.0, 2.0], &[4.0]], &[0.0, 3.0]), mismatch);
    }

    proptest! {
        #[test]
        fn a_mean_lies_between_its_vectors(
            pairs in prop::collection::vec((-1e6_f32..1e6, -1e6_f32..1e6), 1..400),
            a in 0.001_f64..100.0, b in 0.001_f64..100.0,
        ) {
            let (x, y): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let z = averaged(&[&x, &y], &[a, b]).unwrap();
            let blended = blended(&x, &y, [a, b]).unwrap();
            for i in 0..x.len() {
                let (low, high) = (x[i].min(y[i]), x[i].max(y[i]));
                let room = 1e-5 * low.abs().max(high.abs());
                prop_assert!(z[i] >= low - room && z[i] <= high + room);
                prop_assert!((z[i] - blended[i]).abs() <= room);
            }
        }
    }
}
