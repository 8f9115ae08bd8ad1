//! What a call brings its run: labels by where its result comes from, known before it is made, and by what is found in it.
//!
//! Invariant: what nobody can know counts as the worse of what it can be, as far as a developer's day allows: a command
//! that cannot be read may have fetched anything, a text that could not be looked through to its end may hold what is
//! confidential. Must not decide anything.

use std::path::Path;

use super::action::{PathFact, Place, ToolAction, ToolSource};
use super::data::{DataRules, Destination};
use super::detect::{self, Class, Form, Found};
use super::label::{Label, Labels};
use super::manifest::BuiltinClass;
use super::shell::Part;

/// What a call's result is by where it comes from. The run has these labels from the moment that the call is allowed: some
/// clients never tell results, and what comes before a result (progress, errors) is read by models too.
pub fn brought(rules: &DataRules, tool: &ToolAction) -> Labels {
    let facts = &tool.facts;
    let named = facts.paths.iter().chain(facts.parts.iter().flat_map(|part| &part.paths));
    let by_place = named.map(|fact| of_path(rules, fact)).fold(Labels::NONE, Labels::with);
    let by_source = match &tool.source {
        ToolSource::Mcp(server) => rules.results(Destination::Server(server)),
        ToolSource::Foreign => Labels::of(Label::Untrusted),
        ToolSource::Builtin(BuiltinClass::Web)
            if facts.hosts.is_empty() || !facts.hosts.iter().all(|host| is_this_machine(host)) =>
        {
            rules.results(Destination::Web)
        }
        ToolSource::Builtin(BuiltinClass::Shell) => {
            let is_set = facts.parts.iter().any(|part| sets(&part.call));
            let fetches = facts.parts.iter().any(|part| fetches(&part.call, is_set));
            if fetches { rules.results(Destination::Shell) } else { Labels::NONE }
        }
        ToolSource::Builtin(_) => Labels::NONE,
    };
    match tool.source {
        // What an edit touches it does not tell.
        ToolSource::Builtin(BuiltinClass::Edit) => by_source,
        _ => by_source.with(by_place),
    }
}

/// What a text is by what is found in it.
pub fn found_in(text: &[u8], form: Form) -> Labels {
    labels(&detect::scan(text, form))
}

/// What it is if nobody could look through it.
pub const UNSEEN: Labels = Labels::of(Label::Confidential);

fn labels(found: &Found) -> Labels {
    let of_findings = found.findings.iter().map(|finding| match finding.kind.class() {
        Class::Secret => Labels::of(Label::Secret),
        Class::Personal => Labels::of(Label::Confidential),
    });
    let rest = if found.complete { Labels::NONE } else { UNSEEN };
    of_findings.fold(rest, Labels::with)
}

/// Directories that only whoever administers the machine writes into.
const SYSTEM: [&str; 11] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/opt", "/nix", "/dev", "/System", "/Library"];

fn of_path(rules: &DataRules, fact: &PathFact) -> Labels {
    match fact.place {
        Place::Worktree | Place::Scratch | Place::GitMetadata => Labels::NONE,
        Place::Secret => Labels::of(Label::Secret),
        Place::Outside if SYSTEM.iter().any(|dir| fact.path.starts_with(Path::new(dir))) => Labels::NONE,
        Place::Outside => rules.file_results,
    }
}

