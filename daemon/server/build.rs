//! Puts the built files of the Studio and of the pages for plugins (`plugins/*/dist`, made without timestamps and kept in the tree) into
//! the binary, so that building needs no Node. A tree without them builds as well.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("studio_files.rs"), table(&plugins.join("studio/dist"), "")?)?;
    fs::write(out.join("plugin_files.rs"), table(&plugins.join("figma/dist"), "ui/")?)
}

/// The files below a folder as a Rust table of names and bytes; the names begin with `prefix`.
fn table(dist: &Path, prefix: &str) -> io::Result<String> {
    println!("cargo::rerun-if-changed={}", dist.display());
    let mut table = String::from("&[\n");
    if dist.is_dir() {
        let dist = dist.canonicalize()?;
        let mut files = Vec::new();
        collect(&dist, &mut files)?;
        files.sort();
        for file in &files {
            println!("cargo::rerun-if-changed={}", file.display());
            let name = file.strip_prefix(&dist).map_err(io::Error::other)?;
            let name = name.to_str().ok_or_else(|| io::Error::other("a name in dist is not text"))?;
            let name = format!("{prefix}{name}");
            let _ = writeln!(table, "    ({name:?}, include_bytes!({:?})),", file.display().to_string());
        }
    }
    table.push_str("]\n");
    Ok(table)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
