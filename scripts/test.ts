// `npm test`: every suite, one after the other, and one line that sums them up.
//
// T1  A suite without a single test is a failure in CI and a remark elsewhere: a wrong pattern must not look green.
// T2  What is left out is said, with the reason.
// T3  The numbers come from machine-readable reports, never from reading what the runners print.

import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Counts, readJunit, readVitestJson } from "./test-reports.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
/** Kept where CI asks for it; otherwise in a folder of this run's own, so that two runs do not mix. */
const kept = process.env.EVERYCORE_TEST_REPORTS;
const reports = kept ?? mkdtempSync(join(tmpdir(), "everycore-test-reports-"));
const isCi = process.env.CI === "true";
const requireContainers = process.env.EVERYCORE_CONTAINERS === "required";

interface Suite {
  readonly name: string;
  /** Undefined: it can run. Otherwise the reason why not. */
  readonly obstacle?: string | undefined;
  /** When it is left out although it must not be. */
  readonly isRequired?: boolean;
  readonly command: string;
  readonly args: readonly string[];
  readonly environment?: NodeJS.ProcessEnv;
  readonly report: string;
  readonly read: (content: string) => Counts;
}

interface Result extends Counts {
  readonly name: string;
  readonly remark?: string;
  readonly durationMs: number;
}

const results: Result[] = [];
mkdirSync(reports, { recursive: true });
for (const suite of selectSuites(process.argv.slice(2))) results.push(await runSuite(suite));
report(results);
if (kept === undefined) rmSync(reports, { recursive: true, force: true });

/** With names as arguments only those suites run. */
function selectSuites(names: readonly string[]): Suite[] {
  const all = [
    vitestSuite("unit"),
    vitestSuite("sim"),
    vitestSuite("integration"),
    pythonSuite(),
    containerSuite(),
  ];
  const unknown = names.filter((name) => !all.some((suite) => suite.name === name));
  if (unknown.length > 0) throw new Error(`no such suite: ${unknown.join(", ")}`);
  return names.length === 0 ? all : all.filter((suite) => names.includes(suite.name));
}

function vitestSuite(name: string): Suite {
  const report = join(reports, `${name}.json`);
  const runner = join(root, "node_modules", "vitest", "vitest.mjs");
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  const args = [runner, "run", "--project", name, ...reporters];
  return { name, command: process.execPath, args, report, read: readVitestJson };
}

function pythonSuite(): Suite {
  const report = join(reports, "python.xml");
  const python = join(root, ".venv", "bin", "python");
  return {
    name: "python",
    obstacle: existsSync(python) ? undefined : "there is no .venv (see npm run setup)",
    isRequired: isCi,
    command: python,
    args: [
      "-m",
      "pytest",
      "-q",
      "-p",
      "no:cacheprovider",
      `--junitxml=${report}`,
      join(root, "python", "tests"),
    ],
    environment: { PYTHONPATH: join(root, "python", "src") },
    report,
    read: readJunit,
  };
}

function containerSuite(): Suite {
  return {
    ...vitestSuite("containers"),
    obstacle: engineAnswers() ? undefined : "no container engine answers",
    isRequired: requireContainers,
    // its helper image cannot be had everywhere; CI sweeps by label instead
    environment: { TESTCONTAINERS_RYUK_DISABLED: process.env.TESTCONTAINERS_RYUK_DISABLED ?? "true" },
  };
}

function engineAnswers(): boolean {
  if (process.env.EVERYCORE_CONTAINERS === "off") return false;
  const answer = spawnSync("docker", ["version", "--format", "{{.Server.Version}}"], { timeout: 10_000 });
  return answer.status === 0;
}

async function runSuite(suite: Suite): Promise<Result> {
  const { name, obstacle, isRequired = false } = suite;
  if (obstacle !== undefined) {
    return {
      name,
      passed: 0,
      failed: isRequired ? 1 : 0,
      skipped: 0,
      durationMs: 0,
      remark: `left out: ${obstacle}`,
    };
  }
  process.stdout.write(`\n--- ${name}\n`);
  const beginMs = performance.now();
  const exitCode = await run(suite);
  const counts = existsSync(suite.report) ? suite.read(readFileSync(suite.report, "utf8")) : undefined;
  const durationMs = performance.now() - beginMs;
  if (counts === undefined) {
    return {
      name,
      passed: 0,
      failed: 1,
      skipped: 0,
      durationMs,
      remark: `ended with ${exitCode} and left no report`,
    };
  }
  if (counts.passed + counts.failed === 0) {
    return { name, ...counts, failed: isCi ? 1 : 0, durationMs, remark: "ran no test" }; // T1
  }
  if (exitCode !== 0 && counts.failed === 0) {
    return {
      name,
      ...counts,
      failed: 1,
      durationMs,
      remark: `ended with ${exitCode} although no test failed`,
    };
  }
  return { name, ...counts, durationMs };
}

function run(suite: Suite): Promise<number> {
  return new Promise((resolve) => {
    const env = { ...process.env, ...suite.environment };
    const child = spawn(suite.command, suite.args, {
      cwd: root,
      env,
      stdio: ["ignore", "inherit", "inherit"],
    });
    child.on("error", (error) => {
      process.stderr.write(`${suite.command}: ${error.message}\n`);
      resolve(127);
    });
    child.on("close", (code, signal) => resolve(signal === null ? (code ?? 1) : 128));
  });
}

function report(all: readonly Result[]): void {
  const sum = (key: keyof Counts) => all.reduce((total, result) => total + result[key], 0);
  const total = { passed: sum("passed"), failed: sum("failed"), skipped: sum("skipped") };
  process.stdout.write("\n");
  for (const { name, passed, failed, skipped, durationMs, remark } of all) {
    const numbers = `${String(passed).padStart(5)} passed ${String(failed).padStart(3)} failed ${String(skipped).padStart(3)} skipped`;
    const seconds = `${(durationMs / 1000).toFixed(1).padStart(7)} s`;
    process.stdout.write(`${name.padEnd(12)}${numbers}${seconds}${remark ? `  ${remark}` : ""}\n`);
  }
  process.stdout.write(`${total.passed} passed, ${total.failed} failed\n`);
  writeFileSync(join(reports, "summary.json"), `${JSON.stringify({ ...total, suites: all })}\n`);
  if (total.failed > 0) process.exitCode = 1;
}
