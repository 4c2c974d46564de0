//! The whole server over real sockets and pipes, with the drill engine behind the runtime: what a client of any kind
//! sees.

#[path = "server/bad_input.rs"]
mod bad_input;
#[path = "server/blobs.rs"]
mod blobs;
#[path = "server/browser.rs"]
mod browser;
#[path = "server/connections.rs"]
mod connections;
#[path = "server/crowd.rs"]
mod crowd;
#[path = "server/describe.rs"]
mod describe;
#[path = "server/generations.rs"]
mod generations;
#[path = "server/guard.rs"]
mod guard;
#[path = "server/matrix.rs"]
mod matrix;
#[path = "server/metrics.rs"]
mod metrics;
#[path = "server/models.rs"]
mod models;
#[path = "server/pairing.rs"]
mod pairing;
#[path = "server/selections.rs"]
mod selections;
#[path = "server/sessions.rs"]
mod sessions;
#[path = "server/support.rs"]
mod support;
#[path = "server/virtual_time/history.rs"]
mod virtual_time;
#[path = "server/watching.rs"]
mod watching;
