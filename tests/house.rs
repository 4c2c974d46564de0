//! What the house promises about itself and a machine can check: where `unsafe` stands, that each file says what it is
//! for, and that nothing unfinished or private to one machine is left in the tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace has a root")
}

/// The files that git tracks, or would track, under `root`; `None` outside of a checkout.
fn tracked(ending: &str) -> Option<Vec<(String, String)>> {
    let root = root();
    let listing =
        Command::new("git").arg("-C").arg(&root).args(["ls-files", "-co", "--exclude-standard"]).output().ok()?;
    if !listing.status.success() {
        return None;
    }
    let names = String::from_utf8_lossy(&listing.stdout).into_owned();
    let files = names.lines().filter(|name| name.ends_with(ending));
    Some(files.filter_map(|name| Some((name.to_owned(), fs::read_to_string(root.join(name)).ok()?))).collect())
}

#[test]
fn unsafe_stands_only_where_it_is_allowed() {
    let allowed = ["daemon/kernels/", "daemon/engine/src/checkpoint/mapped.rs", "daemon/easel/src/platform/"];
    for (name, text) in tracked(".rs").unwrap_or_default() {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let uses = code.into_iter().any(|line| line.contains("unsafe {") || line.contains("unsafe impl"));
        assert!(!uses || name == "tests/house.rs" || allowed.iter().any(|a| name.starts_with(a)), "unsafe in {name}");
    }
}

#[test]
fn every_rust_file_says_what_it_is_for() {
    for (name, text) in tracked(".rs").unwrap_or_default() {
        assert!(text.starts_with("//!"), "{name} does not begin with a line that says what it is for");
    }
}

#[test]
fn nothing_is_left_unfinished() {
    let marks = [["todo", "!("].concat(), ["unimplemented", "!("].concat(), ["FIX", "ME"].concat()];
    for (name, text) in tracked(".rs").unwrap_or_default() {
        for mark in &marks {
            assert!(!text.contains(mark), "{name} contains {mark}");
        }
    }
}

/// Features of every package that is built for some kinds of dependencies.
fn features(arguments: &[&str]) -> std::collections::BTreeMap<String, String> {
    let tree = ["tree", "--locked", "--prefix", "none", "--format", "{p}\t{f}"];
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let out = Command::new(cargo).current_dir(root()).args(tree).args(arguments).output().expect("cargo runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8_lossy(&out.stdout).replace(" (*)", "");
    text.lines().filter_map(|line| line.split_once('\t')).map(|(p, f)| (p.to_owned(), f.to_owned())).collect()
}

#[test]
fn tests_and_binary_share_one_build() {
    let binary = features(&["--package", "easel", "--edges", "normal,build"]);
    let tests = features(&["--workspace", "--edges", "normal,build,dev"]);
    let differ = binary.iter().filter(|(package, features)| tests.get(*package) != Some(features));
    let differ: Vec<_> = differ.map(|(package, features)| format!("{package}: {features}")).collect();
    assert!(!binary.is_empty() && differ.is_empty(), "built twice, since the tests want other features: {differ:?}");
}
