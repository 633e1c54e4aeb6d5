//! The decisions: when to beat, when to wait, when to give a verdict. Pure: time is an argument, output is a
//! value; no clock, no thread, no socket, no `unsafe`.

mod agreement;
mod backoff;
pub mod jitter;
mod link;
mod police;
mod policy;
mod step;
mod time;
mod wheel;

pub use agreement::{Agreed, Agreement, Offer, agree};
pub use backoff::{Attempts, Backoff, RateCap};
pub use link::{Link, PAUSE_MS, Side};
pub use police::{Conduct, Police};
pub use policy::{Detection, IdleOn, NoProgress, Policy, PolicyError, Proof, Resend, Strategy};
pub use step::{Answered, Cause, Change, Context, Evidence, Facts, Input, Notice, Output, Pause, State};
pub use time::{Clock, Stamp};
pub use wheel::{Queued, Wheel};
