//! Where the ids of all slots lie: cache lines of 15 ids in slabs that never move.

/// Ids in one chunk.
pub(super) const IDS: usize = 15;

/// Chunks in one slab (64 KiB). Slabs instead of one vector: growing never copies what is there.
const SLAB: usize = 1024;

/// No chunk.
const NONE: u32 = u32::MAX;

/// One cache line. Ids side by side let a visit overlap the misses that an intrusive list takes one by one.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Chunk {
    ids: [u32; IDS],
    next: u32,
}

/// A chain of chunks. Only its first chunk may be partly filled, so the count alone tells how far.
#[derive(Clone, Copy)]
pub(super) struct Chain {
    head: u32,
    count: u32,
}

impl Chain {
    /// No ids. The head of an empty chain means nothing.
    pub(super) const EMPTY: Self = Self { head: NONE, count: 0 };

    /// Ids in the chain.
    pub(super) const fn count(self) -> usize {
        self.count as usize
    }

    /// Ids in the first chunk.
    const fn filled(self) -> usize {
        if self.count == 0 { 0 } else { (self.count as usize - 1) % IDS + 1 }
    }
}

/// The ids of one chunk that was taken off a chain.
pub(super) struct Taken {
    ids: [u32; IDS],
    count: usize,
}

impl Taken {
    pub(super) fn ids(&self) -> &[u32] {
        &self.ids[..self.count]
    }
}

/// All chunks, in use and free.
pub(super) struct Chunks {
    slabs: Vec<Vec<Chunk>>,
    free: u32,
}

impl Chunks {
    pub(super) const fn new() -> Self {
        Self { slabs: Vec::new(), free: NONE }
    }

    /// Adds an id at the front of `chain`.
    pub(super) fn push(&mut self, chain: &mut Chain, id: u32) {
        let filled = chain.count as usize % IDS;
        if filled == 0 {
            chain.head = self.allocate(chain.head);
        }
        self.at_mut(chain.head).ids[filled] = id;
        chain.count += 1;
    }

    /// Takes the first chunk off `chain`, which must not be empty.
    pub(super) fn take(&mut self, chain: &mut Chain) -> Taken {
        let (head, free) = (chain.head, self.free);
        let chunk = self.at_mut(head);
        let taken = Taken { ids: chunk.ids, count: chain.filled() };
        chain.head = std::mem::replace(&mut chunk.next, free);
        chain.count -= taken.count as u32;
        self.free = head;
        taken
    }

    /// The ids of `chain`, chunk by chunk.
    pub(super) fn iter(&self, chain: Chain) -> impl Iterator<Item = u32> + '_ {
        let mut rest = chain;
        std::iter::from_fn(move || {
            if rest.count == 0 {
                return None;
            }
            let chunk = self.at(rest.head);
            let ids = &chunk.ids[..rest.filled()];
            rest.count -= ids.len() as u32;
            rest.head = chunk.next;
            Some(ids.iter().copied())
        })
        .flatten()
    }

    /// Bytes reserved. Chunks are used again and never given back: this is the high-water mark.
    pub(super) fn bytes(&self) -> usize {
        let slabs: usize = self.slabs.iter().map(Vec::capacity).sum();
        slabs * size_of::<Chunk>() + self.slabs.capacity() * size_of::<Vec<Chunk>>()
    }

    /// Chunks ever used, and those of them that are free.
    pub(super) fn census(&self) -> (usize, usize) {
        let used = self.slabs.iter().map(Vec::len).sum();
        let (mut free, mut at) = (0, self.free);
        while at != NONE {
            free += 1;
            at = self.at(at).next;
        }
        (used, free)
    }

    fn allocate(&mut self, next: u32) -> u32 {
        if self.free != NONE {
            let index = self.free;
            let chunk = self.at_mut(index);
            let free = std::mem::replace(&mut chunk.next, next);
            self.free = free;
            return index;
        }
        if self.slabs.last().is_none_or(|slab| slab.len() == SLAB) {
            self.slabs.push(Vec::with_capacity(SLAB));
        }
        let last = self.slabs.len() - 1;
        let slab = &mut self.slabs[last];
        slab.push(Chunk { ids: [0; IDS], next });
        (last * SLAB + slab.len() - 1) as u32
    }

    fn at(&self, index: u32) -> &Chunk {
        &self.slabs[index as usize / SLAB][index as usize % SLAB]
    }

    fn at_mut(&mut self, index: u32) -> &mut Chunk {
        &mut self.slabs[index as usize / SLAB][index as usize % SLAB]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_one_cache_line() {
        assert_eq!(size_of::<Chunk>(), 64);
        assert_eq!(align_of::<Chunk>(), 64);
    }

    #[test]
    fn two_chains_share_the_chunks_and_keep_their_ids() {
        let mut chunks = Chunks::new();
        let (mut even, mut odd) = (Chain::EMPTY, Chain::EMPTY);
        for id in 0..1000 {
            chunks.push(if id % 2 == 0 { &mut even } else { &mut odd }, id);
        }
        let mut seen: Vec<u32> = chunks.iter(odd).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..1000).filter(|id| id % 2 == 1).collect::<Vec<_>>());

        let mut taken = Vec::new();
        while even.count() > 0 {
            taken.extend_from_slice(chunks.take(&mut even).ids());
        }
        taken.sort_unstable();
        assert_eq!(taken, (0..1000).filter(|id| id % 2 == 0).collect::<Vec<_>>());
        assert_eq!(chunks.census(), (68, 34));

        for id in 0..500 {
            chunks.push(&mut even, id);
        }
        assert_eq!(chunks.census(), (68, 0), "freed chunks are used again");
        assert_eq!(chunks.iter(odd).count(), 500);
    }
}
