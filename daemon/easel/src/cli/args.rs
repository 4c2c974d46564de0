//! The arguments, with the help that is printed for them.

mod access;
#[cfg(feature = "dreamlite")]
mod precision;
mod selection;
mod service;
mod sessions;
mod settings;

use std::path::PathBuf;

pub(crate) use access::{OpenArgs, PairArgs, TokensAction};
use clap::{Args, Parser, Subcommand, ValueEnum};
use easel_sdk::proto;
#[cfg(feature = "dreamlite")]
pub(crate) use precision::{PrecisionArgs, SelftestArgs};
pub(crate) use selection::SelectionArgs;
pub(crate) use service::{InstallArgs, ManagerName, ScopeArgs, ServiceAction};
pub(crate) use sessions::{SessionEditArgs, SessionsAction};
pub(crate) use settings::{ServeArgs, SettingsArgs};

const ABOUT: &str = "Easel makes and edits pictures on this machine.

Without a running daemon every command starts one inside of itself; `easel serve` keeps the model in memory, so that \
pictures come faster and plugins can connect.";

const AFTER_HELP: &str = "\
Examples:
  easel generate \"a red circle on a white background\" -o circle.png
  easel edit circle.png \"make the circle blue\" -o blue.png
  easel edit circle.png \"make the circle blue\" --select 40,30,200,150 --feather 8 -o blue.png
  easel edit - \"make it night\" -o - < day.png > night.png
  easel serve
  easel sessions new room.png && easel sessions edit SESSION \"make the wall blue\"
  easel models add ~/checkpoints/dreamlite-mobile && easel generate \"a fox\" --model dreamlite-mobile -o fox.png

Exit codes:
  0    success
  1    an error of Easel or of the machine; please report it
  2    the command line or the configuration is wrong
  3    the request is wrong: a field, a picture, an output that exists already
  4    a model, a generation or a file does not exist
  5    the daemon is busy or about to stop: try again
  6    no daemon answers at the given place, or it does not accept the token
  7    a stage of the daemon hung (serve)
  8    another daemon runs already (serve)
  130  interrupted, or the generation was cancelled";

const PICTURE_HELP: &str = "\
Files:
  -o out.png                    the format follows the ending, --format overrides it; `-` is standard output
  -o out.png --num-images 3     writes out-0.png, out-1.png and out-2.png; image i has the seed SEED + i
  --previews DIR                writes DIR/preview-IMAGE-STEP.jpg after every step, as preview-0-001.jpg
  Existing files are kept: without --force the command ends before it does any work. Files appear complete or not at all.

