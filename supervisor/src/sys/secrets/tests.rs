#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use super::*;

#[test]
fn places_are_parsed_and_printed() {
    for text in ["env:ANTHROPIC_API_KEY", "keyring:anthropic", "keyring:a-b_c.d"] {
        assert_eq!(text.parse::<SecretRef>().unwrap().to_string(), text);
    }
    for text in
        ["", "sk-ant-secret", "env:", "env:1A", "env:A-B", "keyring:", "keyring:a/b", "file:x", "env:A B"]
    {
        assert_eq!(text.parse::<SecretRef>(), Err(SecretError::Reference(text.into())));
    }
}

#[test]
fn a_variable_is_read_without_its_line_end() {
    let env = Env::of([("KEY", "sk-1\n"), ("EMPTY", "")]);
    assert_eq!(from_env(&env, "KEY").unwrap().reveal(), "sk-1");
    for name in ["EMPTY", "NONE"] {
        let error = from_env(&env, name).map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), format!("the environment variable `{name}` is not set"));
        assert_eq!(
            error.hint().unwrap(),
            format!("export {name}=… and restart the daemon: agentsup daemon stop")
        );
    }
}

#[test]
fn what_cannot_be_a_key_is_refused_before_any_keyring() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::rooted(dir.path());
    let long = "x".repeat(MAX_SECRET_BYTES + 1);
    for text in ["", "a\nb", "a\0", &long] {
        assert_eq!(set_secret(&home, "a", Secret::new(text.into())), Err(SecretError::Unsuitable));
    }
    let bad = "a/b".to_owned();
    assert_eq!(set_secret(&home, &bad, Secret::new("x".into())), Err(SecretError::Name(bad.clone())));
    assert_eq!(remove_secret(&home, &bad), Err(SecretError::Name(bad)));
    assert_eq!(list_secrets(&home), Ok(BTreeSet::new()));
}

#[test]
fn a_broken_index_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::rooted(dir.path());
    home.prepare().unwrap();
    fs::write(home.key_index(), "nope").unwrap();
    assert!(matches!(list_secrets(&home), Err(SecretError::Index { .. })));
}

/// Set in the session, so that nobody's own keyring is ever touched.
const INSIDE: &str = "AGENTSUP_TEST_SESSION";

/// The home of a test inside a session.
fn inside() -> Option<Home> {
    std::env::var_os(INSIDE)?;
    let home = Home::from_env().unwrap();
    home.prepare().unwrap();
    Some(home)
}

/// The keyring tests run this very binary again inside a session bus of their own, one ignored test each.
fn in_session(test: &str, setup: &str) {
    let programs = ["dbus-run-session", "gnome-keyring-daemon"];
    let missing: Vec<&str> = programs.into_iter().filter(|program| which(program).is_none()).collect();
    if cfg!(not(target_os = "linux")) || !missing.is_empty() {
        eprintln!("skipped: {} not installed, so no real keyring to test with", missing.join(" and "));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = format!("{setup}\nexec \"$0\" --ignored --exact --nocapture sys::secrets::tests::{test}");
    let output = Command::new("dbus-run-session")
        .args(["--", "sh", "-ec", &script])
        .arg(std::env::current_exe().unwrap())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", dir.path())
        .env("XDG_RUNTIME_DIR", dir.path())
        .env(INSIDE, "1")
        .env("AGENTSUP_HOME", dir.path().join("agentsup"))
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{stdout}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.is_file())
}

#[test]
fn the_real_keyring_keeps_keys() {
    in_session(
        "inside_an_unlocked_keyring",
        "printf pw | gnome-keyring-daemon --unlock --components=secrets >/dev/null",
    );
}

#[test]
fn without_a_keyring_nothing_is_written_anywhere() {
    in_session("inside_no_keyring", "");
}

/// A bus that takes the connection and never says a word.
#[cfg(target_os = "linux")]
#[test]
fn a_silent_keyring_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("bus");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "sys::secrets::tests::inside_a_silent_bus"])
        .env_clear()
        .env(INSIDE, "1")
        .env("HOME", dir.path())
        .env("AGENTSUP_HOME", dir.path().join("agentsup"))
        .env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", socket.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
#[ignore = "run by the test above, with a bus of its own"]
fn inside_a_silent_bus() {
    let Some(_) = inside() else { return };
    let place: SecretRef = "keyring:anthropic".parse().unwrap();
    let silent = Err(SecretError::KeyringSilent(KEYRING_TIMEOUT.as_millis().try_into().unwrap()));
    // More at once than may hang: those beyond are told at once.
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let place = place.clone();
            std::thread::spawn(move || load_secret(&place).map(|_| ()))
        })
        .collect();
    for call in calls {
        assert_eq!(call.join().unwrap(), silent);
    }
    let start = std::time::Instant::now();
    assert_eq!(load_secret(&place).map(|_| ()), silent);
    assert!(start.elapsed() < KEYRING_TIMEOUT / 2);
}

#[test]
#[ignore = "run by the test above, inside a session of its own"]
fn inside_an_unlocked_keyring() {
    let Some(home) = inside() else { return };
    let place: SecretRef = "keyring:anthropic".parse().unwrap();
    let missing = SecretError::KeyringMissing("anthropic".into());
    assert_eq!(load_secret(&place).map(|_| ()), Err(missing.clone()));
    assert_eq!(missing.hint().unwrap(), "agentsup key set anthropic");

    for key in ["sk-ant-1", "sk-ant-2 ünï"] {
        set_secret(&home, "anthropic", Secret::new(key.into())).unwrap();
        assert_eq!(load_secret(&place).unwrap().reveal(), key);
    }
    // More at once than may be under way.
    KEPT.forget("anthropic");
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| assert_eq!(load_secret(&place).unwrap().reveal(), "sk-ant-2 ünï"));
        }
    });
    set_secret(&home, "openai", Secret::new("sk-oai".into())).unwrap();
    assert_eq!(list_secrets(&home).unwrap(), BTreeSet::from(["anthropic".into(), "openai".into()]));
    let index = fs::read_to_string(home.key_index()).unwrap();
    assert_eq!(serde_json::from_str::<Vec<String>>(&index).unwrap(), ["anthropic", "openai"]);
    assert_eq!(fs::metadata(home.key_index()).unwrap().permissions().mode() & 0o777, 0o600);

    assert_eq!(remove_secret(&home, "anthropic"), Ok(true));
    assert_eq!(remove_secret(&home, "anthropic"), Ok(false));
    assert_eq!(load_secret(&place).map(|_| ()), Err(missing));
    assert_eq!(list_secrets(&home).unwrap(), BTreeSet::from(["openai".into()]));
}

#[test]
#[ignore = "run by the test above, inside a session of its own"]
fn inside_no_keyring() {
    let Some(home) = inside() else { return };
    let start = std::time::Instant::now();
    let error = set_secret(&home, "anthropic", Secret::new("sk-ant-1".into())).unwrap_err();
    assert!(start.elapsed() < KEYRING_TIMEOUT * 2, "{:?}", start.elapsed());
    assert!(matches!(error, SecretError::KeyringUnusable(_) | SecretError::KeyringSilent(_)), "{error}");
    assert_eq!(
        error.hint().unwrap(),
        "unlock the keyring, or name a variable in config.toml, such as: [providers.anthropic] key = \"env:ANTHROPIC_API_KEY\""
    );
    println!("{error}");
    assert!(!home.key_index().exists());
}
