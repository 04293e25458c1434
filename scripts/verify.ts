// `npm run verify`: everything that must hold before a change is offered, cheapest first.
//
//   npm run verify              static checks, then all tests
//   npm run verify -- --static  only the static checks
//
// A check is quiet while it passes; all of them run, so that one look shows everything that is wrong.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const bin = (name: string) => join(root, "node_modules", ".bin", name);
const python = join(root, ".venv", "bin", "python");

interface Check {
  readonly title: string;
  readonly command: string;
  readonly args: readonly string[];
}

const checks: Check[] = [
  { title: "format", command: bin("oxfmt"), args: ["--check"] },
  { title: "types", command: bin("tsc"), args: [] },
  {
    title: "types of the coordinator's core",
    command: bin("tsc"),
    args: ["-p", "packages/coordinator/src/core"],
  },
  { title: "types of the agent's core", command: bin("tsc"), args: ["-p", "packages/node-agent/src/core"] },
  { title: "lint", command: bin("oxlint"), args: ["--type-aware", "--deny-warnings"] },
  { title: "unused code", command: bin("knip"), args: ["--no-progress", "--no-config-hints"] },
  { title: "docs/cli.md", command: process.execPath, args: ["scripts/cli-reference.ts", "--check"] },
];
// Python's own syntax check costs nothing and catches a file that no test imports
if (existsSync(python) && existsSync(join(root, "python", "src"))) {
  checks.push({ title: "python compiles", command: python, args: ["-m", "compileall", "-q", "python/src"] });
}

let failedCount = 0;
for (const check of checks) {
  const beginMs = performance.now();
  const { code, output } = await run(check);
  const seconds = ((performance.now() - beginMs) / 1000).toFixed(1).padStart(6);
  process.stdout.write(`${seconds} s  ${check.title}${code === 0 ? "" : "  FAILED"}\n`);
  if (code === 0) continue;
  failedCount += 1;
  process.stdout.write(`${output.trimEnd()}\n`);
}

if (failedCount > 0) {
  process.stdout.write(`${failedCount} of ${checks.length} checks failed\n`);
  process.exitCode = 1;
} else if (!process.argv.includes("--static")) {
  await import("./test.ts");
}

function run(check: Check): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(check.command, check.args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
    child.on("error", (error) => resolve({ code: 127, output: error.message }));
    child.on("close", (code) => resolve({ code: code ?? 1, output }));
  });
}