With --json one JSON object per event goes to standard output; the field `event` says which: accepted, demonstration,
queued, progress, preview, result (one per file), succeeded, error.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "easel", version, about = "Makes and edits pictures on this machine", long_about = ABOUT, after_long_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Configuration file [default: config.toml in the user's configuration folder; environment: EASEL_CONFIG]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) config: Option<PathBuf>,
    /// Folder of token, lock, added models and, beneath it, socket and discovery file
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Connect to this TCP address, as http://127.0.0.1:7461 [environment: EASEL_ADDRESS]
    #[arg(long, global = true, value_name = "URL", conflicts_with = "socket", help_heading = "Global options")]
    pub(crate) address: Option<String>,
    /// Connect to this Unix socket; for serve: listen on it
    #[arg(long, global = true, value_name = "PATH", help_heading = "Global options")]
    pub(crate) socket: Option<PathBuf>,
    /// File of the bearer token
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) token_file: Option<PathBuf>,
    /// Print JSON, one object a line, for programs
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon in the foreground
    ///
    /// Listens on a Unix socket (same user, no token) and on the first free port of a block of four on the loopback
    /// (bearer token, see `easel token`). SIGTERM or Ctrl-C lets running generations finish; a second one does not.
    Serve(Box<ServeArgs>),
    /// Install, remove, start, stop or look at the daemon as a service of systemd or launchd
    Service {
        #[command(subcommand)]
        action: ServiceAction,
    },
    /// Make a picture from a text
    #[command(after_long_help = PICTURE_HELP)]
    Generate(Box<GenerateArgs>),
    /// Edit a picture by an instruction
    #[command(after_long_help = PICTURE_HELP)]
    Edit(Box<EditArgs>),
    /// Show how the running daemon is doing
    ///
    /// Exit code 6 when none runs.
    Status,
    /// Watch how the running daemon is doing, until Ctrl-C
    Top(TopArgs),
    /// Find what keeps the daemon from running or clients from reaching it, and say how to mend it
    ///
    /// Looks at settings, folders, permissions, socket, ports, models, memory, service and the daemon itself, and changes
    /// nothing. Exit code 1 when there is a problem, 0 when there are warnings at most.
    Doctor,
    /// List, add, load or unload models
    Models {
        #[command(subcommand)]
        action: Option<ModelsAction>,
    },
    /// List the LoRAs of the folder that lora_folder names, and which models each fits
    Loras,
    /// Show or clear what loaded models keep between generations
    ///
    /// What was read of a canvas, whole prompts and source latents make the next instruction on the same picture faster.
    Cache {
        #[command(subcommand)]
        action: Option<CacheAction>,
    },
    /// Measure how far the low precisions are from f32 on a checkpoint
    ///
    /// Draws the same prompts from the same noise in every precision and prints the peak signal to noise ratio of each picture
    /// against the one in f32, then the relative error of the layers that differ most on real activations. Needs the memory
    /// of one network in f32 at a time, and the time of a dozen pictures for each prompt.
    #[cfg(feature = "dreamlite")]
    Selftest(Box<SelftestArgs>),
    /// Edit sessions: a picture with the tree of its revisions, kept by the daemon
    Sessions {
        #[command(subcommand)]
        action: Option<SessionsAction>,
    },
    /// Show what a picture says of its making: prompt, seed, model, licence and the rest
    ///
    /// Exit code 4 when it says nothing, 3 when what it says is damaged. Needs no daemon.
    Inspect {
        /// Picture that Easel made (PNG, JPEG, WebP or TIFF); `-` is standard input
        file: PathBuf,
    },
    /// Make the pictures of a replay file, or one picture from what its file says, again and compare
    ///
    /// Says what differs: pixels, weights, version, precisions. Exit code 1 when a pixel does.
    Replay(ReplayArgs),
    /// Remove sessions and generations that are older than store_keep
    Gc {
        /// Remove all that is not pinned and not running, whatever its age: no byte of it is left in the state folder
        #[arg(long)]
        all: bool,
    },
    /// Cancel a generation of the running daemon by its id
    Cancel {
        /// Id, as `generate --json` and the log give it
        id: String,
    },
    /// Print the bearer token that TCP clients need, making it when there is none
    Token,
    /// Open the Studio of the running daemon in a browser
    ///
    /// The address has a code that is good for one minute and one browser.
    Open(OpenArgs),
    /// Let a plugin call that shows a code
    ///
    /// Plugins that cannot read the token file show a code. With it they get a token of their own, which does no more than its
    /// scopes say and can be revoked.
    Pair(PairArgs),
    /// List or revoke the tokens of plugins and browsers
    Tokens {
        #[command(subcommand)]
        action: Option<TokensAction>,
    },
    /// Print the completions of a shell
    ///
    /// For bash: easel completions bash > ~/.local/share/bash-completion/completions/easel
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page; `easel man | man -l -` shows it
    Man,
    /// Print the effective settings and where each came from
    ///
    /// Defaults are overridden by the configuration file, that by the environment (EASEL_PORT=8000), that by flags.
    Config(Box<SettingsArgs>),
}

/// Arguments of `top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Seconds between two looks, 0.1 to 60
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS", value_parser = parse_interval)]
    pub(crate) interval_s: f64,
    /// Looks before it ends [default: until Ctrl-C]
    #[arg(short = 'n', long)]
    pub(crate) count: Option<u32>,
}

