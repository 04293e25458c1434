/** `everycore node`: the machines of a cluster. */
import type { CoordinatorInfo, NodeInfo } from "@everycore/client/internal";
import { EverycoreError, shortId } from "@everycore/protocol";
import { Command } from "commander";
import { setTimeout as delay } from "node:timers/promises";
import { parseDuration } from "../input/values.ts";
import { Interrupts } from "../interrupts.ts";
import type { ClusterFlags, Session } from "../session.ts";
import { openSession, withClusterFlags } from "../session.ts";
import { agoText, bytesText, durationText, fields, table } from "../terminal/table.ts";
import { formatOption, printJson } from "./job.ts";

type DrainFlags = ClusterFlags & { readonly wait?: boolean; readonly timeout?: number };
type FormatFlags = ClusterFlags & { readonly output: "table" | "json" };

export function nodeCommand(): Command {
  const command = new Command("node")
    .description("look at nodes, and drain them")
    .addHelpText("after", "\nExample:\n  everycore node list");
  for (const verb of [list(), get(), drain(), undrain()]) command.addCommand(verb);
  return command;
}

function list(): Command {
  return withClusterFlags(new Command("list"))
    .description("nodes of the cluster, and its coordinators where there are several")
    .addOption(formatOption())
    .addHelpText("after", "\nExample:\n  everycore node list -o json")
    .action(async (flags: FormatFlags) => {
      await using session = await openSession(flags);
      const { nodes, coordinators } = await session.cluster.listMembers();
      if (flags.output === "json") return printJson(nodes);
      const now = Date.now();
      const others = coordinators.length < 2 ? "" : `\n${coordinatorTable(coordinators, now)}`;
      process.stdout.write(nodeTable(nodes, now) + others);
    });
}

/** Which one leads, which stand by, since when. */
export function coordinatorTable(coordinators: readonly CoordinatorInfo[], now: number): string {
  const rows = coordinators.map(({ address, host, leading, since, startedAt, version }) => [
    address,
    host,
    leading ? "leads" : "stands by",
    durationText(Math.max(0, now - since)),
    durationText(Math.max(0, now - startedAt)),
    version,
  ]);
  return table(["COORDINATOR", "HOST", "STATE", "SINCE", "UP FOR", "VERSION"], rows);
}

export function nodeTable(nodes: readonly NodeInfo[], now: number): string {
  const rows = nodes.map((node) => [
    shortId(node.id),
    node.host,
    node.state,
    `${node.busy}/${node.slots}`,
    String(node.leased),
    agoText(node.lastSeenAt, now),
    runtimesText(node),
    node.isolation,
    node.reason,
  ]);
  return table(["NODE", "HOST", "STATE", "BUSY", "LEASED", "SEEN", "RUNTIMES", "ISOLATION", "REASON"], rows);
}

const runtimesText = (node: NodeInfo): string =>
  node.runtimes
    .map(({ name, version }) => (name === "exec" ? name : `${name} ${version}`)) // its version is the kernel's
    .join(", ");

function get(): Command {
  return withClusterFlags(new Command("get"))
    .description("everything known about a node")
    .argument("<node>", "id of the node, or its first digits")
    .addOption(formatOption())
    .addHelpText("after", "\nExample:\n  everycore node get 5f3c9a01")
    .action(async (id: string, flags: FormatFlags) => {
      await using session = await openSession(flags);
      const node = await session.cluster.getNode(id);
      if (flags.output === "json") printJson(node);
      else process.stdout.write(nodeText(node, Date.now()));
    });
}

function nodeText(node: NodeInfo, now: number): string {
  return fields([
    ["id", node.id],
    ["host", node.host],
    ["state", node.state],
    ["reason", node.reason],
    ["slots", `${node.slots} (${node.slotsReason || "as told"}), ${node.busy} busy`],
    ["leased", `${node.leased} items`],
    ["seen", agoText(node.lastSeenAt, now)],
    ["version", node.version],
    ["system", node.os],
    ["memory", node.memoryBytes === 0 ? "" : bytesText(node.memoryBytes)],
    ["isolation", node.isolation],
    ["labels", node.labels.join(", ")],
    ["process", node.pid === 0 ? "" : String(node.pid)],
    ["spool", bytesText(node.spoolBytes)],
    [
      "files",
      node.stateBytesMax === 0 ? "" : `${bytesText(node.stateBytes)} of ${bytesText(node.stateBytesMax)}`,
    ],
    [
      "runtimes",
      node.runtimes.map(({ name, version, path }) => `${name} ${version} ${path}`.trim()).join("; "),
    ],
  ]);
}

function drain(): Command {
  return withClusterFlags(new Command("drain"))
    .description("give a node no more work; its agent finishes or gives back what it has, and ends")
    .argument("<node>", "id of the node, or its first digits, or its host name")
    .option("--wait", "come back when it is drained")
    .option("--timeout <duration>", "with --wait: give up after so long (exit 124)", parseDuration)
    .addHelpText(
      "after",
      "\nExamples:\n  everycore node drain 5f3c9a01\n  everycore node drain worker-7 --wait --timeout 5m",
    )
    .action(async (id: string, flags: DrainFlags) => {
      if (flags.timeout !== undefined && flags.wait !== true)
        throw new EverycoreError("bad-input", "--timeout means something only with --wait");
      using interrupts = new Interrupts("leave");
      await using session = await openSession(flags);
      const { signal } = interrupts;
      const asked = await session.cluster.drainNode(id, { signal });
      const node = flags.wait === true ? await untilDrained(session, asked, { flags, signal }) : asked;
      if (flags.quiet !== true)
        process.stdout.write(`node ${shortId(node.id)} (${node.host}) is ${node.state}\n`);
    });
}

function undrain(): Command {
  return withClusterFlags(new Command("undrain"))
    .description("take a drain back, while the node's agent is still there; lift a quarantine")
    .argument("<node>", "id of the node, or its first digits, or its host name")
    .addHelpText("after", "\nExample:\n  everycore node undrain 5f3c9a01")
    .action(async (id: string, flags: ClusterFlags) => {
      using interrupts = new Interrupts("leave");
      await using session = await openSession(flags);
      const node = await session.cluster.undrainNode(id, { signal: interrupts.signal });
      if (flags.quiet !== true)
        process.stdout.write(`node ${shortId(node.id)} (${node.host}) is ${node.state}\n`);
    });
}

const drainPollMs = 250;

/** Its agent ends with the drain; one that was lost meanwhile has nothing more to finish either. */
async function untilDrained(
  session: Session,
  asked: NodeInfo,
  options: { flags: DrainFlags; signal: AbortSignal },
): Promise<NodeInfo> {
  const { flags, signal } = options;
  const deadline = performance.now() + (flags.timeout ?? Number.POSITIVE_INFINITY);
  for (;;) {
    const node = await session.cluster.getNode(asked.id, { signal });
    if (node.state === "drained" || node.state === "lost") return node;
    if (performance.now() > deadline) {
      const seconds = flags.timeout! / 1000;
      throw new EverycoreError("timeout", `node ${shortId(node.id)} is not drained within ${seconds} s`, {
        hint: "it drains on; look at it with: everycore node get",
      });
    }
    await delay(drainPollMs, undefined, { signal });
  }
}
