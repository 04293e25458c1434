/** How the replicas of a cluster's streams stand, in words: for `status` and `doctor`. */
import type { Replication } from "@everycore/client/internal";

export const areReplicasBehind = ({ streams, behind }: Replication): boolean => streams > 0 && behind > 0;

/** "" where NATS is one server alone. */
export function replicasText(replication: Replication): string {
  const { replicas, streams, behind, servers } = replication;
  if (replicas === 0) return "not known: NATS did not say in time";
  if (streams === 0) return "";
  const wanted = `${replicas} ${replicas === 1 ? "replica" : "replicas"} of ${streams} streams`;
  if (behind === 0) return `${wanted}, all current`;
  const where = servers.length === 0 ? "" : `, on ${servers.join(", ")}`;
  return `${wanted}, ${behind} of them not current${where}`;
}
