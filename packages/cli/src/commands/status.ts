/** `everycore status`: one screen about a cluster. */
import type { ClusterStatus } from "@everycore/client/internal";
import { Command } from "commander";
import type { ClusterFlags } from "../session.ts";
import { openSession, withClusterFlags } from "../session.ts";
import { bytesText, durationText, fields } from "../terminal/table.ts";
import { formatOption, printJson } from "./job.ts";
import { nodeTable } from "./node.ts";

const nodesShown = 15;

export const statusCommand = (): Command =>
  withClusterFlags(new Command("status"))
    .description("the cluster on one screen")
    .addOption(formatOption())
    .addHelpText("after", "\nExample:\n  everycore status")
    .action(async (flags: ClusterFlags & { output: "table" | "json" }) => {
      await using session = await openSession(flags);
      const status = await session.cluster.status();
      if (flags.output === "json") printJson(status);
      else process.stdout.write(statusText(status, session.cluster.address, Date.now()));
    });

function statusText(status: ClusterStatus, address: string, now: number): string {
  const slots = status.nodes.reduce((sum, node) => sum + node.slots, 0);
  const busy = status.nodes.reduce((sum, node) => sum + node.busy, 0);
  const jobs = Object.entries(status.jobsByState)
    .filter(([, count]) => count > 0)
    .map(([state, count]) => `${count} ${state}`);
  const text = fields([
    ["cluster", status.cluster],
    ["address", address],
    ["leader", `${status.leader} (epoch ${status.epoch})`],
    ["version", status.version],
    ["up for", status.startedAt === 0 ? "" : durationText(now - status.startedAt)],
    ["nats", `${status.natsUrl} ${status.natsVersion}`.trim()],
    [
      "slots",
      `${busy} of ${slots} busy on ${status.nodes.length} ${status.nodes.length === 1 ? "node" : "nodes"}`,
    ],
    ["jobs", jobs.length === 0 ? "none" : jobs.join(", ")],
    ["queued", status.queuedCoreMs === 0 ? "" : `${durationText(status.queuedCoreMs)} of one core`],
    [
      "storage",
      `${bytesText(status.storageBytes)} used, ${bytesText(status.storageReserved)} reserved of ${bytesText(status.storageLimit)}`,
    ],
    ["waiting", status.waiting.join("; ")],
  ]);
  if (status.nodes.length === 0) return text;
  const more =
    status.nodes.length > nodesShown ? `${status.nodes.length - nodesShown} more: everycore node list\n` : "";
  return `${text}\n${nodeTable(status.nodes.slice(0, nodesShown), now)}${more}`;
}
