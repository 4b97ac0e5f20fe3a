// A page in Chromium: `browser.mjs (EventSource | EventSourcePolyfill | WebSocket) PORT URL`; the port serves the page.
// With TOKEN in the environment, the page asks for a ticket and opens the stream with that.
import { createServer } from "node:http";
import { installed, say, tell } from "./say.mjs";

const [, , kind, port, url] = process.argv;
const { chromium } = installed("playwright-core");

const page = createServer((_, answer) => {
  answer.setHeader("content-type", "text/html");
  answer.end("<!doctype html><title>a page</title>");
});
await new Promise((listening) => page.listen(Number(port), "127.0.0.1", listening));

const browser = await chromium.launchPersistentContext(process.env.PROFILE, {
  executablePath: process.env.CHROMIUM,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
const tab = await browser.newPage();
await tab.exposeFunction("say", say);
await tab.exposeFunction("tell", (text) => tell(JSON.parse(text)));
await tab.goto(`http://127.0.0.1:${port}/`);

// These run in the page.
const listen = (source) => {
  for (const type of ["connected", "event", "updated", "gap", "ended"]) {
    source.addEventListener(type, (message) => tell(message.data));
  }
  source.onerror = () => say(source.readyState === 2 ? "gave up" : "cut");
};
const connect = (url) => {
  let after = "";
  const open = () => {
    const socket = new WebSocket(url + after);
    socket.onmessage = ({ data }) => {
      after = `?after=${JSON.parse(data).cursor}`;
      tell(data);
    };
    socket.onclose = ({ code }) => {
      say("cut", { code });
      setTimeout(open, 200);
    };
  };
  open();
};

const withTicket = async ([url, token]) => {
  const asked = await fetch(new URL("/api/v1/tickets", url), {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ subscription: decodeURIComponent(url.split("/").at(-2)) }),
  });
  return new URL((await asked.json()).url, url).href;
};

const token = process.env.TOKEN;
const address = token ? await tab.evaluate(withTicket, [url, token]) : url;
if (kind === "WebSocket") {
  await tab.evaluate(`(${connect})(${JSON.stringify(address.replace(/^http/, "ws"))})`);
} else {
  if (kind === "EventSourcePolyfill") {
    await tab.addScriptTag({ path: installed.resolve("event-source-polyfill") });
  }
  await tab.evaluate(`(${listen})(new ${kind}(${JSON.stringify(address)}))`);
}
