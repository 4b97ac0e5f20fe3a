"""A node with a database of its own. Its addresses replace those on the pages."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

# What pages call the service, other nodes that they start, and the database.
SERVICE = "127.0.0.1:8080"
# The site of the proxies that the pages put in front.
SITE = "events.example.com"
OTHERS = re.compile(r"127\.0\.0\.1:(8081|8082|9000)")
DATABASES = (
    "mongodb://127.0.0.1:27017/?replicaSet=rs0",
    "mongodb://db1,db2,db3/?replicaSet=rs0",
)


class Failed(Exception):
    """A line of a page that does not do what the page says."""


def until(condition, seconds, what):
    """Waits until a condition holds, and returns its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def free_port():
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return any_port.getsockname()[1]


def is_free(address):
    host, port = address.split(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
            return True
        except OSError:
            return False


def kill(process):
    """Kills the rest of a process's group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def end(process):
    """Ends a process and its group as Ctrl-C would, or else by force."""
    for stop in (signal.SIGINT, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, stop)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                continue
    return process.returncode


class Node:
    """`tidegate dev` on the address that the pages name, or on another one if that is taken."""

    def __init__(self, binary, origin):
        self.folder = Path(tempfile.mkdtemp(prefix="tidegate-docs-"))
        self.address = SERVICE if is_free(SERVICE) else f"127.0.0.1:{free_port()}"
        self.others = {}
        self.log = self.folder / "dev.log"
        environment = {**os.environ, "TIDEGATE_CORS__ORIGINS": origin, "TIDEGATE_HOSTS": SITE}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [binary, "dev", "--data-dir", self.folder / "data", "--listen", self.address],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        try:
            self.mongodb = until(self._ready, 120, "the node is ready")
        except BaseException:
            self.end()
            raise

    def _ready(self):
        said = self.log.read_text(errors="replace")
        if self.process.poll() is not None:
            raise Failed("the node ended:\n" + said[-2000:])
        found = re.search(r"ready on [\s\S]*?(mongodb://[^,\s]+)", said)
        return found and found.group(1)

    def mongod(self):
        """Returns the program of the mongod that this node runs."""
        port = re.search(r":(\d+)/", self.mongodb).group(1).encode()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if port in words and os.readlink(entry / "exe").endswith("mongod"):
                    return os.readlink(entry / "exe")
            except OSError:
                continue
        raise Failed("the node has no mongod")

    @property
    def administrator(self):
        """Returns a connection string with all rights on the service's database."""
        return self.mongodb.replace("/?", "/tidegate?")

    def rewrite(self, text):
        """Returns the text of a page with the addresses of this node."""
        text = text.replace(SERVICE, self.address)
        text = OTHERS.sub(lambda found: f"127.0.0.1:{self.other(found.group(1))}", text)
        for database in DATABASES:
            text = text.replace(database, self.mongodb)
        return text

    def other(self, port):
        """Returns the free port that stands for one of the pages' ports."""
        return self.others.setdefault(port, free_port())

    def end(self):
        end(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)
