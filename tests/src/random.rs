//! Randomness that can be repeated: everything random in a story follows from one printed seed.

/// SplitMix64: short, and good enough to choose moments and victims.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The seed in the environment variable `E2E_SEED`, else one that nobody has chosen. Print what [`Random::seed`] says.
    #[must_use]
    pub fn from_environment() -> Self {
        let chosen = std::env::var("E2E_SEED").ok().and_then(|text| text.parse().ok());
        Self(chosen.unwrap_or_else(|| {
            let mut bytes = [0; 8];
            // Without randomness the story is the same each time, and still a story.
            let _ = getrandom::fill(&mut bytes);
            u64::from_le_bytes(bytes)
        }))
    }

    /// A generator that starts here.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// What it stands at; before the first number, the seed.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.0
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// An index below `length`; 0 when that is 0.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next_u64().to_le_bytes()[0]).collect()
    }
}
