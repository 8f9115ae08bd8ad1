//! Notifications on the user's desktop, where there is one: `org.freedesktop.Notifications` on the session bus.
//!
//! Invariant: it never takes longer than [`PATIENCE`]. Must not be given anything that only the user may read: they
//! lie on locked screens.

use std::time::Duration;

use tokio::time::timeout;

/// How long a desktop may take to say that it shows something.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why nothing was shown.
#[derive(Debug, thiserror::Error)]
pub enum NotificationError {
    /// There is no bus, or nobody on it who shows notifications.
    #[error("no desktop shows it: {0}")]
    NoDesktop(String),
    /// The desktop does not answer.
    #[error("the desktop did not answer within {} seconds", PATIENCE.as_secs())]
    Silent,
    /// This system's way to notify is not known here.
    #[error("notifications are known on Linux only")]
    System,
}

/// Shows a notification.
///
/// # Errors
/// When there is no desktop, or it does not answer.
pub async fn show(title: &str, text: &str) -> Result<(), NotificationError> {
    timeout(PATIENCE, send(title, text)).await.map_err(|_| NotificationError::Silent)?
}

#[cfg(target_os = "linux")]
async fn send(title: &str, text: &str) -> Result<(), NotificationError> {
    use std::collections::HashMap;

    use zbus::zvariant::Value;

    /// Neither lost among the unimportant nor in the way of work.
    const NORMAL: u8 = 1;
    // Some desktops take markup.
    let plain = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let none = |error: zbus::Error| NotificationError::NoDesktop(error.to_string());
    let bus = zbus::Connection::session().await.map_err(none)?;
    let (replaces, icon, actions, own_timeout): (u32, &str, &[&str], i32) = (0, "", &[], -1);
    let hints = HashMap::from([("urgency", Value::from(NORMAL))]);
    let body = ("agentsup", replaces, icon, title, plain(text), actions, hints, own_timeout);
    let name = "org.freedesktop.Notifications";
    bus.call_method(Some(name), "/org/freedesktop/Notifications", Some(name), "Notify", &body)
        .await
        .map(drop)
        .map_err(none)
}

#[cfg(not(target_os = "linux"))]
async fn send(_title: &str, _text: &str) -> Result<(), NotificationError> {
    Err(NotificationError::System)
}
