//! `easel service`: the daemon as a service of systemd or launchd.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::Context;
use super::args::{InstallArgs, ManagerName, ScopeArgs, ServiceAction};
use crate::config::env::Environment;
use crate::exit::{Exit, Failure, meaning};
use crate::platform::make_private_dir;
use crate::service::{Installation, Launchd, Manager, ServiceStatus, Systemd};

/// State folder of the service of a shared machine, as its unit says.
const SYSTEM_STATE: &str = "/var/lib/easel";
/// Variables that say where the folders of a user are.
const PLACES: [&str; 3] = ["XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"];

/// Does what `action` says.
pub(crate) fn service(context: &Context, env: &Environment, action: &ServiceAction) -> Result<(), Failure> {
    match action {
        ServiceAction::Install(args) => install(context, env, args),
        ServiceAction::Uninstall(scope) => uninstall(context, scope),
        ServiceAction::Start(scope) => {
            installed(context, scope)?.start()?;
            context.output.note("started");
            Ok(())
        }
        ServiceAction::Stop(scope) => {
            installed(context, scope)?.stop()?;
            context.output.note("stopped");
            Ok(())
        }
        ServiceAction::Status(scope) => status(context, scope),
        ServiceAction::Logs { scope, lines, follow } => installed(context, scope)?.logs(*lines, *follow),
    }
}

/// How the service of this user stands; `None` when it is not installed or its manager does not answer.
pub(crate) fn service_status(context: &Context) -> Option<ServiceStatus> {
    let own = ScopeArgs { system: false, root: None, manager: None };
    installed(context, &own).ok()?.status().ok()
}

fn manager(context: &Context, scope: &ScopeArgs) -> Result<Box<dyn Manager>, Failure> {
    let usual = if cfg!(target_os = "macos") { ManagerName::Launchd } else { ManagerName::Systemd };
    match (scope.manager.unwrap_or(usual), scope.system) {
        (ManagerName::Systemd, true) => {
            Ok(Box::new(Systemd::of_machine(scope.root.as_deref().unwrap_or(Path::new("/")))))
        }
        (ManagerName::Systemd, false) => {
            let home = context.effective.user_config_home();
            Ok(Box::new(Systemd::of_user(home)))
        }
        (ManagerName::Launchd, true) => {
            Err(Failure::new(Exit::Usage, "launchd has the service of one user only: leave --system out"))
        }
        (ManagerName::Launchd, false) => {
            let home = etcetera::home_dir()
                .map_err(|_| Failure::new(Exit::Usage, "the home folder is not known: set HOME"))?;
            Ok(Box::new(Launchd::of_user(&home, context.output)))
        }
    }
}

/// The manager, when the service is installed.
fn installed(context: &Context, scope: &ScopeArgs) -> Result<Box<dyn Manager>, Failure> {
    let manager = manager(context, scope)?;
    match manager.known_files().iter().any(|file| file.exists()) {
        true => Ok(manager),
        false => Err(Failure::new(Exit::NotFound, "the service is not installed: `easel service install` does it")),
    }
}

fn install(context: &Context, env: &Environment, args: &InstallArgs) -> Result<(), Failure> {
    let (output, manager) = (&context.output, manager(context, &args.scope)?);
    let installation = installation(context, env, args)?;
    let files = manager.files(&installation)?;
    if args.print {
        for (path, text) in &files {
            match output.is_json() {
                true => output.json(&json!({"file": path, "text": text})),
                false => output.line(&format!("# {}\n{text}", path.display())),
            }
        }
        return Ok(());
    }
    for stale in manager.known_files() {
        if !files.iter().any(|(path, _)| *path == stale) {
            remove(&stale)?;
        }
    }
    for (path, text) in &files {
        write(path, text)?;
        match output.is_json() {
            true => output.json(&json!({"event": "written", "file": path})),
            false => output.line(&format!("wrote {}", path.display())),
        }
    }
    if args.scope.root.is_some() {
        return Ok(());
    }
    for folder in manager.folders(&installation) {
        make_private_dir(&folder)?;
    }
    manager.enable(&installation, !args.no_start)?;
    let what = match (args.no_start, args.on_demand) {
        (true, _) => "installed; `easel service start` starts it",
        (false, true) => "installed; the first connection starts it",
        (false, false) => "installed and started",
    };
    output.note(&format!("{what} ({})", manager.name()));
    for (name, _) in installation.environment.iter().filter(|(name, _)| !PLACES.contains(&name.as_str())) {
        output.note(&format!("{name} is as it is now; write it into the configuration file to change it more easily"));
    }
    manager.remarks().iter().for_each(|remark| output.hint(remark));
    Ok(())
}

