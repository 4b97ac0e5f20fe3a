"""Server-sent events by httpx-sse: `events.py URL`."""

import sys
import time

import httpx
from httpx_sse import SSEError, connect_sse

from say import say, tell

url = sys.argv[1]
last, pause = "", 0.2
with httpx.Client(timeout=None) as client:
    while True:
        headers = {"Last-Event-ID": last} if last else {}
        try:
            with connect_sse(client, "GET", url, headers=headers) as source:
                for event in source.iter_sse():
                    last = event.id or last
                    pause = (event.retry or pause * 1000) / 1000
                    if event.data:
                        tell(event.json())
            say("cut")
        except (httpx.TransportError, SSEError) as error:
            say("cut", error=type(error).__name__)
        time.sleep(pause)
