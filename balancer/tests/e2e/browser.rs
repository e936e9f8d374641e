//! A headless Chromium, driven over WebDriver (W3C Recommendation) by Debian's
//! `chromedriver`. Both end with the test, whatever becomes of it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Connection, eventually, is_alive};

/// The browser talks to this machine only, and does nothing that nobody asked for.
const FLAGS: [&str; 13] = [
    "--headless",
    // Root may run it as well.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--no-first-run",
    // A page that is not in front is drawn all the same.
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];

pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    profile: tempfile::TempDir,
}

impl Browser {
    /// # Panics
    /// Names the package when there is no Chromium or no driver for it.
    pub fn start() -> Self {
        Self::with(false)
    }

    /// As [`Self::start`]; it takes certificates that nobody has signed.
    pub fn trusting_anybody() -> Self {
        Self::with(true)
    }

    fn with(trusts_anybody: bool) -> Self {
        let profile = tempfile::tempdir().unwrap();
        // Ends with this thread, should the test be killed (prctl(2), PR_SET_PDEATHSIG).
        let driver = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "chromedriver", "--port=0"])
            .env("TMPDIR", profile.path())
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("setpriv is part of every Debian system");
        let address = ([127, 0, 0, 1], 0).into();
        let mut browser = Self { driver, address, session: String::new(), profile };
        let output = BufReader::new(browser.driver.stdout.take().unwrap());
        let port = output.lines().map_while(Result::ok).find_map(|line| {
            line.strip_prefix("ChromeDriver was started successfully on port ")?
                .trim_end_matches('.')
                .parse()
                .ok()
        });
        let port: u16 = port.expect("no chromedriver: install the package chromium-driver (.ci/setup does)");
        browser.address.set_port(port);
        let directory = format!("--user-data-dir={}", browser.profile.path().join("profile").display());
        let flags: Vec<_> = FLAGS.iter().copied().chain([directory.as_str()]).collect();
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "acceptInsecureCerts": trusts_anybody,
            "goog:chromeOptions": {"args": flags},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}});
        let session = browser.try_command("POST", "/session", &capabilities).unwrap_or_else(|err| {
            panic!("no browser: install the packages chromium and chromium-driver (.ci/setup does): {err}")
        });
        browser.session = format!("/session/{}", session["sessionId"].as_str().unwrap());
        browser
    }

    pub fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// Runs `script`, the body of a function, in the page.
    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// As [`Self::run`]; the script calls its last argument when it is done.
    pub fn run_async(&self, script: &str) -> Value {
        self.post("/execute/async", &json!({"script": script, "args": []}))
    }

    /// Waits until `script` gives something that JavaScript holds for true.
    pub fn until(&self, what: &str, script: &str) -> Value {
        eventually(what, || {
            let value = self.run(script);
            (!matches!(value, Value::Null | Value::Bool(false)) && value != "" && value != 0).then_some(value)
        })
    }

    /// A command of the Chrome DevTools Protocol.
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.post("/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    /// Shows the page as on a screen of this width, in this scheme.
    pub fn look(&self, width: u32, height: u32, scheme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        let features = json!({"features": [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]});
        self.devtools("Emulation.setEmulatedMedia", &features);
    }

    /// A picture of the whole page, in PNG and Base64.
    pub fn screenshot(&self) -> String {
        let picture = self.devtools("Page.captureScreenshot", &json!({"captureBeyondViewport": true}));
        picture["data"].as_str().unwrap().to_owned()
    }

    /// What the console has said since the last call, except that a server was away.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({"type": "browser"}));
        let messages =
            log.as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap().to_owned());
        let away = [
            "ERR_CONNECTION_REFUSED",
            "ERR_INCOMPLETE_CHUNKED_ENCODING",
            "ERR_CONNECTION_RESET",
            "ERR_EMPTY_RESPONSE",
        ];
        messages.filter(|message| !away.iter().any(|away| message.contains(away))).collect()
    }

    /// The URLs that pages have asked for since the last call.
    pub fn requests(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({"type": "performance"}));
        let entries = log.as_array().unwrap().iter();
        let sent = entries.filter_map(|entry| {
            let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let message = &message["message"];
            // The browser's own pages have no part in it.
            let asked = &message["params"];
            let own = asked["documentURL"].as_str().is_none_or(|page| page.starts_with("chrome:"));
            (message["method"] == "Network.requestWillBeSent" && !own)
                .then(|| asked["request"]["url"].as_str().unwrap().to_owned())
        });
        sent.collect()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let path = format!("{}{path}", self.session);
        self.try_command("POST", &path, body).unwrap_or_else(|err| panic!("{path} {body:.200}: {err}"))
    }

    fn try_command(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let mut connection = Connection::open(self.address).map_err(|err| err.to_string())?;
        let headers = [("host", "localhost"), ("content-type", "application/json"), ("connection", "close")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = connection
            .send_as(method, path, &headers, body.as_bytes())
            .and_then(|()| connection.receive(false))
            .map_err(|err| format!("the driver does not answer: {err}"))?;
        if answer.status == 200 { Ok(answer.json()["value"].take()) } else { Err(answer.text()) }
    }

    /// All processes that use the profile: the browser and its helpers.
    fn processes(&self) -> Vec<u32> {
        let name = self.profile.path().as_os_str().as_encoded_bytes().to_vec();
        let uses = |pid: &u32| {
            let line =
                std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
            line.windows(name.len()).any(|part| part == name) && is_alive(*pid)
        };
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(uses).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // Ends the browser in order; what is left is killed below.
            let _ = self.try_command("DELETE", &self.session, &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        for pid in self.processes() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        if !std::thread::panicking() {
            eventually("nothing of the browser is left", || self.processes().is_empty().then_some(()));
        }
    }
}
