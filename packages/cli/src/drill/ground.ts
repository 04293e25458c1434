/**
 * The cluster that is drilled, and what this command may do to it: all that it owns where it is embedded or the `up`
 * of this user; elsewhere what a job may do, and what runs on this machine as this user.
 */
import { mkdtempSync, rmSync, statfsSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Connection, findCluster, loadTask, refuseInWorker } from "@everycore/client/internal";
import type { ClusterStatus, JobInfo, NodeInfo, TaskCode } from "@everycore/client/internal";
import { EverycoreError, shortId } from "@everycore/protocol";
import { coresHere } from "../local/cores.ts";
import { startEmbeddedCluster } from "../local/embedded.ts";
import { configOf } from "../session.ts";
import type { ClusterFlags } from "../session.ts";
import { canSeeProcesses, isOurAgent, partsOf } from "./processes.ts";
import type { Part, PartKind } from "./processes.ts";

const pollMs = 25;
const probeMs = 1_000;
const steadyWithinMs = 40_000;
const MB = 1024 * 1024;
/** What an agent of a cluster of our own may take of the disk: so little that the drill can fill it. */
const stateBytesOf = (slots: number): number => (96 + 8 * slots) * MB;
/** A disk on which so many times as much is free does not notice. */
const roomFactor = 8;

export class Ground implements AsyncDisposable {
  readonly kind: "embedded" | "up" | "configured";
  readonly cluster: Connection;
  /** Slots of all nodes at the beginning. */
  readonly slots: number;
  /** Nodes at the beginning: a row ends when as many are there again. */
  readonly nodeCount: number;
  /** Where items write down their starts; undefined where not all nodes are here. */
  readonly folder: string | undefined;
  readonly code: { readonly canned: TaskCode; readonly patient: TaskCode };
  readonly signal: AbortSignal;
  /** What one agent may take of the disk, if the drill may let it; undefined: it is not ours to fill. */
  readonly fillBytes: number | undefined;
  /** Does not wait for a cluster that is away: to see that it is. */
  readonly #probe: Connection;
  readonly #owner: number | undefined;
  readonly #local: AsyncDisposable | undefined;

  constructor(fields: {
    found: Location;
    cluster: Connection;
    nodes: readonly NodeInfo[];
    code: { canned: TaskCode; patient: TaskCode };
    signal: AbortSignal;
  }) {
    const { found, cluster, nodes, code, signal } = fields;
    this.kind = found.kind;
    this.cluster = cluster;
    this.slots = nodes.reduce((sum, { slots }) => sum + slots, 0);
    this.nodeCount = nodes.length;
    this.code = code;
    this.signal = signal;
    this.fillBytes = found.fillBytes;
    this.#owner = found.owner;
    this.#local = found.local;
    this.#probe = new Connection({ address: found.address, secret: found.secret, patienceMs: 0 });
    const isShared = canSeeProcesses() && nodes.length > 0 && nodes.every(isHere);
    this.folder = isShared ? mkdtempSync(join(tmpdir(), "everycore-drill-")) : undefined;
  }

  /** This command may kill its parts: somebody who is known starts them again. */
  get isOwned(): boolean {
    return this.#owner !== undefined && canSeeProcesses();
  }

  parts(kind: PartKind): Part[] {
    return this.#owner === undefined ? [] : partsOf(this.#owner).filter((part) => part.kind === kind);
  }

