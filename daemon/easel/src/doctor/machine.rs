//! The machine: ports, processor, memory, and the models that are to fit into it.

use std::net::{Ipv4Addr, TcpListener};

use easel_runtime::proc_bytes;

use super::Finding;
use crate::compose;
use crate::config::{Effective, PORT_BLOCK};
use crate::output::words;

/// The block of ports, of which the daemon takes the first that is free.
pub(super) fn ports(effective: &Effective, answers: bool) -> Option<Finding> {
    let (check, settings) = ("ports", &effective.settings);
    if !settings.tcp {
        return Some(Finding::good(check, "TCP is off"));
    }
    if settings.port == 0 {
        return Some(Finding::good(check, "any free port"));
    }
    let block = settings.port..settings.port + PORT_BLOCK;
    let free = block.clone().filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).count();
    let (first, last) = (block.start, block.end - 1);
    if free == 0 && !answers {
        let mend = format!("`ss -ltnp` says who has them; stop one, or set another port (now {first})");
        return Some(Finding::problem(check, format!("none of the ports {first} to {last} is free"), mend));
    }
    Some(Finding::good(check, format!("{free} of {PORT_BLOCK} free, {first} to {last}")))
}

/// Where it computes.
pub(super) fn device(effective: &Effective) -> Finding {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    match compose::check_device(&effective.settings) {
        Ok(instructions) => Finding::good("device", format!("processor with {threads} threads, {instructions}")),
        Err(failure) => Finding::problem("device", failure.message, "set instructions to auto"),
    }
}

/// The models that are configured or were added, and whether the largest fits.
pub(super) fn models_and_memory(effective: &Effective) -> Vec<Finding> {
    let checked = match compose::check_models(effective) {
        Ok(checked) => checked,
        Err(failure) => return vec![Finding::problem("models", failure.message, "mend the file that it names")],
    };
    let mut findings = Vec::new();
    let mut largest = 0;
    for (name, folder, result) in checked {
        match result {
            Ok(info) => {
                largest = largest.max(info.file_bytes);
                let bytes = words::bytes(info.file_bytes);
                findings.push(Finding::good("models", format!("{name}: {bytes}, headers and configuration are sound")));
            }
            Err(error) => {
                let what = format!("{name} cannot be used: {error}");
                let mend = format!("mend or download {} again, or take it out of models", folder.display());
                findings.push(Finding::problem("models", what, mend));
            }
        }
    }
    findings.extend(memory(effective, largest));
    findings
}

fn memory(effective: &Effective, largest: u64) -> Option<Finding> {
    let check = "memory";
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let (total, available) = (proc_bytes(&text, "MemTotal")?, proc_bytes(&text, "MemAvailable")?);
    let shown = format!("{} of {} are free", words::bytes(available), words::bytes(total));
    let limit = effective.settings.memory_limit_mb << 20;
    if limit > total {
        let mend = "set memory_limit_mb lower, or to 0 for as much as there is";
        return Some(Finding::warning(check, format!("memory_limit_mb is more than the machine has; {shown}"), mend));
    }
    if largest > available {
        let what = format!("the largest model has {} of weights, {shown}", words::bytes(largest));
        return Some(Finding::problem(
            check,
            what,
            "close other programs, or set encoder_precision to q4k and unet_precision to int8",
        ));
    }
    Some(Finding::good(check, shown))
}
