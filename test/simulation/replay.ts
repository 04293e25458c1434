/** `node test/simulation/replay.ts SEED [COUNT]`: runs one seed, or COUNT from it on, and prints what came of each. */
import { simulate } from "./simulate.ts";

const first = Number(process.argv[2] ?? 1);
const count = Number(process.argv[3] ?? 1);
const began = performance.now();
let steps = 0;
let failed = 0;
for (let seed = first; seed < first + count; seed += 1) {
  try {
    const report = simulate(seed);
    steps += report.steps;
    if (count === 1) process.stdout.write(`${JSON.stringify(report)}\n`);
  } catch (error) {
    failed += 1;
    process.stdout.write(
      `${error instanceof Error ? (count === 1 ? error.stack : error.message) : String(error)}\n`,
    );
    if (count === 1 && error instanceof Error)
      process.stdout.write(`${String((error.cause as Error).stack)}\n`);
  }
}
const seconds = (performance.now() - began) / 1_000;
process.stdout.write(
  `${count} seeds, ${failed} failed, ${Math.round(steps / seconds)} core steps a second\n`,
);
process.exitCode = failed > 0 ? 1 : 0;
