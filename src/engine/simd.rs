//! The similarity kernels: the one engine file with `unsafe`, for the call into code compiled for a
//! wider instruction set.
//!
//! **Numeric rule.** Components are float32; every product is formed and summed in float64. A product
//! of two float32 values is exact in float64, so a fused multiply-add and a separate multiply and add
//! give the same bits. Sums run in [`LANES`] lanes (component `i` goes to lane `i % LANES`) which are
//! then added as a fixed tree. The result is therefore the same on every CPU.

#![allow(unsafe_code)]

mod matrix;

/// Independent partial sums of a kernel.
pub const LANES: usize = 16;

/// As [`LANES`], of the kernel in float32.
const ROUGH_LANES: usize = 32;

/// Dot product and squared norms of two vectors, in float64.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Products {
    /// Sum of `a[i] * b[i]`.
    pub dot: f64,
    /// Sum of `a[i] * a[i]`.
    pub norm_a: f64,
    /// Sum of `b[i] * b[i]`.
    pub norm_b: f64,
}

/// Dot product and squared norms of two little-endian float32 vectors; components beyond the shorter
/// one are ignored, so callers compare dimensions first.
pub fn products(a: &[u8], b: &[u8]) -> Products {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the CPU has AVX2 and FMA, the only requirement of the function.
        return unsafe { products_avx2(a, b) };
    }
    products_lanes::<false>(a, b)
}

/// Dot product of `query` and the little-endian float32 vector `b`, and the squared norm of `b`: the same bits
/// as [`products`] gives, for a query that was widened to float64 once.
///
/// Both results are finite exactly when every component of `b` is (and the query's are).
pub fn query_products(query: &[f64], b: &[u8]) -> (f64, f64) {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the CPU has AVX2 and FMA, the only requirement of the function.
        return unsafe { query_products_avx2(query, b) };
    }
    query_products_lanes::<false>(query, b)
}

/// Dot product of `query` and the little-endian float32 vector `b`, and the squared norm of `b`, summed in float32:
/// for rejecting what is far off, at half the cost of [`query_products`]. Bits depend on the CPU;
/// [`rough_error`] bounds how far off they are.
pub fn rough_products(query: &[f32], b: &[u8]) -> (f32, f32) {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the CPU has AVX2 and FMA, the only requirement of the function.
        return unsafe { rough_products_avx2(query, b) };
    }
    rough_products_lanes::<false>(query, b)
}

/// How far [`rough_products`] of `dim` components is off: the dot product by at most this times both norms, the
/// squared norm by at most this times itself. Holds while no partial sum leaves the normal range of float32.
pub fn rough_error(dim: usize) -> f64 {
    // Roundings on the way of one product: its own, one addition per block, one per level of the tree.
    let roundings = 1 + dim.div_ceil(ROUGH_LANES) + ROUGH_LANES.ilog2() as usize;
    let units = roundings as f64 * f64::from(f32::EPSILON) / 2.0;
    units / (1.0 - units)
}

/// Sum of squared differences of two little-endian float32 vectors, each difference taken in float64.
pub fn squared_distance(a: &[u8], b: &[u8]) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the CPU has AVX2, the only requirement of the function.
        return unsafe { squared_distance_avx2(a, b) };
    }
    squared_distance_lanes(a, b)
}

/// A matrix (row by row, as many columns as `vector` has numbers) times `vector`, into `out`: each row as
/// [`super::linear::dot`] computes it, to the bit.
pub fn matrix_times(matrix: &[f64], vector: &[f64], out: &mut [f64]) {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        return matrix::times::<avx2::Kernel>(matrix, vector, out);
    }
    matrix::times::<matrix::Plain>(matrix, vector, out);
}

/// As [`matrix_times`], for several vectors of `cols` numbers, one behind the other, into as many results in `out`:
/// the same bits, and the matrix is read once for every [`matrix::TOGETHER`] of them.
pub fn matrix_times_many(matrix: &[f64], cols: usize, vectors: &[f64], out: &mut [f64]) {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        return matrix::times_many::<avx2::Kernel>(matrix, cols, vectors, out);
    }
    matrix::times_many::<matrix::Plain>(matrix, cols, vectors, out);
}

