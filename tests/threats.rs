//! The threat model names a test for every threat; this one sees that each of them exists.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn every_threat_has_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/threat-model.md")).expect("the page is there");
    let Ok(listing) = Command::new("git").arg("-C").arg(&root).args(["ls-files", "-co", "--exclude-standard"]).output()
    else {
        return; // Outside of a checkout there is no list of files.
    };
    let names = String::from_utf8_lossy(&listing.stdout).into_owned();
    let code = names.lines().filter(|name| name.ends_with(".rs"));
    let code: String = code.filter_map(|name| fs::read_to_string(root.join(name)).ok()).collect();
    let rows: Vec<_> =
        page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")).skip(1).collect();
    assert!(rows.len() > 20 || names.is_empty(), "{}", rows.len());
    for row in rows {
        let tests = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let tests: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "a threat without a test: {row}");
        for test in tests {
            assert!(names.is_empty() || code.contains(&format!("fn {test}(")), "{test} does not exist: {row}");
        }
    }
}
