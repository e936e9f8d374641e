use super::*;

#[test]
fn urls_of_all_kinds() {
    for (text, shown) in [
        ("redis://127.0.0.1", "redis://127.0.0.1:6379, database 0"),
        ("redis://:secret@db.internal:7000/3", "redis://db.internal:7000, database 3"),
        ("rediss://user:secret@[::1]:6380/1", "rediss://::1:6380, database 1"),
        ("redis+unix:///run/redis.sock?db=2&pass=secret", "redis+unix:///run/redis.sock, database 2"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock, database 0"),
        ("redis+sentinel://one/mymaster", "redis+sentinel://one:26379, master mymaster, database 0"),
        (
            "rediss+sentinel://user:secret@one:1,[::1],10.0.0.3:3/my.m-1/2?sentinel_password=secret",
            "rediss+sentinel://one:1,::1:26379,10.0.0.3:3, master my.m-1, database 2",
        ),
        ("redis+cluster://one,two:7000/", "redis+cluster://one:6379,two:7000"),
        ("rediss+cluster://user:secret@one/0", "rediss+cluster://one:6379"),
    ] {
        let url = RedisUrl::parse(text).unwrap();
        assert_eq!(url.to_string(), shown);
        assert_eq!(url.expose(), text);
        assert!(!format!("{url:?}").contains("secret"));
    }
}

#[test]
fn users_and_passwords_go_to_whom_they_are_for() {
    let text = "redis+sentinel://app:p%40ss@one,two/m/2?sentinel_username=watch&sentinel_password=s%2Fcret";
    let Servers::Sentinel(servers) = RedisUrl::parse(text).unwrap().servers else { panic!("{text}") };
    let settings = &servers.settings;
    assert_eq!((settings.username(), settings.password()), (Some("app"), Some("p@ss")));
    assert_eq!(settings.db(), 2);
    for sentinel in &servers.sentinels {
        let settings = sentinel.redis_settings();
        assert_eq!((settings.username(), settings.password()), (Some("watch"), Some("s/cret")));
        assert_eq!(settings.db(), 0, "a Sentinel has no databases");
    }
    let Servers::Cluster(nodes) = RedisUrl::parse("redis+cluster://:p%40ss@one,two").unwrap().servers else {
        panic!("no cluster")
    };
    for node in nodes {
        assert_eq!(node.redis_settings().password(), Some("p@ss"));
    }
}

#[test]
fn bad_urls_are_refused_without_their_password() {
    for text in [
        "",
        "localhost:6379",
        "http://:secret@host",
        "redis://:secret",
        "redis://:se/cret@host",
        "redis://:secret@host:notaport",
        "redis://:secret@host/notanumber",
        "redis://:secret@host/-1",
        "redis://:secret@0.0.0.0",
        "rediss://:secret@host/#insecure",
        "rediss://:secret@host/#secret",
        "redis+unix://?pass=secret",
        "redis+unix://host/path?pass=secret",
        "redis+sentinel://:secret@host",
        "redis+sentinel://:secret@host/",
        "redis+sentinel://:se/cret@host/mymaster",
        "redis+sentinel://:se#cret@host/mymaster",
        "redis+sentinel://:secret@/mymaster",
        "redis+sentinel://:secret@host,,other/mymaster",
        "redis+sentinel://:secret@host:notaport/mymaster",
        "redis+sentinel://:secret@host/mymaster/notanumber",
        "redis+sentinel://:secret@host/mymaster/-1",
        "redis+sentinel://:secret@host/mymaster?secret=1",
        "rediss+sentinel://:secret@host/mymaster#insecure",
        "redis+cluster://:secret@",
        "redis+cluster://:secret@host/1",
        "redis+cluster://:se/cret@host",
        "redis+cluster://:secret@host?secret=1",
        "redis+cluster://:secret@host:70000",
    ] {
        let err = RedisUrl::parse(text).expect_err(text).to_string();
        assert!(!err.contains("secret") && !err.contains("cret@"), "{text}: {err}");
    }
    let reason = |text: &str| RedisUrl::parse(text).unwrap_err().to_string();
    assert!(reason("redis://h/x").contains("database number"), "{}", reason("redis://h/x"));
    assert!(reason("redis://0.0.0.0").contains("wildcard"), "{}", reason("redis://0.0.0.0"));
    assert!(reason("http://h").contains("must begin with redis://"));
    assert!(reason("redis+sentinel://h").contains("name of the master is missing"));
    assert!(reason("redis+cluster://h/3").contains("no databases"));
}
