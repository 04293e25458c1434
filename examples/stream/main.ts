// Streaming: the lines of a file of any size are hashed as they are read, and written as they come, in order. The file
// is read no further than `ahead` lines before what was written: memory stays small, whatever the file.
//
//   node examples/stream/main.ts FILE

import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { connect, taskModule } from "@everycore/client";
import type * as tasks from "./task.ts";

const task = taskModule<typeof tasks>(new URL("./task.ts", import.meta.url));
const file = process.argv[2] ?? import.meta.filename;

await using cluster = await connect();
const lines = createInterface({ input: createReadStream(file), crlfDelay: Infinity });
for await (const { digest, length } of cluster.map(task, "digestOf", lines, { ahead: 1_000 })) {
  process.stdout.write(`${digest} ${length}\n`);
}
