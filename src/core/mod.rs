//! The decisions: when to beat, when to wait, when to give a verdict. Pure: time is an argument, output is a
//! value; no clock, no thread, no socket, no `unsafe`.

mod backoff;
pub mod jitter;
mod policy;
mod time;

pub use backoff::{Attempts, Backoff, RateCap};
pub use policy::{Detection, IdleOn, Policy, PolicyError, Proof, Resend, Strategy};
pub use time::{Clock, Stamp};
