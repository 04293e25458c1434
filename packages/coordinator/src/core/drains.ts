/** The end of a node in order: an operator or a signal asks for it, and whoever asked may take it back until it is gone. */
import type { Acknowledged, NodeId } from "@everycore/protocol/pure";
import type { Effect } from "./events.ts";
import type { ClusterState, Node } from "./model.ts";
import { isFolded, moveNode } from "./nodes.ts";
import { dropLease, leasesOn } from "./queues.ts";
import { forgive } from "./quarantine.ts";
import { saveNode } from "./standing.ts";
import { may, nodeTransitions } from "./transitions.ts";

export function drain(state: ClusterState, id: NodeId, ask: number, effects: Effect[]): void {
  const node = state.nodes.get(id);
  if (node === undefined) {
    const hint = "see: everycore node list";
    const message = `no node ${id}`;
    effects.push({ kind: "answer", ask, answer: { ok: false, code: "not-found", message, hint } });
    return;
  }
  node.draining = true;
  saveNode(state, id, effects);
  effects.push({ kind: "sendDrain", node: id, reason: "asked by an operator" });
  effects.push({ kind: "answer", ask, answer: { ok: true, node: id } });
  effects.push({ kind: "nodeChanged", node: id });
}

/** Lifts a quarantine; takes a drain back while its agent is there: one that has ended is started by whoever started it. */
export function undrain(state: ClusterState, id: NodeId, ask: number, effects: Effect[]): void {
  const node = state.nodes.get(id);
  const isForgiven = forgive(state, id, effects);
  const isThere = node !== undefined && node.state !== "drained" && node.state !== "lost";
  if (!isThere && !isForgiven) {
    const code = node === undefined ? "not-found" : "conflict";
    const message = node === undefined ? `no node ${id}` : `node ${id} is ${node.state}: its agent has ended`;
    const hint = node === undefined ? "see: everycore node list" : "start its agent again";
    effects.push({ kind: "answer", ask, answer: { ok: false, code, message, hint } });
    return;
  }
  if (isThere && node.draining) {
    node.draining = false;
    node.undrainedAt = state.now;
    state.dirty = true;
    saveNode(state, id, effects);
    effects.push({ kind: "sendUndrain", node: id });
    effects.push({ kind: "nodeChanged", node: id });
  }
  effects.push({ kind: "answer", ask, answer: { ok: true, node: id } });
}

/** It has finished or given back all it had, and goes. */
export function drained(
  state: ClusterState,
  event: { node: NodeId; acknowledged: Acknowledged },
  effects: Effect[],
): void {
  const node = state.nodes.get(event.node);
  if (node === undefined || !may(nodeTransitions, node.state, "drained")) return;
  node.draining = true;
  node.leaving = event.acknowledged;
  leave(state, node, effects);
  if (node.leaving !== undefined) state.takingOver = true; // taken up again as the logs are read
}

/**
 * Once its commits are folded nobody waits for it. What it committed last comes by another way than its goodbye: placed
 * anew before, it would run again elsewhere (P3).
 */
export function leave(state: ClusterState, node: Node, effects: Effect[]): void {
  if (node.leaving === undefined || node.deferred !== undefined || !isFolded(state, node.leaving)) return;
  node.leaving = undefined;
  for (const { job, lease } of leasesOn(state, node)) dropLease(state, job, lease, "lose");
  moveNode(node, "drained");
  node.reason = "drained";
  node.busy = 0; // its last heartbeat is older than its end
  saveNode(state, node.id, effects);
  effects.push({ kind: "nodeChanged", node: node.id });
}
