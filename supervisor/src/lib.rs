//! agentsup: supervises coding agents. This page is the architecture document; read it first.
//!
//! agentsup starts coding agents, each in its own git worktree, and stands in the path of everything they do:
//!
//! | what the agent does | where agentsup stands | module |
//! |---|---|---|
//! | calls a model | gateway on loopback; the agent holds a run token, never a provider's key | [`gateway`] |
//! | calls an MCP tool | proxy, the only MCP server the agent knows | [`mcp`] |
//! | calls a tool of its own | the agent's hooks, answered here | [`hooks`] |
//! | lives | a keeper that owns its terminal and its process tree | [`run`] |
//!
//! Everything passes **one gate** ([`gate`]) and every decision lands in **one log** ([`audit`]).
//!
//! # Code map
//!
//! From the bottom up; a module uses only what stands above it in this list, and the flows never use each other.
//!
//! - [`core`]: pure. What things are and what follows from them; no clock, file, socket, process or SQL.
//! - [`sys`]: the only place that spawns, reads the clock or the environment, opens sockets, reads secrets.
//! - [`store`]: ledger and log in one SQLite file, one writer; a file per table.
//! - [`registry`]: configuration, agents, budgets and policies in force; reloaded when their files change.
//! - [`approvals`]: open questions to people.
//! - [`gate`]: decides, asks, reserves, records; the only place that makes a [`gate::Permit`].
//! - [`agents`]: one file per kind of agent, mostly data.
//! - flows: [`run`], [`gateway`], [`mcp`], [`hooks`], [`catalog`]. They meet at the gate.
//! - [`audit`]: reading and checking the record.
//! - [`demo`]: an agent, a model and an MCP server that are built in.
//! - `api`: the one table of operations, its server and its client, and the loopback front door.
//! - `cli`: one file per verb; `cli/output.rs` is the only file that prints.
//! - `daemon`: the composition root.
//!
//! The crate `agentsup-worktree` knows git worktrees and nothing of agents. The binary and the window are in
//! `src-tauri`, and nothing here names Tauri. A test reads the sources and holds all of this (`tests/tidy`).
//!
//! # Processes
//!
//! ```text
//! agentsup run claude ─┐                       ┌─ gateway ─ provider
//! agentsup ps, kill, … ┼─ Unix socket ─ daemon ┼─ MCP proxy ─ MCP servers, one process each
//! desktop window      ─┘  (0600, peer check)   └─ store
//!         └─ attach ────── keeper, one per run: owns the terminal and the process tree
//! ```
//!
//! The daemon starts by itself and is one per user and home. A keeper is this binary again; it survives the daemon,
//! and the next daemon finds it. While there is no daemon, agents keep their terminal and their work but get no model
//! and no tool.
//!
//! # Invariants
//!
//! - An effect happens under a [`gate::Permit`], which one effect consumes. A permit dropped unsettled is recorded as
//!   abandoned, and what was reserved for it is taken as spent.
//! - The worst case of a model call is reserved, durably, before the provider sees its first byte; all money is
//!   integer nano-USD ([`core::money`]). The one exception is a run on its user's own subscription, whose calls never
//!   come here: it is metered afterwards and not enforced ([`core::billing`]).
//! - What nobody counted is posted as the most that it can have been, and only a provider's statement lowers it, on the
//!   record; an agent's word never does.
//! - A decision is recorded before its effect. If it cannot be recorded, nothing happens.
//! - What cannot be read, priced, bounded, decided or recorded is denied: no manifest, no run; no budget, no model.
//! - A provider's key is never in an agent's environment, files or memory.
//! - No operation can be called by a process that descends from a run.
//! - No work is lost: nothing is removed before a snapshot, and removal is a rename into the trash.
//! - Every loop, queue, body and wait has a bound.

pub mod agents;
pub mod api;
pub mod approvals;
pub mod audit;
pub mod catalog;
pub mod cli;
pub mod core;
pub mod daemon;
pub mod demo;
pub mod gate;
pub mod gateway;
pub mod hooks;
pub mod mcp;
pub mod registry;
pub mod run;
pub mod store;
pub mod sys;
