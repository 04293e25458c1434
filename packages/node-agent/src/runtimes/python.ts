/**
 * Runtime `python`: a module's function, run by the host in python/src/everycore. Interpreters are found on PATH
 * and resolved once, since a pyenv shim costs 80 ms at each start.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { FoundRuntime, RuntimeSupport } from "./runtime.ts";

const run = promisify(execFile);
const minors = ["3.14", "3.13", "3.12", "3.11", "3.10"];
const minorMin = 10;
const probe = "import sys; print(sys.executable); print('%d.%d.%d' % sys.version_info[:3])";

/** Folder that holds the package `everycore`: beside the repository's packages, or inside the published one. */
export function pythonFolder(): string {
  const places = ["../../../../python/src", "../../python"].map((path) =>
    fileURLToPath(new URL(path, import.meta.url)),
  );
  return places.find((place) => existsSync(join(place, "everycore", "worker_host.py"))) ?? places[0]!;
}

async function ask(file: string): Promise<FoundRuntime | undefined> {
  try {
    const { stdout } = await run(file, ["-I", "-c", probe], { timeout: 5_000 });
    const [path = "", version = ""] = stdout.trim().split("\n");
    const [major = 0, minor = 0] = version.split(".").map(Number);
    return major === 3 && minor >= minorMin ? { name: "python", version, path } : undefined;
  } catch {
    return undefined; // not an interpreter that runs
  }
}

function onPath(name: string): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(delimiter).filter((folder) => folder !== "");
  return folders.map((folder) => join(folder, name)).find(existsSync);
}

/** The environment that the agent was started in: what its user has installed is there, and there only. */
function activated(): string[] {
  const folders = [process.env["VIRTUAL_ENV"], process.env["CONDA_PREFIX"]];
  return folders.flatMap((folder) =>
    folder === undefined || folder === "" ? [] : join(folder, "bin/python"),
  );
}

async function add(
  byMinor: Map<string, FoundRuntime>,
  files: readonly (string | undefined)[],
): Promise<void> {
  const there = files.filter((file): file is string => file !== undefined && existsSync(file));
  for (const one of await Promise.all([...new Set(there)].map(ask))) {
    if (one === undefined) continue;
    const minor = one.version.split(".").slice(0, 2).join(".");
    if (!byMinor.has(minor)) byMinor.set(minor, one);
  }
}

export const pythonRuntime: RuntimeSupport = {
  async discover() {
    const own = fileURLToPath(new URL("../../../../.venv/bin/python", import.meta.url));
    const first = [...activated(), own, onPath("python3")];
    const byMinor = new Map<string, FoundRuntime>();
    await add(byMinor, first);
    // Each start of an interpreter behind a shim costs 90 ms of CPU: known versions are not asked again.
    const others = minors.filter((minor) => !byMinor.has(minor)).map((minor) => onPath(`python${minor}`));
    await add(byMinor, others);
    if (byMinor.size === 0) await add(byMinor, [onPath("python")]);
    return [...byMinor.values()];
  },
  start: (slotDir, found) => ({
    file: found.path,
    args: ["-u", "-m", "everycore.worker_host", slotDir],
    env: {
      EVERYCORE_WORKER: "1",
      PYTHONPATH: [pythonFolder(), process.env["PYTHONPATH"] ?? ""]
        .filter((part) => part !== "")
        .join(delimiter),
      PYTHONDONTWRITEBYTECODE: "1",
    },
  }),
};
