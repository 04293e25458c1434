// `job retry --code`: a job is repaired in place. What ended well stays, the rest runs the new code, and `--verify` says
// beforehand whether that gives the same for what ended well.

import { writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { connect } from "@everycore/client";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { type Ended, everycore, jsonLines } from "../support/command.ts";
import { collect, upTo, valuesOf } from "../support/jobs.ts";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ agents: 2, slots: 1 });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

const run = (args: readonly string[]): Promise<Ended> =>
  everycore(args, { environment: cluster.environment, cwd: cluster.dir });

/** Fails for every tenth item. */
const broken = `export const label = (n: number) => { if (n % 10 === 3) throw new Error("no " + n); return "v" + n; };`;
const fixed = `export const label = (n: number) => "v" + n;`;
const different = `export const label = (n: number) => n % 10 === 3 ? "v" + n : "w" + n;`;

async function failedJob(file: string, code: string): Promise<string> {
  await writeFile(cluster.path(file), code);
  const { stdout } = await run(["map", file, "--range", "0-39", "--detach"]);
  const id = stdout.trim();
  expect((await run(["job", "wait", id, "--timeout", "60s"])).stdout).toContain("36 values, 4 error");
  return id;
}

test("the failed items run the new code, the others keep their values; get, audit and replay know which", async () => {
  const id = await failedJob("label.ts", broken);
  await writeFile(cluster.path("fixed.ts"), different);
  const retried = await run(["job", "retry", id, "--failed", "--code", "fixed.ts"]);
  expect(retried).toMatchObject({ code: 0, stdout: `job ${id.slice(0, 8)} running, round 1\n`, stderr: "" });
  expect((await run(["job", "wait", id, "--timeout", "60s"])).code).toBe(0);
  // Had one of the 36 been run again, it would say "w".
  const results = await run(["job", "results", id, "--values"]);
  expect(jsonLines(results.stdout)).toEqual(upTo(40).map((n) => `v${n}`));
  const info = await cluster.client.getJob(id);
  expect(info.repairs).toMatchObject([{ round: 1, entry: expect.any(String) as string, export: "label" }]);
  expect(info.repairs[0]!.bundle).not.toBe(info.bundle);
  const shown = await run(["job", "get", id]);
  expect(shown.stdout).toContain(`${info.repairs[0]!.bundle.slice(0, 16)} from round 1 on (`);
  const audit = await run(["job", "audit", id]);
  expect(audit.code).toBe(0);
  expect(audit.stdout).toContain("every item has exactly one outcome, and had one in each of its rounds");
  const code = (digest: string): string => digest.slice(0, 16);
  expect(audit.stdout).toMatch(
    new RegExp(`^ *0 +40 +36 value, 4 error +0 +0 .* ${code(info.bundle)} +yes$`, "m"),
  );
  expect(audit.stdout).toMatch(
    new RegExp(`^ *1 +4 +4 value +0 +0 .* ${code(info.repairs[0]!.bundle)} +yes$`, "m"),
  );
  // Each item is replayed with the code that it ran.
  const old = await run(["job", "replay", id, "--item", "4"]);
  expect(old.stdout).toContain('"v4"');
  const repaired = await run(["job", "replay", id, "--item", "13"]);
  expect(repaired).toMatchObject({ code: 0, stderr: expect.stringContaining("the same value") as string });
});

test("--verify runs good items here first: the same values, then the retry", async () => {
  const id = await failedJob("label2.ts", broken);
  await writeFile(cluster.path("fixed2.ts"), fixed);
  const { code, stdout } = await run(["job", "retry", id, "--code", "fixed2.ts:label", "--verify", "6"]);
  expect(code).toBe(0);
  expect(stdout).toBe(
    `job ${id.slice(0, 8)}: 6 of its good items run with fixed2.ts:label here, all the same\n` +
      `job ${id.slice(0, 8)} running, round 1\n`,
  );
  expect((await run(["job", "wait", id, "--timeout", "60s"])).code).toBe(0);
});

