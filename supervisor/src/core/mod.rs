//! The pure core: what things are and what follows from what. No tokio, file system, network, process, clock or
//! SQL; everything here can be tested with values alone.

pub mod ids;
