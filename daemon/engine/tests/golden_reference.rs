//! The reference folder itself: it has to hold cases, or all other golden tests would pass by testing nothing.

mod support;

use support::Reference;

#[test]
fn golden_reference_has_cases() {
    let reference = Reference::open();
    assert!(reference.len() > 0, "{} holds no cases", reference.root.display());
}
