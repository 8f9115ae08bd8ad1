//! What a call of an agent's own tool would do, as a person is shown it: the difference that an edit makes to the files
//! as they are now, the whole command line and where it runs, or the arguments.
//!
//! Invariants: made of the call's arguments and of files, never of what the agent says about them; the same call on the
//! same files gives the same effect, another file or place another one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use similar::TextDiff;

use super::edits::{self, Edit};
use crate::agents::wire::{ToolCall, ToolKind};
use crate::core::canonical;
use crate::core::effect::{Effect, Shown, pretty};
use crate::core::manifest::BuiltinClass;
use crate::core::run::Run;
use crate::sys::files::resolve;

/// The largest file that a difference is made of, in bytes.
const FILE_MAX: u64 = 4 * 1024 * 1024;
/// The most lines between the first and the last that differ: more are not shown anyway.
const LINES_MAX: usize = 8_000;

/// What the call would do now. Reads the files that it edits.
pub(super) fn of(call: &ToolCall, run: &Run) -> Result<Effect, String> {
    let dir = call.cwd.as_deref().map_or(run.worktree.as_path(), Path::new);
    match (call.class, &call.command) {
        (ToolKind::Builtin(BuiltinClass::Shell), Some(line)) => command(call, line, dir, run),
        (ToolKind::Builtin(BuiltinClass::Edit), _) => edit(call, dir),
        _ => Ok(Effect { shown: vec![arguments(&call.args)?], files: BTreeMap::new() }),
    }
}

/// What remains when everything else is shown: nothing of it is a person's to guess.
fn arguments(args: &Value) -> Result<Shown, String> {
    // In one order, whatever the agent's.
    let text = canonical::to_bytes(args).map_err(|error| error.to_string())?;
    Ok(Shown::Arguments { text: pretty(&String::from_utf8_lossy(&text)) })
}

fn command(call: &ToolCall, line: &str, dir: &Path, run: &Run) -> Result<Effect, String> {
    let real = |path: &Path| resolve(path, Path::new("/"));
    let inside = match (real(dir), real(&run.worktree)) {
        (Some(dir), Some(worktree)) => dir.strip_prefix(worktree).ok().map(Path::to_owned),
        _ => None,
    };
    let directory = match inside {
        Some(below) if below.as_os_str().is_empty() => ".".to_owned(),
        Some(below) => below.display().to_string(),
        None => dir.display().to_string(),
    };
    let repository = run.repository.display().to_string();
    let mut shown = vec![Shown::Command { line: line.to_owned(), repository, directory }];
    if let Value::Object(mut rest) = edits::without_words(&call.args) {
        rest.retain(|_, value| value.as_str() != Some(line));
        if !rest.is_empty() {
            shown.push(arguments(&Value::Object(rest))?);
        }
    }
    Ok(Effect { shown, files: BTreeMap::new() })
}

fn edit(call: &ToolCall, dir: &Path) -> Result<Effect, String> {
    let mut files = Files { dir, known: BTreeMap::new() };
    for path in &call.paths {
        files.read(path)?;
    }
    let shown = match edits::read(&call.args) {
        Some(Edit::Patch(patch)) => {
            Some(Shown::Diff { path: "patch".to_owned(), text: patch.to_owned(), after: None })
        }
        Some(Edit::Whole { path, content }) => {
            let before = files.read(path)?;
            before.map(|before| difference(path, &before, content)).transpose()?
        }
        Some(Edit::Parts { path, parts }) => {
            let before = files.read(path)?;
            let change = before.and_then(|before| Some((edits::apply(&before, &parts)?, before)));
            change.map(|(after, before)| difference(path, &before, &after)).transpose()?
        }
        None => None,
    };
    let shown = shown.map_or_else(|| arguments(&edits::without_words(&call.args)), Ok)?;
    Ok(Effect { shown: vec![shown], files: files.digests() })
}

/// The files of a call as they are.
struct Files<'a> {
    dir: &'a Path,
    known: BTreeMap<String, Option<Vec<u8>>>,
}

