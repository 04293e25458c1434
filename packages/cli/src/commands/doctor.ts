/** `everycore doctor`: what this machine has and lacks, each line with what to do about it. */
import { execFile } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { NodeInfo, Replication } from "@everycore/client/internal";
import { Connection, discover, loadConfig, readUpFile, upFilePath } from "@everycore/client/internal";
import { shortId } from "@everycore/protocol";
import { Command } from "commander";
import { exitCodes } from "../failure.ts";
import { onPath } from "../local/child.ts";
import { coresHere } from "../local/cores.ts";
import { stateHome } from "../local/state-folder.ts";
import { NATS_SERVER_VERSION_MIN, inspectNatsServer } from "../nats-server/index.ts";
import { areReplicasBehind, replicasText } from "../terminal/replicas-text.ts";
import { bytesText, table } from "../terminal/table.ts";
import { versionHere } from "../version.ts";
import { formatOption, printJson } from "./job.ts";

const execFileAsync = promisify(execFile);
const answerMs = 3_000;
const filesMax = 100_000;

interface Finding {
  readonly level: "ok" | "warn" | "fail";
  readonly what: string;
  readonly detail: string;
}

export const doctorCommand = (): Command =>
  new Command("doctor")
    .description("look at this machine: what everycore finds, what it lacks, what to do about it")
    .addOption(formatOption())
    .addHelpText("after", "\nExample:\n  everycore doctor")
    .action(async (flags: { output: "table" | "json" }) => {
      const [nats, python, cluster] = await Promise.all([natsServer(), pythons(), running()]);
      const groups = [node(), nats, python, slots(), cluster, configuration(), stateFolders(), processes()];
      const findings = groups.flat();
      if (flags.output === "json") printJson(findings);
      else
        process.stdout.write(
          table(
            ["", "WHAT", "FINDING"],
            findings.map(({ level, what, detail }) => [level, what, detail]),
          ),
        );
      if (findings.some(({ level }) => level === "fail")) process.exitCode = exitCodes.itemsFailed;
    });

function node(): Finding[] {
  const { node: version } = process.versions;
  const isRecent = Number.parseInt(version, 10) >= 24;
  const detail = `${version}, ${process.execPath}`;
  return [
    {
      level: "ok",
      what: "everycore",
      detail: `${versionHere()}, ${dirname(dirname(fileURLToPath(import.meta.url)))}`,
    },
    {
      level: isRecent ? "ok" : "fail",
      what: "Node",
      detail: isRecent ? detail : `${detail}: 24 or later is needed`,
    },
  ];
}

async function natsServer(): Promise<Finding[]> {
  const routes = await inspectNatsServer();
  const best = routes.find((route) => route.state === "usable");
  if (best !== undefined)
    return [
      {
        level: "ok",
        what: "nats-server",
        detail: `${best.version ?? ""} ${best.path ?? ""} (${best.title})`.trim(),
      },
    ];
  const fetching = routes.find((route) => route.state === "possible");
  if (fetching !== undefined) {
    return [
      {
        level: "warn",
        what: "nats-server",
        detail: `none here; the first cluster gets one by ${fetching.title} (${fetching.detail})`,
      },
    ];
  }
  const detail = `no ${NATS_SERVER_VERSION_MIN} or later, and no way to get one: put one on PATH or name it in EVERYCORE_NATS_SERVER`;
  return [{ level: "fail", what: "nats-server", detail }];
}

async function pythons(): Promise<Finding[]> {
  const names = [
    "python3",
    "python3.9",
    "python3.10",
    "python3.11",
    "python3.12",
    "python3.13",
    "python3.14",
  ];
  const versions = new Map<string, string>();
  for (const path of names.map(onPath)) {
    if (path === undefined) continue;
    const version = await execFileAsync(path, ["--version"], { timeout: answerMs }).then(
      ({ stdout }) => stdout.trim().replace("Python ", ""),
      () => undefined, // present and not runnable: as good as none
    );
    if (version !== undefined && !versions.has(version)) versions.set(version, path);
  }
  if (versions.size === 0) {
    return [
      {
        level: "warn",
        what: "Python",
        detail: "none on PATH: Python tasks cannot run here; install python3",
      },
    ];
  }
  return [...versions].map(([version, path]) => ({
    level: "ok",
    what: "Python",
    detail: `${version}, ${path}`,
  }));
}

