//! `GET /cluster/info`: the route that is asked most.

use std::time::Instant;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Serialize;
use shared_protocol::WorkerId;
use utoipa::ToSchema;

use crate::context::Context;
use crate::memory::{self, MemoryText};

#[derive(Serialize, ToSchema)]
pub(crate) struct Info<'a> {
    worker: InfoWorker,
    system: InfoSystem,
    memory: &'a MemoryText,
    stats: InfoStats,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct InfoWorker {
    /// 1…N in a cluster, 0 in single-process mode.
    #[schema(example = 2)]
    id: WorkerId,
    pid: u32,
    /// What a process without a cluster is called, such as its pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'static str>,
    /// True only in single-process mode.
    is_primary: bool,
    is_worker: bool,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct InfoSystem {
    /// Processors that this process may use.
    cpus: usize,
    #[schema(example = "linux")]
    platform: &'static str,
    #[schema(example = "1.95.0")]
    rust_version: &'static str,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct InfoStats {
    /// Requests to this process, health probes left out.
    request_count: u64,
    /// Since this process started.
    #[schema(value_type = String, example = "123.45s")]
    uptime: Uptime,
}

/// Written without building a text first.
struct Uptime(f64);

impl Serialize for Uptime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.2}s", self.0))
    }
}

/// Who answers, and how it is doing. Memory figures are at most 100 ms old.
#[utoipa::path(
    get, path = "/cluster/info", operation_id = "getInfo", tag = "cluster",
    responses((status = 200, description = "This worker", body = Info<'_>))
)]
pub(crate) async fn get(context: web::Data<Context>) -> HttpResponse {
    let now = Instant::now();
    let worker = context.worker();
    let alone = !context.identity.supervised;
    memory::recent(now, |memory| {
        super::json(
            StatusCode::OK,
            &Info {
                worker: InfoWorker {
                    id: worker.id,
                    pid: worker.pid,
                    name: worker.name,
                    is_primary: alone,
                    is_worker: !alone,
                },
                system: InfoSystem {
                    cpus: context.cpus,
                    platform: std::env::consts::OS,
                    rust_version: env!("WORKER_RUST_VERSION"),
                },
                memory,
                stats: InfoStats {
                    request_count: context.requests(),
                    uptime: Uptime(now.duration_since(context.started).as_secs_f64()),
                },
            },
        )
    })
}
