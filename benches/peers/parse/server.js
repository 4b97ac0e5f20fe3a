// Parse Server with LiveQuery, for benches/peers/parse/load.js: node server.js MONGODB_URI PORT
process.env.PARSE_SERVER_LOGS_FOLDER = "null"; // read when the module is loaded
const { ParseServer } = require("parse-server");
const express = require("express");

const [uri, port] = process.argv.slice(2);

async function main() {
  const server = new ParseServer({
    databaseURI: uri,
    appId: "bench",
    masterKey: "bench",
    serverURL: `http://127.0.0.1:${port}/parse`,
    liveQuery: { classNames: ["Tick"] },
    allowClientClassCreation: true,
    allowCustomObjectId: false,
    silent: true,
    logLevel: "error",
  });
  await server.start();
  const app = express();
  app.use("/parse", server.app);
  const http = app.listen(Number(port), "127.0.0.1", () => console.log("ready"));
  await ParseServer.createLiveQueryServer(http);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
