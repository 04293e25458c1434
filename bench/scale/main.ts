/**
 * `npm run bench:scale [-- --agents 10,30,100 --rates 1,10 --jobs N --seconds N --warm-up N --profile DIR]`: how one
 * coordinator and one nats-server grow with the number of agents. Prints a table; all numbers go to a file in
 * bench/results/.
 */
import { parseArgs } from "node:util";
import { table } from "../../packages/cli/src/terminal/table.ts";
import { writeResults } from "../results.ts";
import { measureLevel } from "./level.ts";
import type { Level } from "./level.ts";
import { header, rowOf } from "./rows.ts";

process.exitCode = await main();

async function main(): Promise<number> {
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const { values } = parseArgs({
    options: {
      agents: { type: "string", default: "10,30,100,300,1000" },
      rates: { type: "string", default: "1,10" },
      jobs: { type: "string", default: "1" },
      seconds: { type: "string", default: "20" },
      "warm-up": { type: "string", default: "40" },
      profile: { type: "string" },
    },
  });
  const interrupted = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const)
    process.once(name, () => interrupted.abort(new Error("interrupted")));
  const { signal } = interrupted;
  const levels: Level[] = [];
  const startedAt = new Date();
  for (const rate of numbers(values.rates)) {
    for (const agents of numbers(values.agents)) {
      const how = {
        agents,
        rate,
        jobs: Number(values.jobs),
        seconds: Number(values.seconds),
        warmUpSeconds: Number(values["warm-up"]),
        profileDir: values.profile,
        signal,
      };
      try {
        const level = await measureLevel(how);
        levels.push(level);
        say(rowOf(level).join("  "));
      } catch (error) {
        if (signal.aborted) return 130;
        say(`${agents} agents, ${rate} items/s each: not carried: ${(error as Error).message}`);
      }
    }
  }
  process.stdout.write(`\n${table(header, levels.map(rowOf))}\n`);
  say(`all numbers: ${await writeResults("scale", startedAt, { levels })}`);
  return 0;
}

function numbers(text: string): number[] {
  return text.split(",").map(Number);
}
