//! What `pair` and `tokens` are given.

use clap::{Args, Subcommand};

/// Arguments of `pair`.
#[derive(Debug, Args)]
pub(crate) struct PairArgs {
    /// The code that the plugin shows, as WDJB-MJHT; without one the clients that wait are listed
    pub(crate) code: Option<String>,
    /// Say no to the code
    #[arg(long, requires = "code")]
    pub(crate) reject: bool,
    /// Do not ask on the terminal
    #[arg(long, requires = "code")]
    pub(crate) yes: bool,
}

/// Arguments of `open`.
#[derive(Debug, Args)]
pub(crate) struct OpenArgs {
    /// Print the address instead of starting a browser
    #[arg(long)]
    pub(crate) print: bool,
}

/// What `tokens` does.
#[derive(Debug, Subcommand)]
pub(crate) enum TokensAction {
    /// List the tokens (this is what `easel tokens` does)
    List,
    /// Make tokens worthless
    Revoke {
        /// Names of tokens, as `easel tokens` lists them
        #[arg(required_unless_present = "all")]
        ids: Vec<String>,
        /// All of them, browsers included
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
}
