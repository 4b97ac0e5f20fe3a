#!/usr/bin/env python3
"""What the stages of a change stream cost mongod: its CPU for each insert that a stream shows.

    pip install pymongo
    python3 benches/peers/pipelines.py PATH/TO/mongod

Starts that mongod as a replica set of one on a port and in a folder of its own, inserts events, and reads
them again and again by each pipeline; then deletes them all, as their retention does, and reads both.
Least of four rounds. What Tidegate opens is in `src/feed/stream.rs`.
"""

import pathlib
import socket
import subprocess
import sys
import tempfile
import time

import pymongo
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

EVENTS = 200_000
ROUNDS = 4
BATCH = 2_000

WRITES = ["update", "replace", "delete"]
WHOLE = {"operationType": {"$in": ["dropDatabase", "invalidate"]}}
NAMES = ["events", "subscriptions"]
OURS = {
    "$or": [
        {"ns.coll": {"$in": [*NAMES, None]}},
        {"operationType": {"$in": ["drop", "rename"]}},
    ]
}
PIPELINES = {
    "no $match": [],
    "every part named (as it was)": [
        {"ns.coll": "subscriptions"},
        {"ns.coll": "events", "operationType": {"$nin": WRITES}},
        {"ns.coll": "positions", "operationType": {"$in": ["drop", "rename"]}},
        {"to.coll": {"$in": NAMES}},
        WHOLE,
    ],
    "what the oplog shows cheaply, then the rest": [
        {"$and": [{"$or": [{"operationType": {"$nin": WRITES}}, {"ns.coll": "subscriptions"}]}, OURS]}
    ],
    "the same, with the whole ns (as it is)": [
        {
            "$and": [
                {
                    "$or": [
                        {"operationType": {"$nin": WRITES}},
                        {"ns": {"db": "tidegate", "coll": "subscriptions"}},
                    ]
                },
                OURS,
            ]
        }
    ],
    "nothing looked for in the oplog": [
        {"operationType": "insert", "ns.coll": {"$in": [*NAMES, None]}},
        {"ns.coll": {"$in": ["subscriptions", None]}},
        {"operationType": {"$in": ["drop", "rename"]}},
    ],
}


def cpu_seconds(process):
    """User and system time of a process."""
    fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def read(database, process, begin, end, match):
    """mongod's CPU for reading from one time to a token, in microseconds for each insert."""
    raw = CodecOptions(document_class=RawBSONDocument)
    stream = {"$changeStream": {"startAtOperationTime": begin, "fullDocument": "whenAvailable"}}
    pipeline = [stream, {"$match": {"$or": match}}] if match else [stream]
    before = cpu_seconds(process)
    command = {"aggregate": 1, "pipeline": pipeline, "cursor": {"batchSize": BATCH}}
    cursor = database.command(command, codec_options=raw)["cursor"]
    number, name = cursor["id"], cursor["ns"].split(".", 1)[1]
    while cursor["postBatchResumeToken"]["_data"] < end:
        command = {"getMore": number, "collection": name, "batchSize": BATCH, "maxTimeMS": 1_000}
        cursor = database.command(command, codec_options=raw)["cursor"]
    database.command({"killCursors": name, "cursors": [number]})
    return (cpu_seconds(process) - before) / EVENTS * 1e6


def token(database):
    """Where a stream stands that begins now, behind all that was written."""
    database.marker.insert_one({})
    time.sleep(1)
    opened = database.command({"aggregate": 1, "pipeline": [{"$changeStream": {}}], "cursor": {}})
    return opened["cursor"]["postBatchResumeToken"]["_data"]


def compare(what, database, process, begin):
    """All pipelines in turn."""
    end = token(database)
    figures = {name: [] for name in PIPELINES}
    for _ in range(ROUNDS):
        for name, match in PIPELINES.items():
            figures[name].append(read(database, process, begin, end, match))
    for name, all_of in figures.items():
        rounds = ", ".join(f"{figure:.1f}" for figure in all_of)
        print(f"{what}: {name}: {min(all_of):.1f} µs ({rounds})", flush=True)


def measure(client, process):
    """Inserts alone, then inserts and their deletes."""
    database = client.tidegate
    for name in NAMES:
        database.create_collection(name, changeStreamPreAndPostImages={"enabled": True})
    database.events.create_index("n")
    begin = database.command("ping")["operationTime"]
    for first in range(0, EVENTS, 1_000):
        some = range(first, first + 1_000)
        database.events.insert_many([{"type": "tick", "n": n, "data": "x" * 100} for n in some])
    compare("an insert", database, process, begin)
    for first in range(0, EVENTS, 20_000):
        database.events.delete_many({"n": {"$gte": first, "$lt": first + 20_000}})
    compare("an insert and its delete", database, process, begin)


def main():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        options = ["--dbpath", folder, "--port", str(port), "--replSet", "r", "--oplogSize", "990"]
        options += ["--bind_ip", "127.0.0.1", "--logpath", f"{folder}/log", "--wiredTigerCacheSizeGB", "1"]
        mongod = subprocess.Popen([sys.argv[1], *options])
        try:
            client = pymongo.MongoClient(f"mongodb://127.0.0.1:{port}/?directConnection=true")
            members = [{"_id": 0, "host": f"127.0.0.1:{port}"}]
            client.admin.command({"replSetInitiate": {"_id": "r", "members": members}})
            while not client.admin.command("hello")["isWritablePrimary"]:
                time.sleep(0.1)
            measure(client, mongod.pid)
        finally:
            mongod.terminate()
            mongod.wait()


if __name__ == "__main__":
    main()
