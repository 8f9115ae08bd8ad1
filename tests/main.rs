//! The one integration test binary: each module below is a room of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[cfg(target_os = "linux")]
mod binary;
mod fakes;
mod flows;
mod tidy;
#[cfg(all(feature = "desktop", target_os = "linux"))]
mod ui;
