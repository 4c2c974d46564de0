//! `/metrics`: how the daemon is doing, in the text format of Prometheus (version 0.0.4). For the daemon's own user and for tokens
//! that may read, as `GetStatus` is; no name of a client, a session or a prompt stands in it.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use easel_domain::{KeptCache, KeptKind};
use easel_runtime::{Runtime, RuntimeStatus, StageHealth};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use tonic_types::StatusExt as _;

/// Where a scraper asks.
const PATH: &str = "/metrics";
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Upper bounds of the histogram of answers, in seconds.
const BOUNDS_S: [f64; 9] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0];

/// True when a scraper asks.
pub(crate) fn is_scrape(request: &Parts) -> bool {
    request.uri.path() == PATH && matches!(request.method, Method::GET | Method::HEAD)
}

/// What the runtime does not count: calls by what became of them.
pub(crate) struct Metrics {
    runtime: Runtime,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    /// Calls that were answered with an error, by its reason. Reasons are the server's own, so that there are few.
    refused: BTreeMap<String, u64>,
    /// Times to the first answer, by bound; the last place is for what took longer.
    answered: [u64; BOUNDS_S.len() + 1],
    seconds: f64,
}

impl Metrics {
    /// Nothing counted yet.
    pub(crate) fn new(runtime: Runtime) -> Self {
        Self { runtime, calls: Mutex::default() }
    }

    fn count(&self, response: &Response, took: Duration) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = took.as_secs_f64();
        let place = BOUNDS_S.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS_S.len());
        calls.answered[place] += 1;
        calls.seconds += seconds;
        let status = tonic::Status::from_header_map(response.headers());
        if let Some(status) = status.filter(|status| status.code() != tonic::Code::Ok) {
            let reason = status.get_details_error_info().map(|info| info.reason);
            *calls.refused.entry(reason.unwrap_or_else(|| format!("{:?}", status.code()))).or_default() += 1;
        }
    }

    async fn text(&self) -> String {
        let mut text = Text(String::new());
        of_runtime(&mut text, &self.runtime.status().await);
        of_kept(&mut text, &self.runtime.kept());
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        text.family("easel_call_errors_total", "counter", "Calls that were answered with an error, by its reason.");
        calls
            .refused
            .iter()
            .for_each(|(reason, count)| text.value("easel_call_errors_total", &[("reason", reason.as_str())], count));
        let name = "easel_call_first_answer_seconds";
        text.family(name, "histogram", "Time from a call to its first answer.");
        let mut sum = 0;
        for (bound, count) in BOUNDS_S.iter().zip(&calls.answered) {
            sum += count;
            text.value(&format!("{name}_bucket"), &[("le", bound.to_string().as_str())], sum);
        }
        sum += calls.answered[BOUNDS_S.len()];
        text.value(&format!("{name}_bucket"), &[("le", "+Inf")], sum);
        text.value(&format!("{name}_sum"), &[], calls.seconds);
        text.value(&format!("{name}_count"), &[], sum);
        text.0
    }
}

/// Answers scrapers, and counts what becomes of all other calls.
pub(crate) async fn metrics(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if !is_scrape(&parts) {
        let begun = Instant::now();
        let response = next.run(Request::from_parts(parts, body)).await;
        metrics.count(&response, begun.elapsed());
        return response;
    }
    let text = metrics.text().await;
    let mut response = Response::new(if parts.method == Method::HEAD { Body::empty() } else { Body::from(text) });
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(FORMAT));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.value(name, &[], value);
    }
}

fn of_runtime(text: &mut Text, status: &RuntimeStatus) {
    text.gauge("easel_draining", "1 while the daemon finishes its work and takes no more.", u8::from(status.draining));
    text.gauge("easel_generations_queued", "Generations that wait.", status.queued);
    text.gauge("easel_generations_running", "Generations that run.", status.running);
    text.gauge("easel_watchers", "Watches that are open.", status.watchers);
    text.family("easel_generations_ended_total", "counter", "Generations since start by how they ended.");
    let ended = &status.ended;
    for (how, count) in [("succeeded", ended.succeeded), ("failed", ended.failed), ("cancelled", ended.cancelled)] {
        text.value("easel_generations_ended_total", &[("how", how)], count);
    }
    text.family("easel_previews_dropped_total", "counter", "Previews that were replaced before anybody read them.");
    text.value("easel_previews_dropped_total", &[], status.previews_dropped);
    text.family(
        "easel_stage_occupancy_ratio",
        "gauge",
        "Share of the time since start in which a stage computed, 0 to 1.",
    );
    for stage in &status.stages {
        text.value("easel_stage_occupancy_ratio", &[("stage", stage.name)], stage.occupancy);
    }
    text.family("easel_stage_waiting", "gauge", "Pieces of work that wait for a stage.");
    status.stages.iter().for_each(|stage| text.value("easel_stage_waiting", &[("stage", stage.name)], stage.waiting));
    text.family("easel_stage_restarts_total", "counter", "Times that a stage was rebuilt.");
    for stage in &status.stages {
        text.value("easel_stage_restarts_total", &[("stage", stage.name)], stage.restarts);
    }
    text.family("easel_stage_ready", "gauge", "1 when a stage answers.");
    for stage in &status.stages {
        let ready = u8::from(stage.health == StageHealth::Ready);
        text.value("easel_stage_ready", &[("stage", stage.name)], ready);
    }
    text.family(
        "easel_memory_bytes",
        "gauge",
        "Memory of the process, of loaded weights, and of intermediate results.",
    );
    let memory = &status.memory;
    let kinds = [
        ("resident", memory.resident_bytes),
        ("models", memory.model_bytes),
        ("stage_values", memory.stage_value_bytes),
    ];
    kinds.iter().for_each(|(kind, bytes)| text.value("easel_memory_bytes", &[("kind", *kind)], bytes));
    text.gauge("easel_uploads", "Uploads under way.", status.blobs.uploads);
    text.gauge("easel_store_blob_bytes", "Bytes of the pictures that are kept.", status.store.blob_bytes);
    text.gauge("easel_store_quota_bytes", "Bytes that they may have.", status.store.quota_bytes);
    text.gauge("easel_store_sessions", "Sessions that are kept.", status.store.sessions);
    text.gauge(
        "easel_store_failing",
        "1 when the last write to the disk failed.",
        u8::from(status.store.problem.is_some()),
    );
}

/// A number of a cache.
type Reading = fn(&KeptCache) -> u64;

fn of_kept(text: &mut Text, kept: &[KeptCache]) {
    let kind = |cache: &KeptCache| match cache.kind {
        KeptKind::Prefix => "prefix",
        KeptKind::PromptEmbeds => "prompt_embeds",
        KeptKind::ImageLatents => "image_latents",
    };
    let families: [(&str, &str, &str, Reading); 3] = [
        ("easel_cache_hits_total", "counter", "Times that something was looked for and found.", |cache| cache.hits),
        ("easel_cache_misses_total", "counter", "Times that something was looked for in vain.", |cache| cache.misses),
        ("easel_cache_bytes", "gauge", "Memory of what is kept between generations.", KeptCache::bytes),
    ];
    for (name, sort, help, value) in families {
        text.family(name, sort, help);
        for cache in kept {
            text.value(name, &[("model", cache.model.as_str()), ("kind", kind(cache))], value(cache));
        }
    }
}
