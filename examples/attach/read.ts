// Reads the results of a job by its id, from an index on. See main.ts.

import { connect } from "@everycore/client";

const [id = "", from = "0"] = process.argv.slice(2);

await using cluster = await connect();
const job = cluster.job<number>(id);
for await (const outcome of job.results({ from: Number(from) })) {
  if (outcome.ok) console.log(`${outcome.index}: ${outcome.value}`);
}
const { state, name } = await job.info();
console.log(`${name} is ${state}`);
