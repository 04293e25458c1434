/**
 * A cluster with coordinators that stand by, for figures that kill the one that leads: one nats-server, agents of one
 * slot each, all as processes of this one.
 */
import type { ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Connection } from "@everycore/client/internal";
import type { AuditInfo, JobInfo } from "@everycore/client/internal";
import { natsUser } from "../packages/cli/src/local/nats-config.ts";
import { startAgent, startCoordinator, startNats } from "../packages/cli/src/local/parts.ts";
import { resolveNatsServer } from "../packages/cli/src/nats-server/index.ts";

const agents = 2;
const coordinators = 3;
const settledWithinMs = 30_000;

export type Coordinator = Awaited<ReturnType<typeof startCoordinator>>;

export interface StandbyCluster extends AsyncDisposable {
  readonly secret: string;
  /** How a coordinator reaches NATS. */
  readonly nats: { readonly servers: string; readonly user: string; readonly pass: string };
  readonly natsProcess: ChildProcess;
  /** Waits until one leads, all know each other and every agent is linked. */
  readonly settled: () => Promise<{ leader: Coordinator; others: readonly Coordinator[] }>;
  readonly kill: (coordinator: Coordinator) => void;
  /** Another one in place of who was killed. */
  readonly replace: () => Promise<void>;
}

export async function startStandbyCluster(signal: AbortSignal): Promise<StandbyCluster> {
  const parts = new AsyncDisposableStack();
  try {
    return await startIn(parts, signal);
  } catch (error) {
    await parts.disposeAsync();
    throw error;
  }
}

async function startIn(parts: AsyncDisposableStack, signal: AbortSignal): Promise<StandbyCluster> {
  const dir = await mkdtemp(join(tmpdir(), `everycore-failover-${process.pid}-`));
  parts.defer(() => rm(dir, { recursive: true, force: true, maxRetries: 3 }));
  const secret = randomBytes(32).toString("hex");
  const { path } = await resolveNatsServer({ signal });
  const nats = await startNats({ path, dir: join(dir, "nats"), secret, listen: "127.0.0.1:0", signal });
  parts.defer(() => nats.child.stop());
  const natsUrl = `nats://127.0.0.1:${nats.ready.port}`;
  const role = (name: string) => ({
    name,
    secret,
    dataDir: join(dir, name),
    logFile: join(dir, `${name}.log`),
    logLevel: process.env["EVERYCORE_LOG_LEVEL"] ?? "warn",
    httpListen: "127.0.0.1:0",
    signal,
  });
  let started = 0;
  let alive: Coordinator[] = [];
  const startOne = async (): Promise<void> => {
    started += 1;
    const own = role(`coordinator-${started}`);
    const one = await startCoordinator({ ...own, listen: "127.0.0.1:0", natsUrl });
    parts.defer(() => one.child.stop());
    alive.push(one);
  };
  for (let count = 0; count < coordinators; count += 1) await startOne();
  for (let at = 0; at < agents; at += 1) {
    const join = [alive[0]!.ready.address];
    const agent = await startAgent({ ...role(`agent-${at}`), join, slots: 1 });
    parts.defer(() => agent.child.stop());
  }
  const { user, password } = natsUser(secret, "coordinator");
  return {
    secret,
    nats: { servers: natsUrl, user, pass: password },
    natsProcess: nats.child.process,
    settled: async () => {
      const leader = await settledLeader(alive, secret, signal);
      return { leader, others: alive.filter((one) => one !== leader) };
    },
    kill: (coordinator) => {
      coordinator.child.process.kill("SIGKILL");
      alive = alive.filter((one) => one !== coordinator);
    },
    replace: startOne,
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

async function settledLeader(
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

/** The audit of a job whose items all have a value; the job is deleted. */
export async function wholeAudit(
  client: Connection,
  { id, state }: JobInfo,
  items: number,
  signal: AbortSignal,
): Promise<AuditInfo> {
  const audit = await client.auditJob(id, { signal });
  const isWhole = audit.closed && audit.total === items && audit.counts?.value === items;
  if (state !== "done" || !isWhole) throw new Error(`job ${id} is ${state}: ${JSON.stringify(audit.counts)}`);
  await client.deleteJob(id);
  return audit;
}
