//! The client against real sockets whose other end says exactly what a test wants.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use shared_http_client::{Address, Client, ClientError, Connection, Limits, Request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream};
use tokio::sync::mpsc;

const LIMITS: Limits = Limits::new(Duration::from_secs(10), 1000);
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-worker-id: 3\r\n\r\nhi";

/// Gives each connection the next script: the response to each of its requests in
/// turn. The connection is closed behind the last one.
async fn server(scripts: &'static [&'static [&'static str]]) -> (Client, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(listener.local_addr().unwrap(), LIMITS);
    let (heads, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for script in scripts {
            let (mut stream, _) = listener.accept().await.unwrap();
            answer(&mut stream, script, &heads).await;
        }
    });
    (client, seen)
}

async fn answer(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    script: &[&str],
    heads: &mpsc::UnboundedSender<String>,
) {
    for response in script {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let _ = heads.send(String::from_utf8(head).unwrap());
        stream.write_all(response.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn a_single_request_asks_for_the_end_of_its_connection() {
    let (client, mut seen) = server(&[&[OK]]).await;
    let response = client.send(Request::get("/health?x").header("user-agent", "probe/1")).await.unwrap();
    assert_eq!((response.status.as_u16(), &response.body[..]), (200, &b"hi"[..]));
    assert_eq!(response.header("X-Worker-Id"), Some("3"));
    assert!(response.received_at >= response.sent_at);
    let head = seen.recv().await.unwrap().to_lowercase();
    assert!(head.starts_with("get /health?x http/1.1\r\n"), "{head}");
    for field in
        [&format!("host: {}\r\n", client.address()), "user-agent: probe/1\r\n", "connection: close\r\n"]
    {
        assert!(head.contains(field), "{field} in {head}");
    }
}

#[tokio::test]
async fn a_connection_serves_several_requests() {
    let (client, mut seen) =
        server(&[&[OK, "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"]]).await;
    let mut connection = client.connect().await.unwrap();
    assert_eq!(connection.send(Request::get("/a")).await.unwrap().status, 200);
    // A status is no error.
    assert_eq!(connection.send(Request::post("/b", &json!({}))).await.unwrap().status, 503);
    assert!(!seen.recv().await.unwrap().contains("close"));
    assert!(seen.recv().await.unwrap().contains("content-type: application/json"));
    assert!(!connection.is_open().await);
}

#[tokio::test]
async fn a_session_replaces_a_connection_that_the_server_closed() {
    let (client, _seen) = server(&[&[OK, OK], &[OK]]).await;
    let mut session = client.session();
    for connections in [1, 1, 2] {
        // Until the end of the first connection has come through.
        if connections == 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(session.send(Request::get("/")).await.unwrap().status, 200);
        assert_eq!(session.connections, connections);
    }
}

#[tokio::test]
async fn a_unix_socket_serves_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (heads, mut seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            answer(&mut stream, &[OK], &heads).await;
        }
    });
    let address = Address::from(path.as_path());
    let response = Client::new(address.clone(), LIMITS).send(Request::get("/status")).await.unwrap();
    assert_eq!(response.status, 200);
    assert!(seen.recv().await.unwrap().contains("host: localhost\r\n"));
    // A stream that the caller has looked at first.
    let stream = UnixStream::connect(&path).await.unwrap();
    let mut connection = Connection::over(stream, &address, LIMITS).await.unwrap();
    assert_eq!(connection.send(Request::get("/")).await.unwrap().status, 200);
}

#[tokio::test]
async fn lines_come_as_they_are_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(listener.local_addr().unwrap(), LIMITS);
    let (go_on, mut may_go_on) = mpsc::channel(1);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (heads, _seen) = mpsc::unbounded_channel();
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        answer(&mut stream, &[head], &heads).await;
        for part in ["4\r\n{\"a\"\r\n", "3\r\n}\n{\r\n", "5\r\n}\n\n{}\r\n0\r\n\r\n"] {
            stream.write_all(part.as_bytes()).await.unwrap();
            may_go_on.recv().await;
        }
    });
    let mut connection = client.connect().await.unwrap();
    let mut streaming = connection.stream(Request::post_empty("/reload")).await.unwrap();
    assert_eq!(streaming.status, 200);
    go_on.send(()).await.unwrap();
    assert_eq!(streaming.line().await.unwrap().unwrap(), "{\"a\"}");
    go_on.send(()).await.unwrap();
    for line in ["{}", "", "{}"] {
        assert_eq!(streaming.line().await.unwrap().unwrap(), line);
    }
    assert!(streaming.line().await.unwrap().is_none());
}

