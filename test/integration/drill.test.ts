// `everycore drill` on a real `up`: every row, what it refuses to disturb, and that it leaves nothing stopped behind.

import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { startCluster } from "../support/cluster.ts";
import { type Command, type TestUser, makeTestUser } from "../support/command.ts";
import { RunLog, taskFile, upTo } from "../support/jobs.ts";
import { type FoundProcess, processesOf } from "../support/processes.ts";
import { until } from "../support/until.ts";

interface RowValue {
  readonly row: string;
  readonly verdict: string;
  readonly reasons: readonly string[];
  readonly lost?: number;
  readonly again?: number;
}

async function startUp(user: TestUser): Promise<Command & AsyncDisposable> {
  const up = user.start(["up", "--agents", "2", "--slots", "2"], { stdin: "" });
  await up.prints(/everycore is up: .*\n/, 40_000);
  const stop = async (): Promise<void> => {
    if (up.process.exitCode === null && up.process.signalCode === null) up.pressCtrlC();
    await up.end();
  };
  return Object.assign(up, { [Symbol.asyncDispose]: stop });
}

const stoppedOf = (user: TestUser): FoundProcess[] =>
  processesOf(user.home).filter(({ state }) => state === "T");

const jobsOf = async (user: TestUser): Promise<{ id: string; name: string; state: string }[]> =>
  JSON.parse((await user.run(["job", "list", "-o", "json"])).stdout) as {
    id: string;
    name: string;
    state: string;
  }[];

test(
  "every row on an up of two agents: nothing is lost, nothing hangs, nothing is left",
  { timeout: 240_000 },
  async () => {
    await using user = await makeTestUser();
    await using up = await startUp(user);
    const { code, stdout, stderr } = await user.run(["drill"]);
    const lines = stdout.split("\n");
    expect(lines[0]).toMatch(/^ROW +ITEMS +LOST +AGAIN +NOTICED +RESUMED +ENDED +PROMISE +VERDICT$/);
    const rows = lines.slice(1, lines.indexOf(""));
    const names = ["worker", "crash", "agent", "stop", "leader", "nats", "cut", "cancel", "quota", "disk"];
    expect(rows.map((line) => line.split(" ")[0])).toEqual(names);
    expect(rows.pop()).toMatch(/ skipped: it would take room that others need/);
    for (const line of rows) {
      const [, items, lost, again] = line.split(/ +/);
      expect(Number(items!.replaceAll(",", "")), line).toBeGreaterThan(20);
      expect(lost, line).toBe("0");
      // What was killed while it ran is run once more; nothing else is.
      const isKilled = ["worker", "crash", "agent"].some((name) => line.startsWith(`${name} `));
      expect(again, line).toBe(isKilled ? "1" : "0");
      expect(line).toMatch(/ (ok|slow)$/);
    }
    expect(stdout).toMatch(/9 of 10 rows in .*, 0 items lost, 0 failed/);
    expect(code).toBe(0);
    expect(stderr).toContain("drill: leader: the leader is killed (kill -9) and started again");
    // They really died, and `up` started them again.
    for (const part of ["agent-\\d", "coordinator", "nats-server"])
      expect(up.stderr).toMatch(
        new RegExp(`^everycore up: ${part} ended \\(signal SIGKILL\\); it is started again`, "m"),
      );
    expect(await jobsOf(user)).toEqual([]);
    expect(stoppedOf(user)).toEqual([]);
  },
);

test(
  "a full disk, in a cluster of the drill's own: its node takes no work until there is room, and says so",
  { timeout: 120_000 },
  async () => {
    await using user = await makeTestUser();
    const { code, stdout, stderr } = await user.run(["drill", "--only", "disk", "-o", "json"]);
    const [row] = JSON.parse(stdout) as (RowValue & { readonly times: Record<string, number> })[];
    expect(row, stderr).toMatchObject({ row: "disk", lost: 0, again: 0 });
    expect(["ok", "slow"]).toContain(row!.verdict);
    expect(row!.times["resumed"]).toBeGreaterThan(row!.times["noticed"]!);
    expect(code).toBe(0);
    expect(readdirSync(user.path("tmp"))).toEqual([]);
  },
);

