//! hbeat: a heartbeat engine with a C ABI. It tells a program, quickly and truthfully, when the other end of a
//! connection is gone.
//!
//! Programs in C and its relatives use `include/hbeat.h`, which says all that a caller needs. This page is the map of
//! the crate behind it, and the way in for Rust programs.
//!
//! # The model
//!
//! An application opens a *link* for each connection that it wants watched, with a *policy*: when a *beat* is due, how
//! long its answer may take, how many tries there are, and what proves that the peer lives. The application reads and
//! writes its sockets as it did before. It tells hbeat what arrived, and writes the beats that hbeat says are due;
//! hbeat keeps the time and tells it once when a peer is gone, why, and on what evidence.
//!
//! ```text
//! PAUSED --start--> UP --first miss--> SUSPECT --tries used up--> DOWN(cause)
//!                   ^                     |
//!                   +---- sign of life ---+
//! ```
//!
//! With C, T, N for interval, timeout and tries: after C without a message a beat is due; each T without a sign of
//! life is a miss, and another beat; the N-th miss is the verdict, N·T after the first beat was due.
//!
//! # The layers
//!
//! An arrow is "may use"; there is no other one.
//!
//! ```text
//!              ffi            the C face: the only place that sees a caller's pointers
//!               |
//!               v
//!             engine          threads, shards, ids, delivery
//!        _______|_______
//!       |       |       |
//!       v       v       v
//!     core    wire     net
//!  decisions  bytes   sockets
//! ```
//!
//! [`core`] and [`wire`] are pure: time is an argument, output is a value, nothing there knows a clock, a thread or a
//! socket, and neither knows the other. `net` looks at sockets, has some of its own, and knows nothing of links. [`engine`] is where the
//! three meet.
//!
//! # What is guaranteed
//!
//! - One DOWN a link, whoever found out. Closing gives no DOWN.
//! - Own sends never prove that the peer lives. What has arrived is known before a deadline is judged; a pause of this
//!   process, or bytes that its own reader has not read yet, are not blamed on the peer.
//! - Close never waits. After it no event of the link is handed out but the last one, CLOSED, which comes once.
//! - No code of the application's runs on a thread that keeps the time.
//! - No signal, handler, environment, locale or logger of the process is changed.
//!
//! `docs/contract.md` has them one by one, each with the tests that hold hbeat to it; `docs/decisions.md` has the
//! rules of the verdict in full.
//!
//! # Ways to run
//!
//! | [`Options::run`](engine::Options::run) | `on_event` | what happens |
//! |---|---|---|
//! | [`Threads`](engine::Run::Threads) | set | hbeat's threads keep the time and call back |
//! | [`Threads`](engine::Run::Threads) | not set | hbeat's thread keeps the time, the application pulls with [`wait`](engine::Engine::wait) |
//! | [`Application`](engine::Run::Application) | either | no thread of hbeat's: the application calls [`drive`](engine::Engine::drive) |
//!
//! In each of them the clock can be a [manual](engine::TimeSource::Manual) one, for tests: six minutes of CMPP in no
//! time, the same to the millisecond in every run.
//!
//! ```
//! use hbeat::core::{Cause, Policy};
//! use hbeat::engine::{Engine, EventKind, LinkOptions, Options, TimeSource};
//! use hbeat::wire::Protocol;
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! const SECOND_NS: u64 = 1_000_000_000;
//! let start_ns = 1_000 * SECOND_NS;
//! let engine = Engine::new(Options { clock: TimeSource::Manual(start_ns), ..Options::default() })?;
//! let policy = Policy::preset("cmpp")?; // C = 180 s, T = 60 s, N = 3
//! let gateway = LinkOptions { name: "gd-mt-07".to_owned(), protocol: Protocol::Cmpp, ..LinkOptions::default() };
//! let link = engine.open(&policy, &gateway)?;
//!
//! let (mut story, mut events) = (Vec::new(), Vec::new());
//! while engine.advance(start_ns + 400 * SECOND_NS)? {
//!     engine.wait(16, Some(Duration::ZERO), &mut |event| events.push(event.clone()))?;
//!     for event in events.drain(..) {
//!         if event.kind == EventKind::Send {
//!             let mut frame = [0; 64];
//!             let taken = engine.take(link, None, event.at_ns, &mut frame)?;
//!             assert_eq!(taken.length, 12); // an ACTIVE_TEST; it would be written to the socket, and nobody answers
//!         }
//!         story.push(((event.at_ns - start_ns) / SECOND_NS, event.kind, event.cause));
//!     }
//! }
//! assert_eq!(
//!     story,
//!     [
//!         (180, EventKind::Send, None),
//!         (240, EventKind::Suspect, None),
//!         (240, EventKind::Send, None),
//!         (300, EventKind::Suspect, None),
//!         (300, EventKind::Send, None),
//!         (360, EventKind::Down, Some(Cause::NoAnswer)),
//!     ]
//! );
//! engine.stop(None)?;
//! # Ok(())
//! # }
//! ```

pub mod core;
pub mod engine;
pub mod ffi;
mod net;
pub mod wire;
