//! Principal components of stored vectors: a mean to take off, and directions to keep.

use super::super::error::{Error, Result};
use super::super::linear::{MAX_EIGEN, Matrix, dot, eigen_symmetric, normalise};
use super::super::vector::VectorRef;
use super::{pack_matrix, unpack_matrix};

/// Sums of vectors and of their products, gathered one vector at a time.
#[derive(Debug)]
pub struct Moments {
    count: usize,
    sum: Vec<f64>,
    products: Matrix,
}

impl Moments {
    /// Moments of nothing, for vectors of `dim` components.
    ///
    /// Errors: [`Error::OutOfRange`] beyond 1024 components, [`Error::OutOfMemory`].
    pub fn new(dim: usize) -> Result<Self> {
        if dim > MAX_EIGEN {
            return Err(Error::OutOfRange { name: "dim", value: dim as i64, min: 1, max: MAX_EIGEN as i64 });
        }
        Ok(Self { count: 0, sum: vec![0.0; dim], products: Matrix::zeros(dim, dim)? })
    }

    /// Adds a vector, brought to unit length; a zero vector or one with NaN or infinity is left out.
    /// Whether it was added.
    ///
    /// Errors: [`Error::DimensionMismatch`].
    pub fn add(&mut self, vector: VectorRef<'_>) -> Result<bool> {
        if vector.dim() != self.sum.len() {
            return Err(Error::DimensionMismatch { left: self.sum.len(), right: vector.dim() });
        }
        let mut x: Vec<f64> = vector.values().map(f64::from).collect();
        if !normalise(&mut x) {
            return Ok(false);
        }
        self.count += 1;
        for (i, &value) in x.iter().enumerate() {
            self.sum[i] += value;
            // The lower half is enough.
            self.products
                .row_mut(i)
                .iter_mut()
                .zip(&x[..=i])
                .for_each(|(slot, other)| *slot += value * other);
        }
        Ok(true)
    }

    /// Number of vectors added.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The `keep` principal components. `tick` runs now and then, and can stop the work.
    ///
    /// Errors: [`Error::TooFewToFit`] when fewer than `keep + 1` vectors were added or they span fewer
    /// directions; those of `tick`.
    pub fn components(mut self, keep: usize, tick: &mut dyn FnMut() -> Result<()>) -> Result<Components> {
        let few = Error::TooFewToFit { found: self.count, needed: keep + 1 };
        if self.count <= keep || keep == 0 {
            return Err(few);
        }
        let count = self.count as f64;
        let mean: Vec<f64> = self.sum.iter().map(|x| x / count).collect();
        for i in 0..mean.len() {
            for j in 0..=i {
                let covariance = self.products.at(i, j) / count - mean[i] * mean[j];
                self.products.set(i, j, covariance);
                self.products.set(j, i, covariance);
            }
        }
        let total: f64 = (0..mean.len()).map(|i| self.products.at(i, i)).sum();
        let eigen = eigen_symmetric(self.products, keep, tick)?;
        match eigen.values.last() {
            Some(&last) if eigen.values.len() == keep && last > total * 1e-12 => {
                let explained = eigen.values.iter().sum::<f64>() / total;
                Ok(Components { mean, directions: eigen.vectors, explained })
            }
            _ => Err(few),
        }
    }
}

/// A mean and directions, fitted once.
#[derive(Debug, Clone, PartialEq)]
pub struct Components {
    mean: Vec<f64>,
    /// Rows: the directions, the strongest first.
    directions: Matrix,
    /// Share of the variance that the directions keep; 0 for what was read back.
    pub explained: f64,
}

impl Components {
    /// Components of the vectors that go in.
    pub fn dim_in(&self) -> usize {
        self.mean.len()
    }

    /// Components of the vectors that come out.
    pub fn dim_out(&self) -> usize {
        self.directions.rows()
    }

