//! The tests' own world: scripted model providers, scripted MCP servers, a throwaway home and repository, a runner for
//! the built binary and a terminal for full-screen programs.
//!
//! Invariants: loopback only; nothing of the machine's own configuration; every wait has a deadline. Nothing in here
//! uses the product's own code, so that a fault in the product cannot hide itself.
#![allow(dead_code, reason = "each flow uses the part it needs")]

pub(crate) mod anthropic;
pub(crate) mod ask;
pub(crate) mod chat;
pub(crate) mod cli;
pub(crate) mod client;
pub(crate) mod faults;
pub(crate) mod gemini;
pub(crate) mod git_http;
pub(crate) mod golden;
pub(crate) mod home;
pub(crate) mod mcp;
pub(crate) mod model;
pub(crate) mod openai;
pub(crate) mod pty;
pub(crate) mod scripted;
#[allow(unused_imports, reason = "`make bench` uses this world too, and its harness drops the tests")]
mod selftest;
pub(crate) mod server;
pub(crate) mod wait;
