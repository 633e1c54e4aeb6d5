//! Where beats land in time, as fractions: a `u32` f stands for f / 2^32, from 0 up to just below 1.
//! Nothing here is remembered: the same arguments always give the same fraction, so a run can be replayed.

/// frac(φ) · 2^64. The multiples of the golden ratio spread over a circle more evenly than those of any other number.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// A fraction that looks random, for beat `number` of the link `ordinal` in an engine with this `seed`.
#[must_use]
pub const fn hash(seed: u64, ordinal: u32, number: u32) -> u32 {
    let beat = ((ordinal as u64) << 32) | number as u64;
    // GOLDEN keeps seed 0 with ordinal 0 and number 0 from being a fixed point.
    (mix(mix(seed.wrapping_add(GOLDEN)) ^ beat) >> 32) as u32
}

/// The fraction frac(`ordinal` · φ): first phases of links that open at the same moment. Random phases of a million
/// links would put half as many again as the mean into the busiest slot; these put a few percent more.
#[must_use]
pub const fn phase(ordinal: u32) -> u32 {
    ((ordinal as u64).wrapping_mul(GOLDEN) >> 32) as u32
}

/// That fraction of `ms` milliseconds, rounded down: 0 to `ms` − 1 (0 for 0).
#[must_use]
pub const fn part(ms: u32, fraction: u32) -> u32 {
    ((ms as u64 * fraction as u64) >> 32) as u32
}

/// Spreads each input bit over all output bits (finaliser of SplitMix64: Steele, Lea, Flood, OOPSLA 2014).
const fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Busiest slot of `slots` over the mean.
    fn peak(links: u32, slots: u32, fraction: impl Fn(u32) -> u32) -> f64 {
        let mut load = vec![0_u32; slots as usize];
        for ordinal in 0..links {
            load[part(slots, fraction(ordinal)) as usize] += 1;
        }
        f64::from(*load.iter().max().unwrap()) * f64::from(slots) / f64::from(links)
    }

    #[test]
    fn a_million_first_phases_fill_180_s_evenly() {
        let ten_ms_slots = 180_000 / 10;
        assert!(peak(1_000_000, ten_ms_slots, phase) <= 1.1);
        // Only the last quarter of the interval, where the idle strategy puts first beats.
        assert!(peak(1_000_000, ten_ms_slots / 4, phase) <= 1.1);
        // So does a part of the ordinals: links open in groups.
        assert!(peak(1_000_000, ten_ms_slots, |ordinal| phase(ordinal + 7_654_321)) <= 1.1);
    }

    /// Chi-square of 256 cells: mean 255, standard deviation 22.6.
    fn chi_square(samples: impl Iterator<Item = u32>) -> f64 {
        let mut cells = [0_u32; 256];
        let mut count = 0.0;
        for sample in samples {
            cells[(sample >> 24) as usize] += 1;
            count += 1.0;
        }
        let expected = count / 256.0;
        cells.iter().map(|&cell| (f64::from(cell) - expected).powi(2) / expected).sum()
    }

    #[test]
    fn hashes_are_uniform_along_each_argument() {
        let n = 200_000;
        let uniform = 160.0..350.0;
        assert!(uniform.contains(&chi_square((0..n).map(|i| hash(0, i, 0)))));
        assert!(uniform.contains(&chi_square((0..n).map(|i| hash(0, 0, i)))));
        assert!(uniform.contains(&chi_square((0..n).map(|i| hash(u64::from(i), 5, 5)))));
        assert!(uniform.contains(&chi_square((0..n).map(|i| hash(1, i, 1).wrapping_sub(hash(1, i, 2))))));
        assert!(uniform.contains(&chi_square((0..n).map(|i| hash(1, i, 1).wrapping_sub(hash(1, i + 1, 1))))));
        // The low bits, too.
        assert!(uniform.contains(&chi_square((0..n).map(|i| hash(9, i, 3) << 24))));
    }

    #[test]
    fn fractions_are_pinned_so_that_old_traces_replay() {
        assert_eq!([phase(0), phase(1), phase(2)], [0, 0x9E37_79B9, 0x3C6E_F372]);
        assert_eq!(part(180_000, u32::MAX), 179_999);
        assert_eq!(part(180_000, 1 << 31), 90_000);
        assert_eq!(part(0, u32::MAX), 0);
    }

    proptest! {
        #[test]
        fn a_part_is_less_than_the_whole(ms in 1_u32.., fraction: u32) {
            prop_assert!(part(ms, fraction) < ms);
        }
    }
}
