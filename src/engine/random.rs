#![forbid(unsafe_code)]
//! Seeded pseudo-random numbers that are the same on every CPU, for projections. Not for secrets.

/// SplitMix64 (Steele, Lea, Flood 2014): one 64-bit state, every seed a good one.
#[derive(Debug, Clone)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A generator that starts from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// The next number in (0, 1): the upper 53 bits plus a half, so that 0 and 1 never come.
    pub fn next_open(&mut self) -> f64 {
        ((self.next_u64() >> 11) as f64 + 0.5) * f64::powi(2.0, -53)
    }

    /// The next standard normal number: `sqrt(-2 ln u1) cos(2 pi u2)`, by libm, which every CPU computes alike.
    pub fn next_gaussian(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(self.next_open())).sqrt();
        radius * libm::cos(std::f64::consts::TAU * self.next_open())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_test_vector() {
        let mut generator = SplitMix64::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| generator.next_u64()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn gaussians_have_mean_zero_and_variance_one() {
        let mut generator = SplitMix64::new(7);
        let draws: Vec<f64> = (0..100_000).map(|_| generator.next_gaussian()).collect();
        let mean = draws.iter().sum::<f64>() / 1e5;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02, "mean {mean}, variance {variance}");
    }
}
