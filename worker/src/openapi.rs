//! The description of the API, made from the routes themselves.

use std::sync::LazyLock;

use actix_web::web::Bytes;
use shared_protocol::problem;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Content, Header, Ref, RefOr, Required, ResponseBuilder, Type, schema::ObjectBuilder};
use utoipa::{Modify, OpenApi, ToSchema};

use crate::routes;

/// Built on first use, which is not at start.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    let text = Api::openapi().to_json().expect("the description is made of text and numbers");
    Bytes::from(text)
});

pub(crate) fn document() -> Bytes {
    DOCUMENT.clone()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Cluster worker",
        description = "The HTTP API of a bundled worker, the same alone and through the balancer.\n\n\
            Every answer carries x-worker-id and x-request-id; a request's own x-request-id is kept when it has \
            1 to 128 letters, digits or -_.:/+=. Every error is an RFC 9457 problem. Request bodies are JSON \
            objects of at most 1 MiB; a field that is not described here is refused, so that a misspelt one \
            shows. HEAD works where GET does.",
    ),
    paths(
        routes::info::get,
        routes::workers::get,
        routes::cpu_intensive::post,
        routes::shared_state::store,
        routes::shared_state::get,
        routes::shared_state::delete,
        routes::shared_state::increment,
        routes::local_state::get,
        routes::crash::post,
        routes::memory::get,
        routes::health::get,
        routes::openapi::get,
    ),
    components(schemas(ProblemSchema)),
    modifiers(&Common),
)]
struct Api;

/// The description of a body that may be left out. The attribute has no other
/// way to say so than a body of `null`, which is refused.
pub(crate) const OPTIONAL: &str = "May be left out";

/// Adds to each operation what holds for all: errors as problems, and headers.
struct Common;

impl Modify for Common {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        for item in api.paths.paths.values_mut() {
            for operation in [&mut item.get, &mut item.post, &mut item.delete].into_iter().flatten() {
                describe_problems(operation);
                if let Some(RefOr::T(body)) = &mut operation.request_body
                    && body.description.as_deref() == Some(OPTIONAL)
                {
                    body.required = Some(Required::False);
                }
            }
        }
    }
}

fn describe_problems(operation: &mut Operation) {
    let problem = || RefOr::T(Content::new(Some(Ref::from_schema_name("Problem"))));
    let text = || RefOr::T(Header::new(ObjectBuilder::new().schema_type(Type::String).build()));
    let rest = ResponseBuilder::new().description("Any other error").build();
    operation.responses.responses.insert("default".to_owned(), RefOr::T(rest));
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        response.headers.insert("x-worker-id".to_owned(), text());
        response.headers.insert("x-request-id".to_owned(), text());
        if response.content.is_empty() {
            response.content.insert(problem::CONTENT_TYPE.to_owned(), problem());
        }
        if status == "503" {
            response.headers.insert("retry-after".to_owned(), text());
        }
    }
}

/// A problem details object (RFC 9457).
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "describes shared_protocol::problem::Problem, which is made without this crate")]
struct ProblemSchema {
    /// `about:blank`: the title says it all.
    r#type: String,
    #[schema(example = "Bad Request")]
    title: String,
    #[schema(minimum = 400, maximum = 599, example = 400)]
    status: u16,
    /// What was wrong, with the field and the bound, and what to do.
    detail: String,
    worker: Option<WorkerRefSchema>,
}

#[derive(ToSchema)]
#[schema(as = WorkerRef)]
#[expect(dead_code, reason = "describes shared_protocol::WorkerRef")]
pub(crate) struct WorkerRefSchema {
    /// 1…N in a cluster, 0 in single-process mode.
    #[schema(example = 2)]
    id: u32,
    #[schema(example = 12345)]
    pid: u32,
    /// What a process without a cluster is called, such as its pod.
    #[schema(example = "cluster-worker-7d9f8c6b5-x2x4q")]
    name: Option<String>,
}

#[derive(ToSchema)]
#[schema(as = WorkerHealth)]
#[expect(dead_code, reason = "describes shared_protocol::WorkerHealth")]
pub(crate) struct WorkerHealthSchema {
    status: StatusSchema,
    worker: WorkerRefSchema,
    store: StoreHealthSchema,
}

#[derive(ToSchema)]
#[schema(as = Status, rename_all = "lowercase")]
#[expect(dead_code, reason = "describes shared_protocol::ClusterStatus")]
enum StatusSchema {
    Ok,
    Degraded,
    Unavailable,
}

#[derive(ToSchema)]
#[schema(as = StoreHealth)]
#[expect(dead_code, reason = "describes shared_protocol::StoreHealth")]
struct StoreHealthSchema {
    backend: StoreKindSchema,
    reachable: bool,
}

#[derive(ToSchema)]
#[schema(as = StoreKind, rename_all = "lowercase")]
#[expect(dead_code, reason = "describes shared_protocol::StoreKind")]
enum StoreKindSchema {
    Redis,
    Embedded,
}

#[derive(ToSchema)]
#[schema(as = WorkerList)]
#[expect(dead_code, reason = "describes shared_protocol::WorkerList")]
pub(crate) struct WorkerListSchema {
    primary: PrimaryRefSchema,
    workers: Vec<WorkerStatusSchema>,
    count: u32,
}

#[derive(ToSchema)]
#[schema(as = PrimaryRef)]
#[expect(dead_code, reason = "describes shared_protocol::PrimaryRef")]
struct PrimaryRefSchema {
    pid: u32,
}

#[derive(ToSchema)]
#[schema(as = WorkerStatus, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes shared_protocol::WorkerStatus")]
struct WorkerStatusSchema {
    id: u32,
    pid: Option<u32>,
    state: WorkerStateSchema,
    #[schema(example = 12.34)]
    state_seconds: f64,
    port: Option<u16>,
    #[schema(example = "12.34s")]
    uptime: Option<String>,
    restarts: u64,
    requests: u64,
    in_flight: u64,
    #[schema(example = "9.50 MB")]
    rss: Option<String>,
}

#[derive(ToSchema)]
#[schema(as = WorkerState, rename_all = "lowercase")]
#[expect(dead_code, reason = "describes shared_protocol::WorkerState")]
enum WorkerStateSchema {
    Starting,
    Online,
    Unhealthy,
    Draining,
    Backoff,
    Failed,
}
