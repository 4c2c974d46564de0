//! The rooms of the house and the one direction in which they may know each other.
//!
//! The table is the law; `cargo metadata` is what is. A room that is not in the table, an arrow that the table does not
//! have, and a library in a room that must never know it are failures.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Each room and the rooms that it may know.
const ARROWS: [(&str, &[&str]); 11] = [
    ("easel-proto", &[]),
    ("easel-domain", &[]),
    ("easel-kernels", &[]),
    ("easel-imaging", &["easel-domain"]),
    ("easel-engine", &["easel-kernels", "easel-imaging", "easel-domain"]),
    ("easel-runtime", &["easel-imaging", "easel-domain"]),
    ("easel-server", &["easel-proto", "easel-runtime", "easel-domain"]),
    ("easel-sdk", &["easel-proto"]),
    (
        "easel",
        &["easel-server", "easel-engine", "easel-imaging", "easel-sdk", "easel-runtime", "easel-domain", "easel-proto"],
    ),
    ("easel-tests", EVERY_ROOM),
    ("easel-benches", EVERY_ROOM),
];

const EVERY_ROOM: &[&str] = &[
    "easel-proto",
    "easel-domain",
    "easel-kernels",
    "easel-imaging",
    "easel-engine",
    "easel-runtime",
    "easel-server",
    "easel-sdk",
    "easel",
];

/// Libraries that a room must never know, not even through another library.
const STRANGERS: [(&str, &[&str]); 7] = [
    ("easel-domain", &["tokio", "candle-core", "tonic"]),
    ("easel-imaging", &["tokio", "candle-core", "tonic"]),
    ("easel-kernels", &["tokio", "tonic"]),
    ("easel-engine", &["tokio", "tonic"]),
    ("easel-runtime", &["candle-core", "tonic"]),
    ("easel-server", &["candle-core"]),
    ("easel-sdk", &["candle-core"]),
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .other_options(vec!["--locked".to_owned()])
        .exec()
        .expect("cargo metadata runs in the workspace")
}

/// The workspace crates that `package` names in its manifest, tests of it included.
fn known_rooms(package: &Package) -> BTreeSet<&str> {
    package.dependencies.iter().filter(|d| d.path.is_some()).map(|d| d.name.as_str()).collect()
}

/// Everything that is linked into `package` outside of its tests.
fn linked<'a>(metadata: &'a Metadata, package: &Package) -> BTreeSet<&'a str> {
    let resolve = metadata.resolve.as_ref().expect("metadata has a resolve graph");
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let names: BTreeMap<_, _> = metadata.packages.iter().map(|p| (&p.id, p.name.as_str())).collect();
    let mut seen = BTreeSet::new();
    let mut open = vec![&package.id];
    while let Some(id) = open.pop() {
        for dep in &nodes[id].deps {
            let is_linked = dep.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
            if is_linked && seen.insert(&dep.pkg) {
                open.push(&dep.pkg);
            }
        }
    }
    seen.into_iter().map(|id| names[id]).collect()
}

#[test]
fn rooms_know_only_what_the_table_allows() {
    let metadata = metadata();
    let table: BTreeMap<_, _> = ARROWS.into_iter().collect();
    let rooms = metadata.workspace_packages();
    assert_eq!(rooms.len(), table.len(), "the table and the workspace have different rooms");
    for room in rooms {
        let allowed = table.get(room.name.as_str()).unwrap_or_else(|| panic!("{} is not in the table", room.name));
        let wrong: Vec<_> = known_rooms(room).into_iter().filter(|known| !allowed.contains(known)).collect();
        assert!(wrong.is_empty(), "{} must not know {wrong:?}", room.name);
    }
}

#[test]
fn rooms_do_not_link_strangers() {
    let metadata = metadata();
    for (name, strangers) in STRANGERS {
        let room =
            metadata.workspace_packages().into_iter().find(|p| p.name.as_str() == name).expect("the room exists");
        let linked = linked(&metadata, room);
        let wrong: Vec<_> = strangers.iter().filter(|stranger| linked.contains(**stranger)).collect();
        assert!(wrong.is_empty(), "{name} must never know {wrong:?}");
    }
}

#[test]
fn tests_of_the_protocol_the_runtime_and_the_sdk_do_not_link_candle() {
    let metadata = metadata();
    for name in ["easel-runtime", "easel-server", "easel-sdk", "easel-proto", "easel-imaging"] {
        let room =
            metadata.workspace_packages().into_iter().find(|p| p.name.as_str() == name).expect("the room exists");
        let tests_know: Vec<_> = room.dependencies.iter().map(|d| d.name.as_str()).collect();
        for heavy in ["easel-engine", "easel-kernels", "easel", "candle-core", "candle-nn"] {
            assert!(!tests_know.contains(&heavy), "{name} names {heavy} in its manifest");
        }
    }
}

#[test]
fn arrows_are_drawn_one_way() {
    for (from, known) in ARROWS {
        for to in known {
            let back = ARROWS.iter().find(|(name, _)| name == to).map_or(&[][..], |(_, known)| known);
            assert!(!back.contains(&from), "{from} and {to} know each other");
        }
    }
}
