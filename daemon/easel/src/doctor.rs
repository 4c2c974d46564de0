//! `easel doctor`: looks at everything that keeps the daemon from running or clients from reaching it, and says for each
//! finding how to mend it. It changes nothing and needs no daemon.

mod machine;
mod places;
mod running;

use serde_json::{Value, json};

use crate::cli::Context;
use crate::exit::{Exit, Failure};
use crate::service::ServiceStatus;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// As it should be.
    Good,
    /// Something works less well than it could, or will not for long.
    Warning,
    /// Something does not work.
    Problem,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// What was found in one place.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// Which check found it.
    check: &'static str,
    level: Level,
    /// What is so, one sentence.
    what: String,
    /// How to mend it; empty when nothing is to be mended.
    mend: String,
}

impl Finding {
    fn good(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, level: Level::Good, what: what.into(), mend: String::new() }
    }

    fn warning(check: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, level: Level::Warning, what: what.into(), mend: mend.into() }
    }

    fn problem(check: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, level: Level::Problem, what: what.into(), mend: mend.into() }
    }

    fn as_json(&self) -> Value {
        json!({"check": self.check, "level": self.level.name(), "what": self.what, "mend": self.mend})
    }
}

/// Looks at everything. Ends with 1 when there is a problem; warnings alone are no failure.
pub(crate) async fn doctor(context: &Context, service: Option<ServiceStatus>) -> Result<(), Failure> {
    let effective = &context.effective;
    let daemon = running::look(context).await;
    let mut findings = vec![Finding::good("version", format!("easel {}", env!("CARGO_PKG_VERSION")))];
    let slips = effective.warnings.iter();
    findings.extend(slips.map(|slip| Finding::warning("settings", slip, "correct the name or unset the variable")));
    findings.extend(places::folders(effective));
    findings.extend(places::socket(effective, daemon.answers));
    findings.extend(machine::ports(effective, daemon.answers));
    findings.push(machine::device(effective));
    findings.extend(machine::models_and_memory(effective));
    findings.extend(service.map(|status| running::service(&status)));
    findings.extend(daemon.findings);
    tell(context, &findings);
    match findings.iter().filter(|finding| finding.level == Level::Problem).count() {
        0 => Ok(()),
        1 => Err(Failure::new(Exit::Fault, "1 problem was found")),
        count => Err(Failure::new(Exit::Fault, format!("{count} problems were found"))),
    }
}

fn tell(context: &Context, findings: &[Finding]) {
    let output = &context.output;
    for finding in findings {
        if output.is_json() {
            output.json(&finding.as_json());
            continue;
        }
        output.line(&format!("{:8} {:9} {}", finding.level.name(), finding.check, finding.what));
        if !finding.mend.is_empty() {
            output.line(&format!("{:18} -> {}", "", finding.mend));
        }
    }
}
