//! Answers that the primary gives in its own name, to clients and to operators.

use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;
use shared_protocol::ClusterStatus;
use shared_protocol::problem::{self, Problem};

use crate::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub content_type: &'static str,
    pub extra: Vec<(&'static str, String)>,
    pub body: Bytes,
    /// What went wrong, if it is an error that has a page.
    pub detail: Option<String>,
}

impl Response {
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status, content_type, extra: vec![], body: body.into(), detail: None }
    }

    pub fn json(status: u16, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("answers are structs that always serialise");
        Self::new(status, "application/json", body)
    }

    pub fn problem(problem: Problem) -> Self {
        let response = Self::new(problem.status, problem::CONTENT_TYPE, problem.to_json());
        Self { detail: Some(problem.detail), ..response }
    }

    pub fn not_allowed(path: &str, method: &str, allowed: &'static str) -> Self {
        let detail = format!("{path} answers {}, not {method}", allowed.replace(", ", " and "));
        Self::problem(Problem::new(405, detail)).with("allow", allowed)
    }

    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.extra.push((name, value.to_string()));
        self
    }
}

/// The routes that are the primary's, wherever they are asked for.
pub fn own(registry: &Registry, method: &str, path: &str) -> Option<Response> {
    if !matches!(path, "/cluster/workers" | "/health") {
        return None;
    }
    Some(if !matches!(method, "GET" | "HEAD") {
        Response::not_allowed(path, method, "GET, HEAD")
    } else if path == "/cluster/workers" {
        Response::json(200, &registry.worker_list(Instant::now()))
    } else {
        let health = registry.health();
        Response::json(if health.status == ClusterStatus::Unavailable { 503 } else { 200 }, &health)
    })
}
