"""A headless Chromium that takes pictures, driven over WebDriver by `chromedriver`."""

import base64
import json
import re
import subprocess
import tempfile
import time
import urllib.request

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--disable-dev-shm-usage",
         "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
# Until a page shows what it is to show, in seconds.
DEADLINE = 30
# Pixels of the picture for each of CSS: sharp, and still small.
SCALE = 1.35


class Browser:
    def __enter__(self):
        self.profile = tempfile.TemporaryDirectory(prefix="pictures-")
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        port = next(found[1] for line in self.driver.stdout if (found := re.search(r"started successfully on port (\d+)", line)))
        self.url = f"http://127.0.0.1:{port}/session"
        flags = [*FLAGS, f"--user-data-dir={self.profile.name}"]
        session = self.ask("", {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": {"args": flags}}}})
        self.url += "/" + session["sessionId"]
        return self

    def __exit__(self, *_):
        try:
            urllib.request.urlopen(urllib.request.Request(self.url, method="DELETE"), timeout=DEADLINE)
        finally:
            self.driver.terminate()
            self.driver.wait()
            self.profile.cleanup()

    def ask(self, path, body):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=DEADLINE) as response:
            return json.load(response)["value"]

    def devtools(self, command, **parameters):
        return self.ask("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, url, width, height):
        """Opens a page in a window of this size in CSS pixels."""
        self.look(width, height)
        self.ask("/url", {"url": url})

    def look(self, width, height):
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=SCALE, mobile=False)

    def script(self, text):
        return self.ask("/execute/sync", {"script": text, "args": []})

    def wait_for(self, condition):
        until = time.monotonic() + DEADLINE
        while not self.script(f"return Boolean({condition})"):
            if time.monotonic() > until:
                raise TimeoutError(f"the page never showed: {condition}")
            time.sleep(0.1)

    def take(self, to, scheme):
        """Writes what is to be seen, in the light or dark scheme, as a PNG file."""
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        # Two frames, so that the scheme has been drawn.
        self.ask("/execute/async", {"script": "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))", "args": []})
        picture = self.devtools("Page.captureScreenshot", format="png", optimizeForSpeed=False)
        to.write_bytes(base64.b64decode(picture["data"]))
