/** What the agent says on the link, as messages of agent.proto. Built from effects and state; decides nothing. */
import { hostname } from "node:os";
import type { Acknowledged, JobId } from "@everycore/protocol";
import { encodeErrorInfo, furthest } from "@everycore/protocol";
import type { AgentState, Effect } from "../core/index.ts";
import { reportOf } from "../core/index.ts";
import { machineIdOf, memoryBytesOf } from "../machine/facts.ts";
import type { OutputStore } from "../slots/output-store.ts";
import type { LooseMessage } from "./link.ts";
import { grantToProto, reportToProto } from "./link-messages.ts";

/** Pieces of prints stay well below the size of one gRPC message. */
const outputPieceBytes = 512 * 1024;

export type SpokenEffect = Extract<
  Effect,
  { kind: "gaveBack" | "taskFailed" | "starving" | "sliceStarting" | "leaseFound" }
>;

export function spoken(effect: SpokenEffect): LooseMessage {
  switch (effect.kind) {
    case "gaveBack": {
      const grant = effect.grant === undefined ? {} : { grant: grantToProto(effect.grant) };
      return { gaveBack: { job: effect.job, ...grant, ranges: effect.ranges } };
    }
    case "taskFailed": {
      const { job, round } = effect;
      const { error, died } = effect.failure;
      const info =
        typeof error === "string"
          ? encodeErrorInfo({ kind: "error", name: "TaskError", message: error })
          : error;
      return { taskFailed: { job, round, error: info, died } };
    }
    case "starving":
      return { starving: { slots: effect.slots } };
    case "leaseFound": {
      const { job, accepted } = effect;
      const lease = Buffer.from(effect.lease, "hex");
      return { leaseFound: accepted === undefined ? { job, lease } : { job, lease, accepted } };
    }
    case "sliceStarting": {
      const { job, range, ask } = effect;
      return { sliceStarting: { job, grant: grantToProto(effect.grant), range, ask } };
    }
  }
}

export interface RuntimeFacts {
  readonly name: string;
  readonly version: string;
  readonly path: string;
}

/** What a task may ask for: `js`, `exec`, `python`, `python3.11`. */
export const runtimeNames = ({ name, version }: Pick<RuntimeFacts, "name" | "version">): string[] =>
  name === "python" ? [name, `${name}${version.split(".").slice(0, 2).join(".")}`] : [name];

export interface NodeFacts {
  readonly node: string;
  readonly slots: number;
  readonly slotsReason: string;
  readonly version: string;
  readonly runtimes: readonly RuntimeFacts[];
  readonly labels: readonly string[];
  readonly incarnation: string;
}

export function hello(
  facts: NodeFacts,
  effect: Extract<Effect, { kind: "hello" }>,
  now: { filesRecovered: boolean; spoolBytes: number; recovered: ReadonlyMap<JobId, number> },
): LooseMessage {
  const { node, slots, slotsReason, version, runtimes, labels, incarnation } = facts;
  return {
    hello: {
      node: {
        id: node,
        host: hostname(),
        slots,
        slotsReason,
        version,
        runtimes,
        labels,
        memoryBytes: memoryBytesOf(),
        isolation: "none",
        os: `${process.platform}-${process.arch}`,
        pid: process.pid,
        spoolBytes: now.spoolBytes,
      },
      machineId: machineIdOf(),
      incarnation,
      epochSeen: effect.epoch,
      leases: effect.leases.map(reportToProto),
      accepted: effect.accepted,
      filesRecovered: now.filesRecovered,
      acknowledged: highest(now.recovered, effect.acknowledged),
    },
  };
}

/** The last message of an agent that ends in order. */
export function goodbye(
  slots: number,
  recovered: Acknowledged,
  own: Acknowledged,
): { readonly drained: object } {
  return { drained: { slots, acknowledged: highest(recovered, own) } };
}

/** What a former agent's files gave, and what was acknowledged to us. */
const highest = (recovered: Acknowledged, own: Acknowledged): Record<JobId, number> =>
  Object.fromEntries(furthest(recovered, own));

export function heartbeat(
  state: AgentState,
  now: number,
  disk: { readonly usedBytes: number; readonly bytesMax: number },
): LooseMessage {
  const running: object[] = [];
  for (const worker of state.workers.values()) {
    const [slice] = worker.slices;
    if (slice === undefined) continue;
    const index = slice.cursor ?? slice.start;
    running.push({ job: slice.job, slot: worker.slot, index, ms: now - slice.cursorAt });
  }
  let queuedItems = 0;
  let given = false;
  for (const job of state.jobs.values()) {
    for (const lease of job.leases.values()) {
      queuedItems += lease.queue.size;
      given ||= !lease.gaveBack.isEmpty;
    }
  }
  // Repeated until the leader confirms; without any the whole report need not be built each second.
  const gaveBack = given ? reportOf(state).filter((report) => report.gaveBack.length > 0) : [];
  return {
    heartbeat: {
      busy: running.length,
      accepted: state.accepted,
      spoolBytes: state.spoolBytes,
      disk: state.disk,
      stateBytes: disk.usedBytes,
      stateBytesMax: disk.bytesMax,
      gaveBack: gaveBack.map(reportToProto),
      queuedItems,
      running,
    },
  };
}

/** All that is kept of a job's prints; the last message says how much was dropped. */
export function* output(store: OutputStore, job: JobId, ask: number): Generator<LooseMessage> {
  const { pieces, dropped } = store.read(job);
  for (const { slot, stream, data } of pieces) {
    for (let at = 0; at < data.length; at += outputPieceBytes) {
      const piece = data.subarray(at, at + outputPieceBytes);
      yield { output: { ask, slot, stream, data: piece, dropped: 0, last: false } };
    }
  }
  yield { output: { ask, slot: 0, stream: "stdout", data: Buffer.alloc(0), dropped, last: true } };
}
