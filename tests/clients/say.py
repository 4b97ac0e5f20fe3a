"""Lines of JSON, for all Python clients."""

import json
import os
import sys
import threading


def say(saw, **more):
    print(json.dumps({"saw": saw, **more}), flush=True)


def tell(message):
    """Prints a message of the service in the form that the tests read."""
    event = message.get("event") or {}
    n = (event.get("data") or {}).get("n")
    say(message["type"], cursor=message.get("cursor"), n=n, reason=message.get("reason"))


def end_with_the_judge():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=end_with_the_judge, daemon=True).start()
