// One seed again: `node test/sim/replay.ts SEED [SEED ...]`, or a span of them: `node test/sim/replay.ts 1-500`.
import { World } from "./world.ts";

const seeds = process.argv.slice(2).flatMap((word) => {
  const [from, to] = word.split("-").map(Number);
  if (from === undefined || !Number.isSafeInteger(from)) throw new Error(`not a seed: ${word}`);
  return Array.from({ length: (to ?? from) - from + 1 }, (_, at) => from + at);
});

let steps = 0;
let failed = 0;
const began = performance.now();
for (const seed of seeds) {
  const world = new World(seed);
  try {
    const report = world.run();
    steps += report.steps;
    if (seeds.length < 20) process.stdout.write(`${JSON.stringify(report)}\n`);
  } catch (error) {
    failed += 1;
    const at = (world.time.now / 1_000).toFixed(3);
    process.stdout.write(
      `seed ${seed} at ${at} s: ${error instanceof Error ? error.message : String(error)}\n`,
    );
    if (seeds.length === 1) process.stdout.write(`${error instanceof Error ? (error.stack ?? "") : ""}\n`);
  }
}
const seconds = (performance.now() - began) / 1_000;
process.stdout.write(
  `${seeds.length} seeds, ${failed} failed, ${steps} steps in ${seconds.toFixed(1)} s: ${Math.round(steps / seconds)} steps/s\n`,
);
process.exitCode = failed > 0 ? 1 : 0;
