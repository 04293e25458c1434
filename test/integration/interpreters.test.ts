// Versions of Python: a job gets the one it asks for, or is refused in one sentence before anything is stored.

import { writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { type Ended, everycore } from "../support/command.ts";

let cluster: TestCluster;
/** X.Y of each interpreter of the only node. */
let versions: string[];
beforeAll(async () => {
  cluster = await startCluster({ slots: 1 });
  const [node] = await cluster.client.listNodes();
  const pythons = node!.runtimes.filter(({ name }) => name === "python");
  versions = pythons.map(({ version }) => version.split(".").slice(0, 2).join("."));
  await writeFile(
    cluster.path("which.py"),
    "import sys\ndef version(n):\n    return '%d.%d' % sys.version_info[:2]\n",
  );
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

const map = (flags: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Ended> =>
  everycore(["map", "which.py", "--range", "0-0", "--values", ...flags], {
    environment: { ...cluster.environment, ...environment },
    cwd: cluster.dir,
  });

test("each interpreter of the node runs what asks for it, by flag, variable or configuration", async () => {
  expect(versions.length).toBeGreaterThan(0);
  for (const version of versions) {
    expect(await map(["--python", version])).toMatchObject({ stderr: "", stdout: `"${version}"\n`, code: 0 });
  }
  const last = versions.at(-1)!;
  expect(await map([], { EVERYCORE_PYTHON: last })).toMatchObject({ stdout: `"${last}"\n`, code: 0 });
  await writeFile(cluster.path("everycore.json"), JSON.stringify({ python: last }));
  expect(await map([])).toMatchObject({ stdout: `"${last}"\n`, code: 0 });
  await writeFile(cluster.path("everycore.json"), "{}");
});

test("what no node has is refused, naming it and what there is; no job is left", async () => {
  const { code, stdout, stderr } = await map(["--python", "3.99"]);
  expect(stderr).toMatch(/^everycore: no node has Python 3\.99; they have 3\.[^\n]*\n[^\n]*\n$/);
  for (const version of versions) expect(stderr).toContain(version);
  expect(stdout).toBe("");
  expect(code).toBe(2);
  const { jobs } = await cluster.client.listJobs();
  expect(jobs.filter(({ state }) => state !== "done")).toEqual([]);
});

test("a patch version, a word, and a version for a task of another language are mistakes", async () => {
  expect(await map(["--python", "3.11.4"])).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/"3\.11\.4" is not a version of Python\n.*3\.11\n/) as string,
  });
  expect(await map([], { EVERYCORE_PYTHON: "pypy" })).toMatchObject({ code: 2 });
  await writeFile(cluster.path("plain.js"), "export default (n) => n;\n");
  const other = await everycore(["map", "plain.js", "--range", "0-0", "--python", "3.11"], {
    environment: cluster.environment,
    cwd: cluster.dir,
  });
  expect(other).toMatchObject({ code: 2, stderr: expect.stringMatching(/plain\.js/) as string });
});
