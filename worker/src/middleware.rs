//! What every answer gets: the worker's id, a request id, and, when it is an
//! error, the form of RFC 9457.

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::{Error, web};
use shared_protocol::problem::{self, Problem};
use shared_protocol::{REQUEST_ID_HEADER, WORKER_ID_HEADER, is_well_formed_request_id, new_request_id};

use crate::context::Context;
use crate::error::Detail;
use crate::routes::HEALTH_PATH;

const WORKER_ID: HeaderName = HeaderName::from_static(WORKER_ID_HEADER);
const REQUEST_ID: HeaderName = HeaderName::from_static(REQUEST_ID_HEADER);
const PROBLEM: HeaderValue = HeaderValue::from_static(problem::CONTENT_TYPE);

pub(crate) fn answer<S, B>(
    request: ServiceRequest,
    service: &S,
) -> impl Future<Output = Result<ServiceResponse<EitherBody<B, BoxBody>>, Error>> + use<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody + 'static,
{
    let context = request.app_data::<web::Data<Context>>().expect("the application sets its context").clone();
    if request.path() != HEALTH_PATH {
        context.count_request();
    }
    let request_id = request_id(&request);
    let answer = service.call(request);
    async move {
        let response = answer.await?;
        let mut response = match problem_of(&response, &context) {
            None => response.map_into_left_body(),
            Some(problem) => response.map_body(|head, _| {
                head.headers_mut().insert(CONTENT_TYPE, PROBLEM);
                EitherBody::right(BoxBody::new(problem.to_json()))
            }),
        };
        let headers = response.headers_mut();
        headers.insert(WORKER_ID, context.id_header.clone());
        headers.insert(REQUEST_ID, request_id);
        Ok(response)
    }
}

/// The request's own id when it is fit to be one, else a new one.
fn request_id(request: &ServiceRequest) -> HeaderValue {
    let own = request.headers().get(REQUEST_ID).filter(|id| is_well_formed_request_id(id.as_bytes()));
    own.cloned().unwrap_or_else(|| {
        HeaderValue::from_bytes(&new_request_id()).expect("hexadecimal digits are a valid header value")
    })
}

/// The problem to answer with, unless the response is no error or has its form
/// already.
fn problem_of<B>(response: &ServiceResponse<B>, context: &Context) -> Option<Problem> {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return None;
    }
    let detail = match response.response().extensions().get::<Detail>() {
        Some(Detail(detail)) => detail.clone(),
        // An answer in its own form, such as the 404 of a missing value.
        None if response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json") => {
            return None;
        }
        // An error of actix-web itself.
        None => match response.response().error() {
            Some(err) => err.to_string(),
            None => "the request could not be answered".to_owned(),
        },
    };
    Some(Problem::new(status.as_u16(), detail).by(context.worker()))
}
