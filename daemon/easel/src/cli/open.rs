//! `easel open`: the Studio of the running daemon in the user's browser, signed in.

use std::process::{Command, Stdio};

use easel_sdk::Discovery;
use serde_json::json;

use super::session::{Connection, Session};
use super::{Context, args::OpenArgs};
use crate::exit::{Exit, Failure};

/// The program that opens an address with what the user has chosen for it.
const OPENER: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };

/// Starts the browser, or prints the address for one that is started by hand.
pub(crate) async fn open(context: &Context, args: &OpenArgs) -> Result<(), Failure> {
    let session = Session::open_running(context, "the Studio is a page of the daemon, `easel serve` starts it").await?;
    let address = address(context)?;
    let url = format!("{}{}", address.trim_end_matches('/'), session.client.browser_path().await?);
    let output = &context.output;
    if output.is_json() {
        output.json(&json!({"url": url}));
        return Ok(());
    }
    if !args.print && started(&url) {
        output.line(&format!("the Studio opens at {address}"));
        return Ok(());
    }
    if !args.print {
        output.hint(&format!("no browser could be started with {OPENER}: open this address within a minute"));
    }
    output.line(&url);
    Ok(())
}

/// The TCP address of the daemon that the client talks to.
fn address(context: &Context) -> Result<String, Failure> {
    if let Connection::Tcp(address) = &context.connection {
        return Ok(if address.contains("://") { address.clone() } else { format!("http://{address}") });
    }
    let found = Discovery::read(&context.effective.places.discovery_file())?;
    found.and_then(|found| found.addresses.into_iter().next()).ok_or_else(|| {
        let message = "the daemon does not listen on TCP, which browsers need: start it with --tcp true";
        Failure::new(Exit::Usage, message)
    })
}

fn started(url: &str) -> bool {
    let mut command = Command::new(OPENER);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
