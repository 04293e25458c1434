/**
 * `npm run bench [-- NAME ...] [--repeat N]`: measures the figures and prints them as a table; all numbers go to a
 * file in bench/results/. Always exits 0 when it could measure: whether a figure is good is for a reader to judge.
 */
import { parseArgs } from "node:util";
import { countBuffersAsHeap } from "../packages/cli/src/external-memory.ts";
import { table } from "../packages/cli/src/terminal/table.ts";
import type { Figure, FigureResult, Row } from "./figure.ts";
import { bundleToNodes } from "./figures/bundle-to-nodes.ts";
import { cancel } from "./figures/cancel.ts";
import { clientMap } from "./figures/client-map.ts";
import { bigItems } from "./figures/big-items.ts";
import { coordinatorMemory } from "./figures/coordinator-memory.ts";
import { failover } from "./figures/failover.ts";
import { failoverHalf } from "./figures/failover-half.ts";
import { firstResult } from "./figures/first-result.ts";
import { idle } from "./figures/idle.ts";
import { logCost } from "./figures/log-cost.ts";
import { logNormal } from "./figures/log-normal.ts";
import { noOp } from "./figures/no-op.ts";
import { oneMs } from "./figures/one-ms.ts";
import { outage } from "./figures/outage.ts";
import { programs } from "./figures/programs.ts";
import { singleItem } from "./figures/single-item.ts";
import { strongScaling } from "./figures/strong-scaling.ts";
import { takeoverLog } from "./figures/takeover-log.ts";
import { tenMs } from "./figures/ten-ms.ts";
import { verdict } from "./figures/verdict.ts";
import { writeResults } from "./results.ts";

const figures: readonly Figure[] = [
  oneMs,
  tenMs,
  logNormal,
  logCost,
  noOp,
  firstResult,
  coordinatorMemory,
  programs,
  singleItem,
  cancel,
  verdict,
  bigItems,
  clientMap,
  bundleToNodes,
  strongScaling,
  failover,
  takeoverLog,
  failoverHalf,
  outage,
  idle,
];

countBuffersAsHeap(); // the client in here as in the command
process.exitCode = await main();

async function main(): Promise<number> {
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const options = readOptions();
  if (typeof options === "string") {
    say(options);
    return 2;
  }
  const interrupted = new AbortController();
  process.once("SIGINT", () => interrupted.abort(new Error("interrupted")));
  process.once("SIGTERM", () => interrupted.abort(new Error("interrupted")));
  const { signal } = interrupted;
  const { chosen, repeat } = options;
  const startedAt = new Date();
  const results: Record<string, FigureResult | { error: string }> = {};
  const rows: Row[] = [];
  for (const figure of chosen) {
    say(`${figure.name}:`);
    try {
      const result = await figure.run({ repeat, signal, say });
      results[figure.name] = result;
      rows.push(...result.rows);
    } catch (error) {
      if (signal.aborted) return 130;
      const { message } = error as Error;
      results[figure.name] = { error: message };
      rows.push({ what: figure.name, target: "", measured: message, ratio: Number.NaN, spread: "" });
    }
  }
  process.stdout.write(`\n${tableText(rows)}\n`);
  say(`all numbers: ${await writeResults("figures", startedAt, { repeat, results })}`);
  return 0;
}

function readOptions(): { chosen: readonly Figure[]; repeat: number } | string {
  const names = figures.map(({ name }) => name);
  try {
    const { values, positionals } = parseArgs({
      options: { repeat: { type: "string", default: "9" } },
      allowPositionals: true,
    });
    const repeat = Number(values.repeat);
    if (!Number.isInteger(repeat) || repeat < 1) return `bench: --repeat is "${values.repeat}", not a count`;
    const unknown = positionals.find((name) => !names.includes(name));
    if (unknown !== undefined) return `bench: there is no figure ${unknown}; there are ${names.join(", ")}`;
    const chosen =
      positionals.length === 0 ? figures : figures.filter(({ name }) => positionals.includes(name));
    return { chosen, repeat };
  } catch (error) {
    return `bench: ${(error as Error).message}`;
  }
}

function tableText(rows: readonly Row[]): string {
  const cells = rows.map(({ what, target, measured, ratio, spread }) => [
    what,
    target,
    measured,
    Number.isNaN(ratio) ? "" : ratio.toFixed(2),
    spread,
  ]);
  return table(["figure", "target", "measured", "ratio", "spread"], cells);
}
