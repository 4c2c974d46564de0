//! The `easel` binary: the daemon and the command line in one program. This file is the table of contents.
//!
//! - [`cli`]: what can be typed and what each command does. A request begins in `cli/generate.rs`, goes through the SDK
//!   over gRPC into the server, from there to the runtime and its actors, and comes back as events in `cli/follow.rs`.
//! - [`config`]: settings from defaults, file, environment and flags.
//! - [`serve`]: the life of the daemon: lock, token, listeners, discovery file, signals, drain.
//! - [`service`]: the daemon as a service of systemd or launchd; [`notify`]: what it tells its manager.
//! - [`doctor`]: what keeps the daemon from running, and how to mend it.
//! - [`private`]: the daemon that a client command brings along when none runs.
//! - [`compose`]: puts engine, runtime and server together, for both.
//! - [`output`]: what the program says, and where. [`exit`]: how it ends.
//!
//! This crate is the only one that sees all others; it decides and connects, and computes nothing itself.

mod cli;
mod compose;
mod config;
mod discovery;
mod doctor;
mod exit;
mod lock;
mod logging;
mod notify;
mod output;
mod platform;
mod private;
mod serve;
mod service;
mod token;

use clap::Parser;

#[cfg(feature = "dreamlite")]
use cli::args::ModelsAction;
use cli::{Cli, Command, Connection, Context};
use config::env::Environment;
use exit::{Exit, Failure};
use output::Output;

fn main() {
    let cli = Cli::parse();
    let env = Environment::read();
    let output = Output::new(cli.global.json, env.no_color());
    let code = match run(cli, &env, output) {
        Ok(()) => 0,
        Err(failure) => {
            output.failure(&failure);
            failure.exit as i32
        }
    };
    // Not a return from main: a thread that hangs in a stage must not keep the process.
    std::process::exit(code)
}

fn run(cli: Cli, env: &Environment, output: Output) -> Result<(), Failure> {
    let effective = config::load(cli.global.config.as_deref(), env, flags(&cli));
    let effective = effective.map_err(|message| Failure::new(Exit::Usage, message))?;
    let config_file = cli.global.config.clone().or_else(|| env.path("EASEL_CONFIG"));
    let context = Context { effective, connection: connection(&cli, env), config_file, output };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::fault("tokio cannot be started", error))?;
    let done = runtime.block_on(dispatch(&context, env, cli.command));
    runtime.shutdown_background();
    done
}

async fn dispatch(context: &Context, env: &Environment, command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(_) => serve::serve(context, env).await,
        Command::Service { action } => cli::service(context, env, &action),
        Command::Generate(args) => cli::generate(context, &args).await,
        Command::Edit(args) => cli::edit(context, &args).await,
        Command::Top(args) => cli::top(context, &args).await,
        Command::Status => cli::status(context).await,
        Command::Doctor => doctor::doctor(context, cli::service_status(context)).await,
        Command::Completions { shell } => {
            cli::completions(context, shell);
            Ok(())
        }
        Command::Man => cli::man(context),
        #[cfg(feature = "dreamlite")]
        Command::Models { action: Some(ModelsAction::Quantize { name, .. }) } => cli::quantise(context, &name),
        #[cfg(feature = "dreamlite")]
        Command::Selftest(args) => cli::selftest(context, &args),
        Command::Models { action } => cli::models(context, action).await,
        Command::Loras => cli::loras(context).await,
        Command::Cache { action } => cli::cache(context, action).await,
        Command::Sessions { action } => cli::sessions(context, action).await,
        Command::Inspect { file } => cli::inspect(context, &file),
        Command::Replay(args) => cli::replay(context, &args).await,
        Command::Gc { all } => cli::gc(context, all).await,
        Command::Cancel { id } => cli::cancel(context, &id).await,
        Command::Token => cli::token(context),
        Command::Open(args) => cli::open(context, &args).await,
        Command::Pair(args) => cli::pair(context, &args).await,
        Command::Tokens { action } => cli::tokens(context, action).await,
        Command::Config(_) => {
            cli::config(context);
            Ok(())
        }
    }
}

/// The flags that are settings. A relative path is meant from the working folder, which the configuration sees to.
fn flags(cli: &Cli) -> config::Flags {
    let paths =
        [("state_dir", &cli.global.state_dir), ("socket", &cli.global.socket), ("token_file", &cli.global.token_file)];
    let paths = paths.into_iter().filter_map(|(key, path)| Some((key, path.as_ref()?.to_string_lossy().into_owned())));
    let own = match &cli.command {
        Command::Serve(args) => args.settings.flags().collect(),
        Command::Config(args) => args.flags().collect(),
        #[cfg(feature = "dreamlite")]
        Command::Models { action: Some(ModelsAction::Quantize { precisions, .. }) } => precisions.flags().collect(),
        _ => Vec::new(),
    };
    paths.chain(own).collect()
}

/// Where client commands look for the daemon.
fn connection(cli: &Cli, env: &Environment) -> Connection {
    let address = cli.global.address.clone();
    match (address, &cli.global.socket) {
        (Some(address), _) => Connection::Tcp(address),
        (None, Some(socket)) => Connection::Unix(socket.clone()),
        (None, None) => env.text("EASEL_ADDRESS").map_or(Connection::Discovered, |a| Connection::Tcp(a.to_owned())),
    }
}
