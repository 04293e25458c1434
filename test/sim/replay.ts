// One seed again: `node test/sim/replay.ts SEED [SEED ...]`, or a span of them: `node test/sim/replay.ts 1-500`.
// `--first` ends at the first seed that fails.
import { World } from "./world.ts";

const words = process.argv.slice(2);
const isFirst = words.includes("--first");
const seeds: number[] = [];
for (const word of words.filter((other) => other !== "--first")) {
  const [, from, to] = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(word) ?? [];
  if (from === undefined || Number(to ?? from) < Number(from)) {
    process.stderr.write(`not a seed: ${word}; say a number such as 17, or a span such as 1-500\n`);
    process.exit(2);
  }
  for (let seed = Number(from); seed <= Number(to ?? from); seed += 1) seeds.push(seed);
}
if (seeds.length === 0) {
  process.stderr.write("no seed: say a number such as 17, or a span such as 1-500\n");
  process.exit(2);
}

let steps = 0;
let failed = 0;
let played = 0;
const began = performance.now();
for (const seed of seeds) {
  const world = new World(seed);
  played += 1;
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
    if (isFirst) break;
  }
}
const seconds = (performance.now() - began) / 1_000;
process.stdout.write(
  `${played} seeds, ${failed} failed, ${steps} steps in ${seconds.toFixed(1)} s: ${Math.round(steps / seconds)} steps/s\n`,
);
process.exitCode = failed > 0 ? 1 : 0;