impl Files<'_> {
    /// What the file holds: nothing if it does not exist, `None` if that is no text.
    fn read(&mut self, path: &str) -> Result<Option<String>, String> {
        let Some(found) = resolve(Path::new(path), self.dir) else {
            return Err(format!("`{path}` cannot be followed"));
        };
        let name = found.display().to_string();
        if !self.known.contains_key(&name) {
            let content = content(&found).map_err(|error| format!("`{path}` cannot be shown: {error}"))?;
            self.known.insert(name.clone(), content);
        }
        match self.known.get(&name) {
            Some(Some(bytes)) => Ok(String::from_utf8(bytes.clone()).ok()),
            Some(None) | None => Ok(Some(String::new())),
        }
    }

    fn digests(self) -> BTreeMap<String, String> {
        let digest = |content: Option<Vec<u8>>| {
            content.map_or_else(|| "absent".to_owned(), |bytes| hex::encode(Sha256::digest(bytes)))
        };
        self.known.into_iter().map(|(path, content)| (path, digest(content))).collect()
    }
}

/// `None` if there is no such file.
fn content(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => return Ok(None),
        // A pipe would be waited for.
        Ok(meta) if !meta.is_file() => return Err(io::Error::other("it is no ordinary file")),
        Ok(meta) if meta.len() > FILE_MAX => return Err(io::Error::other("it is too large")),
        Ok(_) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(io::Error::other("it is too large"));
    }
    Ok(Some(bytes))
}

