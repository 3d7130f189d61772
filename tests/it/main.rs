//! What only shows over sockets: one test binary, one module an adapter.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod local_door;
mod upstream;
mod wire;
