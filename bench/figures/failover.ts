/**
 * kill -9 of the leader with two coordinators standing by: from the kill to the first result of a job that is submitted
 * in that moment to one of the two. The new leader's first lease lies just before it.
 */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Connection, newRequestId } from "@everycore/client/internal";
import type { Bundle } from "@everycore/client/internal";
import { startAgent, startCoordinator, startNats } from "../../packages/cli/src/local/parts.ts";
import { resolveNatsServer } from "../../packages/cli/src/nats-server/index.ts";
import { freshBundle, specOf } from "../cold-job.ts";
import { atMost, msText } from "../figure.ts";
import type { Figure } from "../figure.ts";
import { percentile } from "../statistics.ts";

const turns = 20;
const agents = 2;
const coordinators = 3;
const settledWithinMs = 30_000;

type Coordinator = Awaited<ReturnType<typeof startCoordinator>>;

export const failover: Figure = {
  name: "failover",
  run: async ({ say, signal }) => {
    const dir = await mkdtemp(join(tmpdir(), `everycore-failover-${process.pid}-`));
    const secret = randomBytes(32).toString("hex");
    await using parts = new AsyncDisposableStack();
    parts.defer(() => rm(dir, { recursive: true, force: true, maxRetries: 3 }));
    const { path } = await resolveNatsServer({ signal });
    const nats = await startNats({ path, dir: join(dir, "nats"), secret, listen: "127.0.0.1:0", signal });
    parts.defer(() => nats.child.stop());
    const role = (name: string) => ({
      name,
      secret,
      dataDir: join(dir, name),
      logFile: join(dir, `${name}.log`),
      logLevel: "warn",
      httpListen: "127.0.0.1:0",
      signal,
    });
    const natsUrl = `nats://127.0.0.1:${nats.ready.port}`;
    let started = 0;
    const startOne = async (): Promise<Coordinator> => {
      started += 1;
      const one = await startCoordinator({
        ...role(`coordinator-${started}`),
        listen: "127.0.0.1:0",
        natsUrl,
      });
      parts.defer(() => one.child.stop());
      return one;
    };
    let alive: Coordinator[] = [];
    for (let count = 0; count < coordinators; count += 1) alive.push(await startOne());
    for (let at = 0; at < agents; at += 1) {
      const join = [alive[0]!.ready.address];
      const agent = await startAgent({ ...role(`agent-${at}`), join, slots: 1 });
      parts.defer(() => agent.child.stop());
    }
    const values: number[] = [];
    const bundle = await freshBundle();
    for (let turn = 0; turn < turns; turn += 1) {
      signal.throwIfAborted();
      const leader = await settled(alive, secret, signal);
      alive = alive.filter((one) => one !== leader);
      await using client = new Connection({ address: alive[turn % 2]!.ready.address, secret });
      await client.putBundle(bundle);
      values.push(await measureOne(client, leader, bundle));
      say(`  ${turn + 1}/${turns}: ${msText(values.at(-1)!)}`);
      alive.push(await startOne());
    }
    const what = "kill -9 of the leader to the first result of a new job, two stand by";
    const slow = percentile(values, 0.99);
    return {
      rows: [
        atMost({ what: `${what}, p50`, target: 4_000, values, text: msText }),
        { what: `${what}, p99`, target: "", measured: msText(slow), ratio: Number.NaN, spread: "" },
      ],
      details: values,
    };
  },
};

/** Waits until one leads, all know each other and every agent is linked; gives the leader. */
async function settled(
  alive: readonly Coordinator[],
  secret: string,
  signal: AbortSignal,
): Promise<Coordinator> {
  const deadline = performance.now() + settledWithinMs;
  await using client = new Connection({ address: alive[0]!.ready.address, secret });
  for (;;) {
    const status = await client.status({ signal });
    const linked = status.nodes.filter(({ state }) => state === "connected").length;
    const leader = alive.find(({ ready }) => ready.address === status.leader);
    if (leader !== undefined && linked === agents && status.coordinators.length === coordinators)
      return leader;
    if (performance.now() > deadline) throw new Error("the cluster did not settle after a change of leader");
    await delay(100, undefined, { signal });
  }
}

async function measureOne(client: Connection, leader: Coordinator, bundle: Bundle): Promise<number> {
  const killedAt = performance.now();
  leader.child.process.kill("SIGKILL");
  const submission = client.submit({
    requestId: newRequestId(),
    spec: specOf(bundle, "nothing", 1),
  });
  let ms = Number.NaN;
  for await (const outcome of client.results(await submission.accepted)) {
    outcome.value(); // throws if it failed
    ms = performance.now() - killedAt;
  }
  return ms;
}
