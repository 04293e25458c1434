/**
 * A real agent whose commits can be kept from the log, for log-cost.ts: what is swallowed counts as acknowledged, so
 * that it goes on with what it has been leased. Nothing of the product knows of it: its one way to the log is changed
 * from outside, before its own program is started as `everycore up` starts it.
 */
import { fileURLToPath } from "node:url";
import { Publisher } from "../packages/node-agent/src/data/publisher.ts";

/** One stretch of work: counted from item `from` to item `to` of a job's commits, in the order they are made. */
export interface Stretch {
  readonly isLogged: boolean;
  readonly from: number;
  readonly to: number;
}

export interface StretchEvent {
  readonly reached: "from" | "to";
  /** Items by then: a commit has some twenty. */
  readonly items: number;
  /** ms since 1970. */
  readonly at: number;
}

const role = fileURLToPath(new URL("../packages/cli/src/local/role.ts", import.meta.url));
const main = fileURLToPath(new URL("../packages/node-agent/src/main.ts", import.meta.url));

if (process.send !== undefined) {
  let stretch: (Stretch & { done: number }) | undefined;
  process.on("message", (next: Stretch) => (stretch = { ...next, done: 0 }));
  const say = (event: StretchEvent): void => void process.send!(event);
  // Called with the publisher's own `this`, below.
  // oxlint-disable-next-line typescript/unbound-method
  const publish = Publisher.prototype.commit;
  Publisher.prototype.commit = async function commit(segment, record, runs) {
    // Until then the leader learns from the log what an item costs, and leases far ahead.
    const isKept = stretch !== undefined && !stretch.isLogged && stretch.done >= stretch.from;
    const seq = isKept ? 0 : await publish.call(this, segment, record, runs);
    if (stretch === undefined) return seq;
    const before = stretch.done;
    for (const { start, end } of record.parts) stretch.done += end - start;
    const at = performance.timeOrigin + performance.now();
    for (const reached of ["from", "to"] as const) {
      if (before < stretch[reached] && stretch.done >= stretch[reached])
        say({ reached, items: stretch.done, at });
    }
    return seq;
  };
  process.argv[2] = main;
  await import(role);
}