test(
  "a cluster with a job of somebody is not disturbed unasked; --only and -o json",
  { timeout: 120_000 },
  async () => {
    await using user = await makeTestUser();
    await using _up = await startUp(user);
    const log = new RunLog(user.home);
    const items = upTo(5_000).map((index) => JSON.stringify(log.item(index, { ms: 50 })));
    const detached = await user.run(
      ["map", `${taskFile("recorded.ts")}:run`, "--items", "-", "--detach", "--name", "precious"],
      { stdin: items.join("\n") },
    );
    const id = detached.stdout.trim();
    await log.hasBegun(1);
    const refused = await user.run(["drill", "--only", "crash"]);
    expect(refused).toMatchObject({ code: 2, stdout: "" });
    expect(refused.stderr).toContain(`a job is running there: ${id.slice(0, 8)} (precious)`);
    expect(refused.stderr).toContain("--yes");
    const drilled = await user.run(["drill", "--only", "cancel,crash", "--yes", "-o", "json", "-q"]);
    const rows = JSON.parse(drilled.stdout) as RowValue[];
    expect(rows).toMatchObject([
      { row: "crash", lost: 0, again: 1 },
      { row: "cancel", lost: 0, again: 0 },
    ]);
    expect(drilled).toMatchObject({ code: 0, stderr: "" });
    expect((await jobsOf(user)).map((job) => job.id)).toEqual([id]); // of its own jobs none is left
    await user.run(["job", "cancel", id]);
    expect(log.repeated()).toEqual([]);
  },
);

test("Ctrl-C while an agent is stopped: it goes on, the job is gone", { timeout: 120_000 }, async () => {
  await using user = await makeTestUser();
  await using _up = await startUp(user);
  const command = user.start(["drill", "--only", "stop"], { stdin: "" });
  await until(() => stoppedOf(user).length === 1, { what: "an agent to be stopped", withinMs: 40_000 });
  command.pressCtrlC();
  expect(await command.end()).toMatchObject({ code: 3, stdout: "" });
  expect(stoppedOf(user)).toEqual([]);
  expect(await jobsOf(user)).toEqual([]);
});

test(
  "kill -9 of the drill while nats-server is stopped: it goes on at once",
  { timeout: 120_000 },
  async () => {
    await using user = await makeTestUser();
    await using _up = await startUp(user);
    const command = user.start(["drill", "--only", "cut"], { stdin: "" });
    await until(() => stoppedOf(user).length === 1, { what: "nats-server to be stopped", withinMs: 40_000 });
    process.kill(command.process.pid!, "SIGKILL");
    await command.end();
    await until(() => stoppedOf(user).length === 0, { what: "nats-server to go on" });
    // Its job is bounded and ends by itself; another drill finds a cluster that is well.
    await until(async () => (await jobsOf(user)).every(({ state }) => state === "done"), {
      what: "the job of the killed drill to end",
      withinMs: 60_000,
    });
    expect((await user.run(["drill", "--only", "crash"])).code).toBe(0);
  },
);

test(
  "a cluster of others' making: what it does not own it skips, and says why",
  { timeout: 120_000 },
  async () => {
    await using cluster = await startCluster({ agents: 2, slots: 1 });
    await using user = await makeTestUser();
    const { environment } = cluster;
    const some = await user.run(["drill", "--only", "worker,leader,quota", "-o", "json"], { environment });
    const rows = JSON.parse(some.stdout) as RowValue[];
    expect(rows).toMatchObject([
      { row: "worker", lost: 0, again: 1 },
      {
        row: "leader",
        verdict: "skipped",
        reasons: ["it is not of this user's everycore up: nobody is known who would start it again"],
      },
      { row: "quota", verdict: "skipped" },
    ]);
    expect(some.code).toBe(0);
    const pid = cluster.coordinator.pid;
    const none = await user.run(["drill", "--only", "leader,nats"], { environment });
    expect(none.code).toBe(4);
    expect(none.stderr).toContain("nothing was tried");
    expect(cluster.coordinator.isRunning && cluster.coordinator.pid === pid).toBe(true);
  },
);
