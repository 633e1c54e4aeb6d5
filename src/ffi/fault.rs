//! For the tests' build only, feature `fault-injection`: what is here is in no header and no list of symbols.

use crate::engine::fault;

/// Makes a point panic once: see `Point` in src/engine/fault.rs.
#[unsafe(no_mangle)]
pub extern "C" fn hbeat_test_panic(point: u32) {
    fault::arm(point);
}
