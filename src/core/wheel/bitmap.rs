//! Which slots of one level hold something.

/// A ring of up to 4096 bits with one summary word: the next set bit costs two word scans, however far it is.
pub(super) struct Bitmap {
    words: Vec<u64>,
    summary: u64,
}

impl Bitmap {
    /// An empty ring of `bits` bits, a multiple of 64 up to 4096.
    pub(super) fn new(bits: usize) -> Self {
        assert!(bits % 64 == 0 && bits <= 4096, "one summary word serves at most 4096 bits");
        Self { words: vec![0; bits / 64], summary: 0 }
    }

    pub(super) fn set(&mut self, bit: usize) {
        self.words[bit / 64] |= 1 << (bit % 64);
        self.summary |= 1 << (bit / 64);
    }

    pub(super) fn clear(&mut self, bit: usize) {
        let word = &mut self.words[bit / 64];
        *word &= !(1 << (bit % 64));
        if *word == 0 {
            self.summary &= !(1 << (bit / 64));
        }
    }

    pub(super) fn get(&self, bit: usize) -> bool {
        self.words[bit / 64] >> (bit % 64) & 1 == 1
    }

    /// How many steps forward along the ring from `start` (0 = `start` itself) the first set bit lies.
    pub(super) fn distance_from(&self, start: usize) -> Option<usize> {
        if self.summary == 0 {
            return None;
        }
        let word = start / 64;
        let rest_of_word = self.words[word] & (!0 << (start % 64));
        if rest_of_word != 0 {
            return Some(word * 64 + rest_of_word.trailing_zeros() as usize - start);
        }
        // The words after this one; else, once round, from the first word to the lower half of this one.
        let later_words = self.summary & (!0 << word << 1);
        let next_word = if later_words != 0 { later_words } else { self.summary }.trailing_zeros() as usize;
        let found = next_word * 64 + self.words[next_word].trailing_zeros() as usize;
        let bits = self.words.len() * 64;
        Some((found + bits - start) % bits)
    }

    pub(super) fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_bit_is_found_from_every_side() {
        for bits in [64, 1024, 4096] {
            let mut ring = Bitmap::new(bits);
            assert_eq!(ring.distance_from(0), None);
            for bit in [0, 1, 63, bits / 2, bits - 1] {
                ring.set(bit);
                assert!(ring.get(bit));
                for start in 0..bits {
                    assert_eq!(ring.distance_from(start), Some((bit + bits - start) % bits), "{bit} from {start}");
                }
                ring.clear(bit);
                assert!(!ring.get(bit));
            }
            assert_eq!(ring.distance_from(bits - 1), None);
        }
    }

    #[test]
    fn the_nearer_of_two_bits_wins() {
        let mut ring = Bitmap::new(4096);
        ring.set(100);
        ring.set(4000);
        assert_eq!(ring.distance_from(101), Some(3899));
        assert_eq!(ring.distance_from(4001), Some(195));
        assert_eq!(ring.distance_from(100), Some(0));
    }
}
