//! The only place that spawns processes, reads the clock or the environment, opens sockets and reads secrets.

pub mod alarm;
pub mod aside;
pub mod capture;
pub mod child;
pub mod clock;
pub mod detach;
pub mod env;
pub mod files;
pub mod grounds;
pub mod http;
pub mod ids;
pub mod listen;
pub mod lock;
pub mod log;
pub mod notification;
pub mod paths;
pub mod peer;
pub mod piped;
pub mod post;
pub mod process;
pub mod secrets;
pub mod signals;
pub mod socket;
pub mod spawn;
pub mod terminal;
pub mod upstream;
