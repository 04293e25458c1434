/**
 * Runtime `exec`: any program; a host process per slot spawns it, so that the agent's thread is not the limit. There
 * are two hosts, whose outcomes are the same: one in Python, which starts a program in half the time
 * (docs/decisions/0020-exec-host-in-python.md), and one in Node where there is no Python.
 */
import { statSync } from "node:fs";
import { release, type } from "node:os";
import { join } from "node:path";
import { EverycoreError } from "@everycore/protocol";
import { compileCache } from "./compile-cache.ts";
import { nodeHost } from "./hosts.ts";
import type { FoundRuntime, RuntimeSupport, StartCommand } from "./runtime.ts";
import { pythonFolder } from "./python.ts";

/** The interpreter that serves programs here; undefined for Node. `EVERYCORE_EXEC_HOST=node` asks for Node. */
export function execInterpreter(
  interpreters: readonly FoundRuntime[],
  wanted = process.env["EVERYCORE_EXEC_HOST"] ?? "",
): FoundRuntime | undefined {
  if (wanted === "node") return undefined;
  const python = interpreters.find(({ name }) => name === "python");
  if (wanted === "" || (wanted === "python" && python !== undefined)) return python;
  throw new EverycoreError(
    "bad-input",
    wanted === "python"
      ? "EVERYCORE_EXEC_HOST is python, and no Python of 3.10 or later was found"
      : `EVERYCORE_EXEC_HOST is python or node, not "${wanted}"`,
  );
}

const launcher =
  "import sys; sys.path.insert(0, sys.argv.pop(1)); from everycore.exec_host import main; main(sys.argv[1])";

/** Without what belongs to the user's Python (-I: variables, user packages; -S: site): it costs 20 ms, and may fail. */
function pythonHost(python: string, slotDir: string): StartCommand {
  const folder = pythonFolder();
  return {
    file: python,
    args: ["-I", "-S", "-X", "utf8", ...compiled(folder), "-c", launcher, folder, slotDir],
    env: { EVERYCORE_WORKER: "1" },
  };
}

/**
 * Where Python keeps the compiled host: 7 ms at each start. It goes by size and mtime of the source, and files of npm
 * packages all have the same mtime: hence a folder per change of the host (ctime).
 */
function compiled(folder: string): string[] {
  const cache = compileCache();
  if (cache === undefined) return ["-B"];
  const changed = statSync(join(folder, "everycore", "exec_host.py")).ctimeMs;
  return ["-X", `pycache_prefix=${join(cache, `python-${changed}`)}`];
}

export const execRuntime: RuntimeSupport = {
  async discover() {
    return [{ name: "exec", version: `${type()} ${release()}`, path: "" }];
  },
  start: (slotDir, _found, interpreters) => {
    const python = execInterpreter(interpreters);
    return python === undefined ? nodeHost("exec-host", slotDir) : pythonHost(python.path, slotDir);
  },
};
