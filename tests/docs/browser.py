"""Browser snippets: a page of another local origin, read by Chromium without a window."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Pages:
    """Serves the snippets, each as the script of a page."""

    def __enter__(self):
        pages = self.pages = {}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                page = pages.get(self.path)
                self.send_response(200 if page else 404)
                self.send_header("content-type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write((page or "").encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def command(self, chromium, block, text, folder):
        """Returns the command that shows the snippet and prints what it logs."""
        path = f"/line{block.line}"
        if block.language == "js browser":
            # It says "/api/v1", as one of the same origin does.
            text = text.replace('"/api/', f'"http://{folder.node.address}/api/')
            text = f"<!doctype html><title>docs</title><script type=module>\n{text}</script>"
        self.pages[path] = text
        return [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            f"--user-data-dir={folder.folder / f'.chromium{block.line}'}",
            "--enable-logging=stderr",
            "--log-level=0",
            "--remote-debugging-port=0",
            self.origin + path,
        ]
