//! hbeat: a heartbeat engine with a C ABI.
//!
//! This page becomes the map of the crate; see `docs/decisions.md` for the rules in full.

pub mod core;
pub mod engine;
pub mod ffi;
mod net;
pub mod wire;
