#![forbid(unsafe_code)]
//! Small dense linear algebra in float64 with one fixed order of operations: the same bits on every CPU.

use super::error::{Error, Result};
use super::host::checkpoint;
use super::random::SplitMix64;
use super::simd;

/// Most elements a matrix may have (512 MiB).
pub const MAX_ELEMENTS: usize = 1 << 26;

/// Largest symmetric matrix whose eigenvectors are computed.
pub const MAX_EIGEN: usize = 1024;

/// Sweeps after which Jacobi's method has converged on any matrix of [`MAX_EIGEN`] rows.
const MAX_SWEEPS: usize = 60;

/// A dense matrix, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    values: Vec<f64>,
}

impl Matrix {
    /// A matrix of zeros, shape `[rows, cols]`.
    ///
    /// Errors: [`Error::MatrixTooLarge`], [`Error::OutOfMemory`].
    pub fn zeros(rows: usize, cols: usize) -> Result<Self> {
        let size = rows.checked_mul(cols).filter(|&size| size <= MAX_ELEMENTS);
        let size = size.ok_or(Error::MatrixTooLarge { rows, cols, max: MAX_ELEMENTS })?;
        let mut values = Vec::new();
        values.try_reserve_exact(size).map_err(|_| Error::OutOfMemory)?;
        values.resize(size, 0.0);
        Ok(Self { rows, cols, values })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Row `i`, which must exist.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.cols..(i + 1) * self.cols]
    }

    /// Row `i`, which must exist, to write to.
    pub fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.values[i * self.cols..(i + 1) * self.cols]
    }

    /// Element in row `i` and column `j`.
    pub fn at(&self, i: usize, j: usize) -> f64 {
        self.values[i * self.cols + j]
    }

    /// Sets the element in row `i` and column `j`.
    pub fn set(&mut self, i: usize, j: usize, value: f64) {
        self.values[i * self.cols + j] = value;
    }

    /// Standard normal numbers from `seed`, row by row.
    ///
    /// Errors: as [`Matrix::zeros`].
    pub fn gaussian(rows: usize, cols: usize, seed: u64) -> Result<Self> {
        let mut matrix = Self::zeros(rows, cols)?;
        let mut generator = SplitMix64::new(seed);
        for row in matrix.values.chunks_mut(cols.max(1)) {
            checkpoint();
            row.iter_mut().for_each(|value| *value = generator.next_gaussian());
        }
        Ok(matrix)
    }

    /// As [`Matrix::gaussian`], the rows then made orthonormal; `rows <= cols`.
    ///
    /// Errors: as [`Matrix::zeros`].
    pub fn orthogonal(rows: usize, cols: usize, seed: u64) -> Result<Self> {
        let mut matrix = Self::gaussian(rows.min(cols), cols, seed)?;
        matrix.orthonormalise_rows();
        Ok(matrix)
    }

    /// Makes the rows orthonormal, in order: modified Gram-Schmidt, each row twice. A row that depends on
    /// those before it becomes zero.
    pub fn orthonormalise_rows(&mut self) {
        for i in 0..self.rows {
            let (done, rest) = self.values.split_at_mut(i * self.cols);
            let row = &mut rest[..self.cols];
            let before = dot(row, row).sqrt();
            for _ in 0..2 {
                for other in done.chunks_exact(self.cols.max(1)) {
                    checkpoint();
                    let along = dot(row, other);
                    row.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
                }
            }
            let norm = dot(row, row).sqrt();
            if norm > before * 1e-9 && norm > 0.0 {
                row.iter_mut().for_each(|x| *x /= norm);
            } else {
                row.fill(0.0);
            }
        }
    }

    /// This matrix times `vector` (shape `[cols]`), into `out` (shape `[rows]`); columns beyond a shorter vector count as if it went on with zeros.
    pub fn times(&self, vector: &[f64], out: &mut [f64]) {
        if vector.len() == self.cols {
            return simd::matrix_times(&self.values, vector, out);
        }
        for (slot, row) in out.iter_mut().zip(self.values.chunks_exact(self.cols.max(1))) {
            *slot = dot(row, vector);
        }
    }

    /// As [`Matrix::times`] for several vectors of `cols` numbers, one behind the other, to the bit; `out` has the shape
    /// `[vectors, rows]`.
    pub fn times_many(&self, vectors: &[f64], out: &mut [f64]) {
        simd::matrix_times_many(&self.values, self.cols, vectors, out);
    }
}

