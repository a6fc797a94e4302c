//! Fusion by concatenation: every branch of unit length in a place of its own.
//!
//! A branch's vector is brought into its place (a fitted transform, then its first components or a seeded
//! orthogonal projection), made unit length, and scaled by `sqrt(weight / sum of weights)`. The joint vector
//! has length 1, and the cosine of two is the weighted mean of the cosines of their branches: weights mean
//! what they say, and nothing of one branch leaks into another.

use std::cell::RefCell;
use std::rc::Rc;

use super::super::error::{Error, Result};
use super::super::fit::Components;
use super::super::linear::{Matrix, normalise};
use super::super::vector::{VectorRef, write_values};

/// Projections kept by a thread.
const KEPT_MATRICES: usize = 4;

thread_local! {
    static MATRICES: RefCell<Vec<((usize, usize, u32), Rc<Matrix>)>> = const { RefCell::new(Vec::new()) };
}

/// Where a branch goes, and how.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Place {
    /// Components of the joint vector that the branch fills.
    pub dims: usize,
    /// Share of the branch. Positive.
    pub weight: f64,
    /// Seed of an orthogonal projection to `dims`; without one the first `dims` components are kept.
    pub seed: Option<u32>,
    /// Fitted mean and directions, applied first.
    pub transform: Option<Rc<Components>>,
}

