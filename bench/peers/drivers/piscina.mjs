// piscina, as its documentation shows it: `node piscina.mjs WORKLOAD.json`. Says the same lines as pools.py.

import { readFileSync } from "node:fs";

// By a variable: it is installed by the bench, and the checks of everycore's own code must not need it.
const packageName = "piscina";
const { Piscina } = await import(packageName);

const { task, items, count, slots } = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8"));
const list = items ?? Array.from({ length: count }, (_, index) => index);
const pool = new Piscina({
  filename: new URL("piscina-tasks.mjs", import.meta.url).href,
  minThreads: slots,
  maxThreads: slots,
});
let isFirst = true;
const run = async (/** @type {number} */ item) => {
  await pool.run(item, { name: task });
  if (isFirst) process.stdout.write("first\n");
  isFirst = false;
};
await Promise.all(list.map(run));
process.stdout.write("cold\n");
const startedAt = performance.now();
await Promise.all(list.map(run));
process.stdout.write(`warm ${(performance.now() - startedAt) / 1000}\n`);
await pool.destroy();
