"""The CloudEvents SDK: `sdk.py SERVER SUBSCRIPTION`.

Publishes in each mode, then reads each frame of `cloudevents.json`, up to the event of the type `last`.
"""

import asyncio
import sys
from datetime import datetime, timezone

import httpx
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from websockets.asyncio.client import connect

from say import say

server, subscription = sys.argv[1:]


def event(name, data, **more):
    attributes = {
        "id": name,
        "source": "/sdk/a%20b",
        "type": "sdk",
        "specversion": "1.0",
        "time": datetime(2030, 1, 31, 12, tzinfo=timezone.utc),
        "subject": 'with "quotes" and 100 %',
        "extension": "ü",
        **more,
    }
    return CloudEvent(attributes, data)


def publish():
    with httpx.Client(base_url=server) as client:

        def post(name, headers, body):
            answer = client.post("/api/v1/events", headers=headers, content=body)
            say("published", name=name, status=answer.status_code, answer=answer.json())

        plain = {"datacontenttype": "application/json"}
        binary = {"datacontenttype": "application/octet-stream"}
        for name, of_mode in [("structured", to_structured_event), ("binary", to_binary_event)]:
            for kind, data, more in [
                ("json", {"n": 5, "text": "ä"}, plain),
                ("bytes", b"\x00\xff", binary),
                ("none", None, {}),
            ]:
                message = of_mode(event(f"{name}-{kind}", data, **more))
                post(f"{name}-{kind}", message.headers, message.body)
        batch = [JSONFormat().write(event(f"batch-{n}", {"n": n}, **plain)) for n in range(3)]
        kind = {"content-type": "application/cloudevents-batch+json"}
        post("batch", kind, b"[" + b",".join(batch) + b"]")


async def main():
    url = f"{server.replace('http', 'ws', 1)}/api/v1/subscriptions/{subscription}/events"
    async with connect(url, subprotocols=["cloudevents.json"]) as socket:
        say("connected", subprotocol=socket.subprotocol)
        await asyncio.to_thread(publish)
        async for text in socket:
            try:
                read = JSONFormat().read(None, text)
            except Exception as error:
                say("refused by the SDK", error=repr(error), text=text)
                continue
            attributes = {name: str(value) for name, value in read.get_attributes().items()}
            data = read.get_data()
            data = list(data) if isinstance(data, bytes) else data
            say("frame", attributes=attributes, data=data)
            if read.get_type() == "last":
                return


asyncio.run(main())
