import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import * as tidy from "./tidy.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

const rules: Record<string, (file: tidy.SourceFile) => tidy.Finding[]> = {
  "no unfinished work": tidy.findUnfinishedWork,
  "no names of machines or registries": tidy.findMachineNames,
  "no vague names": tidy.findVagueNames,
  "no long files": tidy.findLongFiles,
  "no dead links": (file) => tidy.findDeadLinks(file, root),
};

describe("the repository keeps the house rules", () => {
  const files = tidy.readRepository(root);
  test.for(Object.entries(rules))("%s", ([, rule]) => {
    const findings = files.flatMap(rule).map(({ path, line, message }) => `${path}:${line} ${message}`);
    expect(findings).toEqual([]);
  });
});

describe("each rule fires on a bad example", () => {
  const bad: Record<keyof typeof rules, tidy.SourceFile> = {
    "no unfinished work": { path: "a.ts", content: `// ${"TO" + "DO"}: later` },
    "no names of machines or registries": { path: "a.sh", content: `cd "${"/ro" + "ot/"}x"` },
    "no vague names": { path: "packages/cli/src/utils/text.ts", content: "" },
    "no long files": { path: "a.py", content: "x = 1\n".repeat(401) },
    "no dead links": { path: "docs/a.md", content: "see [b](b-that-is-not-there.md#part)" },
  };
  test.for(Object.entries(rules))("%s", ([name, rule]) => {
    const example = bad[name];
    expect(example && rule(example)).toHaveLength(1);
  });
});

/** A file, what is wrong in it, and the rule that must say so. `null`: nothing may be said. */
const lintExamples: [path: string, content: string, rule: string | null][] = [
  ["packages/protocol/src/to-client.ts", `import "@everycore/client";`, "no-restricted-imports"],
  ["packages/protocol/src/to-folder.ts", `import "../../client/src/index.ts";`, "no-restricted-imports"],
  ["packages/protocol/src/fine.ts", `import "./ids.ts";\nimport "node:os";`, null],
  ["packages/coordinator/src/to-agent.ts", `import "@everycore/node-agent";`, "no-restricted-imports"],
  ["packages/coordinator/src/fine.ts", `import "@everycore/protocol/ids";\nimport "./core/index.ts";`, null],
  [
    "packages/node-agent/src/to-coordinator.ts",
    `import "@everycore/coordinator/core";`,
    "no-restricted-imports",
  ],
  [
    "packages/node-agent/src/slots/to-folder.ts",
    `import "../../../coordinator/src/x.ts";`,
    "no-restricted-imports",
  ],
  ["packages/node-agent/src/fine.ts", `import "@everycore/protocol";`, null],
  ["packages/client/src/to-agent.ts", `import "@everycore/node-agent";`, "no-restricted-imports"],
  ["packages/client/src/to-cli.ts", `import "everycore/nats-server";`, "no-restricted-imports"],
  ["packages/client/src/fine.ts", `import "@everycore/protocol";`, null],
  ["packages/cli/src/to-coordinator.ts", `import "@everycore/coordinator/main";`, "no-restricted-imports"],
  ["packages/cli/src/to-agent.ts", `import "@everycore/node-agent";`, "no-restricted-imports"],
  ["packages/cli/src/to-agent-core.ts", `import "@everycore/node-agent/core";`, "no-restricted-imports"],
  ["packages/cli/src/to-local.ts", `import "@everycore/node-agent/local";`, null],
  ["packages/cli/src/fine.ts", `import "@everycore/client";\nimport "@everycore/protocol/ids";`, null],
  ["packages/coordinator/src/core/node.ts", `import "node:fs";`, "no-restricted-imports"],
  ["packages/coordinator/src/core/library.ts", `import "pino";`, "no-restricted-imports"],
  ["packages/coordinator/src/core/scoped.ts", `import "@grpc/grpc-js";`, "no-restricted-imports"],
  ["packages/coordinator/src/core/up.ts", `import "../config.ts";`, "no-restricted-imports"],
  ["packages/node-agent/src/core/client.ts", `import "@everycore/client";`, "no-restricted-imports"],
  ["packages/node-agent/src/core/clock.ts", `export const at = Date.now();`, "no-restricted-properties"],
  ["packages/node-agent/src/core/dice.ts", `export const n = Math.random();`, "no-restricted-properties"],
  [
    "packages/node-agent/src/core/timer.ts",
    `export const n = performance.now();`,
    "no-restricted-properties",
  ],
  ["packages/node-agent/src/core/fine.ts", `import "./model.ts";\nimport "@everycore/protocol/ids";`, null],
  ["packages/cli/src/floating.ts", `const f = async () => 1;\nf();`, "no-floating-promises"],
  [
    "packages/cli/src/switch.ts",
    `export function f(x: "a" | "b"): void {\n  switch (x) {\n    case "a":\n      return;\n  }\n}`,
    "switch-exhaustiveness-check",
  ],
  ["packages/cli/src/long.ts", `export const x = [\n${"  1,\n".repeat(400)}];`, "max-lines"],
  [
    "packages/cli/src/function.ts",
    `export function f() {\n${"  f();\n".repeat(70)}}`,
    "max-lines-per-function",
  ],
  [
    "packages/client/src/circle-a.ts",
    `import { b } from "./circle-b.ts";\nexport const a = () => b;`,
    "no-cycle",
  ],
  [
    "packages/client/src/circle-b.ts",
    `import { a } from "./circle-a.ts";\nexport const b = () => a;`,
    "no-cycle",
  ],
];

describe("the linter guards the arrows between packages", () => {
  const findings = lint(lintExamples);
  test.for(lintExamples)("%s", ([path, , rule]) => {
    const codes = findings.filter((finding) => finding.path === path).map((finding) => finding.rule);
    expect(codes).toEqual(rule === null ? [] : [rule]);
  });
});

/** Lints the examples in a folder of their own, under the repository's configuration. */
function lint(examples: typeof lintExamples): { path: string; rule: string }[] {
  const folder = mkdtempSync(join(tmpdir(), "everycore-tidy-"));
  try {
    for (const file of [".oxlintrc.json", "tsconfig.json"])
      copyFileSync(join(root, file), join(folder, file));
    symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
    for (const [path, content] of examples) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), `${content}\n`);
    }
    return parseLint(runOxlint(folder));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function runOxlint(folder: string): string {
  const args = [
    join(root, "node_modules", "oxlint", "bin", "oxlint"),
    "--type-aware",
    "--format=json",
    "packages",
  ];
  try {
    return execFileSync(process.execPath, args, { cwd: folder, encoding: "utf8" });
  } catch (error) {
    return (error as { stdout: string }).stdout; // findings make it exit with 1; the report is complete
  }
}

function parseLint(report: string): { path: string; rule: string }[] {
  const { diagnostics } = JSON.parse(report) as { diagnostics: { filename: string; code: string }[] };
  return diagnostics.map(({ filename, code }) => ({
    path: filename,
    rule: /\(([^)]+)\)/.exec(code)?.[1] ?? code,
  }));
}
