//! The heart, checked from outside: scenario tables, and a naive model beside the real step function.

mod model;
mod property;
#[path = "../common/scenario.rs"]
mod scenario;
mod scenarios;
