use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::sync::{Arc, Mutex};

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};

use super::*;
use crate::fixture::{Fixture, signature};

const LIMIT: usize = 100;

fn mirror(fixture: &Fixture) -> Mirror {
    Mirror::at(fixture.git.clone(), fixture.root().join("state/mirror.git"))
}

fn url(fixture: &Fixture) -> String {
    format!("file://{}", fixture.main().display().to_string().replace(' ', "%20"))
}

fn path_url(fixture: &Fixture) -> String {
    fixture.main().display().to_string()
}

/// What a look does: asks for the tip, and fetches that.
fn fetch(mirror: &Mirror, url: &str, branch: &str) -> Result<CommitId, WorktreeError> {
    let missing = || WorktreeError::TargetMissing { branch: branch.to_owned() };
    let tip = mirror.remote_tip(url, branch)?.ok_or_else(missing)?;
    mirror.fetch(url, branch, &tip)
}

/// Writes over an object in the packs of the copy.
fn damage(fixture: &Fixture, mirror: &Mirror, object: &CommitId) {
    let packs = fs::read_dir(mirror.dir.join("objects/pack")).unwrap().map(|entry| entry.unwrap().path());
    for pack in packs.filter(|path| path.extension().is_some_and(|end| end == "pack")) {
        let index = pack.with_extension("idx").display().to_string();
        let listed = fixture.run(&mirror.dir, ["verify-pack", "-v", &index]);
        let Some(line) = listed.lines().find(|line| line.starts_with(object.as_str())) else { continue };
        let number = |at: usize| line.split_whitespace().nth(at).unwrap().parse::<usize>().unwrap();
        let (length, offset) = (number(3), number(4));
        let mut bytes = fs::read(&pack).unwrap();
        bytes[offset..offset + length].fill(0);
        // Packs are read-only.
        fs::remove_file(&pack).unwrap();
        fs::write(&pack, bytes).unwrap();
        return;
    }
    panic!("{object} is in no pack");
}

fn names(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| entry.path.to_string_lossy().into_owned()).collect()
}

#[test]
fn a_branch_is_fetched_and_read_without_a_checkout() {
    let fixture = Fixture::new();
    fixture.write(&fixture.main(), "agents/teams/a.yaml", "kind: Agent\n");
    fixture.write(&fixture.main(), "agents/bytes", b"\0\n\xff\n");
    let tip = fixture.commit(&fixture.main(), "second");
    let mirror = mirror(&fixture);
    assert_eq!(fetch(&mirror, &path_url(&fixture), "main").unwrap(), tip);
    assert_eq!(fetch(&mirror, &path_url(&fixture), "main").unwrap(), tip, "and again");

    let entries = mirror.entries(&tip, Path::new("agents"), LIMIT).unwrap().unwrap();
    assert_eq!(names(&entries), ["bytes", "teams/a.yaml"]);
    assert_eq!([entries[0].size_bytes, entries[1].size_bytes], [4, 12]);
    let ids: Vec<&CommitId> = entries.iter().map(|entry| &entry.id).collect();
    let contents = mirror.contents(&ids, 16).unwrap();
    assert_eq!(contents, [b"\0\n\xff\n".to_vec(), b"kind: Agent\n".to_vec()]);

    assert_eq!(mirror.entries(&tip, Path::new("."), LIMIT).unwrap().unwrap().len(), 5);
    assert_eq!(mirror.entries(&tip, Path::new("nowhere"), LIMIT).unwrap(), None);
    assert_eq!(mirror.entries(&tip, Path::new("README"), LIMIT).unwrap(), None, "a file");
    let error = mirror.entries(&tip, Path::new(""), 4).unwrap_err();
    assert!(matches!(error, WorktreeError::TooMany { limit: 4, .. }), "{error}");
    assert!(fs::metadata(fixture.root().join("state/mirror.git/index")).is_err());
}

