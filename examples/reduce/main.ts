// Map and reduce: the commonest words of some texts. The counts are merged in the workers, in a fixed tree; only the
// last result travels to this program.
//
//   node examples/reduce/main.ts

import { connect, taskModule } from "@everycore/client";
import type * as tasks from "./task.ts";

const task = taskModule<typeof tasks>(new URL("./task.ts", import.meta.url));

const texts = [
  "to be or not to be that is the question",
  "whether tis nobler in the mind to suffer",
  "the slings and arrows of outrageous fortune",
  "or to take arms against a sea of troubles",
  "and by opposing end them to die to sleep",
];

await using cluster = await connect();
const counts = await cluster.map(task, "countWords", texts).reduce("merge");
const commonest = Object.entries(counts).toSorted(([a, m], [b, n]) => n - m || a.localeCompare(b));
for (const [word, count] of commonest.slice(0, 3)) console.log(`${count} ${word}`);
