//! `GET /cluster/memory`.

use actix_web::{Responder, web};
use serde::Serialize;
use shared_protocol::{WorkerRef, megabytes};
use utoipa::ToSchema;

use super::Json;
use crate::context::Context;
use crate::memory::Memory;

#[derive(Serialize, ToSchema)]
pub(crate) struct MemoryAnswer {
    worker: WorkerRef,
    memory: Readable,
    bytes: Memory,
}

/// As people read it; 1 MB = 1,048,576 bytes.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Readable {
    #[schema(example = "9.50 MB")]
    rss: String,
    #[schema(example = "9.70 MB")]
    peak_rss: String,
    #[schema(example = "80.12 MB")]
    r#virtual: String,
    #[schema(example = "1.20 MB")]
    heap_used: String,
    #[schema(example = "2.00 MB")]
    heap_total: String,
}

/// The memory of this process, measured anew for each request.
#[utoipa::path(
    get, path = "/cluster/memory", operation_id = "getMemory", tag = "cluster",
    responses((status = 200, description = "This worker's memory", body = MemoryAnswer))
)]
pub(crate) async fn get(context: web::Data<Context>) -> impl Responder {
    let bytes = Memory::now();
    Json(MemoryAnswer {
        worker: context.worker(),
        memory: Readable {
            rss: megabytes(bytes.rss),
            peak_rss: megabytes(bytes.peak_rss),
            r#virtual: megabytes(bytes.r#virtual),
            heap_used: megabytes(bytes.heap_used),
            heap_total: megabytes(bytes.heap_total),
        },
        bytes,
    })
}
