/**
 * Runtime `python`: a module's function, run by the host in python/src/everycore. Interpreters are found on PATH
 * and resolved once, since a pyenv shim costs 80 ms at each start.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { FoundRuntime, RuntimeSupport } from "./index.ts";

const run = promisify(execFile);
const names = ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10", "python"];
const minorMin = 10;
const probe = "import sys; print(sys.executable); print('%d.%d.%d' % sys.version_info[:3])";

/** Folder that holds the package `everycore`: beside the repository's packages, or inside the published one. */
function hostFolder(): string {
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

export const pythonRuntime: RuntimeSupport = {
  async discover() {
    const folders = (process.env["PATH"] ?? "").split(delimiter).filter((folder) => folder !== "");
    const own = fileURLToPath(new URL("../../../../.venv/bin/python", import.meta.url));
    const files = names.map((name) => folders.map((folder) => join(folder, name)).find(existsSync));
    const candidates = [process.env["EVERYCORE_PYTHON"], own, ...files].filter(
      (file): file is string => file !== undefined && existsSync(file),
    );
    const found = (await Promise.all([...new Set(candidates)].map(ask))).filter((one) => one !== undefined);
    const byMinor = new Map<string, FoundRuntime>();
    for (const one of found) {
      const minor = one.version.split(".").slice(0, 2).join(".");
      if (!byMinor.has(minor)) byMinor.set(minor, one);
    }
    return [...byMinor.values()];
  },
  start: (slotDir, found) => ({
    file: found.path,
    args: ["-u", "-m", "everycore.worker_host", slotDir],
    env: {
      EVERYCORE_WORKER: "1",
      PYTHONPATH: [hostFolder(), process.env["PYTHONPATH"] ?? ""]
        .filter((part) => part !== "")
        .join(delimiter),
      PYTHONDONTWRITEBYTECODE: "1",
    },
  }),
};
