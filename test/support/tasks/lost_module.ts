// A host that loses what the task needs: workers of the second agent load it until one of them has died there, of its twentieth item.

import { existsSync, writeFileSync } from "node:fs";
import { type RecordedItem, run as record } from "./recorded.ts";

/** Below the cluster's folder, where the second agent works. */
const [folder, inSecond] = process.cwd().split("/agent-2/");
const isSecond = inSecond !== undefined;
const lost = `${folder}/lost-module`;

if (isSecond && existsSync(lost)) throw new Error("this host has lost a module");

let ran = 0;

export function run(item: RecordedItem): number {
  const value = record(item);
  ran += 1;
  if (!isSecond || ran < 20) return value;
  writeFileSync(lost, "");
  process.kill(process.pid, "SIGSEGV");
  for (;;);
}
