use super::*;

fn read(text: &str) -> Result<Listen, ListenError> {
    listeners(text).map(|mut found| found.remove(0))
}

/// The place as it is shown.
fn shown(text: &str) -> String {
    read(text).unwrap_or_else(|err| panic!("{text}: {err}")).to_string()
}

/// Why `text` is refused.
fn why(text: &str) -> String {
    match listeners(text) {
        Err(err) => err.to_string(),
        Ok(found) => panic!("{text} is taken: {found:?}"),
    }
}

#[test]
fn addresses_are_taken_as_people_write_them() {
    for (text, expected) in [
        ("127.0.0.1:3100", "http://127.0.0.1:3100"),
        ("[::1]:3100", "http://[::1]:3100"),
        ("[::]:0", "http://[::]:0"),
        ("3100", "http://127.0.0.1:3100"),
        ("localhost:3100", "http://127.0.0.1:3100"),
        ("http://127.0.0.1:3100", "http://127.0.0.1:3100"),
        ("http://127.0.0.1:3100/", "http://127.0.0.1:3100"),
        ("http://0.0.0.0", "http://0.0.0.0:80"),
        ("https://0.0.0.0:8443", "https://0.0.0.0:8443"),
        ("https://[::]", "https://[::]:443"),
        ("unix:/run/app.sock", "unix:/run/app.sock"),
        ("unix:///run/app.sock", "unix:/run/app.sock"),
        ("unix:app.sock", "unix:app.sock"),
        ("unix:@app", "unix:@app"),
    ] {
        assert_eq!(shown(text), expected, "{text}");
    }
    let several = listeners("3100, unix:/run/a.sock ,https://[::1]:443").unwrap();
    assert_eq!(
        several.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["http://127.0.0.1:3100", "unix:/run/a.sock", "https://[::1]:443"]
    );
    assert!(several[2].tls && !several[0].tls);
}

#[test]
fn what_could_mean_several_things_is_refused_with_what_to_write() {
    for (text, reason) in [
        ("", "has no port"),
        (",", "has no port"),
        ("3100,", "has no port"),
        (":3100", "0.0.0.0:3100 for all"),
        ("*:80", "0.0.0.0:80 for all"),
        ("127.0.0.1", "127.0.0.1:3100"),
        ("[::1]", "has no port"),
        ("::1", "in brackets"),
        ("::1:3100", "in brackets"),
        ("127.0.0.1:65536", "\"65536\" is no port"),
        ("127.0.0.1:-1", "no port"),
        ("127.0.0.1:+1", "no port"),
        ("127.0.0.1:http", "no port"),
        ("65536", "no port"),
        ("a b:80", "neither an IP address nor a name"),
        ("http://127.0.0.1:80/app", "has a path"),
        ("127.0.0.1:80/", "has a path"),
        ("/run/app.sock", "has a path"),
        ("80?proxy-protocol=10.0.0.0/8,192.0.2.0/24", "&proxy-protocol=192.0.2.0/24"),
        ("ftp://127.0.0.1", "\"ftp://\" is neither"),
        ("HTTPS://127.0.0.1", "\"HTTPS://\" is neither"),
        ("unix:", "1 to 107 bytes"),
        ("unix:@", "1 to 107 bytes"),
        ("unix://run/app.sock", "unix:///run/app.sock"),
        ("127.0.0.1:80?", "no option \"\""),
        ("127.0.0.1:80?tls", "no option \"tls\""),
        ("127.0.0.1:80?mode=660", "no option \"mode\" of a TCP address"),
        ("unix:@a?mode=660", "without a file"),
        ("unix:@a?owner=a", "without a file"),
        ("127.0.0.1:80?https-port=443", "for --http-redirect"),
        ("127.0.0.1:80,127.0.0.1:80", "127.0.0.1:80 is there twice"),
        ("unix:/a,unix:/a?mode=600", "unix:/a is there twice"),
    ] {
        assert!(why(text).contains(reason), "{text}: {}", why(text));
    }
    assert!(why(&format!("unix:/{}", "x".repeat(107))).ends_with("this has 108"));
    assert!(read(&format!("unix:/{}", "x".repeat(106))).is_ok());
    assert!(listeners("127.0.0.1:0,127.0.0.1:0").is_ok(), "two free ports");
    let many = |count: u16| (1..=count).map(|port| port.to_string()).collect::<Vec<_>>().join(",");
    assert!(listeners(&many(16)).is_ok());
    assert_eq!(why(&many(17)), "more than 16 addresses");
}