/// Sum of products in eight interleaved lanes, then as a fixed tree; stops at the shorter slice.
#[inline(always)]
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let length = a.len().min(b.len());
    let ((a, a_tail), (b, b_tail)) = (a[..length].as_chunks::<8>(), b[..length].as_chunks::<8>());
    let mut lanes = [0.0f64; 8];
    for (x, y) in a.iter().zip(b) {
        for lane in 0..8 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    for (lane, (x, y)) in a_tail.iter().zip(b_tail).enumerate() {
        lanes[lane] += x * y;
    }
    tree(lanes)
}

/// Sum in eight interleaved lanes, then as a fixed tree.
#[inline(always)]
pub fn sum(values: &[f64]) -> f64 {
    sum_of(values, |x| x)
}

/// Sum of what `f` makes of the values, in the same order.
#[inline(always)]
pub fn sum_of(values: &[f64], f: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0f64; 8];
    let (blocks, tail) = values.as_chunks::<8>();
    for block in blocks {
        for lane in 0..8 {
            lanes[lane] += f(block[lane]);
        }
    }
    for (lane, &x) in tail.iter().enumerate() {
        lanes[lane] += f(x);
    }
    tree(lanes)
}

/// Replaces every number by what `f` makes of it. A plain loop is what the compiler turns into wide registers.
#[inline(always)]
pub fn map_all(values: &mut [f64], f: impl Fn(f64) -> f64) {
    for x in values {
        *x = f(*x);
    }
}

/// As [`map_all`], each with the number at its place in `others`; stops at the shorter slice.
#[inline(always)]
pub fn map_with(values: &mut [f64], others: &[f64], f: impl Fn(f64, f64) -> f64) {
    for (x, other) in values.iter_mut().zip(others) {
        *x = f(*x, *other);
    }
}

#[inline(always)]
fn tree([a, b, c, d, e, f, g, h]: [f64; 8]) -> f64 {
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// Scales `vector` to unit length; false, and nothing changed, when its norm is zero or not finite.
#[inline(always)]
pub fn normalise(vector: &mut [f64]) -> bool {
    let norm = dot(vector, vector).sqrt();
    let usable = norm > 0.0 && norm.is_finite();
    if usable {
        map_all(vector, |x| x / norm);
    }
    usable
}

/// Largest eigenvalues of a symmetric matrix and their vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Eigen {
    /// Eigenvalues, largest first.
    pub values: Vec<f64>,
    /// Eigenvectors as rows, unit length, the component of largest magnitude positive.
    pub vectors: Matrix,
}

