"""A database with access control. It stands for db1, db2, db3 with a user in front on the pages."""

import json
import re
import subprocess

from node import end, free_port, until

# The user who gives rights.
ADMINISTRATOR = "mongodb://admin:secret@"
HOSTS = re.compile(r"@db1,db2,db3/")


class Guarded:
    """A replica set of one member, named rs0, with access control and one administrator."""

    def __init__(self, mongod, mongosh, folder):
        self.port = free_port()
        home = folder / "guarded"
        home.mkdir()
        key = home / "key"
        key.write_text("c2VjcmV0IG9mIHRoZSBkb2NzIHRlc3Rz")
        key.chmod(0o600)
        command = [mongod, "--dbpath", home, "--port", str(self.port), "--bind_ip", "127.0.0.1"]
        command += ["--replSet", "rs0", "--keyFile", key, "--oplogSize", "64", "--logpath", home / "log"]
        self.process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
        members = json.dumps({"_id": "rs0", "members": [{"_id": 0, "host": f"127.0.0.1:{self.port}"}]})
        user = json.dumps({"user": "admin", "pwd": "secret", "roles": ["root"]})
        script = (
            f"try {{ rs.initiate({members}) }} catch (e) {{ if (e.code !== 23) throw e }}\n"
            "while (!db.hello().isWritablePrimary) sleep(100)\n"
            f"db.getSiblingDB('admin').createUser({user})"
        )
        uri = f"mongodb://127.0.0.1:{self.port}/?directConnection=true"
        setup = lambda: subprocess.run([*mongosh, "--quiet", uri, "--eval", script], capture_output=True).returncode == 0
        try:
            until(setup, 60, "the guarded database is ready")
        except BaseException:
            self.end()
            raise

    def rewrite(self, text):
        """Returns the text of a page with this server's address."""
        return HOSTS.sub(f"@127.0.0.1:{self.port}/", text)

    @property
    def administrator(self):
        return f"{ADMINISTRATOR}127.0.0.1:{self.port}/admin?replicaSet=rs0"

    def end(self):
        end(self.process)
