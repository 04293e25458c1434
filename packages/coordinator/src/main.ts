/**
 * The coordinator as a process: configuration in argv, one JSON line on stdout when ready or when it cannot
 * start, logs as JSON lines on stderr, an orderly end on SIGTERM or when its parent is gone.
 */
import { EverycoreError } from "@everycore/protocol";
import { destination, pino } from "pino";
import { parseConfig } from "./config.ts";
import { startCoordinator } from "./coordinator.ts";

/** An end that takes longer is cut: everything that must last is in NATS. */
const stopMs = 5_000;

const say = (line: object): boolean => process.stdout.write(`${JSON.stringify(line)}\n`);

async function main(): Promise<void> {
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
