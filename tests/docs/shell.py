"""Runs blocks as processes: shell, Python, Node, mongosh, Chromium."""

import os
import re
import subprocess
import tempfile
from pathlib import Path

from node import Failed, end, kill, until

ROOT = Path(__file__).resolve().parents[2]
# How long a block may take.
PATIENCE = 60
# The variables that a block sets are there in the blocks that follow.
BEGIN = "set -aeuo pipefail\n. ./.variables\ntrap 'export -p > .variables' EXIT\n"


def console(text):
    """The lines behind `$ ` of a session that is shown, as a script. One that shows an error has to fail."""
    parts = re.split(r"^\$ ", text, flags=re.M)[1:]
    script = ""
    for part in parts:
        command = re.match(r"(?:.*\\\n)*.*\n", part).group(0)
        fails = re.search(r"^error: ", part[len(command) :], re.M)
        script += f"if {command.rstrip()}\nthen echo 'this was to fail' >&2; exit 1; fi\n" if fails else command
    return script


class Folder:
    """The folder in which the blocks of one page are run, with the programs that they call."""

    def __init__(self, binary, tools, node):
        self.node = node
        self.tools = tools
        self.folder = Path(tempfile.mkdtemp(prefix="page-", dir=node.folder))
        programs = self.folder / ".bin"
        programs.mkdir()
        os.symlink(binary, programs / "tidegate")
        # A refusal is a failure of the line that asks.
        self._program("curl", 'case "$1" in -sf) ;; *) set -- --fail-with-body "$@" ;; esac\nexec /usr/bin/curl "$@"')
        # The binary is built already.
        self._program("cargo", 'shift 2; while [ "$1" != -- ]; do shift; done; shift; exec tidegate "$@"')
        if tools.modules:
            os.symlink(tools.modules, self.folder / "node_modules")
        self.environment = {
            **os.environ,
            "HOME": str(self.folder),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "TIDEGATE_SERVER": f"http://{node.address}",
            # Nodes that a page starts beside the one that is there.
            "TIDEGATE_LISTEN": "127.0.0.1:0",
            "TIDEGATE_MONGODB_URI": node.mongodb,
            "NO_COLOR": "1",
        }
        self.running = []
        os.symlink(ROOT / "migrations", self.folder / "migrations")
        self.write(".variables", "")
        self.write("etc/tidegate.toml", "")

    def rewrite(self, text):
        """The text of a page with the addresses of its node, and files in this folder."""
        return self.node.rewrite(text).replace("/etc/tidegate/", f"{self.folder}/etc/")

    def _program(self, name, script):
        path = self.folder / ".bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def command(self, block, text):
        """The command that runs a block of this language; None where there is none."""
        language = block.language
        if language in ("sh", "console"):
            script = console(text) if language == "console" else text
            return ["bash", "-c", BEGIN + script]
        name = f"line{block.line}"
        if language == "python":
            return [self.tools.python, self.write(name + ".py", text)]
        if language == "js":
            return ["node", self.write(name + ".mjs", text)]
        if language == "js mongosh":
            uri = self.node.mongodb.replace("/?", "/tidegate?")
            return [*self.tools.mongosh, "--quiet", uri, "--file", self.write(name + ".js", text)]
        if language == "toml":
            return ["tidegate", "serve", "--config", self.write(name + ".toml", text)]
        if language == "yaml prometheus":
            return ["promtool", "check", "rules", self.write(name + ".yaml", text)]
        return None

    def run(self, block, command):
        """Runs a block to its end, or until it has said what its comment waits for."""
        output = self.folder / f".output{block.line}"
        with open(output, "wb") as out:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        said = lambda: output.read_text(errors="replace")
        if block.beside:
            self.running.append((block, process, said))
            return spoken(block.begun, process, said)
        if block.until:
            try:
                return spoken(block.until, process, said)
            finally:
                end(process)
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failed(f"not done within {PATIENCE} s:\n{said()[-2000:]}") from None
        finally:
            # What it has left behind ends with it.
            kill(process)
        if code != 0:
            raise Failed(f"ended with {code}:\n{said()[-2000:]}")

    def settle(self):
        """Ends what goes on beside, when it has said what it was to say."""
        failures = []
        for block, process, said in self.running:
            try:
                spoken(block.until, process, said)
            except Failed as failure:
                failures.append(f"{block.where}: {failure}")
            finally:
                end(process)
        if failures:
            raise Failed("\n".join(failures))


def spoken(text, process, said):
    """Waits until a process has said a text."""
    heard = lambda: text in said() or process.poll() is not None
    try:
        until(heard, PATIENCE, text)
    except Failed:
        pass
    if text not in said():
        raise Failed(f"never said {text!r}:\n{said()[-2000:]}")
