//! The proxy as agents and servers meet it.

mod data;
mod endpoint;
mod http;
mod leaks;
mod stdio;
mod web;
mod world;
