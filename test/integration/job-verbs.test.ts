// `everycore job` and `everycore node`, as a user types them: detach, wait, results, retry, delete, audit, tables, JSON.

import { existsSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { type Ended, everycore, jsonLines } from "../support/command.ts";
import { RunLog, submit, taskFile, upTo } from "../support/jobs.ts";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster({ agents: 2, slots: 1 });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

const run = (args: readonly string[], stdin = ""): Promise<Ended> =>
  everycore(args, { stdin, environment: cluster.environment, cwd: cluster.dir });

async function detached(args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run([...args, "--detach"]);
  expect(stderr).toBe("");
  expect(code).toBe(0);
  expect(stdout).toMatch(/^[0-9a-f]{20}\n$/); // the id alone
  return stdout.trim();
}

const odd = `${taskFile("failures.ts")}:odd`;
const square = `${taskFile("arithmetic.ts")}:square`;

test("detach, wait, results, results --from, audit, delete: a job's whole life", async () => {
  const id = await detached(["map", square, "--range", "0-99", "--name", "squares"]);
  const waited = await run(["job", "wait", id]);
  expect(waited.stdout).toBe(`job ${id.slice(0, 8)} done: 100 values\n`);
  expect(waited.code).toBe(0);
  const all = await run(["job", "results", id, "--values"]);
  expect(jsonLines(all.stdout)).toEqual(upTo(100).map((n) => n * n));
  const tail = await run(["job", "results", id.slice(0, 8), "--from", "97"]);
  expect(jsonLines(tail.stdout).map((line) => (line as { index: number }).index)).toEqual([97, 98, 99]);
  const audit = await run(["job", "audit", id]);
  expect(audit.stdout).toMatch(/every item has exactly one outcome/);
  expect(audit.code).toBe(0);
  const json = JSON.parse((await run(["job", "audit", id, "-o", "json"])).stdout) as object;
  expect(json).toMatchObject({ job: id, total: 100, covered: 100, closed: true, invalid: 0 });
  const deleted = await run(["job", "delete", id]);
  expect(deleted).toMatchObject({ code: 0, stdout: `job ${id.slice(0, 8)} deleted\n` });
  const gone = await run(["job", "get", id]);
  expect(gone.code).toBe(2);
  expect(gone.stderr).toContain(id);
});

test("a job with failures: wait and results exit 1; retry after the cause is gone makes it whole", async () => {
  const flag = cluster.path("works-now");
  await writeFile(
    cluster.path("needs.ts"),
    `import { existsSync } from "node:fs";
     export default (n: number) => { if (n % 3 === 0 && !existsSync(${JSON.stringify(flag)})) throw new Error("not yet"); return n; };`,
  );
  const id = await detached(["map", "needs.ts", "--range", "0-8"]);
  const waited = await run(["job", "wait", id]);
  expect(waited.code).toBe(1);
  expect(waited.stdout).toContain("6 values, 3 error");
  expect((await run(["job", "results", id])).code).toBe(1);
  expect(existsSync(flag)).toBe(false);
  writeFileSync(flag, "");
  const retried = await run(["job", "retry", id]);
  expect(retried).toMatchObject({ code: 0, stdout: expect.stringContaining("round 1") as string });
  expect((await run(["job", "wait", id])).code).toBe(0);
  const again = await run(["job", "results", id, "--values"]);
  expect(jsonLines(again.stdout)).toEqual(upTo(9));
  const audit = JSON.parse((await run(["job", "audit", id, "-o", "json"])).stdout) as object;
  expect(audit).toMatchObject({ closed: true, round: 1, counts: { value: 9, error: 0 } });
});

test("job list and job get as tables and as JSON", async () => {
  const id = await detached(["map", odd, "--range", "0-4", "--name", "half of them fail"]);
  await run(["job", "wait", id]);
  const list = await run(["job", "list"]);
  const [head, ...rows] = list.stdout.split("\n");
  expect(head).toMatch(/^JOB +STATE +ENDED +ITEMS +FAILED +CREATED +NAME/);
  const row = rows.find((line) => line.startsWith(id.slice(0, 8)));
  expect(row).toMatch(/ done +5 +5 +2 .*half of them fail/);
  const jobs = JSON.parse((await run(["job", "list", "-o", "json", "--state", "done"])).stdout) as {
    id: string;
  }[];
  expect(jobs.map((job) => job.id)).toContain(id);
  const get = await run(["job", "get", id]);
  expect(get.stdout).toMatch(/outcomes +3 value, 2 error/);
  expect(get.stdout).toMatch(/NODE +HOST +SLOT +ITEMS/);
  const json = JSON.parse((await run(["job", "get", id, "-o", "json"])).stdout) as object;
  expect(json).toMatchObject({ id, state: "done", total: 5, runtime: "js", counts: { value: 3, error: 2 } });
});

test("job get --explain says what runs where, who is ahead, and why a second job has no result yet", async () => {
  const log = new RunLog(cluster.dir, "explained");
  const held = upTo(4).map((index) => log.item(index, { isHeld: true }));
  const first = await submit(cluster.client, { task: "recorded.ts:run", items: held });
  await log.hasBegun(2);
  const second = await submit(cluster.client, { task: "recorded.ts:run", items: [log.item(9)] });
  const explained = async (id: string): Promise<string> =>
    (await run(["job", "get", id, "--explain"])).stdout;
  const running = await explained(first);
  expect(running).toMatch(/^waits for +4 items on 2 nodes to end/m);
  expect(running).toMatch(/^input +complete: 4 items$/m);
  expect(running).toMatch(/^leases +\S+ [0-9a-f]{8}: 2 items in [12] leases?, the oldest [\d.]+ m?s old/m);
  expect(running).toMatch(/^nodes +2 of 2 can run it now, with 2 slots$/m);
  const waiting = await explained(second);
  expect(waiting).toMatch(
    /^waits for +1 item on 1 node to end; the slots there have work of 1 other job too$/m,
  );
  expect(waiting).toMatch(/^first result +within its own item .* \+ 250 ms/m);
  const json = JSON.parse((await run(["job", "get", second, "--explain", "-o", "json"])).stdout) as object;
  expect(json).toMatchObject({
    id: second,
    explanation: expect.arrayContaining([{ about: "storage", text: "has room" }]) as object[],
  });
  // Nobody who did not ask pays for it.
  expect(JSON.parse((await run(["job", "get", second, "-o", "json"])).stdout)).not.toHaveProperty(
    "explanation",
  );
  log.open();
  expect((await run(["job", "wait", second])).code).toBe(0);
  expect((await run(["job", "wait", first])).code).toBe(0);
  expect(await explained(first)).toMatch(/^waits for +nothing: it ended .* ago/m);
});

test("job output shows what the tasks printed", async () => {
  const id = await detached(["map", `${taskFile("arithmetic.ts")}:chatty`, "--range", "0-3"]);
  await run(["job", "wait", id]);
  const { stdout, stderr, code } = await run(["job", "output", id]);
  for (const n of upTo(4)) {
    expect(stdout).toContain(`item ${n} says hello`);
    expect(stderr).toContain(`item ${n} complains`);
  }
  expect(code).toBe(0);
  const python = await detached(["map", `${taskFile("plain.py")}:chatty`, "--range", "0-1"]);
  await run(["job", "wait", python]);
  expect((await run(["job", "output", python])).stdout).toContain("item 1 says hello");
});

test("wait --timeout gives up with 124 and leaves the job alone", async () => {
  const log = new RunLog(cluster.dir, "waiting");
  const id = await submit(cluster.client, {
    task: "recorded.ts:run",
    items: [log.item(0, { isHeld: true })],
  });
  const waited = await run(["job", "wait", id, "--timeout", "300ms"]);
  expect(waited.code).toBe(124);
  expect(waited.stderr).toContain(id.slice(0, 8));
  const partial = await run(["job", "results", id, "--no-follow"]);
  expect(partial).toMatchObject({ code: 0, stdout: "" });
  log.open();
  expect((await run(["job", "wait", id])).code).toBe(0);
});

test("cancel, then cancel again: the second says that it has ended already; results exit 3", async () => {
  const log = new RunLog(cluster.dir, "cancelled");
  const id = await submit(cluster.client, {
    task: "recorded.ts:run",
    items: upTo(5).map((n) => log.item(n, { isHeld: true })),
  });
  await log.hasBegun(1);
  const first = await run(["job", "cancel", id]);
  expect(first.code).toBe(0);
  expect(first.stdout).toMatch(/cancelled/);
  const second = await run(["job", "cancel", id]);
  expect(second.code).toBe(2);
  expect(second.stderr).toMatch(/has ended already/);
  expect((await run(["job", "wait", id])).code).toBe(3);
});

test("a running job is not deleted, an ended one without failures is not retried: exit 2, and why", async () => {
  const log = new RunLog(cluster.dir, "busy");
  const busy = await submit(cluster.client, {
    task: "recorded.ts:run",
    items: [log.item(0, { isHeld: true })],
  });
  await log.hasBegun(1);
  const deleting = await run(["job", "delete", busy]);
  expect(deleting.code).toBe(2);
  expect(deleting.stderr).toContain(busy.slice(0, 8));
  const retrying = await run(["job", "retry", busy]);
  expect(retrying.code).toBe(2);
  log.open();
  await run(["job", "wait", busy]);
  // Several at once: what cannot be done to one is said, and done to the others.
  const several = await run(["job", "delete", "0123456789", busy, "9876543210"]);
  expect(several).toMatchObject({ code: 2, stdout: `job ${busy.slice(0, 8)} deleted\n` });
  expect(several.stderr).toMatch(/no job[^\n]* 0123456789[^]*no job[^\n]* 9876543210/);
});

test("node list, node get, status: what there is, as tables and as JSON", async () => {
  const nodes = JSON.parse((await run(["node", "list", "-o", "json"])).stdout) as {
    id: string;
    state: string;
    slots: number;
  }[];
  expect(nodes.map(({ id }) => id).toSorted()).toEqual(cluster.agents.map(({ node }) => node).toSorted());
  expect(nodes.every(({ state, slots }) => state === "connected" && slots === 1)).toBe(true);
  const list = await run(["node", "list"]);
  expect(list.stdout).toMatch(/^NODE +HOST +STATE/);
  const get = await run(["node", "get", cluster.agents[0]!.node.slice(0, 6)]);
  expect(get.stdout).toMatch(/slots +1 \(/);
  expect(get.stdout).toMatch(/runtimes +.*js/);
  const status = await run(["status"]);
  expect(status.stdout).toMatch(/^health +good\n/);
  expect(status.stdout).toMatch(/slots +\d of 2 busy on 2 nodes/);
  const json = JSON.parse((await run(["status", "-o", "json"])).stdout) as object;
  expect(json).toMatchObject({ leading: true, leader: cluster.address });
});