#[test]
fn contents_are_bounded() {
    let fixture = Fixture::new();
    fixture.write(&fixture.main(), "large", vec![b'x'; 4000]);
    let tip = fixture.commit(&fixture.main(), "large");
    let mirror = mirror(&fixture);
    fetch(&mirror, &path_url(&fixture), "main").unwrap();
    let entries = mirror.entries(&tip, Path::new(""), LIMIT).unwrap().unwrap();
    let large = &entries.iter().find(|entry| entry.path == Path::new("large")).unwrap().id;
    assert_eq!(mirror.contents(&[large], 4000).unwrap()[0].len(), 4000);
    assert!(matches!(mirror.contents(&[large], 3000), Err(WorktreeError::GitOutput { .. })));
    let absent = CommitId::parse(&"0".repeat(40)).unwrap();
    assert!(mirror.contents(&[&absent], 3000).is_err());
}

#[test]
fn links_and_submodules_are_told_and_never_followed() {
    let fixture = Fixture::new();
    symlink("/etc/passwd", fixture.main().join("link.yaml")).unwrap();
    let inner = fixture.main().join("inner");
    fs::create_dir(&inner).unwrap();
    fixture.run(&inner, ["init", "-q"]);
    fixture.commit(&inner, "inner");
    let tip = fixture.commit(&fixture.main(), "hostile");
    let mirror = mirror(&fixture);
    fetch(&mirror, &path_url(&fixture), "main").unwrap();
    let entries = mirror.entries(&tip, Path::new(""), LIMIT).unwrap().unwrap();
    let kind = |name: &str| entries.iter().find(|entry| entry.path == Path::new(name)).unwrap().kind;
    assert_eq!(
        [kind("link.yaml"), kind("inner"), kind("README")],
        [EntryKind::Link, EntryKind::Submodule, EntryKind::File]
    );
}

#[test]
fn what_cannot_be_had_is_said() {
    let fixture = Fixture::new();
    let mirror = mirror(&fixture);
    let error = fetch(&mirror, &path_url(&fixture), "absent").unwrap_err();
    assert!(matches!(&error, WorktreeError::TargetMissing { branch } if branch == "absent"), "{error}");
    let nowhere = fixture.root().join("nowhere").display().to_string();
    assert!(matches!(fetch(&mirror, &nowhere, "main"), Err(WorktreeError::Git { .. })));
}

#[test]
fn an_address_is_never_a_command() {
    let fixture = Fixture::new();
    let trap = fixture.root().join("trap");
    let mirror = mirror(&fixture);
    for address in [format!("ext::touch {}", trap.display()), format!("fd::{}", trap.display())] {
        let error = fetch(&mirror, &address, "main").unwrap_err();
        assert!(error.to_string().contains("not allowed"), "{error}");
    }
    let option = format!("--upload-pack=touch {}", trap.display());
    assert!(fetch(&mirror, &option, "main").is_err());
    assert!(!trap.exists());
}

/// A door on this machine, and its address.
fn door() -> (TcpListener, String) {
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", door.local_addr().unwrap());
    (door, address)
}

