/**
 * 100,000 items that do nothing through `cluster.map`, against the same through `everycore map`: each a process from
 * its start to its end, on the same cluster, in turns, so that a busy machine slows both. Both find their code compiled:
 * the command keeps it by itself, a program is told to by Node's own variable.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startTemporaryCluster } from "../../scripts/temporary-cluster.ts";
import { atMost } from "../figure.ts";
import type { Figure } from "../figure.ts";
import { median } from "../statistics.ts";

const items = 100_000;
const pathOf = (file: string): string => fileURLToPath(new URL(file, import.meta.url));
const commandArgs = [
  pathOf("../../packages/cli/bin/everycore.js"),
  "map",
  `${pathOf("../tasks.ts")}:nothing`,
  "--range",
  `0-${items - 1}`,
];
const programArgs = [pathOf("../client-map-program.ts"), String(items)];

async function secondsOf(args: readonly string[], environment: NodeJS.ProcessEnv): Promise<number> {
  const startedAt = performance.now();
  const child = spawn(process.execPath, args, { env: environment, stdio: ["ignore", "ignore", "inherit"] });
  await once(child, "close");
  if (child.exitCode !== 0) throw new Error(`${args[0]} ended with ${child.exitCode}`);
  return (performance.now() - startedAt) / 1000;
}

export const clientMap: Figure = {
  name: "client-map",
  run: async ({ repeat, say, signal }) => {
    await using local = await startTemporaryCluster({ agents: 1, say, signal });
    const environment = {
      ...process.env,
      EVERYCORE_ADDRESS: local.address,
      EVERYCORE_SECRET: local.secret,
      NODE_COMPILE_CACHE: join(local.dir, "compiled"),
    };
    // Once each, so that the first turn is like the others.
    for (const args of [commandArgs, programArgs]) await secondsOf(args, environment);
    const runs: { command: number; program: number }[] = [];
    for (let turn = 0; turn < repeat; turn += 1) {
      signal.throwIfAborted();
      const command = await secondsOf(commandArgs, environment);
      const program = await secondsOf(programArgs, environment);
      runs.push({ command, program });
      say(
        `  ${turn + 1}/${repeat}: everycore map ${command.toFixed(2)} s, cluster.map ${program.toFixed(2)} s`,
      );
    }
    const what = `cluster.map over ${items.toLocaleString("en")} no-op items, time against everycore map`;
    const text = (ratio: number): string => `${ratio.toFixed(2)} x`;
    const values = runs.map(({ command, program }) => program / command);
    return {
      rows: [atMost({ what, target: 1.3, values, text })],
      details: { runs, medianCommand: median(runs.map((run) => run.command)) },
    };
  },
};
