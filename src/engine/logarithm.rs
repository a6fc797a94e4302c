#![forbid(unsafe_code)]
//! Natural logarithms of many numbers, each to the bit what [`libm::log`] gives.
//!
//! For positive numbers that are neither subnormal nor infinite that algorithm (FreeBSD's `e_log.c`) has no branches, so
//! that it can be done for several numbers at once; all others are left to the library.

use super::simd::{Wide, wide};

/// Numbers that are looked at together.
const BLOCK: usize = 16;

/// Bits above the mantissa of the smaller of the two numbers, `sqrt(2) / 2` and 1, that the range of the mantissa begins with.
const HALF_ROOT: u64 = 0x3fe6_a09e << 32;
const ONE: u64 = 0x3ff0_0000 << 32;
const MANTISSA: u64 = (1 << 52) - 1;
/// `2^52`, whose last bit is one unit, and with it the bias of the exponent.
const UNITS: u64 = 0x4330_0000 << 32;
const BIAS: f64 = 4_503_599_627_370_496.0 + 1_023.0;

#[allow(clippy::excessive_precision, reason = "as in the original")]
mod coefficients {
    pub(super) const LN2_HI: f64 = 6.93147180369123816490e-01;
    pub(super) const LN2_LO: f64 = 1.90821492927058770002e-10;
    pub(super) const LG1: f64 = 6.666666666666735130e-01;
    pub(super) const LG2: f64 = 3.999999999940941908e-01;
    pub(super) const LG3: f64 = 2.857142874366239149e-01;
    pub(super) const LG4: f64 = 2.222219843214978396e-01;
    pub(super) const LG5: f64 = 1.818357216161805012e-01;
    pub(super) const LG6: f64 = 1.531383769920937332e-01;
    pub(super) const LG7: f64 = 1.479819860511658591e-01;
}

/// Replaces every number by its natural logarithm; NaN for negative ones and NaN.
pub fn ln_all(values: &mut [f64]) {
    struct Task<'a>(&'a mut [f64]);
    impl Wide for Task<'_> {
        type Output = ();

        #[inline(always)]
        fn run(self) {
            ln_lanes(self.0);
        }
    }
    wide(Task(values));
}

/// As [`ln_all`], for what is [`Wide`] itself.
#[inline(always)]
pub(crate) fn ln_lanes(values: &mut [f64]) {
    let (blocks, tail) = values.as_chunks_mut::<BLOCK>();
    // Handed to an iterator this would be a function of its own, compiled for the oldest CPU.
    for block in blocks {
        ln_block(block);
    }
    if !tail.is_empty() {
        let mut block = [1.0; BLOCK];
        block[..tail.len()].copy_from_slice(tail);
        ln_block(&mut block);
        tail.copy_from_slice(&block[..tail.len()]);
    }
}

#[inline(always)]
fn ln_block(block: &mut [f64; BLOCK]) {
    let given = *block;
    for (slot, x) in block.iter_mut().zip(given) {
        *slot = ln_plain(x);
    }
    if !given.iter().fold(true, |plain, &x| plain & is_plain(x)) {
        let odd = block.iter_mut().zip(given).filter(|(_, x)| !is_plain(*x));
        odd.for_each(|(slot, x)| *slot = libm::log(x));
    }
}

/// Positive, not subnormal, not infinite, not NaN.
#[inline(always)]
fn is_plain(x: f64) -> bool {
    x.is_normal() & (x > 0.0)
}

#[inline(always)]
fn ln_plain(x: f64) -> f64 {
    use coefficients::*;
    // The power of two taken out, so that the mantissa lies in [sqrt(2) / 2, sqrt(2)).
    let shifted = x.to_bits().wrapping_add(ONE - HALF_ROOT);
    let power = f64::from_bits((shifted >> 52) | UNITS) - BIAS;
    let f = f64::from_bits((shifted & MANTISSA).wrapping_add(HALF_ROOT)) - 1.0;
    let half = 0.5 * f * f;
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let even = w * (LG2 + w * (LG4 + w * LG6));
    let odd = z * (LG1 + w * (LG3 + w * (LG5 + w * LG7)));
    let r = odd + even;
    s * (half + r) + power * LN2_LO - half + f + power * LN2_HI
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(values: &[f64]) {
        let mut found = values.to_vec();
        ln_all(&mut found);
        let mut lanes = values.to_vec();
        ln_lanes(&mut lanes);
        for ((x, a), b) in values.iter().zip(&found).zip(&lanes) {
            let expected = libm::log(*x);
            let same = |y: &f64| y.to_bits() == expected.to_bits() || (y.is_nan() && expected.is_nan());
            assert!(same(a) && same(b), "ln {x:e} is {expected:e}, not {a:e} or {b:e}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn any_number_has_the_librarys_logarithm(
            any in prop::collection::vec(any::<u64>().prop_map(f64::from_bits), 0..70),
            prices in prop::collection::vec(1e-6f64..1e9, 0..70),
            ratios in prop::collection::vec(0.5f64..2.0, 0..70),
            near in prop::collection::vec((-40i64..40).prop_map(|ulps| f64::from_bits((1.0f64.to_bits() as i64 + ulps) as u64)), 0..70),
        ) {
            check(&any);
            check(&prices);
            check(&ratios);
            check(&near);
        }
    }

    #[test]
    fn edges_have_the_librarys_logarithm() {
        let root = f64::from_bits(HALF_ROOT);
        let edges = [
            1.0,
            0.0,
            -0.0,
            -1.0,
            f64::NAN,
            -f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MAX,
            f64::MIN_POSITIVE,
            f64::MIN_POSITIVE / 2.0,
            5e-324,
            root,
            f64::from_bits(root.to_bits() - 1),
            2.0f64.sqrt(),
            0.5f64.sqrt(),
            2.0,
            0.5,
        ];
        check(&edges);
        for edge in edges {
            check(&[edge; BLOCK]);
        }
    }
}