/// Programs that print what comes from elsewhere.
const FETCHERS: [&str; 38] = [
    "curl", "wget", "wget2", "http", "https", "xh", "httpie", "aria2c", "axel", "lynx", "w3m", "links",
    "elinks", "ftp", "sftp", "scp", "rsync", "ssh", "telnet", "nc", "ncat", "netcat", "socat", "websocat",
    "grpcurl", "gh", "glab", "hub", "tea", "svn", "hg", "aws", "gcloud", "az", "kubectl", "mail", "mutt",
    "yt-dlp",
];
/// What `git` takes from elsewhere.
const GIT_FETCHES: [&str; 5] = ["clone", "fetch", "pull", "ls-remote", "submodule"];
/// Options of `curl` that ask nobody else and have a value, and those of fetchers that have none.
const VALUED: [&str; 20] = [
    "-X",
    "--request",
    "-d",
    "--data",
    "--data-raw",
    "--data-binary",
    "--json",
    "-H",
    "--header",
    "-o",
    "--output",
    "-u",
    "--user",
    "-m",
    "--max-time",
    "-w",
    "--write-out",
    "-A",
    "--user-agent",
    "--connect-timeout",
];
const PLAIN: [&str; 8] =
    ["--silent", "--show-error", "--fail", "--verbose", "--include", "--insecure", "--head", "--no-buffer"];

/// Programs that set variables for others.
const SETTERS: [&str; 7] = ["declare", "env", "export", "local", "readonly", "sudo", "typeset"];

/// Whether a command sets variables: one of them may say whom a program asks, as `ALL_PROXY` does.
fn sets(call: &Part) -> bool {
    let is_setter = call.program.as_deref().is_some_and(|program| SETTERS.contains(&program));
    !call.assigns.is_empty() || (is_setter && call.words.iter().any(|word| word.contains('=')))
}

/// Whether a command may print what comes from outside of this machine.
fn fetches(call: &Part, is_set: bool) -> bool {
    let Some(program) = call.program.as_deref() else { return true };
    let is_update = || call.words.iter().any(|word| word == "update");
    let is_git = |verb: &str| GIT_FETCHES.contains(&verb) || (verb == "remote" && is_update());
    let is_unknown = call.opaque || call.dynamic || is_set;
    if FETCHERS.contains(&program) || (program == "git" && call.verb.as_deref().is_some_and(is_git)) {
        return is_unknown || !asks_home(program, &call.words);
    }
    let mut hosts = call.words.iter().filter_map(|word| host(word)).peekable();
    // Whoever names this machine and knows all words asks nobody else.
    let is_elsewhere = hosts.peek().is_some() && (is_unknown || !hosts.all(is_this_machine));
    call.opaque || is_elsewhere
}

/// Whether every word of a fetcher is an address of this machine or an option that asks nobody else: a name without a
/// scheme is an address to these programs, too.
fn asks_home(program: &str, words: &[String]) -> bool {
    let (mut words, mut asks) = (words.iter().map(String::as_str), false);
    while let Some(word) = words.next() {
        let is_flags = |flags: &str| flags.bytes().all(|flag| b"sSfvikI#N".contains(&flag));
        if program == "curl" && VALUED.contains(&word) {
            words.next();
        } else if !PLAIN.contains(&word) && !word.strip_prefix('-').is_some_and(is_flags) {
            if !host(word).is_some_and(is_this_machine) {
                return false;
            }
            asks = true;
        }
    }
    asks
}

/// The host that a word of a command line names by an address; without a scheme only this machine is known by its name.
fn host(word: &str) -> Option<&str> {
    let rest = match word.split_once("://") {
        Some((_, rest)) => rest,
        None if word.starts_with("localhost") || word.starts_with("127.") => word,
        None => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    // Some programs take what is before it for the host, some what is behind.
    if authority.contains('\\') {
        return Some("");
    }
    let host = authority.rsplit('@').next()?;
    Some(if host.starts_with('[') { host } else { host.split(':').next()? })
}

fn is_this_machine(host: &str) -> bool {
    let plain = host.trim_start_matches('[').split(']').next().unwrap_or_default();
    let numbers: Vec<&str> = plain.split('.').collect();
    let is_loopback =
        matches!(numbers[..], ["127", _, _, _]) && numbers.iter().all(|part| part.parse::<u8>().is_ok());
    is_loopback || plain == "::1" || plain == "localhost" || plain.ends_with(".localhost")
}

#[cfg(test)]
mod tests;