  async connected(): Promise<readonly NodeInfo[]> {
    return (await this.#probe.listNodes(this.#soon())).filter(({ state }) => state === "connected");
  }

  /** Undefined while nobody answers. */
  async status(): Promise<ClusterStatus | undefined> {
    return this.#probe.status(this.#soon()).catch(() => undefined);
  }

  async job(id: string): Promise<JobInfo> {
    return this.#probe.getJob(id, this.#soon());
  }

  /** Until the condition holds; what it throws means "not yet". Undefined if it never does, else when it did. */
  async until(condition: () => Promise<boolean> | boolean, withinMs: number): Promise<number | undefined> {
    const deadline = performance.now() + withinMs;
    for (;;) {
      this.signal.throwIfAborted();
      const holds = await Promise.resolve()
        .then(condition)
        .catch(() => false);
      if (holds) return Date.now();
      if (performance.now() > deadline) return undefined;
      await delay(pollMs);
    }
  }

  /**
   * Waits until all is there that was there at the beginning, and a leader that waits for nothing. What is not, where
   * that does not come.
   */
  async unsteady(): Promise<string | undefined> {
    let lack: string | undefined;
    const isSteady = async (): Promise<boolean> => {
      const status = await this.status();
      if (status === undefined) lack = "nobody answers";
      else if (!isWell(status)) lack = `it waits for ${status.waiting.join("; ")}`;
      else {
        const { length } = await this.connected();
        lack = length < this.nodeCount ? `${length} of ${this.nodeCount} nodes are connected` : undefined;
      }
      return lack === undefined;
    };
    return (await this.until(isSteady, steadyWithinMs)) === undefined
      ? (lack ?? "nobody answers")
      : undefined;
  }

  /**
   * A worker that this drill killed counts against its node, whose item ended well on another: after some drills in a
   * row it would be in quarantine for them. Returns the nodes that were let out.
   */
  async liftQuarantines(jobs: readonly string[]): Promise<string[]> {
    const isOurs = ({ state, reason }: NodeInfo): boolean =>
      state === "quarantined" && jobs.some((job) => reason.includes(shortId(job)));
    try {
      const nodes = (await this.#probe.listNodes(this.#soon())).filter(isOurs);
      for (const { id } of nodes) await this.cluster.undrainNode(id, this.#soon());
      return nodes.map(({ id }) => id);
    } catch {
      return []; // the cluster is away: whether it comes back is asked next
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.folder !== undefined) rmSync(this.folder, { recursive: true, force: true });
    await this.#probe.close();
    await this.cluster.close();
    await this.#local?.[Symbol.asyncDispose]();
  }

  #soon(): { signal: AbortSignal } {
    return { signal: AbortSignal.any([this.signal, AbortSignal.timeout(probeMs)]) };
  }
}

/** Somebody leads, and waits for nothing but what jobs wait for. */
export const isWell = (status: ClusterStatus | undefined): boolean =>
  status !== undefined && status.waiting.every((reason) => reason.startsWith("job "));

/** Runs on this machine, as this user, and keeps nothing from its tasks. */
export const isHere = ({ host, pid, isolation }: NodeInfo): boolean =>
  host === hostname() && isolation === "none" && canSeeProcesses() && isOurAgent(pid);

interface Location {
  readonly kind: Ground["kind"];
  readonly address: string;
  readonly secret: string;
  /** The process whose children the parts are. */
  readonly owner?: number;
  readonly local?: AsyncDisposable;
  readonly fillBytes?: number;
}

export async function openGround(flags: ClusterFlags, signal: AbortSignal): Promise<Ground> {
  const found = await locate(flags, signal);
  const cluster = new Connection({ address: found.address, secret: found.secret });
  try {
    const nodes = (await cluster.listNodes({ signal })).filter(({ state }) => state === "connected");
    if (nodes.length === 0) {
      throw new EverycoreError("refused", `the cluster at ${found.address} has no connected node to drill`, {
        hint: "everycore node list shows its nodes",
      });
    }
    const code = { canned: await taskOf("canned"), patient: await taskOf("patient") };
    await cluster.putBundle(code.canned.bundle, { signal });
    return new Ground({ found, cluster, nodes, code, signal });
  } catch (error) {
    await cluster.close();
    await found.local?.[Symbol.asyncDispose]();
    throw error;
  }
}

async function locate(flags: ClusterFlags, signal: AbortSignal): Promise<Location> {
  const config = configOf(flags);
  const found = await findCluster(config, signal);
  if (found.kind === "up") {
    const { address, secret, up } = found;
    return { kind: "up", address, secret, owner: up.pid };
  }
  if (found.kind === "configured") return found;
  refuseInWorker();
  const slots = Math.max(2, coresHere().cores);
  if (flags.quiet !== true)
    process.stderr.write(
      `no cluster configured: the drill is of one of its own, with ${slots} slots on 2 agents\n`,
    );
  const stateBytesMax = stateBytesOf(slots);
  const { bavail, bsize } = statfsSync(tmpdir());
  const hasRoom = bavail * bsize > roomFactor * stateBytesMax;
  const local = await startEmbeddedCluster({
    config,
    quiet: true,
    agents: 2,
    slots,
    signal,
    ...(hasRoom ? { stateBytesMax } : {}),
  });
  const { address, secret } = local;
  const own = { kind: "embedded", address, secret, owner: process.pid, local } as const;
  return hasRoom ? { ...own, fillBytes: stateBytesMax } : own;
}

/** The task beside us: TypeScript in a checkout, JavaScript when installed. */
const taskOf = (name: string): Promise<TaskCode> => {
  const extension = import.meta.filename.endsWith(".ts") ? "ts" : "js";
  return loadTask({ task: `${join(import.meta.dirname, `canned.${extension}`)}:${name}` });
};
