/**
 * Process of a node agent: `node main.ts '<JSON config>'`. One JSON line on stdout when ready or on a fatal start;
 * logs on stderr. SIGTERM drains with a deadline, a second one ends at once; with `lifeline` the end of stdin ends
 * it too.
 */
import { pino } from "pino";
import type { Logger } from "pino";
import type { ErrorCode, Runtime } from "@everycore/protocol";
import { errorCodes, EverycoreError } from "@everycore/protocol";
import { openTracing } from "@everycore/protocol/tracing";
import { Agent } from "./agent.ts";
import { parseConfig } from "./config.ts";
import { openHttp } from "./http.ts";
import { agentMetrics } from "./metrics.ts";
import { execInterpreter } from "./runtimes/exec.ts";
import { discover, startCommand } from "./runtimes/index.ts";
import type { FoundRuntime } from "./runtimes/index.ts";
import { SliceTracing } from "./tracing.ts";

const version = "0.1.0";

async function tracingOf(log: Logger): Promise<SliceTracing> {
  const onTrouble = (reason: string): void => log.warn({ reason }, "traces");
  return new SliceTracing(await openTracing({ service: "everycore-agent", version, onTrouble }));
}

function sayExecHost(log: Logger, runtimes: readonly FoundRuntime[]): void {
  const python = execInterpreter(runtimes);
  const execHost = python === undefined ? `node ${process.versions.node}` : `python ${python.version}`;
  log.info({ execHost }, "host of programs chosen");
}

async function main(): Promise<void> {
  const config = parseConfig(process.argv[2]);
  const log = pino(
    { level: config.logLevel, base: { role: "agent" } },
    pino.destination({ fd: 2, sync: true }),
  );
  const runtimes = await discover();
  sayExecHost(log, runtimes);
  const tracing = await tracingOf(log);
  const agent = new Agent({
    config,
    log,
    version,
    tracing,
    runtimes,
    command: (name, slotDir) => {
      const version = /^python(.+)$/.exec(name)?.[1];
      const runtime = version === undefined ? (name as Runtime) : "python"; // one of runtimeNames
      return startCommand(runtime, {
        slotDir,
        interpreters: runtimes,
        ...(version === undefined ? {} : { python: version }),
      });
    },
  });
  const http = await openHttp(config.httpListen, {
    ready: () => agent.isReady,
    metrics: agentMetrics(agent, tracing),
  });
  let ending = false;
  const end = async (code: number): Promise<void> => {
    if (ending) return;
    ending = true;
    await agent.stop();
    await tracing.close();
    await http.close();
    process.exit(code);
  };
  let signals = 0;
  const terminate = (): void => {
    signals += 1;
    if (signals > 1) return void end(0);
    log.info({ node: agent.node }, "draining");
    agent.drain(config.drainMs);
  };
  process.on("SIGTERM", terminate);
  process.on("SIGINT", terminate);
  if (config.lifeline) {
    process.stdin.on("end", () => void end(0)).on("error", () => void end(0));
    process.stdin.resume();
  }
  await agent.start();
  const refused = agent.ended.then(
    () => undefined,
    (error: unknown) => error,
  );
  const first = await Promise.race([agent.welcomed.then(() => "welcomed" as const), refused]);
  if (first !== "welcomed" && first !== undefined) {
    await agent.stop();
    throw first;
  }
  process.stdout.write(
    `${JSON.stringify({ ready: true, node: agent.node, slots: agent.slots, http: http.address })}\n`,
  );
  await refused;
  await end(0);
}

main().catch((error: unknown) => {
  const known =
    error instanceof EverycoreError
      ? error
      : new EverycoreError(
          "internal",
          error instanceof Error ? (error.stack ?? error.message) : String(error),
        );
  const code: ErrorCode = known.code;
  process.stdout.write(
    `${JSON.stringify({ ready: false, code, message: known.message, hint: known.hint })}\n`,
    () => process.exit(errorCodes[code].exit),
  );
});
