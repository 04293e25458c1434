// CPU work on all cores: how many primes are there below two million? One item is a block of a hundred thousand numbers.
//
//   node examples/pool/main.ts

import { connect, range, taskModule } from "@everycore/client";
import type * as tasks from "./task.ts";

const task = taskModule<typeof tasks>(new URL("./task.ts", import.meta.url));

await using cluster = await connect();
let primes = 0;
for await (const count of cluster.map(task, "primesInBlock", range(20))) primes += count;
console.log(`${primes} primes below 2,000,000`);