fn installation(context: &Context, env: &Environment, args: &InstallArgs) -> Result<Installation, Failure> {
    let effective = &context.effective;
    let settings = &effective.settings;
    let exe = std::env::current_exe().and_then(|exe| exe.canonicalize());
    let exe = exe.map_err(|error| Failure::fault("the path of this program is not known", error))?;
    let absolute =
        |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).to_string_lossy().into_owned();
    let mut arguments = Vec::new();
    if let Some(file) = &context.config_file {
        arguments.extend(["--config".to_owned(), absolute(file)]);
    }
    if args.scope.system {
        // The unit of the machine has its own state folder and user, and none of this user's settings.
        let state_dir = PathBuf::from(SYSTEM_STATE);
        let socket = state_dir.join("run/easel.sock");
        let (environment, on_demand, relaxed) = (Vec::new(), false, args.relaxed);
        return Ok(Installation { exe, arguments, environment, state_dir, socket, port: None, on_demand, relaxed });
    }
    let of_flags =
        [("state_dir", &settings.state_dir), ("socket", &settings.socket), ("token_file", &settings.token_file)];
    for (key, path) in of_flags {
        if effective.shown.iter().any(|shown| shown.key == key && shown.origin.starts_with("flag ")) {
            arguments.extend([format!("--{}", key.replace('_', "-")), absolute(path)]);
        }
    }
    let is_setting = |name: &str| {
        let origin = format!("environment {name}");
        effective.shown.iter().any(|shown| shown.origin == origin)
    };
    let variables = env.ours().filter(|(name, value)| !value.is_empty() && (PLACES.contains(name) || is_setting(name)));
    Ok(Installation {
        exe,
        arguments,
        environment: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        state_dir: settings.state_dir.clone(),
        socket: settings.socket.clone(),
        port: (settings.tcp && settings.port != 0).then_some(settings.port),
        on_demand: args.on_demand,
        relaxed: args.relaxed,
    })
}

fn uninstall(context: &Context, scope: &ScopeArgs) -> Result<(), Failure> {
    let manager = installed(context, scope)?;
    let calls = scope.root.is_none();
    if calls {
        manager.disable()?;
    }
    for file in manager.known_files() {
        if remove(&file)? {
            context.output.line(&format!("removed {}", file.display()));
        }
    }
    if calls {
        manager.forget()?;
    }
    let kept = if scope.system { Path::new(SYSTEM_STATE) } else { &context.effective.settings.state_dir };
    context.output.note(&format!("pictures, models and tokens stay in {}", kept.display()));
    Ok(())
}

fn status(context: &Context, scope: &ScopeArgs) -> Result<(), Failure> {
    let output = &context.output;
    let manager = installed(context, scope)?;
    let status = manager.status()?;
    let why = status.last_exit.and_then(meaning);
    if output.is_json() {
        output.json(&json!({
            "manager": manager.name(), "installed": status.installed, "enabled": status.enabled, "state": status.state,
            "pid": status.pid, "restarts": status.restarts, "last_exit": status.last_exit, "last_exit_means": why,
        }));
    } else {
        let starts = if status.enabled { "starts by itself" } else { "does not start by itself" };
        output.line(&format!("{}: {}, {starts}", manager.name(), status.state));
        if let Some(pid) = status.pid {
            output.line(&format!("process {pid}"));
        }
        if let Some(restarts) = status.restarts.filter(|restarts| *restarts > 0) {
            output.line(&format!("started again {restarts} times"));
        }
        if let Some(code) = status.last_exit {
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            output.line(&format!("the last run ended with {code}{why}"));
        }
    }
    match status.pid {
        Some(_) => Ok(()),
        None => {
            Err(Failure::new(Exit::Connection, "the service does not run: `easel service start`, `easel service logs`"))
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            Failure::new(Exit::Usage, format!("{} may not be written: use sudo", path.display()))
        }
        _ => Failure::fault(path.display(), error),
    };
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).map_err(failed)?;
    std::fs::write(path, text).map_err(failed)
}

/// Whether there was a file.
fn remove(path: &Path) -> Result<bool, Failure> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::fault(path.display(), error)),
    }
}
