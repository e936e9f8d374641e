//! Those that take long to install.

use crate::matrix::Framework;

#[test]
#[ignore = "needs all frameworks: just frameworks"]
fn fastify() {
    Framework::new("fastify", "Server listening at").stopped("closed").check();
}

#[test]
#[ignore = "needs all frameworks: just frameworks"]
fn socketio() {
    let socketio = Framework::new("socketio", "listening").stopped("closed");
    Framework { client: Some(("client.js", "a WebSocket to worker")), ..socketio }.check();
}

#[test]
#[ignore = "needs all frameworks: just frameworks"]
fn nextjs() {
    Framework::new("nextjs", "Ready in").check();
}

#[test]
#[ignore = "needs all frameworks: just frameworks"]
fn nextjs_standalone() {
    Framework::new("nextjs-standalone", "Ready in").check();
}

#[test]
#[ignore = "needs all frameworks: just frameworks"]
fn django() {
    Framework::new("django", "Listening at").stopped("Shutting down: Master").check();
}

#[test]
#[ignore = "needs all frameworks: just frameworks"]
fn puma() {
    Framework::new("puma", "Listening on").stopped("Gracefully stopping").check();
}

#[test]
#[ignore = "needs all frameworks: just frameworks"]
fn php() {
    Framework::new("php", "Development Server").check();
}

#[test]
#[ignore = "needs all frameworks: just frameworks"]
fn go() {
    Framework::new("go", "listening on").check();
}

#[test]
#[ignore = "needs all frameworks: just frameworks"]
fn java() {
    Framework::new("java", "listening on").check();
}

#[test]
#[ignore = "needs all frameworks: just frameworks"]
fn bun() {
    Framework::new("bun", "listening on").stopped("closed").check();
}
