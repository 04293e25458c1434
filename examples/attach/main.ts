// A job that outlives its program. It is submitted here, and read by another program, now or tomorrow, from any index:
//
//   everycore up &
//   node examples/attach/main.ts              prints the job's id
//   node examples/attach/read.ts ID 6         its results from index 6, waiting for those that are not there yet

import { connect, range, taskModule } from "@everycore/client";
import type * as tasks from "./task.ts";

const task = taskModule<typeof tasks>(new URL("./task.ts", import.meta.url));

await using cluster = await connect();
if (cluster.isEmbedded) throw new Error("this example needs a cluster that stays: everycore up");
const job = await cluster.submit(task, "cube", range(10), { name: "cubes", ttlMs: 3_600_000 });
console.log(job.id);
