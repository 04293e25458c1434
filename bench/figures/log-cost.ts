/**
 * What the log costs at items of 10 ms: the same stretch of a job's items with their commits in the log, and with
 * commits that the agent swallows (unlogged-agent.ts), one after the other in each turn, each first in turn. Nobody
 * reads results, so what is compared is the agent's publishing, NATS, and the leader's fold.
 */
import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { newRequestId } from "@everycore/client/internal";
import type { Bundle } from "@everycore/client/internal";
import { coresHere } from "../../packages/cli/src/local/cores.ts";
import { startTemporaryCluster } from "../../scripts/temporary-cluster.ts";
import type { TemporaryCluster } from "../../scripts/temporary-cluster.ts";
import { roundsPerMs } from "../calibrate.ts";
import { freshBundle, specOf } from "../cold-job.ts";
import { atLeast, percentText } from "../figure.ts";
import type { Figure } from "../figure.ts";
import { sumOf, takeSnapshot, usageBetween } from "../process-tree.ts";
import type { Stretch, StretchEvent } from "../unlogged-agent.ts";

const itemMs = 10;
/**
 * Measured between these. The leader leases no more than 10 s of work to a slot that it does not see ending: a machine
 * on which an item takes more than 35 ms does not come so far.
 */
const stretch = { from: 100, to: 600 };
const reachedWithinMs = 60_000;
/** Enough for the leader to lease all of the stretch at once: the last half of a job it deals out in smaller parts. */
const items = 4_000;
const linkedWithinMs = 30_000;
const program = fileURLToPath(new URL("../unlogged-agent.ts", import.meta.url));

const text = (seconds: number): string => `${(1_000 * seconds).toFixed(2)} ms`;

interface Measured {
  /** For each item. */
  readonly seconds: number;
  readonly cpuSeconds: number;
}

export const logCost: Figure = {
  name: "log-cost",
  run: async ({ repeat, say, signal }) => {
    const rounds = Math.round(itemMs * roundsPerMs());
    await using local = await startTemporaryCluster({ agents: 0, say, signal });
    await using agent = await startUnloggedAgent(local, signal);
    const bundle = await freshBundle();
    await local.cluster.putBundle(bundle);
    const pairs: { logged: Measured; unlogged: Measured }[] = [];
    for (let turn = 0; turn < repeat; turn += 1) {
      signal.throwIfAborted();
      const run = (isLogged: boolean): Promise<Measured> =>
        measureOne(local, agent.child, { bundle, rounds, isLogged });
      const early = turn % 2 === 0 ? await run(true) : undefined;
      const unlogged = await run(false);
      const logged = early ?? (await run(true));
      pairs.push({ logged, unlogged });
      say(
        `  ${turn + 1}/${repeat}: per item ${text(logged.seconds)} with the log, ${text(unlogged.seconds)} without; ` +
          `CPU ${text(logged.cpuSeconds)}, ${text(unlogged.cpuSeconds)}`,
      );
    }
    const what = `${stretch.to - stretch.from} items of ${itemMs} ms without the log, against with it`;
    const shares = (of: keyof Measured) => pairs.map(({ logged, unlogged }) => unlogged[of] / logged[of]);
    const cpu = atLeast({
      what: `${what}: CPU`,
      target: 0.9,
      values: shares("cpuSeconds"),
      text: percentText,
    });
    return {
      rows: [
        atLeast({ what: `${what}: wall`, target: 0.9, values: shares("seconds"), text: percentText }),
        { ...cpu, target: "", ratio: Number.NaN },
      ],
      details: pairs,
    };
  },
};

async function measureOne(
  { cluster }: TemporaryCluster,
  agent: ChildProcess,
  { bundle, rounds, isLogged }: { bundle: Bundle; rounds: number; isLogged: boolean },
): Promise<Measured> {
  agent.send({ ...stretch, isLogged } satisfies Stretch);
  const begun = reached(agent, "from");
  const submission = cluster.submit({
    requestId: newRequestId(),
    spec: specOf(bundle, "spin", "json"),
    items: sameItems(rounds),
  });
  const job = await submission.accepted;
  const from = await begun;
  const before = takeSnapshot();
  const to = await reached(agent, "to");
  const cpuSeconds = sumOf(usageBetween(before, takeSnapshot()));
  await submission.closed;
  await cluster.cancelJob(job, "enough was measured");
  await cluster.waitJob(job);
  await cluster.deleteJob(job);
  const count = to.items - from.items;
  return { seconds: (to.at - from.at) / 1_000 / count, cpuSeconds: cpuSeconds / count };
}

async function reached(agent: ChildProcess, what: StretchEvent["reached"]): Promise<StretchEvent> {
  const signal = AbortSignal.timeout(reachedWithinMs);
  for (;;) {
    const [event] = (await once(agent, "message", { signal }).catch((error: unknown) => {
      if (!signal.aborted) throw error;
      throw new Error("the agent did not get so far: this machine is too busy for the figure");
    })) as [StretchEvent];
    if (event.reached === what) return event;
  }
}

async function* sameItems(rounds: number): AsyncGenerator<Uint8Array[]> {
  const item = Buffer.from(JSON.stringify(rounds));
  yield Array.from({ length: items }, () => item);
}

/** As parts.ts starts one; the channel besides tells it what to swallow. */
async function startUnloggedAgent(
  local: TemporaryCluster,
  signal: AbortSignal,
): Promise<{ child: ChildProcess } & AsyncDisposable> {
  const config = {
    join: [local.address],
    secret: local.secret,
    dataDir: join(local.dir, "unlogged-agent"),
    slots: coresHere().cores,
    httpListen: "127.0.0.1:0",
    logLevel: process.env["EVERYCORE_LOG_LEVEL"] ?? "warn",
    lifeline: true,
    insecureNetwork: false,
  };
  const child = fork(program, {
    stdio: ["pipe", "ignore", "inherit", "ipc"],
    env: { ...process.env, EVERYCORE_ROLE_CONFIG: JSON.stringify(config) },
    serialization: "advanced",
  });
  const close = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.stdin!.end();
    await gone;
  };
  const deadline = performance.now() + linkedWithinMs;
  for (;;) {
    const { nodes } = await local.cluster.status({ signal });
    if (nodes.some(({ state }) => state === "connected")) break;
    if (performance.now() < deadline && child.exitCode === null) await delay(100, undefined, { signal });
    else {
      await close();
      throw new Error("the agent of the figure did not link");
    }
  }
  return { child, [Symbol.asyncDispose]: close };
}
