/** `everycore status`: is it healthy, what is it doing, what is it waiting for, on one screen. */
import { setTimeout as delay } from "node:timers/promises";
import type { ClusterStatus, JobInfo } from "@everycore/client/internal";
import { endedItems, failedItems } from "@everycore/client/internal";
import { EverycoreError, isEnded, limits, shortId } from "@everycore/protocol";
import { Command } from "commander";
import type { ClusterFlags, Session } from "../session.ts";
import { openSession, withClusterFlags } from "../session.ts";
import { agoText, bytesText, countText, durationText, fields, table } from "../terminal/table.ts";
import { areReplicasBehind, replicasText } from "../terminal/replicas-text.ts";
import { formatOption, printJson } from "./job.ts";
import { coordinatorTable, nodeTable } from "./node.ts";

const nodesShown = 15;
const jobsShown = 10;
const jobsAsked = 200;
/** Between two leaders: a key of 3 s, and the takeover. */
const leaderWithinMs = 6_000;
const pollMs = 250;

export const statusCommand = (): Command =>
  withClusterFlags(new Command("status"))
    .description("the cluster on one screen")
    .addOption(formatOption())
    .addHelpText(
      "after",
      "\nExit code 4: nobody leads, also after a few seconds.\n\nExample:\n  everycore status",
    )
    .action(async (flags: ClusterFlags & { output: "table" | "json" }) => {
      await using session = await openSession(flags);
      const { address } = session.cluster;
      const status = await statusOfLeader(session);
      if (flags.output === "json") printJson({ ...status, problems: problemsOf(status) });
      // Without a leader the screen would have no nodes and no jobs on it, and that is not so.
      if (status.epoch === 0) throw leaderless(status, address);
      if (flags.output === "json") return;
      const active = await activeJobs(session);
      process.stdout.write(statusText(status, { address, active, now: Date.now() }));
    });

/** What the leader says, or what there is to say when none is reached in time. */
async function statusOfLeader({ cluster }: Session): Promise<ClusterStatus> {
  const end = performance.now() + leaderWithinMs;
  for (;;) {
    const status = await cluster.status();
    if (status.epoch > 0 || performance.now() > end) return status;
    await delay(pollMs);
  }
}

export function leaderless(status: ClusterStatus, address: string): EverycoreError {
  const { leader, natsUrl, natsVersion } = status;
  if (leader !== "")
    return new EverycoreError(
      "unreachable",
      `the coordinator at ${address} cannot reach the leader, ${leader}`,
      {
        hint: "check that coordinators reach each other's advertised addresses",
      },
    );
  // It tells its version when it is connected.
  if (natsVersion === "")
    return new EverycoreError(
      "no-leader",
      `nobody leads: the coordinator at ${address} has no connection to NATS at ${natsUrl}`,
      { hint: "is nats-server there? Jobs wait until it is back, and nothing is lost" },
    );
  return new EverycoreError("no-leader", `nobody leads, says the coordinator at ${address}`, {
    hint: "try again in a moment; if it lasts, look at nats-server and at the coordinators' logs",
  });
}

/** The newest jobs that have not ended. */
async function activeJobs(session: Session): Promise<JobInfo[]> {
  const { jobs } = await session.cluster.listJobs({ limit: jobsAsked });
  return jobs.filter((job) => !isEnded(job.state));
}

/** What somebody should look at, one clause each. Waiting is none: a cluster may well have more work than slots. */
export function problemsOf(status: ClusterStatus): string[] {
  const problems: string[] = [];
  const nodes = (state: string): number => status.nodes.filter((node) => node.state === state).length;
  const some = (count: number): string => `${count} ${count === 1 ? "node is" : "nodes are"}`;
  if (status.leader === "") problems.push("nobody leads");
  else if (status.epoch === 0)
    problems.push(`the coordinator that was asked cannot reach the leader, ${status.leader}`);
  else if (nodes("connected") === 0) problems.push("no node can take work");
  // Who still leads does so for two seconds more.
  if (status.natsVersion === "") problems.push(`no connection to NATS at ${status.natsUrl}`);
  for (const state of ["suspected", "lost"]) {
    if (nodes(state) > 0) problems.push(`${some(nodes(state))} ${state}`);
  }
  const full = status.nodes.filter((node) => node.state === "connected" && node.reason !== "");
  for (const node of full) problems.push(`node ${shortId(node.id)}: ${node.reason}`);
  for (const node of status.nodes.filter(({ state }) => state === "quarantined"))
    problems.push(
      `node ${shortId(node.id)}: ${node.reason} (lift it: everycore node undrain ${shortId(node.id)})`,
    );
  const share = status.storageLimit === 0 ? 0 : status.storageBytes / status.storageLimit;
  if (share >= limits.storagePauseShare) problems.push("storage is nearly full");
  if (areReplicasBehind(status.replication)) problems.push(replicasText(status.replication));
  return problems;
}

