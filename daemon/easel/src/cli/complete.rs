//! `easel completions` and `easel man`: what packages install beside the program, out of the definition of the command line.

use clap::CommandFactory;

use super::{Cli, Context};
use crate::exit::Failure;

/// Prints the completions of a shell.
pub(crate) fn completions(context: &Context, shell: clap_complete::Shell) {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "easel", &mut text);
    context.output.line(String::from_utf8_lossy(&text).trim_end());
}

/// Prints the manual page: the program, then each of its commands.
pub(crate) fn man(context: &Context) -> Result<(), Failure> {
    let failed = |error| Failure::fault("the manual page cannot be made", error);
    let mut root = Cli::command();
    root.build();
    let mut text = Vec::new();
    clap_mangen::Man::new(root.clone()).render(&mut text).map_err(failed)?;
    for command in root.get_subcommands().filter(|command| command.get_name() != "help") {
        let page = clap_mangen::Man::new(command.clone());
        let title = format!(".SH \"EASEL {}\"\n", command.get_name().to_uppercase());
        text.extend_from_slice(title.as_bytes());
        page.render_description_section(&mut text).map_err(failed)?;
        page.render_synopsis_section(&mut text).map_err(failed)?;
        page.render_subcommands_section(&mut text).map_err(failed)?;
        page.render_options_section(&mut text).map_err(failed)?;
    }
    // Of a command only its own sections are subsections of the page.
    let text = String::from_utf8_lossy(&text).into_owned();
    let (head, commands) = text.split_once(".SH \"EASEL ").unwrap_or((&text, ""));
    let commands =
        commands.replace("\n.SH DESCRIPTION", "\n.SS DESCRIPTION").replace("\n.SH SYNOPSIS", "\n.SS SYNOPSIS");
    let commands = commands.replace("\n.SH OPTIONS", "\n.SS OPTIONS").replace("\n.SH SUBCOMMANDS", "\n.SS SUBCOMMANDS");
    context.output.line(&format!("{head}.SH \"EASEL {}", commands.trim_end()));
    Ok(())
}
