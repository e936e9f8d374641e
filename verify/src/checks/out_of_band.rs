//! Redis itself holds what the API says.

use std::time::Duration;

use deadpool_redis::redis::{AsyncConnectionConfig, Client, RedisError, cmd};
use serde_json::{Value, json};
use shared_protocol::StoreKind;

use super::counter::increment;
use super::shared_state::{path, write};
use crate::client::Request;
use crate::cluster::redis::{Redis, RedisError as ServerError};
use crate::context::Context;
use crate::verdict::{Judged, Verdict};

const LIMIT: Duration = Duration::from_secs(5);

pub async fn run(context: &Context) -> Judged {
    if let Some(launcher) = &context.launcher {
        let redis = match Redis::start().await {
            Ok(redis) => redis,
            Err(err @ ServerError::Missing) => return Err(Verdict::inconclusive(err.to_string())),
            Err(err) => return Err(Verdict::inconclusive(format!("no Redis to test with: {err}"))),
        };
        let arguments = ["--redis-url", &redis.url(), "--workers", "2"];
        let cluster = launcher.launch(&arguments).await.map_err(|err| crate::fault::not_started(&err))?;
        let own = Context::contact(cluster.client.clone(), LIMIT, Some(2), None)
            .await
            .map_err(|err| Verdict::failed(err.to_string(), "a cluster with Redis", Vec::new()))?;
        return compare(&own, &redis.url()).await;
    }
    let Some(url) = &context.redis_url else {
        return Err(Verdict::not_applicable("no Redis is known (tell with --redis-url or REDIS_URL)"));
    };
    if !url.names_one_server() {
        return Err(Verdict::not_applicable("only a single Redis server is read here"));
    }
    if context.backend == Some(StoreKind::Embedded) {
        return Err(Verdict::not_applicable("the cluster keeps its state in the embedded store"));
    }
    compare(context, url.expose()).await
}

async fn compare(context: &Context, url: &str) -> Judged {
    let (key, counter) = (context.fresh_key("band"), context.fresh_key("count"));
    let value = json!({"text": "out of band ☃", "number": fastrand::u32(..), "list": [1, null]});
    let reply = context.ask(write(&key, &value)).await?;
    let stored = reply.body["key"].as_str().unwrap_or(&key).to_owned();
    let counted = context.ask(increment(&counter)).await?.body;
    let stored_counter = counted["key"].as_str().unwrap_or(&counter).to_owned();
    let seen = get(url, &[&stored, &stored_counter]).await;
    for key in [&key, &counter] {
        let _ = context.client.send(Request::delete(path(key))).await;
    }
    // The URL may hold a password, which the driver's words do not.
    let seen = seen.map_err(|err| {
        Verdict::inconclusive(format!("Redis does not answer this program: {}", err.category()))
    })?;
    let seen: Vec<Value> = seen.iter().map(|text| parsed(text.as_deref())).collect();
    let right = seen[0] == value && seen[1] == counted["value"];
    let evidence = vec![
        format!("API: {value} and {}", counted["value"]),
        format!("Redis: {stored} = {}, {stored_counter} = {}", seen[0], seen[1]),
    ];
    let figure = if right { "a value and a counter are the same" } else { "Redis and the API differ" };
    Ok(Verdict::judge(right, figure, "what GET says in Redis equals what the API says", 2, evidence))
}

fn parsed(text: Option<&str>) -> Value {
    text.map_or(Value::Null, |text| serde_json::from_str(text).unwrap_or_else(|_| text.into()))
}

async fn get(url: &str, keys: &[&str]) -> Result<Vec<Option<String>>, RedisError> {
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(Some(LIMIT)).set_response_timeout(Some(LIMIT));
    let mut connection = Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await?;
    let mut values = Vec::new();
    for key in keys {
        values.push(cmd("GET").arg(key).query_async(&mut connection).await?);
    }
    Ok(values)
}
