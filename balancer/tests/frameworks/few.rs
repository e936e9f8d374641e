//! Those that are installed soon, and run with all other tests.

use crate::matrix::{Framework, InHand};

#[test]
#[ignore = "needs express: bash .ci/setup"]
fn express() {
    Framework::new("express", "listening").stopped("closed").check();
}

#[test]
#[ignore = "needs fastapi and uvicorn: bash .ci/setup"]
fn fastapi() {
    Framework::new("fastapi", "Uvicorn running on").stopped("Finished server process").check();
}

#[test]
#[ignore = "needs flask and gunicorn: bash .ci/setup"]
fn flask() {
    Framework::new("flask", "Listening at").stopped("Shutting down: Master").check();
}

#[test]
#[ignore = "needs hypercorn: bash .ci/setup"]
fn hypercorn() {
    Framework::new("hypercorn", "Running on").stopped("lifespan.shutdown").check();
}

#[test]
#[ignore = "needs caddy: bash .ci/setup"]
fn caddy() {
    let caddy = Framework::new("caddy", "serving initial configuration").stopped("shutdown complete");
    Framework { in_hand: InHand::Download("site"), ..caddy }.check();
}
