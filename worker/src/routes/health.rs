//! `GET /health`: alive and ready is who can answer this.

use actix_web::{Responder, web};
use shared_protocol::{ClusterHealth, ClusterStatus, Health, WorkerHealth};

use super::Json;
use crate::context::Context;

/// Is this worker alive and ready? A store that does not answer makes it
/// `degraded`, not unready: the other routes work. Through the balancer, the
/// balancer itself answers for the cluster.
#[utoipa::path(
    get, path = "/health", operation_id = "getHealth", tag = "operation",
    responses(
        (status = 200, description = "It is", body = Health),
        (status = 503, description = "No worker of the cluster is ready, or it is shutting down", body = ClusterHealth),
    )
)]
pub(crate) async fn get(context: web::Data<Context>) -> impl Responder {
    let store = context.store_watch.health();
    let status = if store.reachable { ClusterStatus::Ok } else { ClusterStatus::Degraded };
    Json(Health::Worker(WorkerHealth { status, worker: context.worker(), store }))
}
