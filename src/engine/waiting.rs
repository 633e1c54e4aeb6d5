//! A queue out of whose middle can be taken, by position. Its memory comes and goes in pieces of a few places; putting in
//! and taking out move one item and nothing else.

use std::collections::VecDeque;

const PIECE: usize = 16;

/// What waits, in order.
pub struct Waiting<T> {
    /// All are full but the last one; where something was taken out of the middle there is `None`.
    pieces: VecDeque<Vec<Option<T>>>,
    /// The piece that was emptied last, for the next one.
    spare: Vec<Option<T>>,
    /// The position of the first place of the first piece.
    first: u64,
    /// So many places of the first piece are over.
    over: usize,
    count: usize,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { pieces: VecDeque::new(), spare: Vec::new(), first: 0, over: 0, count: 0 }
    }
}

impl<T> Waiting<T> {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The position of the next one.
    pub fn end(&self) -> u64 {
        let last = self.pieces.back().map_or(0, Vec::len);
        self.first + (self.pieces.len().saturating_sub(1) * PIECE + last) as u64
    }

    pub fn push(&mut self, item: T) {
        self.count += 1;
        match self.pieces.back_mut().filter(|piece| piece.len() < PIECE) {
            Some(piece) => piece.push(Some(item)),
            None => {
                let mut piece = std::mem::take(&mut self.spare);
                piece.reserve_exact(PIECE);
                piece.push(Some(item));
                self.pieces.push_back(piece);
            }
        }
    }

    /// The first one, and its position.
    pub fn pop(&mut self) -> Option<(u64, T)> {
        while let Some(piece) = self.pieces.front_mut() {
            let at = self.first + self.over as u64;
            let item = piece.get_mut(self.over)?.take();
            self.over += 1;
            if self.over == PIECE {
                self.spare = self.pieces.pop_front().unwrap_or_default();
                self.spare.clear();
                self.first += PIECE as u64;
                self.over = 0;
            }
            if let Some(item) = item {
                self.count -= 1;
                return Some((at, item));
            }
        }
        None
    }

    /// The one that comes so many places after the first, if there is one there.
    pub fn ahead(&self, by: usize) -> Option<&T> {
        let place = self.over + by;
        self.pieces.get(place / PIECE)?.get(place % PIECE)?.as_ref()
    }

    /// The one at a position, if it is still there.
    pub fn take(&mut self, at: u64) -> Option<T> {
        let place = usize::try_from(at.checked_sub(self.first)?).ok()?;
        let item = self.pieces.get_mut(place / PIECE)?.get_mut(place % PIECE)?.take()?;
        self.count -= 1;
        Some(item)
    }

    /// Whether most places are empty: then it is to be [closed up](Self::close_up).
    pub fn is_sparse(&self) -> bool {
        self.pieces.len() > 4 + self.count / (PIECE / 4)
    }

    /// Moves all together and says of each where it was and where it is now. No position is used twice.
    pub fn close_up(&mut self, mut moved: impl FnMut(&T, u64, u64)) {
        let mut dense = Self { first: self.end(), ..Self::default() };
        while let Some((at, item)) = self.pop() {
            moved(&item, at, dense.end());
            dense.push(item);
        }
        *self = dense;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order_without_what_was_taken() {
        let mut waiting = Waiting::default();
        let mut out = Vec::new();
        for round in 0..10_u64 {
            for number in 0..50 {
                assert_eq!(waiting.end(), round * 50 + number);
                waiting.push(round * 50 + number);
            }
            for number in (0..50).step_by(3) {
                let at = round * 50 + number;
                assert_eq!(waiting.take(at), Some(at));
                assert_eq!(waiting.take(at), None);
            }
            for _ in 0..20 {
                let (at, item) = waiting.pop().unwrap();
                assert_eq!(at, item);
                assert!(waiting.ahead(0).is_none_or(|&next| next > item));
                out.push(item);
            }
            assert_eq!(waiting.len() as u64, (round + 1) * 13);
        }
        while let Some((_, item)) = waiting.pop() {
            out.push(item);
        }
        assert_eq!(out, (0..500).filter(|number| number % 50 % 3 != 0).collect::<Vec<_>>());
        assert!(waiting.is_empty() && waiting.take(3).is_none() && waiting.pieces.len() <= 1);
    }

    #[test]
    fn one_that_always_takes_the_place_of_another_needs_no_more_room() {
        let mut waiting = Waiting::default();
        let mut at = waiting.end();
        waiting.push(0);
        for number in 1..100_000 {
            let next = waiting.end();
            assert_eq!(waiting.take(at), Some(number - 1));
            waiting.push(number);
            at = next;
            if waiting.is_sparse() {
                waiting.close_up(|&item, before, now| {
                    assert_eq!((item, before), (number, at));
                    at = now;
                });
            }
            assert!(waiting.pieces.len() < 8 && waiting.len() == 1);
        }
        assert_eq!(waiting.pop(), Some((at, 99_999)));
    }
}
