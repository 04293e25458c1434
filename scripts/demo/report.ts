/** What ran where, as a table for people: from the usage that the cluster folded from the job's own log. */
import type { JobInfo, NodeInfo } from "@everycore/client/internal";
import { countText, table } from "../../packages/cli/src/terminal/table.ts";
import { busyMsOf } from "./job.ts";
import type { EndedJob } from "./job.ts";

export function reportText(ended: EndedJob, nodes: readonly NodeInfo[]): string {
  const { info, seconds } = ended;
  const slots = nodes.reduce((sum, node) => sum + node.slots, 0);
  const cpuSeconds = slotsOf(info).reduce((sum, slot) => sum + slot.cpuMs, 0) / 1000;
  const busyShare = busyMsOf(info) / 1000 / (seconds * slots);
  const rows = info.usage.flatMap((node) =>
    node.slots.map((slot) => [
      processOf(node.node, nodes),
      String(slot.slot),
      countText(slot.items),
      countText(slot.slices),
      countText(slot.splits),
      (slot.busyMs / 1000).toFixed(2),
      (slot.cpuMs / 1000).toFixed(2),
      `${((100 * slot.busyMs) / 1000 / seconds).toFixed(1)}%`,
    ]),
  );
  const { counts } = info;
  const failed = (counts?.error ?? 0) + (counts?.crash ?? 0) + (counts?.timeout ?? 0) + (counts?.lost ?? 0);
  const sums = [
    `${countText(info.total)} items`,
    `${countText(info.leasesSent)} leases`,
    `${countText(sum(info, "slices"))} slices`,
    `${countText(sum(info, "splits"))} splits`,
    ...(failed === 0 ? [] : [`${countText(failed)} failed`]),
  ].join(", ");
  return (
    `${sums}: ${seconds.toFixed(2)} s, ${cpuSeconds.toFixed(2)} core-seconds, ` +
    `${slots} cores ${(100 * busyShare).toFixed(1)} % busy\n\n` +
    table(["node", "slot", "items", "slices", "splits", "busy s", "core-s", "busy"], rows)
  );
}

const slotsOf = (info: JobInfo): readonly JobInfo["usage"][number]["slots"][number][] =>
  info.usage.flatMap((node) => node.slots);

const sum = (info: JobInfo, field: "slices" | "splits"): number =>
  slotsOf(info).reduce((total, slot) => total + slot[field], 0);

/** Both agents of a demo run on one host: the process tells them apart. */
function processOf(id: string, nodes: readonly NodeInfo[]): string {
  const node = nodes.find((candidate) => candidate.id === id);
  return node === undefined ? id.slice(0, 8) : `${id.slice(0, 8)} (pid ${node.pid})`;
}
