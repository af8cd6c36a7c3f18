//! Chromium without a window, driven by its debugging protocol over a pair of pipes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take that comes by itself: so long that no load of the machine reaches it.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long between two looks at something that comes by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Chromium without a window.
pub const PROGRAM: &str = "chromium-headless-shell";

/// Says whether there is one: it is large, and not in every Debian's sources.
pub fn is_there() -> bool {
    let version = Command::new(PROGRAM).arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// What a browser's log of the network tells: to whom it connected, and of each kind of thing that it has a word for,
/// whether it did that.
pub fn network_log(path: &Path) -> (BTreeSet<String>, BTreeMap<String, bool>) {
    let text = std::fs::read_to_string(path).unwrap();
    // It is left open at the end where the browser did not end in peace.
    let log: Value = serde_json::from_str(&text)
        .or_else(|_| serde_json::from_str(&format!("{}]}}", text.trim_end().trim_end_matches(','))))
        .unwrap();
    let types = log["constants"]["logEventTypes"].as_object().unwrap();
    let mut addresses = BTreeSet::new();
    let mut kinds: BTreeMap<_, _> = types.keys().map(|kind| (kind.clone(), false)).collect();
    for event in log["events"].as_array().unwrap() {
        let kind = types.iter().find(|(_, number)| **number == event["type"]).unwrap().0;
        kinds.insert(kind.clone(), true);
        if kind == "TCP_CONNECT_ATTEMPT"
            && let Some(address) = event["params"]["address"].as_str()
        {
            addresses.insert(address.to_owned());
        }
    }
    (addresses, kinds)
}

/// A browser with one tab. It blocks, so a test has it in a thread of its own; killed when dropped.
pub struct Browser {
    child: Child,
    to: File,
    messages: Receiver<Value>,
    next: u64,
    session: Option<String>,
    /// What the browser told by itself.
    pub events: Vec<Value>,
    home: TempDir,
}

impl Browser {
    /// Starts one in an empty home.
    pub fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let [to, from] = ["to", "from"].map(|name| {
            let pipe = home.path().join(name);
            assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
            pipe
        });
        // Open for both, so that opening waits for nobody.
        let [to_end, from_end] = [&to, &from].map(|pipe| OpenOptions::new().read(true).write(true).open(pipe).unwrap());
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" 3<\"$TO\" 4>\"$FROM\"", "sh", PROGRAM]);
        // Within a container, and as root, it can't have a sandbox; nothing is loaded but what the test wrote.
        command.args([
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--hide-scrollbars",
            "--remote-debugging-pipe",
        ]);
        command.arg(format!("--user-data-dir={}", home.path().join("profile").display()));
        command.arg(format!("--log-net-log={}", home.path().join("net").display()));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", home.path());
        command.env("TO", &to).env("FROM", &from);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (told, messages) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(from_end).split(0) {
                let Ok(message) = serde_json::from_slice(&message.unwrap_or_default()) else {
                    return;
                };
                if told.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            child,
            to: to_end,
            messages,
            next: 0,
            session: None,
            events: Vec::new(),
            home,
        };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", &target);
        browser.session = session["sessionId"].as_str().map(ToOwned::to_owned);
        for domain in ["Page", "Network", "Runtime"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// Calls a method of the protocol.
    pub fn call(&mut self, method: &str, params: &Value) -> Value {
        self.next += 1;
        let mut message = json!({ "id": self.next, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let reply = self.messages.recv_timeout(left);
            let mut reply = reply.unwrap_or_else(|error| panic!("{method}: {error}"));
            if reply["id"] == json!(self.next) {
                assert_eq!(reply["error"], Value::Null, "{method}");
                return reply["result"].take();
            }
            self.events.push(reply);
        }
    }

    /// Goes to an address, and waits until what it leads to is shown.
    pub fn go(&mut self, address: &str) {
        self.call("Page.navigate", &json!({ "url": address }));
        self.until(
            "a page is there",
            "document.readyState === 'complete' && location.href !== 'about:blank'",
        );
    }

    /// Shows a page that is loaded from nowhere, and so does nothing by itself.
    pub fn show(&mut self, page: &str) {
        let tree = self.call("Page.getFrameTree", &json!({}));
        let frame = &tree["frameTree"]["frame"]["id"];
        self.call("Page.setDocumentContent", &json!({ "frameId": frame, "html": page }));
    }

    /// Evaluates an expression in the page.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        let mut result = self.call("Runtime.evaluate", &params);
        assert_eq!(result["exceptionDetails"], Value::Null, "{expression}");
        result["result"]["value"].take()
    }

    /// Waits until an expression is true in whatever page is shown.
    pub fn until(&mut self, what: &str, expression: &str) {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            // While it goes from page to page there is none.
            let params = json!({ "expression": expression, "returnByValue": true });
            if self.call("Runtime.evaluate", &params)["result"]["value"] == json!(true) {
                return;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        panic!("never: {what}");
    }

    /// Presses a key: `Tab`, `Enter`.
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            key => panic!("{key}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let params = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", &params);
        }
    }

    /// Types a text.
    pub fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", &json!({ "text": text }));
    }

    /// Has the window this width in pixels, and its user like light or dark pages.
    pub fn look(&mut self, width: u32, scheme: &str) {
        let metrics = json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", &metrics);
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", &media);
    }

    /// Takes a picture of all of the page into a file.
    pub fn picture(&mut self, file: &Path) {
        let shot = self.call("Page.captureScreenshot", &json!({ "captureBeyondViewport": true }));
        std::fs::write(file, decoded(&shot["data"])).unwrap();
    }

    /// Prints the page.
    pub fn print(&mut self) -> Vec<u8> {
        decoded(&self.call("Page.printToPDF", &json!({}))["data"])
    }

    /// Ends it, and returns where its log of the network is.
    pub fn end(mut self) -> (TempDir, PathBuf) {
        self.session = None;
        self.call("Browser.close", &json!({}));
        let until = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "the browser does not end");
            std::thread::sleep(LOOK_AGAIN);
        }
        let log = self.home.path().join("net");
        let home = std::mem::replace(&mut self.home, tempfile::tempdir().unwrap());
        (home, log)
    }
}

fn decoded(data: &Value) -> Vec<u8> {
    let data = data.as_str().unwrap();
    base64::engine::general_purpose::STANDARD.decode(data).unwrap()
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
