//! `agentsup completions`: what a shell needs to complete the command line.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, output};

/// Print a shell's completion script
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup completions bash > ~/.local/share/bash-completion/completions/agentsup
  agentsup completions zsh > \"${fpath[1]}/_agentsup\"
  agentsup completions fish > ~/.config/fish/completions/agentsup.fish")]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

pub(super) fn perform(args: &Args) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "agentsup", &mut script);
    output::raw(&script);
    ExitCode::SUCCESS
}
