//! The binary as a file: that every command starts quickly because it loads next to nothing, and that a machine
//! without WebKitGTK has a command line and a clear word about the window.
//!
//! Must not: measure time. What makes the start slow is what is loaded, and that can be counted.

use std::{collections::BTreeSet, process::Command};

const AGENTSUP: &str = env!("CARGO_BIN_EXE_agentsup");

/// What the dynamic linker may load for a command: the C library's parts and the compiler's.
const LIBRARIES: &[&str] = &[
    "ld-linux-",
    "libc.so.",
    "libdl.so.",
    "libgcc_s.so.",
    "libm.so.",
    "libpthread.so.",
    "librt.so.",
    "linux-vdso.so.",
];

#[test]
fn a_command_loads_the_c_library_and_nothing_else() {
    let output = Command::new(AGENTSUP).env("LD_TRACE_LOADED_OBJECTS", "1").output().unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    let names = listed.lines().filter_map(|line| line.split_whitespace().next()?.rsplit('/').next());
    let loaded: BTreeSet<&str> = names.collect();
    assert!(loaded.iter().any(|name| name.starts_with("libc.so.")), "{listed}");
    let others: Vec<&&str> =
        loaded.iter().filter(|name| !LIBRARIES.iter().any(|known| name.starts_with(known))).collect();
    assert!(others.is_empty(), "every command would load {others:?}");
}

#[cfg(feature = "desktop")]
#[test]
fn without_webkitgtk_the_command_line_works_and_the_window_says_what_to_install() {
    // A library of that name that is none hides the real one.
    let hidden = tempfile::tempdir().unwrap();
    std::fs::write(hidden.path().join("libwebkit2gtk-4.1.so.0"), "").unwrap();
    let agentsup = |verb: &str| {
        let mut command = Command::new(AGENTSUP);
        command
            .arg(verb)
            .env("LD_LIBRARY_PATH", hidden.path())
            .env("AGENTSUP_HOME", hidden.path().join("home"));
        command.output().unwrap()
    };
    let version = agentsup("--version");
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(
        String::from_utf8(version.stdout).unwrap(),
        format!("agentsup {}\n", env!("CARGO_PKG_VERSION"))
    );
    let window = agentsup("desktop");
    let told = String::from_utf8(window.stderr).unwrap();
    assert_eq!(window.status.code(), Some(1), "{told}");
    assert!(told.starts_with("error: the window needs WebKitGTK 4.1: "), "{told}");
    assert!(told.ends_with("\nhint: apt install libwebkit2gtk-4.1-0\n"), "{told}");
}

#[cfg(feature = "desktop")]
#[test]
fn without_a_display_the_window_says_so() {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(AGENTSUP);
    command.arg("desktop").env("AGENTSUP_HOME", home.path());
    let output = command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY").output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told, "error: the window needs a display, and there is none\nhint: agentsup ps\n");
    assert_eq!(output.status.code(), Some(1));
}