fn parse_interval(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=60.0).contains(seconds));
    seconds.ok_or_else(|| "give 0.1 to 60 seconds".to_owned())
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// File that `easel sessions export` wrote, or a picture that Easel made
    pub(crate) file: PathBuf,
    /// Largest difference of a channel that still counts as the same, 0 to 255
    #[arg(long, default_value_t = 0)]
    pub(crate) tolerance: u8,
    /// For a picture: the file that was edited, unless the daemon still has it
    #[arg(long, value_name = "FILE")]
    pub(crate) source: Option<PathBuf>,
    /// For a picture whose selection was a mask: its file, unless the daemon still has it
    #[arg(long, value_name = "FILE")]
    pub(crate) mask: Option<PathBuf>,
    /// For a picture: where the new one goes
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Replace a file that exists
    #[arg(long)]
    pub(crate) force: bool,
}

/// What `cache` does.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheAction {
    /// List what is kept (this is what `easel cache` does)
    List,
    /// Drop what is kept and free its memory
    Clear {
        /// Name of the model [default: all]
        model: Option<String>,
    },
}

/// What `models` does.
#[derive(Debug, Subcommand)]
pub(crate) enum ModelsAction {
    /// List the models, the default first (this is what `easel models` does)
    List,
    /// Add a diffusers checkpoint folder; it is remembered
    ///
    /// The folder is read where it is and must stay there. Reads the configuration and the headers of the weights.
    Add {
        /// Folder with model_index.json
        folder: PathBuf,
        /// Name for requests [default: the folder's name]
        #[arg(long)]
        name: Option<String>,
    },
    /// Read a model into memory now instead of at its first use
    Load {
        /// Name of the model
        name: String,
    },
    /// Write a model's weights in the configured precisions, so that the next start rounds nothing
    ///
    /// The files go into the state folder. Layers whose shape does not allow a precision fall back; `easel models` lists them.
    /// Quality on the published weights is unmeasured here: see `easel selftest --quality`.
    #[cfg(feature = "dreamlite")]
    Quantize {
        /// Name of the model
        name: String,
        #[command(flatten)]
        precisions: PrecisionArgs,
    },
    /// Free a model's memory when its running work is done
    Unload {
        /// Name of the model
        name: String,
    },
}

/// Arguments of `generate`.
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// What to draw
    pub(crate) prompt: String,
    #[command(flatten)]
    pub(crate) picture: PictureArgs,
}

/// Arguments of `edit`.
#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    /// The picture to edit (PNG, JPEG, WebP, TIFF, GIF or BMP); `-` is standard input
    pub(crate) input: PathBuf,
    /// What to change
    pub(crate) instruction: String,
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    #[command(flatten)]
    pub(crate) picture: PictureArgs,
}

/// What `generate` and `edit` share.
#[derive(Debug, Args)]
pub(crate) struct PictureArgs {
    /// Where the picture goes; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Replace files that exist
    #[arg(long)]
    pub(crate) force: bool,
    /// Model by its name, see `easel models` [default: the daemon's]
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// Seed of the noise; the same seed makes the same picture [default: random]
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) seed: Option<u64>,
    /// Seeds of several pictures, as in 7,8,9: each is the same picture that its seed makes alone
    #[arg(long, value_name = "SEED,...", value_delimiter = ',', conflicts_with_all = ["seed", "num_images"])]
    pub(crate) seeds: Vec<u64>,
    /// Size in pixels, rounded to multiples of 16 [default: the model's, or the source's]
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    pub(crate) size: Option<(u32, u32)>,
    /// Denoising steps, 1 to 100 [default: the model's]
    #[arg(long)]
    pub(crate) steps: Option<u32>,
    /// Strength of the prompt, 0 to 30; only models with guidance read it
    #[arg(long, value_name = "SCALE", allow_hyphen_values = true)]
    pub(crate) guidance_scale: Option<f32>,
    /// Strength of the source picture, 0 to 30; only models with guidance read it
    #[arg(long, value_name = "SCALE", allow_hyphen_values = true)]
    pub(crate) image_guidance_scale: Option<f32>,
    /// What to avoid; only models with guidance read it
    #[arg(long, value_name = "TEXT")]
    pub(crate) negative_prompt: Option<String>,
    /// Add a LoRA of the daemon's folder, see `easel loras`; may be given up to 8 times [default weight: 1, range -4 to 4]
    #[arg(long, value_name = "NAME[:WEIGHT]", value_parser = parse_lora)]
    pub(crate) lora: Vec<(String, f32)>,
    /// Number of pictures, 1 to 16
    #[arg(long, value_name = "N")]
    pub(crate) num_images: Option<u32>,
    /// Format of the result [default: by the ending of the file, PNG for standard output]
    #[arg(long)]
    pub(crate) format: Option<Format>,
    /// Leave out of the file how it was made; what goes in otherwise, `easel inspect` shows
    #[arg(long)]
    pub(crate) no_provenance: bool,
    /// Write previews as files into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) previews: Option<PathBuf>,
    /// How previews are made: decoded in full, or projected (small and nearly free)
    #[arg(long, default_value = "decoded", value_name = "KIND")]
    pub(crate) preview_kind: PreviewKind,
}