    /// The stored form: mean and directions.
    ///
    /// Errors: [`Error::MatrixTooLarge`], [`Error::OutOfMemory`].
    pub fn pack(&self) -> Result<[(&'static str, Vec<u8>); 2]> {
        let mut mean = Matrix::zeros(1, self.mean.len())?;
        mean.row_mut(0).copy_from_slice(&self.mean);
        Ok([("mean", pack_matrix(&mean)), ("directions", pack_matrix(&self.directions))])
    }

    /// Reads the stored form.
    ///
    /// Errors: [`Error::MalformedPart`], and as [`Components::pack`].
    pub fn unpack(mean: &[u8], directions: &[u8]) -> Result<Self> {
        let mean = unpack_matrix("mean", mean)?;
        let directions = unpack_matrix("directions", directions)?;
        if mean.rows() != 1 || mean.cols() != directions.cols() {
            return Err(Error::MalformedPart { name: "directions" });
        }
        Ok(Self { mean: mean.row(0).to_vec(), directions, explained: 0.0 })
    }

    /// The vector, brought to unit length and less the mean, along the directions. None for a zero vector
    /// or one with NaN or infinity.
    ///
    /// Errors: [`Error::DimensionMismatch`].
    pub fn apply(&self, vector: VectorRef<'_>) -> Result<Option<Vec<f64>>> {
        let along =
            |x: Vec<f64>| (0..self.directions.rows()).map(|i| dot(self.directions.row(i), &x)).collect();
        Ok(self.center(vector)?.map(along))
    }

    /// The vector, brought to unit length and less the mean. None for a zero vector or one with NaN or infinity.
    ///
    /// Errors: [`Error::DimensionMismatch`].
    pub fn center(&self, vector: VectorRef<'_>) -> Result<Option<Vec<f64>>> {
        if vector.dim() != self.mean.len() {
            return Err(Error::DimensionMismatch { left: self.mean.len(), right: vector.dim() });
        }
        let mut x: Vec<f64> = vector.values().map(f64::from).collect();
        if !normalise(&mut x) {
            return Ok(None);
        }
        x.iter_mut().zip(&self.mean).for_each(|(x, mean)| *x -= mean);
        Ok(Some(x))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::random::SplitMix64;
    use super::*;

    fn bytes(values: &[f64]) -> Vec<u8> {
        values.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect()
    }

    /// Points near a plane of a space of 6 dimensions, away from the origin.
    fn points() -> Vec<Vec<u8>> {
        let mut random = SplitMix64::new(9);
        (0..200)
            .map(|_| {
                let (a, b) = (random.next_gaussian(), 0.3 * random.next_gaussian());
                let noise = 0.001 * random.next_gaussian();
                bytes(&[5.0 + a, b, noise, 1.0, a * 0.5, -b])
            })
            .collect()
    }

    #[test]
    fn directions_hold_nearly_all_variance_and_survive_storage() {
        let mut moments = Moments::new(6).unwrap();
        for point in points() {
            assert!(moments.add(VectorRef::new(&point).unwrap()).unwrap());
        }
        assert!(!moments.add(VectorRef::new(&bytes(&[0.0; 6])).unwrap()).unwrap());
        assert_eq!(moments.count(), 200);
        let fitted = moments.components(3, &mut || Ok(())).unwrap();
        assert!(fitted.explained > 0.99 && (fitted.dim_in(), fitted.dim_out()) == (6, 3));
        let [(_, mean), (_, directions)] = fitted.pack().unwrap();
        let again = Components::unpack(&mean, &directions).unwrap();
        let point = points().remove(0);
        let vector = VectorRef::new(&point).unwrap();
        assert_eq!(again.apply(vector).unwrap(), fitted.apply(vector).unwrap());
        assert!(Components::unpack(&mean, &directions[..20]).is_err());
        assert!(Components::unpack(&directions, &mean).is_err());
    }

    #[test]
    fn too_few_vectors_are_refused() {
        let mut moments = Moments::new(6).unwrap();
        points().iter().take(3).for_each(|p| assert!(moments.add(VectorRef::new(p).unwrap()).unwrap()));
        let few = moments.components(3, &mut || Ok(())).unwrap_err();
        assert_eq!(few, Error::TooFewToFit { found: 3, needed: 4 });
        assert!(Moments::new(2000).is_err());
    }
}
