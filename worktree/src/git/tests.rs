use super::*;

fn alias(script: &str) -> (tempfile::TempDir, Git, String) {
    let directory = tempfile::tempdir().unwrap();
    let git = Git::new("git")
        .with_env("PATH", std::env::var_os("PATH").unwrap())
        .with_env("HOME", directory.path())
        .with_env("GIT_CONFIG_GLOBAL", "/dev/null");
    (directory, git, format!("alias.fake=!{script}"))
}

#[test]
fn a_missing_program_is_said() {
    let error = Git::new("/nonexistent/git").discover(Path::new("/")).args(["version"]).run().unwrap_err();
    assert!(matches!(error, WorktreeError::GitMissing { .. }), "{error:?}");
}

#[test]
fn a_failure_carries_gits_words_and_not_the_arguments() {
    let (directory, git, fake) = alias("echo it broke >&2; exit 3 #");
    let error =
        git.discover(directory.path()).setting(&fake).args(["fake", "a", "secret"]).run().unwrap_err();
    assert_eq!(error.to_string(), "`git fake a` failed: it broke");
    assert!(matches!(error, WorktreeError::Git { code: Some(3), .. }), "{error:?}");
}

#[test]
fn too_much_output_is_an_error_unless_it_may_be_cut() {
    let (directory, git, fake) = alias("yes #");
    let mut call = git.discover(directory.path()).setting(&fake).args(["fake"]);
    call.limit_bytes = 10;
    let error = call.run().unwrap_err();
    assert!(matches!(error, WorktreeError::GitOutput { limit_bytes: 10, .. }), "{error:?}");

    let output = git.discover(directory.path()).setting(&fake).args(["fake"]).cut_at(4).run().unwrap();
    assert_eq!((output.stdout.as_slice(), output.cut), (b"y\ny\n".as_slice(), true));
}

#[test]
fn long_complaints_neither_block_nor_end_the_command() {
    let (directory, git, fake) = alias("yes | head -c 1000000 >&2 || exit 9; echo done #");
    let output = git.discover(directory.path()).setting(&fake).args(["fake"]).run().unwrap();
    assert_eq!((output.line().unwrap().as_str(), output.stderr.len()), ("done", STDERR_LIMIT_BYTES - 1));
}

#[test]
fn a_command_that_does_not_end_is_ended_with_its_children() {
    let (directory, git, fake) = alias("(trap '' TERM; exec sleep 1000) & echo $! > pid; wait #");
    let call = git.discover(directory.path()).setting(&fake).args(["fake"]).within(Duration::from_secs(2));
    let error = call.run().unwrap_err();
    assert!(matches!(error, WorktreeError::GitTimeout { .. }), "{error:?}");
    let pid = std::fs::read_to_string(directory.path().join("pid")).unwrap();
    let stat = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    let gone = || stat().is_empty() || stat().contains(") Z ");
    let deadline = Instant::now() + Duration::from_secs(5);
    while !gone() && Instant::now() < deadline {
        thread::yield_now();
    }
    assert!(gone(), "still alive: {}", stat());
}

#[test]
fn the_environment_is_what_was_given_without_gits_own_and_quiet() {
    let (directory, git, fake) = alias("env #");
    let git = git.with_env("GIT_INDEX_FILE", "/elsewhere").with_env("GIT_AUTHOR_NAME", "mallory");
    let output = git.discover(directory.path()).setting(&fake).args(["fake"]).run().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("/elsewhere") && !text.contains("mallory"), "{text}");
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some() && !text.contains("CARGO"), "inherited: {text}");
    for expected in
        ["LC_ALL=C", "GIT_TERMINAL_PROMPT=0", "GIT_OPTIONAL_LOCKS=0", "GIT_CONFIG_GLOBAL=/dev/null"]
    {
        assert!(text.lines().any(|line| line == expected), "{expected} not in {text}");
    }
}

#[test]
fn an_interrupt_ends_the_call_that_runs_and_every_later_one() {
    let (directory, git, fake) = alias("echo > started; sleep 1000 #");
    let interrupt = Interrupt::default();
    let call = || git.discover(directory.path()).setting(&fake).args(["fake"]).interrupted_by(&interrupt);
    let error = thread::scope(|scope| {
        let running = scope.spawn(|| call().run().unwrap_err());
        while !directory.path().join("started").exists() {
            thread::yield_now();
        }
        interrupt.raise();
        running.join().unwrap()
    });
    assert_eq!(error.to_string(), "`git fake` was interrupted");
    assert!(matches!(call().run(), Err(WorktreeError::Interrupted { .. })));
}

#[test]
fn input_larger_than_a_pipe_is_passed() {
    let (directory, git, fake) = alias("wc -c #");
    let call = git.discover(directory.path()).setting(&fake).args(["fake"]).input(vec![b'x'; 1 << 20]);
    assert_eq!(call.run().unwrap().line().unwrap().trim(), "1048576");
}

#[test]
fn records_are_complete_ones_only() {
    let output = Output {
        code: Some(0),
        stdout: b"one\0two\nlines\0cut of".to_vec(),
        stderr: String::new(),
        cut: true,
        words: "git x".into(),
    };
    assert_eq!(output.records().collect::<Vec<_>>(), [b"one".as_slice(), b"two\nlines"]);
}
