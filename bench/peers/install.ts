/** Brings the peers here, each into bench/peers: none is a dependency of everycore. What cannot be had is left out. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { onPath } from "../../packages/cli/src/local/child.ts";

const folder = import.meta.dirname;
const venv = join(folder, ".venv");
const python = join(venv, "bin", "python");

export interface Installed {
  /** Versions by contender's package; a reason in words stands for one that is not here. */
  readonly versions: Readonly<Record<string, string>>;
  /** undefined: no Python. */
  readonly python: string | undefined;
  has(name: string): boolean;
}

export function install(say: (line: string) => void): Installed {
  const versions: Record<string, string> = {};
  if (!existsSync(join(folder, "node_modules", "piscina"))) {
    say("installing piscina");
    run("npm", ["ci", "--no-audit", "--no-fund"]);
  }
  versions["piscina"] = versionOf(process.execPath, [
    "-p",
    `require(${JSON.stringify(join(folder, "node_modules/piscina/package.json"))}).version`,
  ]);
  const hasPython = installPython(say);
  for (const name of ["joblib", "distributed", "ray", "hyperqueue"])
    versions[name] = versionOf(python, [
      "-c",
      `import importlib.metadata as m, ${name}; print(m.version("${name}"))`,
    ]);
  versions["multiprocessing"] = versionOf(python, [
    "-c",
    "import platform; print(platform.python_version())",
  ]);
  versions["parallel"] = onPath("parallel") === undefined ? "" : versionOf("parallel", ["--version"]);
  versions["xargs"] = onPath("xargs") === undefined ? "" : versionOf("xargs", ["--version"]);
  return {
    versions,
    python: hasPython ? python : undefined,
    has: (name) => (versions[name] ?? "") !== "",
  };
}

function installPython(say: (line: string) => void): boolean {
  if (existsSync(join(venv, "installed"))) return true;
  const own = ["python3.13", "python3.12", "python3.11", "python3.10", "python3"].find(
    (name) => versionOf(name, ["-c", "import sys; print(sys.version_info >= (3, 10))"]) === "True",
  );
  if (own === undefined || run(own, ["-m", "venv", venv]) !== 0) return false;
  say("installing joblib, Dask, Ray and HyperQueue into bench/peers/.venv");
  const wanted = ["joblib", "distributed", "ray", "hyperqueue"];
  const file = join(folder, "requirements.txt");
  // All at once, as their versions fit; else one by one, so that one that has no wheel here costs only itself.
  if (run(python, ["-m", "pip", "install", "-q", "-r", file]) !== 0)
    for (const name of wanted) run(python, ["-m", "pip", "install", "-q", "-c", file, name]);
  run("touch", [join(venv, "installed")]);
  return true;
}

const run = (command: string, args: readonly string[]): number | null =>
  spawnSync(command, args, { cwd: folder, stdio: ["ignore", "ignore", "ignore"] }).status;

/** First line of what it prints, shortened to its number; "" when it cannot be run. */
function versionOf(command: string, args: readonly string[]): string {
  const { status, stdout } = spawnSync(command, args, { cwd: folder, encoding: "utf8" });
  if (status !== 0) return "";
  const [line = ""] = stdout.trim().split("\n");
  return /\d[\w.]*$/.exec(line)?.[0] ?? line;
}