/// The kernel of [`matrix`] by hand: the compiler does not keep so many sums in registers.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256d, _mm256_add_pd, _mm256_loadu_pd, _mm256_mul_pd, _mm256_setzero_pd, _mm256_storeu_pd,
    };

    use super::matrix::{self, Blocks, Lanes};

    /// Only for a CPU with AVX2.
    pub(super) struct Kernel;

    impl matrix::Kernel for Kernel {
        fn four(rows: [Blocks<'_>; 4], vector: Blocks<'_>) -> [Lanes; 4] {
            // SAFETY: whoever names this kernel has found AVX2.
            unsafe { four(rows, vector) }
        }

        fn quad(rows: [Blocks<'_>; 2], vectors: [Blocks<'_>; 2]) -> [Lanes; 4] {
            // SAFETY: as above.
            unsafe { quad(rows, vectors) }
        }
    }

    #[target_feature(enable = "avx2")]
    fn four([a, b, c, d]: [Blocks<'_>; 4], vector: Blocks<'_>) -> [Lanes; 4] {
        let none = [_mm256_setzero_pd(); 2];
        let (mut ax, mut bx, mut cx, mut dx) = (none, none, none, none);
        for ((((a, b), c), d), x) in a.iter().zip(b).zip(c).zip(d).zip(vector) {
            let x = load(x);
            add(&mut ax, load(a), x);
            add(&mut bx, load(b), x);
            add(&mut cx, load(c), x);
            add(&mut dx, load(d), x);
        }
        [store(ax), store(bx), store(cx), store(dx)]
    }

    #[target_feature(enable = "avx2")]
    fn quad([upper, lower]: [Blocks<'_>; 2], [x, y]: [Blocks<'_>; 2]) -> [Lanes; 4] {
        let none = [_mm256_setzero_pd(); 2];
        let (mut ux, mut uy, mut lx, mut ly) = (none, none, none, none);
        for (((upper, lower), x), y) in upper.iter().zip(lower).zip(x).zip(y) {
            let (upper, lower, x, y) = (load(upper), load(lower), load(x), load(y));
            add(&mut ux, upper, x);
            add(&mut uy, upper, y);
            add(&mut lx, lower, x);
            add(&mut ly, lower, y);
        }
        [store(ux), store(uy), store(lx), store(ly)]
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn load(block: &Lanes) -> [__m256d; 2] {
        // SAFETY: both halves of the block are there to be read, whatever their address.
        unsafe { [_mm256_loadu_pd(block.as_ptr()), _mm256_loadu_pd(block.as_ptr().add(4))] }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn add(sums: &mut [__m256d; 2], a: [__m256d; 2], b: [__m256d; 2]) {
        sums[0] = _mm256_add_pd(sums[0], _mm256_mul_pd(a[0], b[0]));
        sums[1] = _mm256_add_pd(sums[1], _mm256_mul_pd(a[1], b[1]));
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn store(sums: [__m256d; 2]) -> Lanes {
        let mut out = [0.0; 8];
        // SAFETY: both halves of the block are there to be written, whatever their address.
        unsafe {
            _mm256_storeu_pd(out.as_mut_ptr(), sums[0]);
            _mm256_storeu_pd(out.as_mut_ptr().add(4), sums[1]);
        }
        out
    }
}

/// Loops that are worth compiling for the widest instruction set at hand. Results do not depend on it: every operation
/// is rounded by itself, and nothing is reordered.
pub trait Wide {
    /// What comes of them.
    type Output;

    /// Runs them. Must be `#[inline(always)]`, and so must be what it calls to loop over numbers.
    fn run(self) -> Self::Output;
}

/// Runs `work` as the CPU can best.
pub fn wide<W: Wide>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the CPU has AVX2, the only requirement of the function.
        return unsafe { wide_avx2(work) };
    }
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn wide_avx2<W: Wide>(work: W) -> W::Output {
    work.run()
}

/// Number of components that are NaN or infinite.
pub fn count_non_finite(bytes: &[u8]) -> usize {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the CPU has AVX2, the only requirement of the function.
        return unsafe { count_non_finite_avx2(bytes) };
    }
    count_non_finite_lanes(bytes)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn count_non_finite_avx2(bytes: &[u8]) -> usize {
    count_non_finite_lanes(bytes)
}

#[inline(always)]
fn count_non_finite_lanes(bytes: &[u8]) -> usize {
    let exponent = 0x7f80_0000;
    let mut counts = [0u32; LANES];
    let (blocks, tail) = blocks(bytes);
    for block in blocks {
        for lane in 0..LANES {
            counts[lane] += u32::from(u32::from_le_bytes(block[lane]) & exponent == exponent);
        }
    }
    for (lane, &component) in tail.iter().enumerate() {
        counts[lane] += u32::from(u32::from_le_bytes(component) & exponent == exponent);
    }
    counts.iter().sum::<u32>() as usize
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn products_avx2(a: &[u8], b: &[u8]) -> Products {
    products_lanes::<true>(a, b)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn query_products_avx2(query: &[f64], b: &[u8]) -> (f64, f64) {
    query_products_lanes::<true>(query, b)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn rough_products_avx2(query: &[f32], b: &[u8]) -> (f32, f32) {
    rough_products_lanes::<true>(query, b)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn squared_distance_avx2(a: &[u8], b: &[u8]) -> f64 {
    squared_distance_lanes(a, b)
}

/// A component as stored.
type Stored = [u8; 4];

/// Components that fill all lanes once, and those left over. Fixed sizes, so that no bounds are checked
/// inside the loops and the compiler can use whole registers.
#[inline(always)]
fn blocks(vector: &[u8]) -> (&[[Stored; LANES]], &[Stored]) {
    vector.as_chunks::<4>().0.as_chunks::<LANES>()
}

#[inline(always)]
fn widened(component: Stored) -> f64 {
    f64::from(f32::from_le_bytes(component))
}

#[inline(always)]
fn add_product<const FMA: bool>(sum: f64, x: f64, y: f64) -> f64 {
    if FMA { x.mul_add(y, sum) } else { x * y + sum }
}

// The loops are written out for blocks and tails: a closure would be compiled for the narrow instruction set.

#[inline(always)]
fn products_lanes<const FMA: bool>(a: &[u8], b: &[u8]) -> Products {
    let (mut dot, mut norm_a, mut norm_b) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    let ((blocks_a, tail_a), (blocks_b, tail_b)) = (blocks(a), blocks(b));
    for (block_a, block_b) in blocks_a.iter().zip(blocks_b) {
        for lane in 0..LANES {
            let (x, y) = (widened(block_a[lane]), widened(block_b[lane]));
            dot[lane] = add_product::<FMA>(dot[lane], x, y);
            norm_a[lane] = add_product::<FMA>(norm_a[lane], x, x);
            norm_b[lane] = add_product::<FMA>(norm_b[lane], y, y);
        }
    }
    for (lane, (&x, &y)) in tail_a.iter().zip(tail_b).enumerate() {
        let (x, y) = (widened(x), widened(y));
        dot[lane] = add_product::<FMA>(dot[lane], x, y);
        norm_a[lane] = add_product::<FMA>(norm_a[lane], x, x);
        norm_b[lane] = add_product::<FMA>(norm_b[lane], y, y);
    }
    Products { dot: tree_sum(dot), norm_a: tree_sum(norm_a), norm_b: tree_sum(norm_b) }
}

#[inline(always)]
fn query_products_lanes<const FMA: bool>(query: &[f64], b: &[u8]) -> (f64, f64) {
    let (mut dot, mut norm_b) = ([0.0; LANES], [0.0; LANES]);
    let ((blocks_q, tail_q), (blocks_b, tail_b)) = (query.as_chunks::<LANES>(), blocks(b));
    for (block_q, block_b) in blocks_q.iter().zip(blocks_b) {
        for lane in 0..LANES {
            let y = widened(block_b[lane]);
            dot[lane] = add_product::<FMA>(dot[lane], block_q[lane], y);
            norm_b[lane] = add_product::<FMA>(norm_b[lane], y, y);
        }
    }
    for (lane, (&x, &y)) in tail_q.iter().zip(tail_b).enumerate() {
        let y = widened(y);
        dot[lane] = add_product::<FMA>(dot[lane], x, y);
        norm_b[lane] = add_product::<FMA>(norm_b[lane], y, y);
    }
    (tree_sum(dot), tree_sum(norm_b))
}

#[inline(always)]
fn rough_products_lanes<const FMA: bool>(query: &[f32], b: &[u8]) -> (f32, f32) {
    let add = |sum: f32, x: f32, y: f32| if FMA { x.mul_add(y, sum) } else { sum + x * y };
    let (mut dot, mut norm) = ([0.0f32; ROUGH_LANES], [0.0f32; ROUGH_LANES]);
    let (blocks_q, tail_q) = query.as_chunks::<ROUGH_LANES>();
    let (blocks_b, tail_b) = b.as_chunks::<4>().0.as_chunks::<ROUGH_LANES>();
    for (block_q, block_b) in blocks_q.iter().zip(blocks_b) {
        for lane in 0..ROUGH_LANES {
            let y = f32::from_le_bytes(block_b[lane]);
            dot[lane] = add(dot[lane], block_q[lane], y);
            norm[lane] = add(norm[lane], y, y);
        }
    }
    for (lane, (&x, &y)) in tail_q.iter().zip(tail_b).enumerate() {
        let y = f32::from_le_bytes(y);
        dot[lane] = add(dot[lane], x, y);
        norm[lane] = add(norm[lane], y, y);
    }
    (tree_sum(dot), tree_sum(norm))
}

#[inline(always)]
fn squared_distance_lanes(a: &[u8], b: &[u8]) -> f64 {
    let mut sum = [0.0; LANES];
    let ((blocks_a, tail_a), (blocks_b, tail_b)) = (blocks(a), blocks(b));
    // The square of a float64 difference is rounded: no fused form here, so that all CPUs agree.
    for (block_a, block_b) in blocks_a.iter().zip(blocks_b) {
        for lane in 0..LANES {
            let difference = widened(block_a[lane]) - widened(block_b[lane]);
            sum[lane] += difference * difference;
        }
    }
    for (lane, (&x, &y)) in tail_a.iter().zip(tail_b).enumerate() {
        let difference = widened(x) - widened(y);
        sum[lane] += difference * difference;
    }
    tree_sum(sum)
}

#[inline(always)]
fn tree_sum<T: Copy + std::ops::AddAssign, const N: usize>(mut lanes: [T; N]) -> T {
    let mut width = N / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    proptest! {
        #[test]
        fn every_instruction_set_gives_the_same_bits(
            pairs in prop::collection::vec((any::<f32>(), any::<f32>()), 0..900)
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let (a, b) = (bytes(&a), bytes(&b));
            let (wide, narrow) = (products(&a, &b), products_lanes::<false>(&a, &b));
            for (x, y) in [(wide.dot, narrow.dot), (wide.norm_a, narrow.norm_a), (wide.norm_b, narrow.norm_b),
                (squared_distance(&a, &b), squared_distance_lanes(&a, &b))] {
                prop_assert!(x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan()));
            }
            let query: Vec<f64> = a.chunks_exact(4).map(|c| f64::from(f32::from_le_bytes([c[0], c[1], c[2], c[3]]))).collect();
            for (dot, norm) in [query_products(&query, &b), query_products_lanes::<false>(&query, &b)] {
                prop_assert!(dot.to_bits() == wide.dot.to_bits() || (dot.is_nan() && wide.dot.is_nan()));
                prop_assert!(norm.to_bits() == wide.norm_b.to_bits() || (norm.is_nan() && wide.norm_b.is_nan()));
            }
        }
    }

    #[test]
    fn sums_agree_with_a_plain_loop() {
        let a: Vec<f32> = (0..387).map(|i| (i as f32 * 0.37).sin()).collect();
        let b: Vec<f32> = (0..387).map(|i| (i as f32 * 0.11).cos()).collect();
        let plain: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
        assert!((products(&bytes(&a), &bytes(&b)).dot - plain).abs() < 1e-12);
        let plain: f64 = a.iter().zip(&b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum();
        assert!((squared_distance(&bytes(&a), &bytes(&b)) - plain).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn rough_products_are_as_near_as_they_say(
            pairs in prop::collection::vec((-1e9_f32..1e9, -1e-6_f32..1e-6), 1..900)
        ) {
            let (query, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let exact = products(&bytes(&query), &bytes(&b));
            let error = rough_error(b.len());
            for (dot, norm) in [rough_products(&query, &bytes(&b)), rough_products_lanes::<false>(&query, &bytes(&b))] {
                let off = (f64::from(dot) - exact.dot).abs();
                prop_assert!(off <= error * (exact.norm_a * exact.norm_b).sqrt(), "{off}");
                prop_assert!((f64::from(norm) - exact.norm_b).abs() <= error * exact.norm_b);
            }
        }
    }

    #[test]
    fn non_finite_components_are_counted() {
        let values = [1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 0.0];
        assert_eq!(count_non_finite(&bytes(&values)), 3);
    }
}
