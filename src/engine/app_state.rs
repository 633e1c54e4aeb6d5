//! What the applications at both ends of a link tell each other in its beats and answers.

use super::sync::{Mutex, lock};
use crate::wire::Told;
use crate::wire::heart::STATE_MAX;
use std::sync::Arc;

/// How long a state may be, in bytes.
pub const APP_STATE_MAX: usize = STATE_MAX;

/// Both ends' states; empty as long as there is none.
#[derive(Default)]
pub struct AppStates {
    own: Mutex<Arc<[u8]>>,
    peers: Mutex<Peers>,
}

#[derive(Default)]
struct Peers {
    state: Box<[u8]>,
    left_out: u64,
}

impl AppStates {
    /// What goes into each beat and answer from here on.
    pub fn set(&self, state: &[u8]) {
        let state = Arc::from(state);
        *lock(&self.own) = state;
    }

    pub fn own(&self) -> Arc<[u8]> {
        Arc::clone(&lock(&self.own))
    }

    /// The peer's state as one of its frames tells it; says whether it is another one than before. A frame that had no
    /// room for it says nothing of it.
    pub fn hear(&self, told: &Told<'_>) -> bool {
        let mut peers = lock(&self.peers);
        peers.left_out += u64::from(told.state_left_out);
        if told.state_left_out || *told.state == *peers.state {
            return false;
        }
        peers.state = told.state.into();
        true
    }

    /// Copies the peer's state to the front of `buffer`, if it fits; gives its length.
    pub fn copy_peers(&self, buffer: &mut [u8]) -> usize {
        let peers = lock(&self.peers);
        if let Some(place) = buffer.get_mut(..peers.state.len()) {
            place.copy_from_slice(&peers.state);
        }
        peers.state.len()
    }

    pub fn peers_length(&self) -> u32 {
        lock(&self.peers).state.len() as u32
    }

    /// How many frames of the peer had no room for its state.
    pub fn left_out(&self) -> u64 {
        lock(&self.peers).left_out
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn told(state: &[u8]) -> Told<'_> {
        Told { state, ..Told::default() }
    }

    fn peers(states: &AppStates) -> Vec<u8> {
        let mut buffer = [0; APP_STATE_MAX];
        let length = states.copy_peers(&mut buffer);
        buffer[..length].to_vec()
    }

    #[test]
    fn a_state_is_news_when_it_is_another_one() {
        let states = AppStates::default();
        let heard = |state: &[u8]| (states.hear(&told(state)), peers(&states));
        assert_eq!(heard(b""), (false, b"".to_vec()));
        assert_eq!(heard(b"busy"), (true, b"busy".to_vec()));
        assert_eq!(heard(b"busy"), (false, b"busy".to_vec()));
        assert_eq!(heard(b"bus"), (true, b"bus".to_vec()));
        assert_eq!(heard(b""), (true, b"".to_vec()));
        assert_eq!(heard(&[7; APP_STATE_MAX]), (true, vec![7; APP_STATE_MAX]));
    }

    #[test]
    fn a_frame_without_room_for_the_state_says_nothing_of_it() {
        let states = AppStates::default();
        assert!(states.hear(&told(b"busy")));
        assert!(!states.hear(&Told { state_left_out: true, ..Told::default() }));
        assert_eq!((peers(&states), states.left_out()), (b"busy".to_vec(), 1));
        assert!(!states.hear(&told(b"busy")));
    }

    #[test]
    fn a_buffer_that_is_too_small_stays_as_it_was() {
        let states = AppStates::default();
        assert!(states.hear(&told(b"busy")));
        let mut buffer = *b"....";
        assert_eq!(states.copy_peers(&mut buffer[..3]), 4);
        assert_eq!(&buffer, b"....");
    }

    #[test]
    fn a_beat_keeps_the_state_that_it_was_built_with() {
        let states = AppStates::default();
        assert_eq!(*states.own(), *b"");
        states.set(b"busy");
        let own = states.own();
        states.set(b"idle");
        assert_eq!((&*own, &*states.own()), (&b"busy"[..], &b"idle"[..]));
    }
}
