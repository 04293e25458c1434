// Leaving early: a search that ends with its first find, and one that ends by a signal (a time limit or Ctrl-C). Either
// way the job is cancelled, its input is ended, and the cores are free within a second.
//
//   node examples/cancel/main.ts

import { connect, range, taskModule } from "@everycore/client";
import type * as tasks from "./task.ts";

const task = taskModule<typeof tasks>(new URL("./task.ts", import.meta.url));
const interrupted = new AbortController();
process.once("SIGINT", () => interrupted.abort(new Error("interrupted")));

await using cluster = await connect();

/** Numbers without an end; `break` below ends it. */
function* numbers(): Generator<number> {
  try {
    for (let n = 1; ; n += 1) yield n;
  } finally {
    console.log("the input was ended");
  }
}

for await (const found of cluster.map(task, "perfect", numbers(), { signal: interrupted.signal })) {
  if (found === undefined || found === null || found <= 100) continue;
  console.log(`the first perfect number above 100 is ${found}`);
  break;
}

const limit = AbortSignal.any([interrupted.signal, AbortSignal.timeout(2_000)]);
try {
  await cluster.map(task, "forEver", range(1_000), { signal: limit }).all();
} catch (error) {
  console.log(`stopped: ${(error as Error).name}`);
}
