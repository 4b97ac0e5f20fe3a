"""A WebSocket by websockets: `socket_client.py URL`."""

import asyncio
import json
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from say import say, tell

url = sys.argv[1].replace("http", "ws", 1)


async def main():
    after = ""
    while True:
        try:
            async with connect(url + after) as socket:
                async for text in socket:
                    message = json.loads(text)
                    after = f"?after={message['cursor']}"
                    tell(message)
            say("cut", code=socket.close_code)
        except (ConnectionClosed, InvalidHandshake, OSError, EOFError) as error:
            say("cut", error=type(error).__name__)
        await asyncio.sleep(0.2)


asyncio.run(main())
