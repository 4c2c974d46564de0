//! The arguments of `easel sessions`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What `sessions` does.
#[derive(Debug, Subcommand)]
pub(crate) enum SessionsAction {
    /// List the sessions, the last changed first (this is what `easel sessions` does)
    List,
    /// Make a session, with a picture to begin with or without
    New {
        /// The picture; `-` is standard input
        picture: Option<PathBuf>,
        /// What you call it
        #[arg(long)]
        name: Option<String>,
    },
    /// Show a session and its revisions
    Show {
        /// Id of the session
        id: String,
    },
    /// Edit where the session stands, or another revision, and go to the result
    Edit(Box<SessionEditArgs>),
    /// Go back to the revision that the present one was made from
    Undo {
        /// Id of the session
        id: String,
    },
    /// Take an undo back
    Redo {
        /// Id of the session
        id: String,
    },
    /// Go to a revision; the next edit starts a branch there
    Goto {
        /// Id of the session
        id: String,
        /// Id of the revision
        revision: String,
    },
    /// Rename a session
    Rename {
        /// Id of the session
        id: String,
        /// Its new name
        name: String,
    },
    /// Keep a session whatever store_keep says
    Pin {
        /// Id of the session
        id: String,
    },
    /// Let store_keep decide again
    Unpin {
        /// Id of the session
        id: String,
    },
    /// Write the picture of a revision into a file
    Get {
        /// Id of the session
        id: String,
        /// Id of the revision [default: where the session stands]
        #[arg(long)]
        revision: Option<String>,
        /// Where the picture goes; `-` is standard output
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Replace a file that exists
        #[arg(long)]
        force: bool,
    },
    /// Measure how two revisions differ
    Compare {
        /// Id of the session
        id: String,
        /// Id of a revision
        one: String,
        /// Id of another
        other: String,
    },
    /// Write the way to a revision, with its pictures, as a replay file
    Export {
        /// Id of the session
        id: String,
        /// Id of the revision [default: where the session stands]
        #[arg(long)]
        revision: Option<String>,
        /// Where the file goes; `-` is standard output
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Replace a file that exists
        #[arg(long)]
        force: bool,
    },
    /// Make a session of a replay file, without computing anything
    Import {
        /// File that `export` wrote
        file: PathBuf,
        /// Name of the new session [default: that of the old one]
        #[arg(long)]
        name: Option<String>,
    },
    /// Delete a session for good: no byte of it is left in the state folder
    Delete {
        /// Id of the session
        id: String,
    },
}

/// Arguments of `sessions edit`.
#[derive(Debug, Args)]
pub(crate) struct SessionEditArgs {
    /// Id of the session
    pub(crate) id: String,
    /// What to change, or what to draw in a session without a picture [default: the session's draft]
    pub(crate) instruction: Option<String>,
    /// Edit this revision instead of where the session stands
    #[arg(long, value_name = "REVISION", conflicts_with = "rerun")]
    pub(crate) from: Option<String>,
    /// Make this revision again, with a new seed or another instruction
    #[arg(long, value_name = "REVISION")]
    pub(crate) rerun: Option<String>,
    /// Seed of the noise [default: random]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Model by its name
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// Denoising steps, 1 to 100
    #[arg(long)]
    pub(crate) steps: Option<u32>,
    /// Number of pictures, 1 to 16; each becomes a revision
    #[arg(long, value_name = "N")]
    pub(crate) num_images: Option<u32>,
    /// Write the picture into this file as well
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Replace a file that exists
    #[arg(long)]
    pub(crate) force: bool,
}
