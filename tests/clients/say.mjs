// Shared by all scripts here: packages from the folder of installed clients, and lines of JSON.
import { writeSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

export const installed = createRequire(join(process.env.CLIENTS, "package.json"));

export function say(saw, more = {}) {
  writeSync(1, `${JSON.stringify({ saw, ...more })}\n`);
}

// Prints a message of the service in the form that the tests read.
export function tell(message) {
  const { type, cursor, event, reason } = message;
  say(type, { cursor, n: event?.data?.n, reason });
}

// It ends with the process that started it.
process.stdin.on("close", () => process.exit()).resume();
