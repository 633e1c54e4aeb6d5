//! The flag by which a feeding thread and the shard agree who looks after an unfinished message.

use super::{explore, thread};
use crate::core::{Policy, Stamp};
use crate::engine::desk::Desk;
use crate::wire::Protocol;
use std::sync::Arc;

/// Any message of CMPP.
const MESSAGE: [u8; 12] = [0, 0, 0, 12, 0, 0, 0, 4, 0, 0, 0, 1];

fn feed(desk: &Desk, bytes: &[u8], at: u32) -> bool {
    desk.feed(bytes, Stamp(at), 0, None, |_| {}).unwrap_or_else(|_| panic!("nobody else feeds")).watch
}

/// A message was unfinished and is whole by now; the shard still means to look at it.
#[test]
fn an_unfinished_message_is_always_looked_after() {
    explore(|| {
        let policy = Arc::new(Policy::preset("cmpp").unwrap_or_else(|error| panic!("{error}")));
        let desk = Arc::new(Desk::new(Protocol::Cmpp, &policy, &Arc::default()).unwrap());
        assert!(feed(&desk, &MESSAGE[..5], 1), "the shard is told to look");
        assert!(!feed(&desk, &MESSAGE[5..], 2));
        let feeds = Arc::clone(&desk);
        let feeder = thread::spawn(move || feed(&feeds, &MESSAGE[..5], 3));
        let seen = desk.open_since();
        let told = feeder.join().unwrap();
        assert!(told || seen == Some(Stamp(3)), "the shard neither saw it nor is told");
    });
}