/// Writes the branches, each in its place, into `out` (shape `[4 * dim]`); the rest is zeros. A branch that
/// is absent, zero, or not finite leaves its place empty, and the others keep their proportions.
///
/// Returns which branches are in the vector. Errors: [`Error::WeightCount`], [`Error::TooManyDimensions`] when
/// the places do not fit, [`Error::ZeroWeights`] when no branch is left, [`Error::DimensionMismatch`] when a
/// transform is for other vectors.
pub fn concatenate(
    branches: &[Option<VectorRef<'_>>],
    places: &[Place],
    out: &mut [u8],
) -> Result<Vec<bool>> {
    if branches.len() != places.len() {
        return Err(Error::WeightCount { vectors: branches.len(), weights: places.len() });
    }
    let (needed, dim) = (places.iter().map(|place| place.dims).sum(), out.len() / 4);
    if needed > dim {
        return Err(Error::TooManyDimensions { dim: needed, max: dim });
    }
    let placed = branches.iter().zip(places).map(|(vector, place)| match vector {
        Some(vector) => unit(*vector, place),
        None => Ok(None),
    });
    let placed = placed.collect::<Result<Vec<Option<Vec<f64>>>>>()?;
    let present = || placed.iter().zip(places).filter(|(branch, _)| branch.is_some());
    let total: f64 = present().map(|(_, place)| place.weight).sum();
    if total <= 0.0 || present().next().is_none() {
        return Err(Error::ZeroWeights);
    }
    let mut joint = vec![0.0; dim];
    let mut offset = 0;
    for (branch, place) in placed.iter().zip(places) {
        if let Some(branch) = branch {
            let scale = (place.weight / total).sqrt();
            joint[offset..].iter_mut().zip(branch).for_each(|(slot, x)| *slot = scale * x);
        }
        offset += place.dims;
    }
    write_values(joint.iter().map(|&x| x as f32), out);
    Ok(placed.iter().map(Option::is_some).collect())
}

/// The branch in its place, of unit length; None when it has no direction.
fn unit(vector: VectorRef<'_>, place: &Place) -> Result<Option<Vec<f64>>> {
    let whole: Vec<f64> = match &place.transform {
        Some(transform) => match transform.apply(vector)? {
            Some(transformed) => transformed,
            None => return Ok(None),
        },
        None => vector.values().map(f64::from).collect(),
    };
    let mut placed = match place.seed {
        Some(seed) if place.dims < whole.len() => {
            let mut projected = vec![0.0; place.dims];
            projection(place.dims, whole.len(), seed)?.times(&whole, &mut projected);
            projected
        }
        _ => whole.into_iter().take(place.dims).collect(),
    };
    Ok(normalise(&mut placed).then_some(placed))
}

fn projection(rows: usize, cols: usize, seed: u32) -> Result<Rc<Matrix>> {
    let key = (rows, cols, seed);
    let kept = MATRICES.with(|kept| {
        let kept = kept.try_borrow().ok()?;
        kept.iter().find(|(other, _)| *other == key).map(|(_, matrix)| Rc::clone(matrix))
    });
    if let Some(matrix) = kept {
        return Ok(matrix);
    }
    let matrix = Rc::new(Matrix::orthogonal(rows, cols, seed.into())?);
    MATRICES.with(|kept| {
        if let Ok(mut kept) = kept.try_borrow_mut() {
            if kept.len() == KEPT_MATRICES {
                kept.remove(0);
            }
            kept.push((key, Rc::clone(&matrix)));
        }
    });
    Ok(matrix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn place(dims: usize, weight: f64, seed: Option<u32>) -> Place {
        Place { dims, weight, seed, transform: None }
    }

    fn joint(branches: &[Option<&[f32]>], places: &[Place], dim: usize) -> Result<Vec<f32>> {
        let stored: Vec<Option<Vec<u8>>> = branches.iter().map(|b| b.map(bytes)).collect();
        let refs: Vec<_> = stored.iter().map(|b| b.as_ref().map(|b| VectorRef::new(b).unwrap())).collect();
        let mut out = vec![0xAA; dim * 4];
        concatenate(&refs, places, &mut out)?;
        Ok(VectorRef::new(&out).unwrap().values().collect())
    }

    fn cosine(a: &[f32], b: &[f32]) -> f64 {
        let dot =
            |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(p, q)| f64::from(*p) * f64::from(*q)).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    }

    proptest! {
        #[test]
        fn the_cosine_is_the_weighted_mean_of_the_branches(
            a in prop::collection::vec(-1f32..1.0, 4), b in prop::collection::vec(-1f32..1.0, 4),
            c in prop::collection::vec(-9f32..9.0, 3), d in prop::collection::vec(-9f32..9.0, 3),
            weight in 0.1f64..10.0,
        ) {
            prop_assume!([&a, &b, &c, &d].iter().all(|v| v.iter().any(|x| x.abs() > 0.01)));
            let places = [place(4, weight, None), place(3, 1.0, None)];
            let x = joint(&[Some(&a), Some(&c)], &places, 10).unwrap();
            let y = joint(&[Some(&b), Some(&d)], &places, 10).unwrap();
            let expected = (weight * cosine(&a, &b) + cosine(&c, &d)) / (weight + 1.0);
            prop_assert!((cosine(&x, &y) - expected).abs() < 1e-5);
            prop_assert!((cosine(&x, &x) - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn absent_and_directionless_branches_leave_their_place_empty() {
        let places = [place(2, 0.75, None), place(2, 0.25, None)];
        let both = joint(&[Some(&[3.0, 4.0, 9.0]), Some(&[0.0, 2.0])], &places, 5).unwrap();
        assert_eq!(both, [0.6 * 0.75f64.sqrt(), 0.8 * 0.75f64.sqrt(), 0.0, 0.5, 0.0].map(|x| x as f32));
        for absent in [None, Some(&[0.0, 0.0][..]), Some(&[f32::NAN, 1.0][..])] {
            let one = joint(&[absent, Some(&[0.0, 2.0])], &places, 4).unwrap();
            assert_eq!(one, [0.0, 0.0, 0.0, 1.0]);
            assert_eq!(joint(&[absent, None], &places, 4), Err(Error::ZeroWeights));
        }
        assert!(matches!(joint(&[None, None], &places, 3), Err(Error::TooManyDimensions { dim: 4, max: 3 })));
        assert!(joint(&[None], &places, 4).is_err());
    }

    #[test]
    fn projections_depend_on_their_seed() {
        let branch: Vec<f32> = (0..40).map(|i| (i as f32).sin()).collect();
        let of = |seed| joint(&[Some(&branch)], &[place(8, 1.0, Some(seed))], 8).unwrap();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