/// Formats of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Lossless
    Png,
    /// Quality 92
    Jpeg,
    /// Lossless
    Webp,
    /// Lossless
    Tiff,
}

impl Format {
    /// The format that an ending stands for.
    pub(crate) fn of_ending(ending: &str) -> Option<Self> {
        match ending.to_lowercase().as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" => Some(Self::Jpeg),
            "webp" => Some(Self::Webp),
            "tif" | "tiff" => Some(Self::Tiff),
            _ => None,
        }
    }

    /// The format on the wire.
    pub(crate) fn wire(self) -> proto::ImageFormat {
        match self {
            Self::Png => proto::ImageFormat::Png,
            Self::Jpeg => proto::ImageFormat::Jpeg,
            Self::Webp => proto::ImageFormat::Webp,
            Self::Tiff => proto::ImageFormat::Tiff,
        }
    }
}

/// Kinds of previews.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PreviewKind {
    /// Decoded by the VAE
    Decoded,
    /// A linear map from latents to colours, an eighth of the size
    Projection,
}

/// `NAME` or `NAME:WEIGHT`; a name has no colon.
fn parse_lora(text: &str) -> Result<(String, f32), String> {
    let (name, weight) = text.split_once(':').unwrap_or((text, "1"));
    let weight: f32 = weight.parse().map_err(|_| format!("{weight} is not a number: give NAME:WEIGHT, as ink:0.8"))?;
    match name.is_empty() {
        true => Err("give the name of a LoRA, as `easel loras` lists it".to_owned()),
        false => Ok((name.to_owned(), weight)),
    }
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let parts = text.split_once(['x', 'X']).and_then(|(w, h)| Some((w.trim().parse().ok()?, h.trim().parse().ok()?)));
    parts.ok_or_else(|| "give width and height in pixels as 512x384".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!(parse_size("512x384"), Ok((512, 384)));
        assert_eq!(parse_size("0X7"), Ok((0, 7)), "the daemon says what is wrong with it");
        for wrong in ["512", "axb", "-1x5", "1x2x3", "99999999999x1"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_exit_code_is_in_the_help() {
        use crate::exit::Exit;
        let codes = [
            Exit::Fault,
            Exit::Usage,
            Exit::Request,
            Exit::NotFound,
            Exit::Busy,
            Exit::Connection,
            Exit::Stalled,
            Exit::AlreadyRunning,
            Exit::Interrupted,
        ];
        for code in codes {
            let line = format!("\n  {:<5}", code as i32);
            assert!(AFTER_HELP.contains(&line), "{code:?}");
        }
    }

    #[test]
    fn every_settings_flag_is_a_setting() {
        let command = Cli::command();
        let config = command.find_subcommand("config").expect("the command exists");
        let global = ["config", "state_dir", "address", "socket", "token_file", "json", "help", "version"];
        let flags = config.get_arguments().map(|arg| arg.get_id().as_str()).filter(|id| !global.contains(id));
        for flag in flags {
            assert!(crate::config::KEYS.iter().any(|key| key.name == flag), "{flag}");
        }
    }
}
