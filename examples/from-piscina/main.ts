// Coming from piscina or worker_threads. There:
//
//   const pool = new Piscina({ filename: new URL("./task.js", import.meta.url).href });
//   const sums = await Promise.all(blocks.map((block) => pool.run(block, { name: "checksum" })));
//   await pool.destroy();
//
// Here the calls of one kind are one map: it knows all items, so that it can pack small ones, keep the order, hold back
// an endless input, run again what a dead worker had, and use the cores of other machines. Bytes travel as bytes.
//
//   node examples/from-piscina/main.ts

import { connect, taskModule } from "@everycore/client";
import type * as tasks from "./task.ts";

const task = taskModule<typeof tasks>(new URL("./task.ts", import.meta.url));
const blocks = Array.from({ length: 8 }, (_, seed) =>
  Uint8Array.from({ length: 65_536 }, (_byte, at) => (at * (seed + 1)) % 251),
);

await using cluster = await connect(); // new Piscina()
const sums = await cluster.map(task, "checksum", blocks).all(); // Promise.all(... pool.run())
console.log(sums.map((sum) => sum.toString(16)).join(" "));

const [inverted] = await cluster.map(task, "invert", blocks.slice(0, 1)).all();
console.log(`${inverted?.length} bytes came back, the first is ${inverted?.[0]}`);
// pool.destroy() is the end of the block: `await using` closes the cluster.
