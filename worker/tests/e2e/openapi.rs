//! The description of the API against the API.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use shared_testkit::connection::Answer;

use crate::http::{FromWorker, delete, get, post, post_empty};
use crate::process::Worker;

const ROUTES: [(&str, &str); 12] = [
    ("get", "/cluster/info"),
    ("get", "/cluster/workers"),
    ("post", "/cluster/cpu-intensive"),
    ("post", "/cluster/shared-state"),
    ("get", "/cluster/shared-state/{key}"),
    ("delete", "/cluster/shared-state/{key}"),
    ("post", "/cluster/shared-state/{key}/increment"),
    ("get", "/cluster/local-state"),
    ("post", "/cluster/crash"),
    ("get", "/cluster/memory"),
    ("get", "/health"),
    ("get", "/openapi.json"),
];

fn document(worker: &Worker) -> Value {
    get(worker.port, "/openapi.json").ok()
}

#[test]
fn it_describes_exactly_the_routes_that_there_are() {
    let worker = Worker::start();
    let document = document(&worker);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            described.insert((method.clone(), path.clone()));
            let errors = &operation["responses"]["default"]["content"]["application/problem+json"]["schema"];
            assert_eq!(errors["$ref"], "#/components/schemas/Problem", "{method} {path}");
            assert!(operation["responses"]["200"]["headers"]["x-worker-id"].is_object());
        }
    }
    let expected = ROUTES.map(|(method, path)| (method.to_owned(), path.to_owned()));
    assert_eq!(described, BTreeSet::from(expected));
}

#[test]
fn bodies_are_described_as_they_are_taken() {
    let worker = Worker::start();
    let document = document(&worker);
    for (path, required, property) in [
        ("/cluster/shared-state", true, "value"),
        ("/cluster/shared-state/{key}/increment", false, "by"),
        ("/cluster/cpu-intensive", false, "n"),
        ("/cluster/crash", false, "mode"),
    ] {
        let body = &document["paths"][path]["post"]["requestBody"];
        assert_eq!(body["required"], required, "{path}");
        let schema = &body["content"]["application/json"]["schema"];
        assert_eq!(schema["type"], "object", "{path}");
        assert_eq!(schema["additionalProperties"], false, "{path}");
        assert!(schema["properties"][property].is_object(), "{path}");
    }
}

/// The balancer gives these, in whose place a worker's description speaks.
#[test]
fn answers_of_a_cluster_are_described_as_well() {
    let worker = Worker::start();
    let document = document(&worker);
    let schema = |path: &str, status: &str| {
        document["paths"][path]["get"]["responses"][status]["content"]["application/json"]["schema"].clone()
    };
    let health = json!({"status": "unavailable", "workers": {"online": 0, "desired": 2}});
    let member = json!({
        "id": 1, "pid": null, "state": "backoff", "stateSeconds": 0.5, "port": null, "uptime": null,
        "restarts": 3, "lastRestart": "crash", "requests": 0, "inFlight": 0, "rss": null, "cpuSeconds": 1.5,
    });
    let list = json!({
        "primary": {"pid": 7}, "count": 1, "workers": [member], "joining": [member], "leaving": [member],
    });
    for (path, status, body) in
        [("/health", "200", &health), ("/health", "503", &health), ("/cluster/workers", "200", &list)]
    {
        let problems = violations(&document, &schema(path, status), body, "");
        assert!(problems.is_empty(), "{path} {status}: {problems:#?}");
    }
    let names = document["components"]["schemas"]["WorkerRef"]["properties"].as_object().unwrap();
    assert!(names.contains_key("name"));
}

#[test]
fn answers_are_as_described() {
    let worker = Worker::start();
    let document = document(&worker);
    let check = |method: &str, path: &str, response: &Answer| {
        let responses = &document["paths"][path][method]["responses"];
        let status = response.status.to_string();
        let described = responses.get(&status).unwrap_or(&responses["default"]);
        let schema = &described["content"][response.header("content-type").unwrap()]["schema"];
        assert!(schema.is_object(), "{method} {path} {status} is not described");
        let problems = violations(&document, schema, &response.json(), "");
        assert!(problems.is_empty(), "{method} {path} {status}: {problems:#?}\n{}", response.json());
    };
    let port = worker.port;
    for path in ["/cluster/info", "/cluster/workers", "/cluster/local-state", "/cluster/memory", "/health"] {
        check("get", path, &get(port, path));
    }
    let key_path = "/cluster/shared-state/{key}";
    let increment_path = "/cluster/shared-state/{key}/increment";
    let store = |body: &str| post(port, "/cluster/shared-state", body);
    check("post", "/cluster/shared-state", &store(r#"{"key":"k","value":[1]}"#));
    check("post", "/cluster/shared-state", &store("{}"));
    check("get", key_path, &get(port, "/cluster/shared-state/k"));
    check("get", key_path, &get(port, "/cluster/shared-state/missing"));
    check("get", key_path, &get(port, "/cluster/shared-state/%zz"));
    check("post", increment_path, &post_empty(port, "/cluster/shared-state/k/increment"));
    check("post", increment_path, &post_empty(port, "/cluster/shared-state/n/increment"));
    check("delete", key_path, &delete(port, "/cluster/shared-state/k"));
    check("post", "/cluster/cpu-intensive", &post(port, "/cluster/cpu-intensive", "{\"n\":5}"));
    check("post", "/cluster/cpu-intensive", &post(port, "/cluster/cpu-intensive", "{\"n\":-5}"));
    check("post", "/cluster/crash", &post(port, "/cluster/crash", "{}"));
}

/// The part of JSON Schema that the document uses. Also what is not described
/// is a violation.
fn violations(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').unwrap();
        let target = document.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"));
        return violations(document, target, value, at);
    }
    for choice in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[choice].as_array() {
            let fits = |schema: &&Value| violations(document, schema, value, at).is_empty();
            return match choices.iter().any(|schema| fits(&schema)) {
                true => Vec::new(),
                false => vec![format!("{at}: {value} fits none of {choices:?}")],
            };
        }
    }
    let mut found = Vec::new();
    if !type_fits(&schema["type"], value) {
        found.push(format!("{at}: {value} is not of type {}", schema["type"]));
    }
    if schema["enum"].as_array().is_some_and(|allowed| !allowed.contains(value)) {
        found.push(format!("{at}: {value} is none of {}", schema["enum"]));
    }
    if let (Some(fields), Some(properties)) = (value.as_object(), schema["properties"].as_object()) {
        for required in schema["required"].as_array().into_iter().flatten() {
            if !fields.contains_key(required.as_str().unwrap()) {
                found.push(format!("{at}: {required} is missing"));
            }
        }
        for (name, field) in fields {
            match properties.get(name) {
                Some(schema) => found.extend(violations(document, schema, field, &format!("{at}/{name}"))),
                None => found.push(format!("{at}: {name} is not described")),
            }
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        if schema["items"].is_object() {
            found.extend(violations(document, &schema["items"], item, &format!("{at}/{index}")));
        }
    }
    found
}

fn type_fits(expected: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no such type: {other}"),
    };
    match expected {
        Value::Null => true,
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().any(|name| is(name.as_str().unwrap())),
        other => panic!("no type: {other}"),
    }
}
