/**
 * The coordinator as a process: configuration in argv, one JSON line on stdout when ready or when it cannot
 * start, logs as JSON lines on stderr, an orderly end on SIGTERM or when its parent is gone.
 */
import { setFlagsFromString } from "node:v8";
import { EverycoreError } from "@everycore/protocol";
import { destination, pino } from "pino";
import { parseConfig } from "./config.ts";
import { startCoordinator } from "./coordinator.ts";

/** An end that takes longer is cut: everything that must last is in NATS. */
const stopMs = 5_000;

const say = (line: object): boolean => process.stdout.write(`${JSON.stringify(line)}\n`);

/**
 * V8 lets a small heap, and the buffers counted with it, grow to several times of what is alive before it collects: of
 * the bodies that pass through here most of a coordinator's memory was waste. For 4 % of its CPU it needs a quarter less.
 */
function collectEarly(): void {
  if (!process.versions.v8.startsWith("13.")) return; // tried with that of Node 24; others might complain
  setFlagsFromString("--heap-growing-percent=40");
}

async function main(): Promise<void> {
  collectEarly();
  const config = parseConfig(process.argv[2]);
  const log = pino(
    { level: config.logLevel, base: { role: "coordinator" } },
    destination({ fd: 2, sync: true }),
  );
  const ended = Promise.withResolvers<string>();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => ended.resolve(signal));
  if (config.lifeline) {
    process.stdin.on("end", () => ended.resolve("parent gone"));
    process.stdin.on("error", () => ended.resolve("parent gone"));
    process.stdin.resume();
  }
  const coordinator = await startCoordinator(config, log);
  say({ ready: true, address: coordinator.address, http: coordinator.http });
  const reason = await ended.promise;
  log.info({ reason }, "coordinator ends");
  setTimeout(() => process.exit(0), stopMs).unref();
  await coordinator[Symbol.asyncDispose]();
  process.exit(0);
}

try {
  await main();
} catch (thrown) {
  const error =
    thrown instanceof EverycoreError
      ? thrown
      : new EverycoreError("internal", thrown instanceof Error ? thrown.message : String(thrown));
  say({ ready: false, code: error.code, message: error.message, hint: error.hint });
  process.exit(error.exitCode);
}
