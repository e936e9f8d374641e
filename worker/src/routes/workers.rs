//! `GET /cluster/workers`: the primary's to answer.

use actix_web::http::StatusCode;
use actix_web::{Responder, web};
use shared_protocol::{PrimaryRef, WorkerList};

use super::Json;
use crate::context::Context;
use crate::error::Failure;

/// All workers of the cluster. Only the primary knows them; a process without a
/// cluster has none.
#[utoipa::path(
    get, path = "/cluster/workers", operation_id = "getWorkers", tag = "cluster",
    responses(
        (status = 200, description = "The workers", body = WorkerList),
        (status = 421, description = "Asked of a worker directly"),
    )
)]
pub(crate) async fn get(context: web::Data<Context>) -> Result<impl Responder, Failure> {
    if context.identity.supervised {
        let detail = "a worker does not know the others; ask the primary, at the cluster's own address";
        return Err(Failure::new(StatusCode::MISDIRECTED_REQUEST, detail));
    }
    let primary = PrimaryRef { pid: context.worker().pid };
    Ok(Json(WorkerList { primary, workers: Vec::new(), count: 0, joining: Vec::new(), leaving: Vec::new() }))
}
