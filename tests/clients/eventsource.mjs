// The package `eventsource` of npm: `eventsource.mjs URL`.
import { installed, say, tell } from "./say.mjs";

const { EventSource } = installed("eventsource");
const source = new EventSource(process.argv[2]);
for (const type of ["connected", "event", "updated", "gap", "ended"]) {
  source.addEventListener(type, (message) => tell(JSON.parse(message.data)));
}
source.onerror = () => say(source.readyState === EventSource.CLOSED ? "gave up" : "cut");
