// How fast koncorde matches the exported inputs. See README.md.
'use strict';

const fs = require('fs');
const path = require('path');
const Module = require('module');

// Two native modules, for regular expressions and for geography, are not needed for these filters.
const unused = new Map([['re2', RegExp], ['boost-geospatial-index', class {}]]);
const load = Module._load;
Module._load = (name, ...rest) => unused.get(name) ?? load(name, ...rest);

const { Koncorde } = require('koncorde');

const [directory, most = '100000'] = process.argv.slice(2);

const lines = (name) =>
  fs.readFileSync(path.join(directory, name), 'utf8').trim().split('\n').map((line) => JSON.parse(line));

function translated(filter) {
  if (filter.$or) return { or: filter.$or.map(translated) };
  return {
    and: Object.entries(filter).map(([field, value]) =>
      value !== null && typeof value === 'object'
        ? { range: { [field]: { gte: value.$gte } } }
        : { equals: { [field]: value } }),
  };
}

const filters = lines('filters.jsonl').slice(0, Number(most));
const events = lines('events.jsonl');
const engine = new Koncorde();
const holders = new Map();
let began = process.cpuUsage();
for (const filter of filters) {
  const id = engine.register(translated(filter));
  holders.set(id, (holders.get(id) ?? 0) + 1);
}
const seconds = (usage) => (usage.user + usage.system) / 1e6;
console.log(`registered ${filters.length} in ${seconds(process.cpuUsage(began)).toFixed(1)} s`);

let done = 0;
let matches = 0;
began = process.cpuUsage();
for (const event of events) {
  const found = engine.test(event);
  if (done < 1000) for (const id of found) matches += holders.get(id);
  done += 1;
  if (done >= 1000 && seconds(process.cpuUsage(began)) > 10) break;
}
const rate = done / seconds(process.cpuUsage(began));
console.log(`koncorde: ${rate.toFixed(1)} events/s, ${matches} matches in the first thousand`);
