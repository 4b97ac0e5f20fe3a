"""Runs blocks as processes: shell, Python, Node, mongosh, Chromium."""

import os
import re
import shlex
import subprocess
import tempfile
from pathlib import Path

from guarded import Guarded
from node import Failed, end, kill, until

ROOT = Path(__file__).resolve().parents[2]
# How long a block may take.
PATIENCE = 60
# The variables that a block sets are there in the blocks that follow.
BEGIN = "set -aeuo pipefail\n. ./.variables\ntrap 'export -p > .variables' EXIT\n"


def console(text):
    """Turns the lines behind `$ ` of a session into a script. A line that shows an error must fail with that."""
    script = ""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command = re.match(r"(?:.*\\\n)*.*\n", part).group(0).rstrip()
        errors = re.findall(r"^error: .*$", part, re.M)
        if not errors:
            script += command + "\n"
            continue
        script += f"if said=$({command} 2>&1); then echo 'this was to fail'; exit 1; fi\necho \"$said\"\n"
        script += "".join(f"grep -qxF -- {shlex.quote(error)} <<< \"$said\"\n" for error in errors)
    return script


class Folder:
    """The folder in which the blocks of one page run, with the programs that they call."""

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
        (self.folder / "target/release").mkdir(parents=True)
        os.symlink(binary, self.folder / "target/release/tidegate")
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
        self.guarded = None
        os.symlink(ROOT / "migrations", self.folder / "migrations")
        self.write(".variables", "")
        self.write("etc/tidegate.toml", "")

    def rewrite(self, block):
        """Returns the text of a block with the addresses of its database, and files in this folder."""
        text = self.database(block).rewrite(self.node.rewrite(block.text))
        return text.replace("/etc/tidegate/", f"{self.folder}/etc/")

    def database(self, block):
        """Returns the database of a block: the node's, or the one with access control."""
        if not block.guarded:
            return self.node
        if self.guarded is None:
            self.guarded = Guarded(self.node.mongod(), self.tools.mongosh, self.folder)
        return self.guarded

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
        """Returns the command that runs a block of this language; None if there is none."""
        language = block.language
        if language in ("sh", "console"):
            script = console(text) if language == "console" else text
            return ["bash", "-c", BEGIN + script]
        name = f"line{block.line}"
        if language == "python":
            return [self.tools.python, self.write(name + ".py", text)]
        if language == "js":
            return [self.tools.modules / ".bin/node", self.write(name + ".mjs", text)]
        if language == "js mongosh":
            uri = self.database(block).administrator
            return [*self.tools.mongosh, "--quiet", uri, "--file", self.write(name + ".js", text)]
        if language == "toml":
            return ["tidegate", "serve", "--config", self.write(name + ".toml", text)]
        if language == "ini systemd":
            unit = text.replace("/usr/local/bin/tidegate", str(self.folder / ".bin/tidegate"))
            # What it finds odd in the unit it says, and ends well.
            script = '! systemd-analyze verify "$0" 2>&1 | grep tidegate.service'
            return ["sh", "-c", script, self.write("tidegate.service", unit)]
        if language == "yaml prometheus":
            kind = "rules" if text.startswith("groups:") else "config"
            return ["promtool", "check", kind, self.write(name + ".yaml", text)]
        return None

    def run(self, block, command):
        """Runs a block to its end, or until it has printed the text that its comment waits for."""
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
        """Ends the blocks in the background, once they have printed what they must."""
        failures = []
        for block, process, said in self.running:
            try:
                spoken(block.until, process, said)
            except Failed as failure:
                failures.append(f"{block.where}: {failure}")
            finally:
                end(process)
        if self.guarded:
            self.guarded.end()
        if failures:
            raise Failed("\n".join(failures))


def spoken(text, process, said):
    """Waits until a process has printed a text."""
    heard = lambda: text in said() or process.poll() is not None
    try:
        until(heard, PATIENCE, text)
    except Failed:
        pass
    if text not in said():
        raise Failed(f"never said {text!r}:\n{said()[-2000:]}")
