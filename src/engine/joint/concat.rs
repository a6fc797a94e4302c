//! Fusion by concatenation: every branch of unit length in a place of its own.
//!
//! A branch's vector is brought into its place (a fitted transform, then its first components or a seeded
//! orthogonal projection), made unit length, and scaled by `sqrt(weight / sum of weights)`. The joint vector
//! has length 1, and the cosine of two is the weighted mean of the cosines of their branches: weights mean
//! what they say, and nothing of one branch leaks into another.

use std::rc::Rc;

use super::super::error::{Error, Result};
use super::super::fit::Components;
use super::super::kept::Kept;
use super::super::linear::{Matrix, normalise};
use super::super::vector::{VectorRef, write_values};

thread_local! {
    /// Projections by their shape and seed.
    static MATRICES: Kept<(usize, usize, u32)> = const { Kept::new() };
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
    /// Whether only the mean of it is taken off.
    pub center: bool,
}

/// A branch in its place, of unit length; None where it has no direction.
pub type Placed = Option<Vec<f64>>;

/// Writes the branches of one key, each as [`place_all`] brought it into its place, into `out` (shape `[4 * dim]`); the
/// rest is zeros. A branch that is absent leaves its place empty, and the others keep their proportions.
///
/// Errors: [`Error::WeightCount`], [`Error::TooManyDimensions`] when the places do not fit, [`Error::ZeroWeights`]
/// when no branch is there.
pub fn concatenate(branches: &[Placed], places: &[Place], out: &mut [u8]) -> Result<()> {
    if branches.len() != places.len() {
        return Err(Error::WeightCount { vectors: branches.len(), weights: places.len() });
    }
    let (needed, dim) = (places.iter().map(|place| place.dims).sum(), out.len() / 4);
    if needed > dim {
        return Err(Error::TooManyDimensions { dim: needed, max: dim });
    }
    let present = || branches.iter().zip(places).filter(|(branch, _)| branch.is_some());
    let total: f64 = present().map(|(_, place)| place.weight).sum();
    if total <= 0.0 || present().next().is_none() {
        return Err(Error::ZeroWeights);
    }
    out.fill(0);
    let mut rest = out;
    for (branch, place) in branches.iter().zip(places) {
        let (own, behind) = rest.split_at_mut(place.dims * 4);
        if let Some(branch) = branch {
            let scale = (place.weight / total).sqrt();
            write_values(branch.iter().map(|x| (scale * x) as f32), own);
        }
        rest = behind;
    }
    Ok(())
}

/// The branch of every key in its place, of unit length; None where there is none, or where it is zero or not finite. Many
/// at a time, because a projection then reads its matrix less often; each as it would be alone, to the bit.
///
/// Errors, each that of one key: [`Error::DimensionMismatch`] when a transform is for other vectors, and those of making a
/// projection.
pub fn place_all(vectors: &[Option<VectorRef<'_>>], place: &Place) -> Vec<Result<Placed>> {
    let whole = |vector: &Option<VectorRef<'_>>| match (vector, &place.transform) {
        (None, _) => Ok(None),
        (Some(vector), Some(transform)) if place.center => transform.center(*vector),
        (Some(vector), Some(transform)) => transform.apply(*vector),
        (Some(vector), None) => Ok(Some(vector.values().map(f64::from).collect())),
    };
    let mut placed: Vec<Result<Placed>> = vectors.iter().map(whole).collect();
    if let Some(seed) = place.seed {
        project(&mut placed, place.dims, seed);
    }
    for branch in &mut placed {
        if let Ok(Some(values)) = branch {
            values.truncate(place.dims);
            if !normalise(values) {
                *branch = Ok(None);
            }
        }
    }
    placed
}

/// Projects what is longer than `dims`.
fn project(placed: &mut [Result<Placed>], dims: usize, seed: u32) {
    let length = |branch: &Result<Placed>| branch.as_ref().ok()?.as_ref().map(Vec::len);
    let long = |branch: &Result<Placed>| length(branch).is_some_and(|length| length > dims);
    let mut long: Vec<&mut Result<Placed>> = placed.iter_mut().filter(|branch| long(branch)).collect();
    for alike in long.chunk_by_mut(|a, b| length(a) == length(b)) {
        let Some(cols) = alike.first().and_then(|branch| length(branch)) else { continue };
        let matrix = match projection(dims, cols, seed) {
            Ok(matrix) => matrix,
            Err(error) => {
                alike.iter_mut().for_each(|branch| **branch = Err(error.clone()));
                continue;
            }
        };
        let mut values = Vec::with_capacity(alike.len() * cols);
        for branch in alike.iter().filter_map(|branch| branch.as_ref().ok()?.as_ref()) {
            values.extend_from_slice(branch);
        }
        let mut projected = vec![0.0; alike.len() * dims];
        matrix.times_many(&values, &mut projected);
        for (branch, projected) in alike.iter_mut().zip(projected.chunks_exact(dims)) {
            if let Ok(Some(values)) = branch {
                values.truncate(dims);
                values.copy_from_slice(projected);
            }
        }
    }
}

