// A proxy that compresses whatever it may: `compressing.mjs UPSTREAM_PORT`. It prints the port it listens on.
import { createServer, request } from "node:http";
import { connect } from "node:net";
import { installed, say } from "./say.mjs";

const upstream = { host: "127.0.0.1", port: Number(process.argv[2]) };
const compress = installed("compression")({ threshold: 0 });

const server = createServer((asked, answer) => {
  compress(asked, answer, () => {
    const { method, url: path, headers } = asked;
    const passed = request({ ...upstream, method, path, headers }, (theirs) => {
      answer.writeHead(theirs.statusCode, theirs.headers);
      answer.flushHeaders();
      theirs.pipe(answer);
      theirs.on("close", () => theirs.complete || answer.destroy());
    });
    passed.on("error", () => answer.destroy());
    answer.on("close", () => passed.destroy());
    asked.pipe(passed);
  });
});
server.on("upgrade", (asked, socket, head) => {
  const passed = connect(upstream, () => {
    const lines = [`${asked.method} ${asked.url} HTTP/1.1`];
    for (let at = 0; at < asked.rawHeaders.length; at += 2) {
      lines.push(`${asked.rawHeaders[at]}: ${asked.rawHeaders[at + 1]}`);
    }
    passed.write(`${lines.join("\r\n")}\r\n\r\n`);
    passed.write(head);
    passed.pipe(socket).pipe(passed);
  });
  for (const [one, other] of [[passed, socket], [socket, passed]]) {
    one.on("error", () => other.destroy());
    one.on("close", () => other.destroy());
  }
});
server.listen(0, "127.0.0.1", () => say("listening", { port: server.address().port }));
