#![forbid(unsafe_code)]
//! Matrices times vectors: loops that [`super`] compiles for the instruction set at hand.

use super::super::linear::dot;
use super::tree_sum;

/// Rows that are computed side by side: while one sum waits for its last addition, the others go on.
const ROWS: usize = 4;

/// Vectors that two rows of a matrix meet before the next two are read: all of it fits into the fastest cache.
pub(super) const TOGETHER: usize = 8;

/// Eight partial sums of a dot product: number `i` goes to lane `i % 8`.
pub(super) type Lanes = [f64; 8];

/// Numbers in blocks of a register.
pub(super) type Blocks<'a> = &'a [[f64; 8]];

/// Partial sums of four dot products side by side, over whole blocks: of each row with the vector, or of two rows with
/// each of two vectors (upper x, upper y, lower x, lower y).
pub(super) trait Kernel {
    fn four(rows: [Blocks<'_>; 4], vector: Blocks<'_>) -> [Lanes; 4];
    fn quad(rows: [Blocks<'_>; 2], vectors: [Blocks<'_>; 2]) -> [Lanes; 4];
}

/// For any processor.
pub(super) struct Plain;

impl Kernel for Plain {
    fn four(rows: [Blocks<'_>; 4], vector: Blocks<'_>) -> [Lanes; 4] {
        rows.map(|row| sums(row, vector))
    }

    fn quad([upper, lower]: [Blocks<'_>; 2], [x, y]: [Blocks<'_>; 2]) -> [Lanes; 4] {
        [sums(upper, x), sums(upper, y), sums(lower, x), sums(lower, y)]
    }
}

fn sums(a: Blocks<'_>, b: Blocks<'_>) -> Lanes {
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums
}

/// As [`super::matrix_times`] says.
pub(super) fn times<K: Kernel>(matrix: &[f64], vector: &[f64], out: &mut [f64]) {
    let cols = vector.len();
    if cols == 0 {
        return out.fill(0.0);
    }
    let whole = out.len() - out.len() % ROWS;
    let (groups, rest) = out.split_at_mut(whole);
    let (matrix, matrix_rest) = matrix.split_at((whole * cols).min(matrix.len()));
    let (x, x_tail) = vector.as_chunks::<8>();
    for (slots, rows) in groups.chunks_exact_mut(ROWS).zip(matrix.chunks_exact(ROWS * cols)) {
        let rows: [_; ROWS] = std::array::from_fn(|row| rows[row * cols..][..cols].as_chunks::<8>());
        let sums = K::four(rows.map(|(blocks, _)| blocks), x);
        for ((slot, sums), (_, tail)) in slots.iter_mut().zip(sums).zip(rows) {
            *slot = total(sums, tail, x_tail);
        }
    }
    for (slot, row) in rest.iter_mut().zip(matrix_rest.chunks_exact(cols)) {
        *slot = dot(row, vector);
    }
}

/// As [`super::matrix_times_many`] says.
pub(super) fn times_many<K: Kernel>(matrix: &[f64], cols: usize, vectors: &[f64], out: &mut [f64]) {
    let count = vectors.len().checked_div(cols).unwrap_or(0);
    let rows = out.len().checked_div(count).unwrap_or(0);
    if rows == 0 {
        return out.fill(0.0);
    }
    let even = count - count % 2;
    let (vectors, last) = vectors.split_at(even * cols);
    let (out, out_last) = out.split_at_mut(even * rows);
    for (vectors, out) in vectors.chunks(TOGETHER * cols).zip(out.chunks_mut(TOGETHER * rows)) {
        for (at, band) in matrix.chunks(2 * cols).enumerate() {
            let (upper, lower) = band.split_at(cols);
            for (pair, out) in vectors.chunks_exact(2 * cols).zip(out.chunks_exact_mut(2 * rows)) {
                let (x, y) = pair.split_at(cols);
                if lower.is_empty() {
                    (out[2 * at], out[rows + 2 * at]) = (dot(upper, x), dot(upper, y));
                    continue;
                }
                let [u, l, x, y] = [upper, lower, x, y].map(<[f64]>::as_chunks::<8>);
                let [ux, uy, lx, ly] = K::quad([u.0, l.0], [x.0, y.0]);
                (out[2 * at], out[rows + 2 * at]) = (total(ux, u.1, x.1), total(uy, u.1, y.1));
                (out[2 * at + 1], out[rows + 2 * at + 1]) = (total(lx, l.1, x.1), total(ly, l.1, y.1));
            }
        }
    }
    if !last.is_empty() {
        times::<K>(matrix, last, out_last);
    }
}

/// A sum out of its lanes and of what is left over.
#[inline(always)]
fn total(mut sums: Lanes, a: &[f64], b: &[f64]) -> f64 {
    for (sum, (x, y)) in sums.iter_mut().zip(a.iter().zip(b)) {
        *sum += x * y;
    }
    tree_sum(sums)
}

#[cfg(test)]
mod tests {
    use super::super::{matrix_times, matrix_times_many};
    use super::*;

    #[test]
    fn a_matrix_times_a_vector_is_the_dot_products_of_its_rows_to_the_bit() {
        for (rows, cols) in [(0, 5), (1, 1), (3, 7), (4, 8), (9, 63), (13, 100), (224, 384)] {
            let value = |i: usize| ((i * 7919 % 1009) as f64 / 3.0).sin();
            let matrix: Vec<f64> = (0..rows * cols).map(value).collect();
            let vector: Vec<f64> = (0..cols).map(|i| value(i + 5)).collect();
            let expected: Vec<u64> = matrix
                .chunks_exact(cols)
                .map(|row| crate::engine::linear::dot(row, &vector).to_bits())
                .collect();
            for times in [matrix_times, times::<Plain>] {
                let mut out = vec![f64::NAN; rows];
                times(&matrix, &vector, &mut out);
                assert_eq!(out.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), expected, "{rows} x {cols}");
            }
        }
        let mut out = [1.0; 3];
        matrix_times(&[], &[], &mut out);
        assert_eq!(out, [0.0; 3]);
        matrix_times_many(&[], 0, &[], &mut out);
        assert_eq!(out, [0.0; 3]);
    }

    #[test]
    fn many_vectors_at_a_time_give_the_bits_of_one() {
        for (rows, cols) in [(1, 1), (3, 7), (4, 8), (9, 63), (13, 100), (224, 384)] {
            let value = |i: usize| ((i * 7919 % 1009) as f64 / 3.0).sin();
            let matrix: Vec<f64> = (0..rows * cols).map(value).collect();
            for count in [1, 2, 3, 7, 8, 9, 17] {
                let vectors: Vec<f64> = (0..count * cols).map(|i| value(i + 11)).collect();
                let mut expected = vec![f64::NAN; count * rows];
                for (vector, out) in vectors.chunks(cols).zip(expected.chunks_mut(rows)) {
                    matrix_times(&matrix, vector, out);
                }
                for times in [matrix_times_many, times_many::<Plain>] {
                    let mut out = vec![f64::NAN; count * rows];
                    times(&matrix, cols, &vectors, &mut out);
                    assert!(
                        out.iter().zip(&expected).all(|(x, y)| x.to_bits() == y.to_bits()),
                        "{rows} x {cols} x {count}"
                    );
                }
            }
        }
    }
}
