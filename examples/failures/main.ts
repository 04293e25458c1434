// Failures are told one by one, by what happened: an exception after its retries, an item that takes too long, a worker
// that dies. The other items have their values, and so has the job when the failed ones are run again.
//
//   node examples/failures/main.ts

import { type AnyItemError, connect, taskModule } from "@everycore/client";
import type * as tasks from "./task.ts";

const task = taskModule<typeof tasks>(new URL("./task.ts", import.meta.url));

function describe(error: AnyItemError): string {
  switch (error.kind) {
    case "timeout":
      return "took too long";
    case "crash":
      return `killed its worker (${error.signal})`;
    default:
      return `${(error.cause as Error).message}, ${error.attempts} attempts`;
  }
}

await using cluster = await connect();
const orders = ["pay", "decline", "hang", "crash", "ship"];
const results = cluster.map(task, "handle", orders, { retries: 2, itemTimeoutMs: 500 });
for await (const outcome of results.outcomes()) {
  const order = orders[outcome.index];
  console.log(`${order}: ${outcome.ok ? outcome.value : describe(outcome.error)}`);
}

const { counts } = await cluster.job(await results.job).info();
console.log(`${counts?.value} of ${orders.length} went well`);