/// The vector of `dim` components whose dot product with a branch's is that of `placed` with the branch in its place: the
/// projection's transpose times `placed`, which is the place itself where there is no projection.
///
/// Errors: those of making a projection.
pub fn pull_back(placed: &[f64], dim: usize, seed: Option<u32>) -> Result<Vec<f64>> {
    let mut back = vec![0.0; dim];
    match seed.filter(|_| placed.len() < dim) {
        Some(seed) => {
            let matrix = projection(placed.len(), dim, seed)?;
            for (row, along) in placed.iter().enumerate() {
                back.iter_mut().zip(matrix.row(row)).for_each(|(slot, x)| *slot += along * x);
            }
        }
        None => back.iter_mut().zip(placed).for_each(|(slot, x)| *slot = *x),
    }
    Ok(back)
}

fn projection(rows: usize, cols: usize, seed: u32) -> Result<Rc<Matrix>> {
    MATRICES.with(|kept| kept.get((rows, cols, seed), || Matrix::orthogonal(rows, cols, seed.into())))
}

#[cfg(test)]
mod tests {
    use super::super::super::linear::dot;
    use super::*;
    use proptest::prelude::*;

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn place(dims: usize, weight: f64, seed: Option<u32>) -> Place {
        Place { dims, weight, seed, ..Place::default() }
    }

    fn joint(branches: &[Option<&[f32]>], places: &[Place], dim: usize) -> Result<Vec<f32>> {
        let stored: Vec<Option<Vec<u8>>> = branches.iter().map(|b| b.map(bytes)).collect();
        let refs: Vec<_> = stored.iter().map(|b| b.as_ref().map(|b| VectorRef::new(b).unwrap())).collect();
        let placed = refs.iter().zip(places).map(|(branch, place)| place_all(&[*branch], place).remove(0));
        let mut out = vec![0xAA; dim * 4];
        concatenate(&placed.collect::<Result<Vec<_>>>()?, places, &mut out)?;
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
    fn what_is_pulled_back_has_the_dot_product_of_the_place() {
        let branch: Vec<f32> = (0..40).map(|i| (i as f32).sin()).collect();
        let wide: Vec<f64> = branch.iter().copied().map(f64::from).collect();
        for seed in [None, Some(3)] {
            let stored = bytes(&branch);
            let placed = place_all(&[Some(VectorRef::new(&stored).unwrap())], &place(8, 1.0, seed)).remove(0);
            let placed = placed.unwrap().unwrap();
            let back = pull_back(&placed, 40, seed).unwrap();
            // The place is the projected branch over its length.
            let length = dot(&back, &wide);
            let projected: Vec<f64> = placed.iter().map(|x| x * length).collect();
            let along: Vec<f64> = (0..8).map(|i| f64::from(i).cos()).collect();
            let expected = dot(&projected, &along);
            assert!((dot(&pull_back(&along, 40, seed).unwrap(), &wide) - expected).abs() < 1e-12);
        }
        assert_eq!(pull_back(&[1.0, 2.0], 1, Some(3)).unwrap(), [1.0]);
    }

    #[test]
    fn projections_depend_on_their_seed() {
        let branch: Vec<f32> = (0..40).map(|i| (i as f32).sin()).collect();
        let of = |seed| joint(&[Some(&branch)], &[place(8, 1.0, Some(seed))], 8).unwrap();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn branches_of_many_keys_are_placed_as_each_would_be_alone() {
        let branch = |key: usize| -> Option<Vec<u8>> {
            let dim = if key % 11 == 3 { 30 } else { 41 };
            let value = |i: usize| ((key * 41 + i) as f32).sin() * if key % 13 == 5 { 0.0 } else { 1.0 };
            (key % 7 != 2).then(|| bytes(&(0..dim).map(value).collect::<Vec<_>>()))
        };
        let stored: Vec<Option<Vec<u8>>> = (0..50).map(branch).collect();
        let refs: Vec<_> = stored.iter().map(|b| b.as_ref().map(|b| VectorRef::new(b).unwrap())).collect();
        for place in [place(8, 1.0, Some(1)), place(35, 1.0, Some(2)), place(8, 1.0, None)] {
            let together = place_all(&refs, &place);
            let alone: Vec<_> = refs.iter().map(|branch| place_all(&[*branch], &place).remove(0)).collect();
            assert_eq!(together, alone);
            assert_eq!(together.iter().filter(|placed| *placed == &Ok(None)).count(), 10);
        }
    }
}
