//! `GET /health`: alive and ready is who can answer this.

use actix_web::{Responder, web};
use shared_protocol::{ClusterStatus, WorkerHealth};

use super::Json;
use crate::context::Context;
use crate::openapi::WorkerHealthSchema;

/// Is this worker alive and ready? A store that does not answer makes it
/// `degraded`, not unready: the other routes work.
#[utoipa::path(
    get, path = "/health", operation_id = "getHealth", tag = "operation",
    responses((status = 200, description = "It is", body = WorkerHealthSchema))
)]
pub(crate) async fn get(context: web::Data<Context>) -> impl Responder {
    let store = context.store_watch.health();
    let status = if store.reachable { ClusterStatus::Ok } else { ClusterStatus::Degraded };
    Json(WorkerHealth { status, worker: context.worker(), store })
}
