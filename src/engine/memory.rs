//! Memory for what there may be millions of: in few large pages, and sent for before it is needed. Where links lie far
//! apart, waiting for one after the other, and for where its page is, is most of what dealing with many of them costs.
#![allow(unsafe_code)]

use super::error::{Code, Error};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// A large page, where the system has such.
const LARGE: usize = 2 << 20;

/// The memory of a link is sent for while so many others are looked at.
pub const AHEAD: usize = 8;

/// Sends for the memory of a value, all of it, where the processor can be told so.
#[inline(always)]
pub fn fetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        /// What a processor fetches at once.
        const LINE: usize = 64;
        let begin = std::ptr::from_ref(value).cast::<i8>();
        for offset in (0..size_of::<T>()).step_by(LINE) {
            // SAFETY: it changes nothing but what the caches hold, and the address lies within the value.
            unsafe { _mm_prefetch(begin.add(offset), _MM_HINT_T0) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// How indexes are spread over blocks: the first ones over small blocks, so that few links cost little, the others over
/// blocks that fill large pages.
pub struct Blocks {
    /// Indexes of a small block, as a power of two.
    pub small: u32,
    /// Indexes in all small blocks.
    pub few: u32,
    /// Indexes of a large block, as a power of two.
    pub large: u32,
}

impl Blocks {
    /// In which block an index lies, and where in it.
    #[inline(always)]
    pub const fn place(&self, index: u32) -> (usize, usize) {
        if index < self.few {
            return ((index >> self.small) as usize, (index & ((1 << self.small) - 1)) as usize);
        }
        let beyond = index - self.few;
        let block = (self.few >> self.small) + (beyond >> self.large);
        (block as usize, (beyond & ((1 << self.large) - 1)) as usize)
    }

    /// The index that lies there.
    pub const fn index(&self, block: usize, slot: usize) -> u32 {
        let small = (self.few >> self.small) as usize;
        (if block < small { block << self.small } else { ((block - small) << self.large) + self.few as usize }) as u32
            + slot as u32
    }

    /// How many indexes a block has.
    pub const fn size(&self, block: usize) -> usize {
        1 << if block < (self.few >> self.small) as usize { self.small } else { self.large }
    }

    /// How many blocks these indexes need.
    pub const fn count(&self, indexes: u32) -> usize {
        match indexes {
            0 => 0,
            _ => self.place(indexes - 1).0 + 1,
        }
    }
}

/// Values of one kind, one after the other. They never move.
pub struct Block<T> {
    first: NonNull<T>,
    count: usize,
}

// SAFETY: it owns its values, as a boxed slice does.
unsafe impl<T: Send> Send for Block<T> {}
// SAFETY: what is shared is what a shared slice shares.
unsafe impl<T: Sync> Sync for Block<T> {}

impl<T> Block<T> {
    /// # Errors
    /// [`Code::NoMemory`].
    pub fn new(count: usize, mut make: impl FnMut() -> T) -> Result<Self, Error> {
        let layout = Self::layout(count);
        // SAFETY: the layout has a size.
        let first = NonNull::new(unsafe { alloc(layout) }.cast::<T>())
            .ok_or_else(|| Error::new(Code::NoMemory, "memory for more links was refused"))?;
        if layout.align() == LARGE {
            super::sys::ask_for_large_pages(first.cast(), layout.size());
        }
        // Whole only when all of it is: a panic of `make` leaks what was made by then.
        (0..count).for_each(|at| {
            // SAFETY: there is room for `count` values.
            unsafe { first.add(at).write(make()) }
        });
        Ok(Self { first, count })
    }

    fn layout(count: usize) -> Layout {
        let layout = Layout::array::<T>(count).unwrap_or_else(|_| handle_alloc_error(Layout::new::<T>()));
        assert!(layout.size() > 0, "a block has values, and they have a size");
        if layout.size() < LARGE { layout } else { layout.align_to(LARGE).expect("a power of two, far from the end") }
    }
}

impl<T> Deref for Block<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: all `count` values were made, and live as long as the block.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.count) }
    }
}

impl<T> DerefMut for Block<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and nobody else has the block.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.count) }
    }
}

impl<T> Drop for Block<T> {
    fn drop(&mut self) {
        // SAFETY: each value was made once and is dropped once, here; then the memory is given back as it was taken.
        unsafe {
            std::ptr::drop_in_place(&raw mut **self);
            dealloc(self.first.as_ptr().cast(), Self::layout(self.count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[test]
    fn every_index_has_a_place_of_its_own() {
        let blocks = Blocks { small: 2, few: 12, large: 4 };
        assert_eq!([0, 3, 4, 11].map(|index| blocks.place(index)), [(0, 0), (0, 3), (1, 0), (2, 3)]);
        assert_eq!([12, 27, 28].map(|index| blocks.place(index)), [(3, 0), (3, 15), (4, 0)]);
        (0..60).for_each(|index| {
            let (block, slot) = blocks.place(index);
            assert_eq!(blocks.index(block, slot), index);
        });
        assert_eq!([0, 2, 3, 4].map(|block| blocks.size(block)), [4, 4, 16, 16]);
        assert_eq!([0, 1, 12, 13, 28, 29].map(|indexes| blocks.count(indexes)), [0, 1, 3, 4, 4, 5]);
    }

    #[test]
    fn a_block_makes_and_drops_each_value_once() {
        let seen = Rc::new(());
        for count in [1, LARGE / size_of::<Rc<()>>()] {
            let mut block = Block::new(count, || Some(Rc::clone(&seen))).unwrap();
            assert_eq!((block.len(), Rc::strong_count(&seen)), (count, count + 1));
            block[count - 1] = None;
            assert_eq!(Rc::strong_count(&seen), count);
            drop(block);
            assert_eq!(Rc::strong_count(&seen), 1);
        }
    }
}
