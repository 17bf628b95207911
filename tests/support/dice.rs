//! Chance that can be had again: each use prints its seed, and MAILROSTER_TEST_SEED gives it back.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// SplitMix64: small, and good enough to choose moments and places.
pub struct Dice(u64);

impl Dice {
    /// `what` says in the output what this seed decides.
    pub fn new(what: &str) -> Self {
        let given = std::env::var("MAILROSTER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        println!("{what}: MAILROSTER_TEST_SEED={seed}");
        Self(seed)
    }

    /// The same from a seed that is known.
    pub fn with_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 up to, not including, `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