#[tokio::test]
async fn a_streaming_response_can_be_read_whole_or_in_part() {
    let (client, _seen) = server(&[&[OK, OK]]).await;
    let mut connection = client.connect().await.unwrap();
    let response = connection.stream(Request::get("/")).await.unwrap().collect().await.unwrap();
    assert_eq!(response.body, "hi");
    const LARGE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\nbeginning";
    let (client, _seen) = server(&[&[LARGE]]).await;
    let client = Client::new(client.address().clone(), Limits::new(LIMITS.response, 5));
    let mut connection = client.connect().await.unwrap();
    let response = connection.stream(Request::get("/")).await.unwrap().collect_prefix().await.unwrap();
    assert_eq!(response.body, "begin");
}

#[tokio::test]
async fn sizes_are_bounded() {
    const LARGE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nhello, world";
    let (client, _seen) = server(&[&[LARGE], &[LARGE]]).await;
    let client = Client::new(client.address().clone(), Limits::new(LIMITS.response, 11));
    let err = client.send(Request::get("/")).await.unwrap_err();
    assert_eq!(err.to_string(), "a body of more than 11 bytes");
    assert!(matches!(err, ClientError::BodyTooLarge { limit: 11 }));
    let mut connection = client.connect().await.unwrap();
    let mut streaming = connection.stream(Request::get("/")).await.unwrap();
    assert!(matches!(streaming.line().await, Err(ClientError::LineTooLong { limit: 11 })));
}

#[tokio::test]
async fn nobody_there_is_told_from_silence_and_from_nonsense() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let err = Client::new(free, LIMITS).send(Request::get("/")).await.unwrap_err();
    assert!(err.is_connect() && !err.is_timeout(), "{err}");
    assert_eq!(err.connect_error().unwrap().kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(err.to_string().starts_with(&format!("could not connect to {free}: ")), "{err}");
    let missing = Client::new(Path::new("/nonexistent/control.sock"), LIMITS);
    let err = missing.connect().await.unwrap_err();
    assert_eq!(err.connect_error().unwrap().kind(), std::io::ErrorKind::NotFound);

    const NONSENSE: [&str; 3] =
        ["220 mail.example ESMTP\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", ""];
    let (client, _seen) = server(&[&[NONSENSE[0]], &[NONSENSE[1]], &[NONSENSE[2]]]).await;
    for nonsense in NONSENSE {
        let err = client.send(Request::get("/")).await.unwrap_err();
        assert!(matches!(err, ClientError::Protocol(_)), "{nonsense:?}: {err:?}");
    }
}

#[tokio::test]
async fn a_silent_server_is_left_in_time_and_its_connection_is_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let limits = Limits::new(Duration::from_millis(100), 1000);
    let client = Client::new(listener.local_addr().unwrap(), limits);
    // In drops as well, each of which comes in time.
    for drops in [false, true] {
        let began = Instant::now();
        let (request, accepted) = tokio::join!(client.send(Request::get("/")), async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 64];
            assert!(stream.read(&mut head).await.unwrap() > 0);
            while drops && stream.write_all(b"H").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(30)).await;
                if began.elapsed() > limits.response * 2 {
                    break;
                }
            }
            stream
        });
        let err = request.unwrap_err();
        match drops {
            false => assert_eq!(err.to_string(), "no answer within 100ms"),
            true => assert!(matches!(err, ClientError::Protocol(_) | ClientError::ResponseTimeout { .. })),
        }
        let mut stream = accepted;
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "the connection is still open");
    }
}

#[tokio::test]
async fn connecting_has_a_limit_of_its_own() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    // Nobody accepts, so that the kernel soon leaves connections waiting.
    let listener = socket.listen(0).unwrap();
    let limits = Limits { connect: Duration::from_millis(100), ..LIMITS };
    let client = Client::new(listener.local_addr().unwrap(), limits);
    let mut waiting = Vec::new();
    let err = loop {
        match client.connect().await {
            Ok(connection) => waiting.push(connection),
            Err(err) => break err,
        }
        assert!(waiting.len() < 10);
    };
    assert!(matches!(err, ClientError::ConnectTimeout { .. }) && err.is_connect(), "{err}");
}
