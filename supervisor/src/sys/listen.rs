//! Listening on the loopback interface, the only network interface that agentsup ever listens on.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// Listens on this port of 127.0.0.1.
///
/// # Errors
/// `AddrInUse` if somebody else does.
pub fn on_port(port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Listens on a free port of 127.0.0.1.
pub fn anywhere() -> io::Result<TcpListener> {
    on_port(0)
}