/// The `keep` largest eigenvalues of the symmetric `matrix` by cyclic Jacobi rotations. `tick` runs before
/// every row of rotations, so that a caller can stop a long run.
///
/// Errors: [`Error::MatrixTooLarge`] beyond [`MAX_EIGEN`] rows, [`Error::OutOfMemory`], and those of `tick`.
pub fn eigen_symmetric(
    mut matrix: Matrix,
    keep: usize,
    tick: &mut dyn FnMut() -> Result<()>,
) -> Result<Eigen> {
    let n = matrix.rows;
    if n > MAX_EIGEN || matrix.cols != n {
        return Err(Error::MatrixTooLarge { rows: n, cols: matrix.cols, max: MAX_EIGEN * MAX_EIGEN });
    }
    let mut vectors = Matrix::zeros(n, n)?;
    (0..n).for_each(|i| vectors.set(i, i, 1.0));
    let scale: f64 = matrix.values.iter().map(|x| x * x).sum();
    for _ in 0..MAX_SWEEPS {
        let off: f64 = (0..n).map(|i| matrix.row(i)[i + 1..].iter().map(|x| x * x).sum::<f64>()).sum();
        if off <= scale * 1e-28 {
            break;
        }
        for p in 0..n {
            tick()?;
            (p + 1..n).for_each(|q| rotate(&mut matrix, &mut vectors, p, q));
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| matrix.at(b, b).total_cmp(&matrix.at(a, a)).then(a.cmp(&b)));
    order.truncate(keep);
    let mut kept = Matrix::zeros(order.len(), n)?;
    for (slot, &from) in order.iter().enumerate() {
        kept.row_mut(slot).copy_from_slice(vectors.row(from));
        fix_sign(kept.row_mut(slot));
    }
    Ok(Eigen { values: order.iter().map(|&i| matrix.at(i, i)).collect(), vectors: kept })
}

/// One Jacobi rotation that zeroes element (p, q); `vectors` holds eigenvectors as rows.
fn rotate(matrix: &mut Matrix, vectors: &mut Matrix, p: usize, q: usize) {
    let off = matrix.at(p, q);
    if off == 0.0 {
        return;
    }
    let theta = (matrix.at(q, q) - matrix.at(p, p)) / (2.0 * off);
    let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
    let c = 1.0 / (t * t + 1.0).sqrt();
    let s = t * c;
    let n = matrix.cols;
    let (head, tail) = matrix.values.split_at_mut(q * n);
    turn(&mut head[p * n..(p + 1) * n], &mut tail[..n], c, s);
    for row in matrix.values.chunks_exact_mut(n) {
        let (x, y) = (row[p], row[q]);
        row[p] = c * x - s * y;
        row[q] = s * x + c * y;
    }
    matrix.set(p, q, 0.0);
    matrix.set(q, p, 0.0);
    let (head, tail) = vectors.values.split_at_mut(q * n);
    turn(&mut head[p * n..(p + 1) * n], &mut tail[..n], c, s);
}

fn turn(a: &mut [f64], b: &mut [f64], c: f64, s: f64) {
    for (x, y) in a.iter_mut().zip(b) {
        let (u, v) = (*x, *y);
        *x = c * u - s * v;
        *y = s * u + c * v;
    }
}

/// Turns a vector so that its component of largest magnitude (the first of equals) is positive.
fn fix_sign(vector: &mut [f64]) {
    let largest = vector.iter().fold(0.0f64, |best, &x| if x.abs() > best.abs() { x } else { best });
    if largest < 0.0 {
        vector.iter_mut().for_each(|x| *x = -*x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orthogonal_rows_are_orthonormal_and_depend_on_the_seed_alone() {
        let a = Matrix::orthogonal(20, 50, 1).unwrap();
        for i in 0..20 {
            for j in 0..=i {
                let expected = f64::from(u8::from(i == j));
                assert!((dot(a.row(i), a.row(j)) - expected).abs() < 1e-14, "rows {i} and {j}");
            }
        }
        assert_eq!(a, Matrix::orthogonal(20, 50, 1).unwrap());
        assert_ne!(a, Matrix::orthogonal(20, 50, 2).unwrap());
        assert_eq!(Matrix::orthogonal(9, 4, 1).unwrap().rows(), 4);
    }

    #[test]
    fn dependent_rows_become_zero() {
        let mut matrix = Matrix::zeros(3, 2).unwrap();
        matrix.values.copy_from_slice(&[3.0, 4.0, 6.0, 8.0, 1.0, 0.0]);
        matrix.orthonormalise_rows();
        assert_eq!(matrix.row(0), [0.6, 0.8]);
        assert_eq!(matrix.row(1), [0.0, 0.0]);
        assert!((dot(matrix.row(0), matrix.row(2))).abs() < 1e-15);
    }

    #[test]
    fn eigenvectors_solve_the_equation_largest_first_with_a_fixed_sign() {
        let n = 30;
        let random = Matrix::gaussian(n, n, 3).unwrap();
        let mut symmetric = Matrix::zeros(n, n).unwrap();
        for i in 0..n {
            for j in 0..n {
                symmetric.set(i, j, dot(random.row(i), random.row(j)));
            }
        }
        let found = eigen_symmetric(symmetric.clone(), 5, &mut || Ok(())).unwrap();
        assert!(found.values.windows(2).all(|pair| pair[0] >= pair[1]));
        for (value, i) in found.values.iter().zip(0..) {
            let vector = found.vectors.row(i);
            let mut image = vec![0.0; n];
            symmetric.times(vector, &mut image);
            let error = image.iter().zip(vector).map(|(x, y)| (x - value * y).abs()).fold(0.0, f64::max);
            assert!(error < 1e-10 * found.values[0], "error {error}");
            let largest = vector.iter().fold(0.0f64, |best, &x| if x.abs() > best.abs() { x } else { best });
            assert!(largest > 0.0);
        }
    }

    #[test]
    fn sizes_are_bounded_and_ticks_can_stop() {
        assert!(matches!(Matrix::zeros(1 << 20, 1 << 20), Err(Error::MatrixTooLarge { .. })));
        assert!(matches!(Matrix::zeros(usize::MAX, 2), Err(Error::MatrixTooLarge { .. })));
        let mut matrix = Matrix::zeros(2, 2).unwrap();
        matrix.values.copy_from_slice(&[1.0, 1.0, 1.0, 1.0]);
        let stopped = eigen_symmetric(matrix, 1, &mut || Err(Error::OutOfMemory));
        assert_eq!(stopped, Err(Error::OutOfMemory));
    }
}
