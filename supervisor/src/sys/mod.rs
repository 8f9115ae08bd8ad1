//! The only place that spawns processes, reads the clock or the environment, opens sockets and reads secrets.

pub mod clock;
pub mod env;
pub mod http;
pub mod ids;
pub mod paths;
pub mod secrets;
pub mod upstream;