#[test]
fn a_sockets_file_has_a_mode_and_an_owner() {
    let of = |options: &str| match read(&format!("unix:/a?{options}")).unwrap().place {
        Place::Unix { mode, owner, .. } => (mode, owner.map(|owner| (owner.user, owner.group))),
        other => panic!("{other:?}"),
    };
    let name = |name: &str| Some(name.to_owned());
    assert_eq!(of("mode=660"), (Some(0o660), None));
    assert_eq!(of("mode=0666&owner=www-data"), (Some(0o666), Some((name("www-data"), None))));
    assert_eq!(of("owner=a:b&mode=0"), (Some(0), Some((name("a"), name("b")))));
    assert_eq!(of("owner=:33"), (None, Some((None, name("33")))));
    for bad in ["mode=", "mode=8", "mode=rw", "mode=1777", "mode=00660", "owner=", "owner=:", "owner=a:b:c"] {
        assert!(why(&format!("unix:/a?{bad}")).contains(bad), "{bad}");
    }
    assert_eq!(why("unix:/a?mode=600&mode=660"), "mode is given twice");
}

#[test]
fn the_proxy_protocol_is_believed_from_addresses_or_from_who_may_open_the_file() {
    let of = |text: &str| read(text).unwrap().proxy_protocol;
    let networks = |all: &[&str]| {
        Some(ProxySources::Networks(all.iter().map(|network| network.parse().unwrap()).collect()))
    };
    assert_eq!(of("127.0.0.1:80"), None);
    assert_eq!(of("127.0.0.1:80?proxy-protocol=10.0.0.0/8"), networks(&["10.0.0.0/8"]));
    assert_eq!(
        of("https://[::]:443?proxy-protocol=192.0.2.1&proxy-protocol=2001:db8::/32"),
        networks(&["192.0.2.1/32", "2001:db8::/32"])
    );
    assert_eq!(of("unix:/a?proxy-protocol"), Some(ProxySources::All));
    assert_eq!(of("unix:@a?proxy-protocol"), Some(ProxySources::All));
    assert!(why("127.0.0.1:80?proxy-protocol").contains("from which addresses"));
    assert!(why("unix:/a?proxy-protocol=10.0.0.0/8").contains("alone"));
    for bad in ["", "10.0.0.0/33", "10.0.0", "host", "10.0.0.1:80"] {
        assert!(why(&format!("1?proxy-protocol={bad}")).contains("10.0.0.0/8"), "{bad}");
    }
}

#[test]
fn redirects_know_the_port_that_clients_are_sent_to() {
    let found = redirects("0.0.0.0:8080?https-port=443,http://[::1]").unwrap();
    assert_eq!((found[0].https_port, found[1].https_port), (Some(443), None));
    assert_eq!(redirects("https://0.0.0.0:80"), Err(ListenError::RedirectTls));
    for bad in ["0", "65536", "", "https"] {
        assert!(redirects(&format!("80?https-port={bad}")).is_err(), "{bad}");
    }
}

#[test]
fn only_loopback_and_unix_sockets_are_of_this_machine() {
    let is_local = |text: &str| read(text).unwrap().place.is_local();
    assert!(is_local("127.0.0.1:1") && is_local("[::1]:1") && is_local("unix:/a") && is_local("unix:@a"));
    assert!(is_local("[::ffff:127.0.0.1]:1"));
    assert!(!is_local("0.0.0.0:1") && !is_local("[::]:1") && !is_local("192.0.2.1:1"));
}
