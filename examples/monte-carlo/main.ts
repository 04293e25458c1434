// Random numbers that can be repeated: pi by throwing darts. Each item draws from its own stream, made of the job's seed
// and its index, so that the same seed gives the same digits on one core or on four hundred.
//
//   node examples/monte-carlo/main.ts [SEED]

import { connect, range, taskModule } from "@everycore/client";
import type * as tasks from "./task.ts";

const task = taskModule<typeof tasks>(new URL("./task.ts", import.meta.url));
const seed = Number(process.argv[2] ?? 42);
const rounds = 100;

await using cluster = await connect();
const hits = await cluster.map(task, "throwDarts", range(rounds), { seed }).reduce("add");
console.log(`seed ${seed}: pi is about ${(4 * hits) / (rounds * 10_000)}`);
