/** Many small commits in a job's log, as a busy agent would have written them. */
import type { JobId, NodeId, SegmentId } from "@everycore/protocol";
import { encodeRecord, recordHeader, subjects } from "@everycore/protocol";
import { jetstream } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import { headers } from "@nats-io/nats-core";
import type { FakeAgent } from "./fake-agent.ts";

/**
 * Items of the agent's first lease, one in each commit: its first items one by one, then, again and again, the last of
 * them, which counts as a duplicate. `atOnce`: published before the first of them is waited for.
 */
export async function commitOneByOne(
  nats: NatsConnection,
  agent: FakeAgent,
  job: string,
  options: { readonly count: number; readonly atOnce: number; readonly signal?: AbortSignal },
): Promise<void> {
  const { grant, segment } = agent.leases.find((lease) => lease.job === job)!;
  const subject = subjects.log(segment as SegmentId, agent.node as NodeId, job as JobId);
  const js = jetstream(nats);
  for (let done = 0; done < options.count; done += options.atOnce) {
    options.signal?.throwIfAborted();
    const some = Math.min(options.atOnce, options.count - done);
    const published = Array.from({ length: some }, (_, n) => {
      const start = Math.min(grant.start + done + n, grant.end - 1);
      const made = headers();
      const record = {
        kind: "commit" as const,
        job: job as JobId,
        epoch: 1,
        leases: [grant],
        parts: [{ lease: 0, start, end: start + 1, status: "value" as const }],
        usage: [{ slot: 0, items: 1, slices: 1, splits: 0, busyMs: 1, cpuMs: 1 }],
        bytes: 1,
      };
      made.set(recordHeader, encodeRecord(record));
      return js.publish(subject, "", { headers: made });
    });
    await Promise.all(published);
  }
}
