/** Files that outlive a process. */
import type { Mutation } from "./mutation.ts";

export const ofFiles: readonly Mutation[] = [
  {
    name: "a restarted agent does not strike what its files show as running",
    rule: "8 restart",
    edits: [
      {
        file: "packages/node-agent/src/recovery.ts",
        find: "        strikes.push({ record: strikeOf(last.head, cursor), head: last.head });\n",
        replace: "",
      },
    ],
    test: "packages/node-agent/test/recovery.test.ts",
  },
  {
    name: "a worker does not look at its limit",
    rule: "8 worker (1)",
    edits: [
      {
        file: "packages/node-agent/src/runtimes/host/loop.ts",
        find: "while (at < frame.end && at < slot.limit()) {\n      let result: unknown;",
        replace: "while (at < frame.end) {\n      let result: unknown;",
      },
    ],
    test: "packages/node-agent/test/runtimes/hosts.test.ts",
  },
];
