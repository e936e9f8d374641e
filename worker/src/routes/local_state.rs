//! `GET /cluster/local-state`: a counter that is deliberately not shared.

use actix_web::{Responder, web};
use serde::Serialize;
use shared_protocol::WorkerRef;
use utoipa::ToSchema;

use super::Json;
use crate::context::Context;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LocalState {
    worker: WorkerRef,
    /// Calls of this route that this process has answered.
    request_count: u64,
    message: String,
    explanation: &'static str,
}

/// A counter in this process's own memory.
#[utoipa::path(
    get, path = "/cluster/local-state", operation_id = "getLocalState", tag = "state",
    responses((status = 200, description = "This worker's count", body = LocalState))
)]
pub(crate) async fn get(context: web::Data<Context>) -> impl Responder {
    let worker = context.worker();
    Json(LocalState {
        worker,
        request_count: context.count_local_call(),
        message: format!("This counter is LOCAL to worker {worker} and NOT shared between workers"),
        explanation: "Each worker has its own memory space. Use Redis for shared state.",
    })
}
