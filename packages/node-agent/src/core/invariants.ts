/** A1-A4 of model.ts, checked after every step in tests. Throws with the first that is broken. */
import { IntervalSet } from "@everycore/protocol/pure";
import { ownEnd, slicesOf } from "./jobs.ts";
import type { AgentState, Job, Lease } from "./model.ts";

export function checkInvariants(state: AgentState): void {
  for (const job of state.jobs.values())
    for (const lease of job.leases.values()) checkLease(state, job, lease);
  for (const slot of state.slots) {
    const busy = [...state.workers.values()].filter(
      (w) => w.slot === slot.id && w.slices.length > 0 && w.life !== "dying",
    );
    if (busy.length > 1) throw new Error(`A2: slot ${slot.id} runs slices of ${busy.length} workers`);
    for (const worker of busy)
      if (worker.slices.length > 2)
        throw new Error(`A2: worker ${worker.id} has ${worker.slices.length} slices`);
  }
  for (const worker of state.workers.values()) {
    for (const slice of worker.slices) {
      const held = state.jobs.get(slice.job)?.leases.has(slice.lease) ?? false;
      if (!held && worker.life !== "dying")
        throw new Error(`A3: slice ${slice.id} of worker ${worker.id} has no lease`);
    }
  }
}

function checkLease(state: AgentState, job: Job, lease: Lease): void {
  const { grant } = lease;
  if (lease.dropped && !(lease.queue.isEmpty && lease.done.isEmpty && lease.gaveBack.isEmpty))
    throw new Error(`A3: lease ${grant.id} was dropped and has items`);
  const places: [string, IntervalSet][] = [
    ["queue", lease.queue],
    ["given back", lease.gaveBack],
  ];
  const running = new IntervalSet();
  for (const { slice, worker } of slicesOf(state, job.id)) {
    if (slice.lease !== grant.id) continue;
    const end = ownEnd(slice);
    if (running.intersects(slice.start, end))
      throw new Error(`A1: lease ${grant.id}: two slices share items (worker ${worker.id})`);
    running.add(slice.start, end);
  }
  places.push(["slices", running]);
  for (const [name, place] of places) {
    for (const range of place) {
      if (range.start < grant.start || range.end > grant.end)
        throw new Error(`A1: lease ${grant.id}: ${name} beyond its range`);
    }
    for (const [other, set] of places) {
      if (set === place) continue;
      for (const range of place)
        if (set.intersects(range.start, range.end))
          throw new Error(`A1: lease ${grant.id}: items in ${name} and ${other}`);
    }
  }
  for (const range of lease.done) {
    if (lease.queue.intersects(range.start, range.end))
      throw new Error(`A1: lease ${grant.id}: done items are queued`);
    if (lease.gaveBack.intersects(range.start, range.end))
      throw new Error(`A1: lease ${grant.id}: done items were given back`);
  }
}
