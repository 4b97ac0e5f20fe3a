// Saves that each match one of N live queries, a socket each: node load.js PORT N SAVES
// Prints how many notifications a second came, from the first save to the last notification.
const WebSocket = require("ws");

const [port, queries, saves] = process.argv.slice(2).map(Number);
const AT_ONCE = 16;
const CONNECTING = 50;

let received = 0;

function subscribe(account) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/`);
    const say = (message) => socket.send(JSON.stringify(message));
    socket.on("error", reject);
    socket.on("open", () => say({ op: "connect", applicationId: "bench" }));
    socket.on("message", (text) => {
      const { op, error } = JSON.parse(text);
      if (op === "connected") {
        say({ op: "subscribe", requestId: 1, query: { className: "Tick", where: { account } } });
      } else if (op === "subscribed") {
        resolve(socket);
      } else if (op === "create") {
        received += 1;
      } else if (op === "error") {
        reject(new Error(error));
      }
    });
  });
}

async function save(n) {
  const answer = await fetch(`http://127.0.0.1:${port}/parse/classes/Tick`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "x-parse-application-id": "bench",
      "x-parse-master-key": "bench",
    },
    body: JSON.stringify({ account: n % queries, fill: "x".repeat(150) }),
  });
  if (answer.status !== 201) throw new Error(await answer.text());
}

// Runs task(0) … task(count - 1), so many at a time.
async function inTurn(count, atOnce, task) {
  let next = 0;
  const worker = async () => {
    while (next < count) await task(next++);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

async function main() {
  await save(queries); // makes the class
  await inTurn(queries, CONNECTING, subscribe);
  received = 0;
  const begun = performance.now();
  await inTurn(saves, AT_ONCE, save);
  while (received < saves) await new Promise((done) => setTimeout(done, 5));
  const seconds = (performance.now() - begun) / 1000;
  console.log(`${queries} queries, ${saves} saves: ${(saves / seconds).toFixed(1)} notifications/s`);
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