function statusText(
  status: ClusterStatus,
  more: { address: string; active: readonly JobInfo[]; now: number },
): string {
  const { address, active, now } = more;
  const problems = problemsOf(status);
  const slots = status.nodes.reduce((sum, node) => sum + node.slots, 0);
  const busy = status.nodes.reduce((sum, node) => sum + node.busy, 0);
  const states = Object.entries(status.jobsByState)
    .filter(([, count]) => count > 0)
    .map(([state, count]) => `${count} ${state}`);
  const text = fields([
    ["health", problems.length === 0 ? "good" : problems.join("; ")],
    ["cluster", status.cluster],
    ["address", address],
    ["leader", leaderText(status)],
    ["version", status.version],
    ["up for", status.startedAt === 0 ? "" : durationText(now - status.startedAt)],
    ["nats", `${status.natsUrl} ${status.natsVersion}`.trim()],
    ["replicas", replicasText(status.replication)],
    [
      "slots",
      `${busy} of ${slots} busy on ${status.nodes.length} ${status.nodes.length === 1 ? "node" : "nodes"}`,
    ],
    ["jobs", states.length === 0 ? "none" : states.join(", ")],
    ["queued", status.queuedCoreMs === 0 ? "" : `${durationText(status.queuedCoreMs)} of one core`],
    [
      "storage",
      `${bytesText(status.storageBytes)} used, ${bytesText(status.storageReserved)} reserved of ${bytesText(status.storageLimit)}`,
    ],
    ["waiting", status.waiting.join("; ")],
  ]);
  return text + coordinatorsText(status, now) + jobsText(active, slots, now) + nodesText(status, now);
}

function leaderText({ leader, epoch, leading }: ClusterStatus): string {
  if (leader === "") return "";
  const term = epoch === 0 ? "" : ` (epoch ${epoch})`;
  return `${leader}${term}${leading ? "" : "; the one that was asked stands by"}`;
}

/** One alone is named above. */
const coordinatorsText = ({ coordinators }: ClusterStatus, now: number): string =>
  coordinators.length < 2 ? "" : `\n${coordinatorTable(coordinators, now)}`;

function jobsText(active: readonly JobInfo[], slots: number, now: number): string {
  if (active.length === 0) return "";
  const rows = active
    .slice(0, jobsShown)
    .map((job) => [
      shortId(job.id),
      job.name,
      job.state,
      doneText(job),
      String(failedItems(job)),
      leftText(job, slots),
      agoText(job.createdAt, now),
      job.reason,
    ]);
  const rest = active.length - jobsShown;
  const header = ["JOB", "NAME", "STATE", "DONE", "FAILED", "LEFT", "CREATED", "WAITS FOR"];
  return `\n${table(header, rows)}${rest > 0 ? `${rest} more: everycore job list\n` : ""}`;
}

function doneText(job: JobInfo): string {
  if (job.total === 0) return `${countText(endedItems(job))} of ${countText(job.appended)} so far`;
  const share = Math.floor((100 * endedItems(job)) / job.total);
  return `${countText(endedItems(job))} of ${countText(job.total)} (${share} %)`;
}

/** If it had all slots for itself. */
function leftText(job: JobInfo, slots: number): string {
  if (job.total === 0 || job.itemMs === 0 || slots === 0) return "";
  return `~${durationText(((job.total - endedItems(job)) * job.itemMs) / slots)}`;
}

function nodesText(status: ClusterStatus, now: number): string {
  if (status.nodes.length === 0) return "";
  const rest = status.nodes.length - nodesShown;
  const more = rest > 0 ? `${rest} more: everycore node list\n` : "";
  return `\n${nodeTable(status.nodes.slice(0, nodesShown), now)}${more}`;
}