test("--verify that finds a difference changes nothing and exits 1", async () => {
  const id = await failedJob("label3.ts", broken);
  await writeFile(cluster.path("other.ts"), different);
  const { code, stdout } = await run(["job", "retry", id, "--code", "other.ts", "--verify", "3"]);
  expect(code).toBe(1);
  const lines = stdout.trim().split("\n");
  expect(lines.slice(0, 3)).toEqual(
    expect.arrayContaining([expect.stringMatching(/^item \d+: "v\d+" became "w\d+"$/)]) as string[],
  );
  expect(lines.at(-1)).toBe(
    `job ${id.slice(0, 8)} is as it was: of 3 of its good items run with other.ts here, 3 differ`,
  );
  expect(await cluster.client.getJob(id)).toMatchObject({ state: "done", round: 0, counts: { value: 36 } });
});

test("code that crashes, throws or cannot be loaded is found out by --verify", async () => {
  const id = await failedJob("label4.ts", broken);
  await writeFile(
    cluster.path("dies.ts"),
    `export const label = () => process.kill(process.pid, "SIGKILL");`,
  );
  const dies = await run(["job", "retry", id, "--code", "dies.ts", "--verify", "2"]);
  expect(dies.code).toBe(1);
  expect(dies.stdout).toMatch(/became crash: .*SIGKILL/);
  await writeFile(
    cluster.path("unloadable.ts"),
    `export const label = () => 1; throw new Error("not today");`,
  );
  const loads = await run(["job", "retry", id, "--code", "unloadable.ts", "--verify", "2"]);
  expect(loads).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("cannot be loaded here") as string,
  });
  expect(loads.stderr).toContain("not today");
  // Without --verify the cluster says so, the values stay, and a further retry mends it.
  expect((await run(["job", "retry", id, "--code", "unloadable.ts"])).code).toBe(0);
  const ended = await run(["job", "wait", id, "--timeout", "60s"]);
  expect(ended.code).toBe(1);
  expect(ended.stdout).toContain("36 values");
  await writeFile(cluster.path("mends.ts"), fixed);
  expect((await run(["job", "retry", id, "--code", "mends.ts"])).code).toBe(0);
  expect(await cluster.client.waitJob(id, { timeoutMs: 60_000 })).toMatchObject({
    state: "done",
    round: 2,
    counts: { value: 40 },
  });
});

test("what cannot be is refused in a sentence", async () => {
  const id = await failedJob("label5.ts", broken);
  const refused = async (args: readonly string[], words: string): Promise<void> => {
    const { code, stderr, stdout } = await run(["job", "retry", ...args]);
    expect(stderr).toContain(words);
    expect(code).toBe(2);
    expect(stdout).toBe("");
  };
  await refused([id, "--verify", "3"], "--verify means something only with --code");
  await refused([id, "--code", "nowhere.ts"], "there is no file nowhere.ts");
  await writeFile(cluster.path("renamed.ts"), `export const title = (n: number) => n;`);
  await refused([id, "--code", "renamed.ts"], "label");
  await writeFile(cluster.path("label.py"), "def label(n):\n    return n\n");
  await refused([id, "--code", "label.py"], "label.py is python code");
  const program = await run(["run", "--range", "0-1", "--detach", "--", "false"]);
  await run(["job", "wait", program.stdout.trim(), "--timeout", "60s"]);
  await refused([program.stdout.trim(), "--code", "renamed.ts"], "runs a program");
  expect(await cluster.client.getJob(id)).toMatchObject({ round: 0, state: "done" });
});

test("a coordinator that dies after the retry leaves its code in force; the client's retry takes code too", async () => {
  const id = await failedJob("label6.ts", broken);
  await writeFile(
    cluster.path("slow.ts"),
    `export const label = async (n: number) => { await new Promise((done) => setTimeout(done, 300)); return "s" + n; };`,
  );
  await using client = await connect({ address: cluster.address, secretFile: cluster.path("secret") });
  const task = pathToFileURL(cluster.path("slow.ts"));
  expect(await client.job(id).retry({ code: { task, name: "label" } })).toMatchObject({ round: 1 });
  await cluster.coordinator.kill("SIGKILL");
  await cluster.restartCoordinator();
  const { outcomes, info } = await collect(cluster.client, id);
  expect(info).toMatchObject({ state: "done", counts: { value: 40 } });
  expect(valuesOf(outcomes)).toEqual(upTo(40).map((n) => `${n % 10 === 3 ? "s" : "v"}${n}`));
});