fn difference(path: &str, before: &str, after: &str) -> Result<Shown, String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    if old.len().max(new.len()) - same > LINES_MAX {
        let (old, new) = (old[same..].iter().rev(), new[same..].iter().rev());
        let (lengths, tail) = (old.len().max(new.len()), old.zip(new).take_while(|(old, new)| old == new));
        if lengths - tail.count() > LINES_MAX {
            return Err(format!(
                "it changes more of `{path}` than a person is shown; do it in smaller steps"
            ));
        }
    }
    let diff = TextDiff::from_lines(before, after);
    let text = diff.unified_diff().context_radius(3).header(path, path).to_string();
    let text = if text.is_empty() { format!("--- {path}\n+++ {path}\nnothing changes\n") } else { text };
    let after = Some(hex::encode(Sha256::digest(after)));
    Ok(Shown::Diff { path: path.to_owned(), text, after })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Ground {
        _dir: tempfile::TempDir,
        run: Run,
    }

    fn ground() -> Ground {
        let dir = tempfile::tempdir().unwrap();
        let worktree = dir.path().canonicalize().unwrap();
        std::fs::create_dir(worktree.join("sub")).unwrap();
        std::fs::write(worktree.join("f"), "one\ntwo\nthree\n").unwrap();
        let run = Run { repository: "/home/u/repo".into(), worktree, ..crate::core::fixture::run() };
        Ground { _dir: dir, run }
    }

    fn call(class: BuiltinClass, args: Value) -> ToolCall {
        let texts = |name: &str| args.get(name).and_then(Value::as_str).map(str::to_owned);
        ToolCall {
            tool: "Tool".into(),
            class: ToolKind::Builtin(class),
            call_id: None,
            cwd: texts("cwd"),
            paths: texts("file_path").into_iter().collect(),
            urls: Vec::new(),
            command: texts("command"),
            args,
        }
    }

    fn edited(ground: &Ground, args: Value) -> Effect {
        of(&call(BuiltinClass::Edit, args), &ground.run).unwrap()
    }

    #[test]
    fn an_edit_is_shown_as_the_difference_to_the_file_as_it_is() {
        let ground = ground();
        let replaced = edited(
            &ground,
            json!({ "file_path": "f", "old_string": "two", "new_string": "2", "description": "harmless" }),
        );
        let text = "--- f\n+++ f\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n".to_owned();
        let after = Some(hex::encode(Sha256::digest("one\n2\nthree\n")));
        assert_eq!(replaced.shown, [Shown::Diff { path: "f".into(), text, after }]);
        let path = ground.run.worktree.join("f").display().to_string();
        let digest = hex::encode(Sha256::digest("one\ntwo\nthree\n"));
        assert_eq!(replaced.files, BTreeMap::from([(path, digest)]));

        let written = edited(&ground, json!({ "file_path": "new", "content": "x" }));
        let Shown::Diff { text, .. } = &written.shown[0] else { panic!("{written:?}") };
        assert_eq!(text, "--- new\n+++ new\n@@ -0,0 +1 @@\n+x\n\\ No newline at end of file\n");
        assert_eq!(written.files.values().collect::<Vec<_>>(), ["absent"]);
    }

    #[test]
    fn another_file_is_another_effect() {
        let ground = ground();
        let args = json!({ "file_path": "f", "content": "all new\n" });
        let first = edited(&ground, args.clone());
        assert_eq!(edited(&ground, args.clone()), first);
        std::fs::write(ground.run.worktree.join("f"), "of value\n").unwrap();
        let second = edited(&ground, args);
        assert_ne!(first.bind("a").unwrap(), second.bind("a").unwrap());
    }

    #[test]
    fn an_edit_that_is_not_certain_is_shown_by_its_arguments() {
        let ground = ground();
        let odd =
            json!({ "file_path": "f", "old_string": "four", "new_string": "4", "explanation": "it is safe" });
        let shown = edited(&ground, odd).shown;
        let [Shown::Arguments { text }] = shown.as_slice() else { panic!("{shown:?}") };
        assert_eq!(
            text,
            "{\n  \"file_path\": \"f\",\n  \"new_string\": \"4\",\n  \"old_string\": \"four\"\n}"
        );
        std::fs::write(ground.run.worktree.join("f"), b"\xff\xfe").unwrap();
        let binary = edited(&ground, json!({ "file_path": "f", "content": "x" })).shown;
        assert!(matches!(binary.as_slice(), [Shown::Arguments { .. }]), "{binary:?}");
    }

    #[test]
    fn what_cannot_be_looked_at_cannot_be_shown() {
        let ground = ground();
        let path = ground.run.worktree.join("f");
        File::options().write(true).open(&path).unwrap().set_len(FILE_MAX + 1).unwrap();
        let args = json!({ "file_path": "f", "content": "x" });
        let shown = of(&call(BuiltinClass::Edit, args), &ground.run);
        assert_eq!(shown, Err("`f` cannot be shown: it is too large".to_owned()));
        let much: String = (0..9_000).map(|n| format!("{n}\n")).collect();
        let args = json!({ "file_path": "g", "content": much });
        let shown = of(&call(BuiltinClass::Edit, args), &ground.run);
        assert!(shown.unwrap_err().starts_with("it changes more of `g`"));
    }

    #[test]
    fn a_command_is_shown_whole_with_its_place_and_without_the_agents_words() {
        let ground = ground();
        let args = json!({ "command": "make\nmake install", "description": "Look around", "timeout": 5 });
        let shell = |args: Value| of(&call(BuiltinClass::Shell, args), &ground.run).unwrap();
        let shown = shell(args.clone());
        assert_eq!(
            shown.lines(),
            ["$ make", "make install", "in . of a worktree of /home/u/repo", "{", "  \"timeout\": 5", "}"]
        );
        let mut other_words = args.clone();
        other_words["description"] = json!("Build");
        assert_eq!(shell(other_words).bind("a").unwrap(), shown.bind("a").unwrap());
        let sub = ground.run.worktree.join("sub").display().to_string();
        let below = shell(json!({ "command": "make", "cwd": sub }));
        assert_eq!(below.lines()[1], "in sub of a worktree of /home/u/repo");
        let outside = shell(json!({ "command": "make", "cwd": "/etc" }));
        assert_eq!(outside.lines()[1], "in /etc");
    }
}
