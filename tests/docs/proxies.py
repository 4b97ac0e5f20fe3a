"""Configurations of proxies. Each is started in front of the node and tested with TLS, both kinds of streams and a client that accepts compression."""

import base64
import http.client
import json
import os
import re
import socket
import ssl
import subprocess

from node import SITE as HOST, Failed, end, free_port, until

ID = "behind-a-proxy"


def check(language, text, node, folder):
    """Starts the proxy with the block's text, and checks that streams pass."""
    port = free_port()
    command = {"nginx": nginx, "caddyfile": caddy}[language](text, port, folder)
    log = folder.folder / f".{language}.log"
    environment = {**folder.environment, "HOME": str(folder.folder), "XDG_DATA_HOME": str(folder.folder / ".data")}
    with open(log, "wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        up = lambda: process.poll() is not None or answers(port)
        until(up, 30, f"{language} is up")
        if process.poll() is not None:
            raise Failed(f"{language} ended:\n{log.read_text()[-2000:]}")
        streams(port)
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"{error!r}\n{log.read_text()[-2000:]}") from error
    finally:
        end(process)


def nginx(text, port, folder):
    """Returns the command of an nginx with this site alone, and a certificate of its own."""
    certificate(folder)
    text = re.sub(r"listen 443 ", f"listen 127.0.0.1:{port} ", text)
    text = re.sub(r"listen 80;", f"listen 127.0.0.1:{free_port()};", text)
    text = re.sub(r"/etc/ssl/\S+\.(pem|key);", lambda found: f"{folder.folder}/site.{found.group(1)};", text)
    temporary = "".join(
        f"{kind}_temp_path {folder.folder}/.{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = f"daemon off;\npid {folder.folder}/.nginx.pid;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{text}}}\n"
    path = folder.write("nginx.conf", whole)
    return ["nginx", "-e", "stderr", "-c", path]


def caddy(text, port, folder):
    """Returns the command of a Caddy that makes its own certificates."""
    options = f"{{\nadmin off\nlocal_certs\nskip_install_trust\nhttps_port {port}\nhttp_port {free_port()}\n}}\n"
    path = folder.write("Caddyfile", options + text)
    return ["caddy", "run", "--config", path, "--adapter", "caddyfile"]


def certificate(folder):
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={HOST}"]
    command += ["-keyout", folder.folder / "site.key", "-out", folder.folder / "site.pem"]
    subprocess.run(command, check=True, capture_output=True)


def connect(port):
    """Opens a TLS connection to the proxy, whose certificate nobody has signed."""
    context = ssl._create_unverified_context()
    plain = socket.create_connection(("127.0.0.1", port), 20)
    return context.wrap_socket(plain, server_hostname=HOST)


def call(port, method, path, body=None, headers=()):
    connection = http.client.HTTPConnection(HOST)
    connection.sock = connect(port)
    text = None if body is None else json.dumps(body)
    connection.request(method, "/api/v1" + path, text, {"content-type": "application/json", **dict(headers)})
    return connection.getresponse()


def answers(port):
    try:
        return call(port, "GET", "/ready").status == 200
    except OSError:
        return False


def streams(port):
    """Checks that an event passes through both kinds of streams, as a browser on the site requests them."""
    expect(call(port, "PUT", f"/subscriptions/{ID}", {"filter": {"type": "proxied"}}), (200, 201))
    accept = {"accept": "text/event-stream", "accept-encoding": "gzip, br", "origin": f"https://{HOST}"}
    events = call(port, "GET", f"/subscriptions/{ID}/events", headers=accept)
    expect(events, (200,))
    upgraded = upgrade(port)
    read_until(events.fp, b"event: connected")
    read_until(upgraded, b'"type":"connected"')
    expect(call(port, "POST", "/events", {"type": "proxied", "data": "through"}), (202,))
    read_until(events.fp, b'"data":"through"')
    read_until(upgraded, b'"data":"through"')
    preflight(port)
    second(port)


def preflight(port):
    """Checks the preflight of a script of another origin that resumes."""
    asked = {"access-control-request-method": "GET", "access-control-request-headers": "last-event-id"}
    asked["origin"] = "http://localhost:1"
    answer = call(port, "OPTIONS", f"/subscriptions/{ID}/events", headers=asked)
    expect(answer, (200, 204))
    if answer.getheader("access-control-allow-origin") != asked["origin"]:
        raise Failed("a page of another origin may not resume")


def second(port):
    """Checks server-sent events over HTTP/2, which browsers use."""
    address = f"https://{HOST}:{port}/api/v1/subscriptions/{ID}/events"
    command = ["/usr/bin/curl", "-skNi", "--http2", "--resolve", f"{HOST}:{port}:127.0.0.1", "--max-time", "20", address]
    with subprocess.Popen([*command, "-H", "accept: text/event-stream"], stdout=subprocess.PIPE) as curl:
        try:
            if not curl.stdout.peek(6).startswith(b"HTTP/2"):
                raise Failed("no HTTP/2")
            read_until(curl.stdout, b"event: connected")
        finally:
            curl.kill()


def expect(answer, statuses):
    if answer.status not in statuses:
        raise Failed(f"answered with {answer.status}: {answer.read()[:500]!r}")


def upgrade(port):
    """Opens a WebSocket. Returns its stream."""
    secured = connect(port)
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        f"GET /api/v1/subscriptions/{ID}/events HTTP/1.1",
        f"Host: {HOST}",
        f"Origin: https://{HOST}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
    ]
    secured.sendall("\r\n".join([*lines, "", ""]).encode())
    stream = secured.makefile("rb")
    status = stream.readline()
    if b" 101 " not in status:
        raise Failed(f"no upgrade: {status!r}")
    return stream


def read_until(stream, wanted):
    """Reads until the bytes have come. If a proxy holds them back, the socket times out."""
    got = b""
    while wanted not in got:
        piece = stream.read1(4096)
        if not piece:
            raise Failed(f"the stream ended before {wanted!r}: {got[-500:]!r}")
        got += piece