/// Whether anybody ever knocked.
fn was_visited(door: &TcpListener) -> bool {
    door.set_nonblocking(true).unwrap();
    let knocked = door.accept();
    assert!(knocked.is_ok() || knocked.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
    knocked.is_ok()
}

/// A door with TLS whose `/agents` is elsewhere: at an address, or below `/moved`. What it was asked for is kept.
fn tls_door(elsewhere: Option<String>) -> (String, Arc<Mutex<Vec<String>>>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let papers = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(papers.signing_key.serialize_der()).unwrap();
    let papers = vec![papers.cert.der().clone()];
    let config = Arc::new(config.with_no_client_auth().with_single_cert(papers, key).unwrap());
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", door.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (elsewhere, keep) = (elsewhere.unwrap_or_else(|| address.clone()), asked.clone());
    let answer = move |mut stream: TcpStream| {
        let mut connection = ServerConnection::new(config.clone()).unwrap();
        let mut tls = rustls::Stream::new(&mut connection, &mut stream);
        let mut request = [0; 4096];
        let length = tls.read(&mut request).unwrap();
        let path = String::from_utf8_lossy(&request[..length]).split(' ').nth(1).unwrap().to_owned();
        let (head, body) = match path.strip_prefix("/agents/") {
            Some(rest) => {
                (format!("301 Moved Permanently\r\nLocation: {elsewhere}/moved/{rest}"), String::new())
            }
            None if path.starts_with("/moved/info/refs") => (
                "200 OK\r\nContent-Type: text/plain".into(),
                format!("{}\trefs/heads/main\n", "1".repeat(40)),
            ),
            None => ("404 Not Found".into(), String::new()),
        };
        keep.lock().unwrap().push(path);
        let length = body.len();
        write!(tls, "HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
            .unwrap();
        tls.conn.send_close_notify();
        tls.flush().unwrap();
    };
    std::thread::spawn(move || door.incoming().flatten().for_each(answer));
    (address, asked)
}

#[test]
fn an_encrypted_address_may_lead_to_another_one_and_never_to_one_in_the_clear() {
    let fixture = Fixture::new();
    let settings = fixture.root().join("settings");
    // Nor do the user's own settings let it.
    let own =
        "[http]\n\tsslVerify = false\n\tfollowRedirects = true\n[protocol \"http\"]\n\tallow = always\n";
    fs::write(&settings, own).unwrap();
    let git = fixture.git.clone().with_env("GIT_CONFIG_GLOBAL", &settings);
    let mirror = Mirror { git, ..mirror(&fixture) };
    let tip = |address: &str| mirror.remote_tip(&format!("{address}/agents"), "main");

    let (address, asked) = tls_door(None);
    assert_eq!(tip(&address).unwrap().unwrap().as_str(), "1".repeat(40));
    let first = "/info/refs?service=git-upload-pack";
    assert_eq!(asked.lock().unwrap()[..2], [format!("/agents{first}"), format!("/moved{first}")]);

    let (door, in_the_clear) = door();
    let (address, asked) = tls_door(Some(in_the_clear));
    let error = tip(&address).unwrap_err();
    assert!(matches!(error, WorktreeError::Git { .. }), "{error}");
    assert_eq!(*asked.lock().unwrap(), [format!("/agents{first}")]);
    assert!(!was_visited(&door));
}

#[test]
fn an_address_in_the_clear_leads_nowhere_else() {
    let fixture = Fixture::new();
    let ((first, address), (second, elsewhere)) = (door(), door());
    let answers = std::thread::spawn(move || {
        let (mut stream, _) = first.accept().unwrap();
        let mut request = [0; 4096];
        let length = stream.read(&mut request).unwrap();
        let place = format!("{elsewhere}/agents/info/refs?service=git-upload-pack");
        let head = "HTTP/1.1 301 Moved Permanently\r\nConnection: close\r\nContent-Length: 0\r\nLocation: ";
        write!(stream, "{head}{place}\r\n\r\n").unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let error = fetch(&mirror(&fixture), &format!("{address}/agents"), "main").unwrap_err();
    assert!(answers.join().unwrap().starts_with("GET /agents/info/refs"));
    assert!(error.to_string().contains("301"), "{error}");
    assert!(!was_visited(&second));
}

#[test]
fn what_is_to_be_encrypted_is_never_fetched_in_the_clear() {
    let fixture = Fixture::new();
    let (door, address) = door();
    // Whatever leads there: a redirection, or the user's own settings.
    let settings = fixture.root().join("settings");
    let instead = format!("[url \"{address}/\"]\n\tinsteadOf = https://agents.invalid/\n");
    fs::write(&settings, format!("{instead}[protocol \"http\"]\n\tallow = always\n")).unwrap();
    let git = fixture.git.clone().with_env("GIT_CONFIG_GLOBAL", &settings);
    let mirror = Mirror { git, ..mirror(&fixture) };
    let tip = fixture.tip(&fixture.main(), "HEAD");
    let url = "https://agents.invalid/agents";
    for error in [mirror.remote_tip(url, "main").unwrap_err(), mirror.fetch(url, "main", &tip).unwrap_err()] {
        assert!(error.to_string().contains("transport 'http' not allowed"), "{error}");
    }
    assert!(!was_visited(&door));
}

#[test]
fn a_copy_that_cannot_be_fetched_into_says_so_and_has_no_part_in_what_is_asked() {
    let fixture = Fixture::new();
    let mirror = mirror(&fixture);
    let url = path_url(&fixture);
    let tip = fixture.tip(&fixture.main(), "main");
    let empty = |file: &str| fs::write(mirror.dir.join(file), "").unwrap();
    let damages: [&dyn Fn(); 5] = [
        &|| empty("HEAD"),
        &|| empty(FETCHED),
        &|| fs::write(mirror.dir.join("config"), "[").unwrap(),
        &|| damage(&fixture, &mirror, &tip),
        &|| {
            fs::remove_file(mirror.dir.join(FETCHED)).unwrap();
            empty(&format!("{FETCHED}.lock"));
        },
    ];
    for (number, damage) in damages.iter().enumerate() {
        assert_eq!(fetch(&mirror, &url, "main").unwrap(), tip);
        damage();
        assert_eq!(mirror.remote_tip(&url, "main").unwrap(), Some(tip.clone()));
        let error = mirror.fetch(&url, "main", &tip).unwrap_err();
        assert!(matches!(error, WorktreeError::Git { .. }), "{number}: {error}");
        fs::remove_dir_all(&mirror.dir).unwrap();
    }
}

#[test]
fn whether_a_commit_goes_on_from_another_is_known() {
    let fixture = Fixture::new();
    let mirror = mirror(&fixture);
    let first = fetch(&mirror, &path_url(&fixture), "main").unwrap();
    let second = fixture.commit(&fixture.main(), "second");
    assert_eq!(fetch(&mirror, &path_url(&fixture), "main").unwrap(), second);
    fixture.run(&fixture.main(), ["reset", "-q", "--hard", "HEAD^"]);
    let other = fixture.commit(&fixture.main(), "other");
    assert_eq!(fetch(&mirror, &path_url(&fixture), "main").unwrap(), other);
    assert!(mirror.contains(&second, &first).unwrap() && mirror.contains(&other, &first).unwrap());
    assert!(!mirror.contains(&other, &second).unwrap() && !mirror.contains(&first, &second).unwrap());
    let unknown = CommitId::parse(&"1".repeat(40)).unwrap();
    let is_missing = |commit: &CommitId| {
        let error = mirror.contains(&other, commit).unwrap_err();
        matches!(error, WorktreeError::CommitMissing { commit: missing } if missing == *commit)
    };
    assert!(is_missing(&unknown));
    damage(&fixture, &mirror, &second);
    assert!(is_missing(&second), "it is not a rewind");
}

#[test]
fn a_directory_that_cannot_be_read_is_not_one_that_is_not_there() {
    let fixture = Fixture::new();
    fixture.write(&fixture.main(), "agents/teams/a.yaml", "a\n");
    let tip = fixture.commit(&fixture.main(), "second");
    for (directory, tree) in
        [("agents", ""), ("agents/teams", "agents"), ("agents", "agents/teams"), ("", "")]
    {
        let mirror = mirror(&fixture);
        fetch(&mirror, &path_url(&fixture), "main").unwrap();
        let listed = || mirror.entries(&tip, Path::new(directory), LIMIT);
        assert!(listed().unwrap().is_some());
        damage(&fixture, &mirror, &fixture.tip(&fixture.main(), &format!("{tip}:{tree}")));
        assert!(listed().is_err(), "{directory:?} without {tree:?}: {:?}", listed());
        fs::remove_dir_all(&mirror.dir).unwrap();
    }
}

#[test]
fn a_proposal_is_one_file_on_a_new_branch_and_nothing_else() {
    let fixture = Fixture::new();
    fixture.hook("pre-push", "#!/bin/sh\nexit 1\n");
    fixture.write(&fixture.main(), "agents/tool", "old\n");
    let base = fixture.commit(&fixture.main(), "base");
    let mirror = mirror(&fixture);
    fetch(&mirror, &path_url(&fixture), "main").unwrap();
    let file =
        NewFile { path: Path::new("agents/team a/new.yaml"), content: b"a\r\nb\n", kind: EntryKind::File };
    let commit = mirror.commit_file(&base, &file, "Register it\n", &signature()).unwrap();
    mirror.push_new(&path_url(&fixture), &commit, "register/a").unwrap();

    assert_eq!(fixture.tip(&fixture.main(), "register/a"), commit);
    assert_eq!(fixture.tip(&fixture.main(), "main"), base);
    let shown =
        fixture.run(&fixture.main(), ["show", "--format=%an %ae%n%s%n%P", "--name-status", "register/a"]);
    assert_eq!(
        shown,
        format!("Alice alice@example.invalid\nRegister it\n{base}\n\nA\tagents/team a/new.yaml")
    );
    let content = fixture.run(&fixture.main(), ["cat-file", "-s", "register/a:agents/team a/new.yaml"]);
    assert_eq!(content, "5");
    assert_eq!(
        fs::read_dir(&mirror.dir)
            .unwrap()
            .filter(|entry| { entry.as_ref().unwrap().file_name().to_string_lossy().contains("index") })
            .count(),
        0
    );

    let changed = NewFile { path: Path::new("agents/tool"), content: b"new\n", kind: EntryKind::Executable };
    let second = mirror.commit_file(&base, &changed, "Change it\n", &signature()).unwrap();
    let error = mirror.push_new(&path_url(&fixture), &second, "register/a").unwrap_err();
    assert!(matches!(&error, WorktreeError::BranchExists { branch } if branch == "register/a"), "{error}");
    let error = mirror.push_new(&path_url(&fixture), &second, "main").unwrap_err();
    assert!(matches!(error, WorktreeError::BranchExists { .. }));
    assert_eq!(fixture.tip(&fixture.main(), "register/a"), commit, "nobody's branch was moved");
    mirror.push_new(&path_url(&fixture), &second, "change/tool").unwrap();
    let shown = fixture.run(&fixture.main(), ["show", "--format=", "--raw", "--no-abbrev", "change/tool"]);
    assert!(shown.starts_with(":100644 100755 ") && shown.ends_with("M\tagents/tool"), "{shown}");
}

#[test]
fn a_repository_with_long_ids_is_fetched_as_well() {
    let fixture = Fixture::unborn(&["--object-format=sha256"]);
    fixture.write(&fixture.main(), "a.yaml", "a\n");
    let tip = fixture.commit(&fixture.main(), "first");
    let mirror = mirror(&fixture);
    assert_eq!(fetch(&mirror, &url(&fixture).replace("%20", " "), "main").unwrap(), tip);
    assert_eq!(tip.as_str().len(), 64);
    assert_eq!(names(&mirror.entries(&tip, Path::new(""), LIMIT).unwrap().unwrap()), ["a.yaml"]);
}

#[test]
fn nobody_is_named_who_is_not_configured() {
    let fixture = Fixture::new();
    let mirror = mirror(&fixture);
    fetch(&mirror, &path_url(&fixture), "main").unwrap();
    assert_eq!(mirror.identity().unwrap(), None);
    fixture.run(&mirror.dir, ["config", "user.name", "Bob"]);
    assert_eq!(mirror.identity().unwrap(), None);
    fixture.run(&mirror.dir, ["config", "user.email", "bob@example.invalid"]);
    assert_eq!(mirror.identity().unwrap(), Some(("Bob".into(), "bob@example.invalid".into())));
}
