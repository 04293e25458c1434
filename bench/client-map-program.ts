/** What bench/figures/client-map.ts times: `everycore map`, as a program of the TypeScript client would do it. */
import { connect, range, taskModule } from "@everycore/client";
import type * as tasks from "./tasks.ts";

const count = Number(process.argv[2]);
const task = taskModule<typeof tasks>(new URL("./tasks.ts", import.meta.url));

await using cluster = await connect();
let values = 0;
for await (const _ of cluster.map(task, "nothing", range(count))) values += 1;
if (values !== count) throw new Error(`${values} of ${count} values came`);