function slots(): Finding[] {
  const { cores, reason } = coresHere();
  const config = loadConfig();
  if (config.slots !== undefined)
    return [
      {
        level: "ok",
        what: "slots",
        detail: `${config.slots.value} (${config.slots.origin}); ${cores} cores (${reason})`,
      },
    ];
  return [{ level: "ok", what: "slots", detail: `${cores} (${reason})` }];
}

async function running(): Promise<Finding[]> {
  const up = readUpFile();
  const found = discover(loadConfig());
  const findings: Finding[] = [];
  if (up === undefined && existsSync(upFilePath())) {
    findings.push({
      level: "warn",
      what: "up",
      detail: `${upFilePath()} is stale: its process is gone; everycore up writes it anew`,
    });
  }
  if (found.kind === "none")
    return [
      ...findings,
      { level: "ok", what: "cluster", detail: "none configured, none running: map and run start their own" },
    ];
  const name = found.kind === "up" ? `up, process ${found.up.pid}` : `from ${found.origin}`;
  await using cluster = new Connection({ address: found.address, secret: found.secret, patienceMs: 0 });
  const told = await cluster.status({ signal: AbortSignal.timeout(answerMs) }).then(
    (status): Finding[] => [
      {
        level: status.nodes.length === 0 ? "warn" : "ok",
        what: "cluster",
        detail: `${found.address} (${name}): ${status.nodes.length} nodes, leader ${status.leader}`,
      },
      ...replicasOf(status.replication),
      ...status.nodes.flatMap(filesOf),
    ],
    (error: unknown): Finding[] => [
      {
        level: "fail",
        what: "cluster",
        detail: `${found.address} (${name}): ${(error as Error).message}`,
      },
    ],
  );
  return [...findings, ...told];
}

/** Nothing where NATS is one server alone. */
function replicasOf(replication: Replication): Finding[] {
  const text = replicasText(replication);
  if (text === "") return [];
  const isBad = replication.replicas === 0 || areReplicasBehind(replication);
  return [{ level: isBad ? "warn" : "ok", what: "replicas", detail: text }];
}

/** What the node's state directory holds of what it may hold; nothing before its first look. */
function filesOf({ host, id, stateBytes, stateBytesMax }: NodeInfo): Finding[] {
  if (stateBytesMax === 0) return [];
  const isOver = stateBytes > stateBytesMax;
  const hint = isOver ? ": it takes no work until there is room; see --data-max of everycore agent" : "";
  const detail = `${shortId(id)} (${host}): ${bytesText(stateBytes)} of ${bytesText(stateBytesMax)}${hint}`;
  return [{ level: isOver ? "warn" : "ok", what: "node files", detail }];
}

function configuration(): Finding[] {
  const config = Object.entries(loadConfig());
  if (config.length === 0) return [{ level: "ok", what: "config", detail: "all defaults" }];
  return config.map(([name, { value, origin }]) => ({
    level: "ok",
    what: "config",
    detail: `${name} = ${name === "secret" ? "(hidden)" : value} (${origin})`,
  }));
}

function stateFolders(): Finding[] {
  const home = stateHome(loadConfig());
  if (!existsSync(home)) return [{ level: "ok", what: "state", detail: `${home}: none yet` }];
  return readdirSync(home, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => ({
      level: "ok",
      what: "state",
      detail: `${join(home, entry.name)}: ${bytesText(bytesBelow(join(home, entry.name)))}`,
    }));
}

function bytesBelow(folder: string): number {
  let bytes = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true }).slice(0, filesMax)) {
    if (entry.isFile())
      bytes += statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0;
  }
  return bytes;
}

function processes(): Finding[] {
  const setpriv = onPath("setpriv");
  const leftovers: Finding =
    setpriv === undefined
      ? {
          level: "warn",
          what: "setpriv",
          detail: "not on PATH: a killed everycore may leave processes behind; install util-linux",
        }
      : { level: "ok", what: "setpriv", detail: setpriv };
  return [
    leftovers,
    {
      level: "warn",
      what: "isolation",
      detail: "none: tasks run as you and can do what you can; run only code that you trust",
    },
  ];
}
