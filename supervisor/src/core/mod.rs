//! The pure core: what things are and what follows from what. No tokio, file system, network, process, clock or
//! SQL; everything here can be tested with values alone.

pub mod action;
pub mod agt;
pub mod amount;
pub mod billing;
pub mod breaker;
pub mod budget;
pub mod burn;
pub mod canonical;
pub mod data;
pub mod decision;
pub mod detect;
pub mod effect;
pub mod environ;
pub mod error;
#[cfg(test)]
pub(crate) mod fixture;
pub mod ids;
pub mod instant;
pub mod judged;
pub mod label;
pub mod manifest;
pub mod money;
pub mod place;
pub mod policy;
pub mod principal;
pub mod problem;
pub mod reach;
pub mod reconcile;
pub mod record;
pub mod refusal;
pub mod rules;
pub mod run;
pub mod scope;
pub mod seen;
pub mod sentence;
pub mod shell;
pub mod statement;
pub mod usage;
pub mod visible;
pub mod whatif;
