//! The requests about generations that exist: ids, pages, polls.

use std::time::Duration;

use easel_domain::event::State;
use easel_domain::limits::MAX_POLL_WAIT;
use easel_domain::{Error, GenerationId};
use easel_proto::v1;

use super::{Check, names};

const DEFAULT_PAGE_SIZE: u32 = 50;
const MAX_PAGE_SIZE: u32 = 500;

/// A page of generations.
#[derive(Debug)]
pub(crate) struct Page {
    /// At most this many.
    pub(crate) size: usize,
    /// Only older ones than this.
    pub(crate) before: Option<GenerationId>,
    /// Only those in these states; empty: all.
    pub(crate) states: Vec<State>,
}

/// Converts a `ListGenerationsRequest`. The token of a page is the id of the last generation of the page before.
pub(crate) fn page(wire: v1::ListGenerationsRequest) -> Result<Page, Error> {
    let mut check = Check::default();
    let size = check.range("page_size", wire.page_size.unwrap_or(DEFAULT_PAGE_SIZE), 1, MAX_PAGE_SIZE);
    if !wire.page_token.is_empty() && !is_generation_id(&wire.page_token) {
        check.wrong("page_token", "is no token of a page: pass what `next_page_token` gave, or nothing");
    }
    let mut states = Vec::new();
    for (i, &value) in wire.states.iter().enumerate() {
        let field = || format!("states[{i}]");
        let Some(known) = check.known(field(), value, "GenerationState") else { continue };
        match names::state(known) {
            Some(state) if !states.contains(&state) => states.push(state),
            Some(_) => {}
            None => check.wrong(field(), "is not specified: name a state, or leave the list empty for all"),
        }
    }
    let before = Some(wire.page_token).filter(|token| !token.is_empty()).map(GenerationId::new);
    check.finish(Page { size: usize::try_from(size).unwrap_or(usize::MAX), before, states })
}

/// Converts the parts of a `PollGenerationRequest`: the id and how long to wait.
pub(crate) fn poll(wire: v1::PollGenerationRequest) -> Result<(GenerationId, Duration), Error> {
    let mut check = Check::default();
    let id = check.id("id", wire.id);
    let wait = check.duration("wait", wire.wait, Duration::ZERO, MAX_POLL_WAIT).unwrap_or_default();
    check.finish((id, wait))
}

/// Converts the id of a generation.
pub(crate) fn id(text: String) -> Result<GenerationId, Error> {
    let mut check = Check::default();
    let id = check.id("id", text);
    check.finish(id)
}

fn is_generation_id(text: &str) -> bool {
    text.strip_prefix("gen_").is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|d| d.is_ascii_hexdigit()))
}
