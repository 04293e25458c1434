/** What a drill's observations are worth, how they are told, and which processes it may touch. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { RowReport } from "../src/drill/drill.ts";
import { isWell } from "../src/drill/ground.ts";
import { judge, startsAgain } from "../src/drill/judge.ts";
import type { Sighting } from "../src/drill/judge.ts";
import { partsOf, stopProcess } from "../src/drill/processes.ts";
import { listText, reportText, reportValues } from "../src/drill/report.ts";
import { moments, rows } from "../src/drill/rows.ts";
import type { Row } from "../src/drill/rows.ts";
import { program } from "../src/program.ts";
import { until } from "../../../test/support/until.ts";

const row: Row = {
  id: "worker",
  what: "a worker is killed",
  promise: "P4",
  promised: "it is replaced",
  limits: { noticed: { ms: 1_000, mostMs: 10_000 }, ended: { ms: 20_000, mostMs: 60_000 } },
};
const good: Sighting = {
  items: 80,
  lost: 0,
  again: 1,
  againMost: 1,
  againWhy: "its worker was killed",
  times: { noticed: 40, ended: 4_000 },
  faults: [],
};

describe("a row is", () => {
  test("ok when nothing is lost and all is within what is promised", () => {
    expect(judge(row, good)).toEqual({ verdict: "ok", reasons: [] });
    const atTheLimit = { ...good, times: { noticed: 1_000, ended: 20_000 } };
    expect(judge(row, atTheLimit).verdict).toBe("ok");
  });

  test("slow, not failed, on a busy machine", () => {
    const { verdict, reasons } = judge(row, { ...good, times: { noticed: 1_001, ended: 4_000 } });
    expect(verdict).toBe("slow");
    expect(reasons).toEqual(["it was noticed after 1.0 s instead of 1.0 s"]);
  });

  const failures: [string, Partial<Sighting>, RegExp][] = [
    ["one item is lost", { lost: 1 }, /1 of 80 items were lost/],
    [
      "items run again without a reason",
      { again: 3 },
      /3 items were run again, where 1 at most had a reason/,
    ],
    [
      "a time is beyond the most",
      { times: { noticed: 10_001, ended: 4_000 } },
      /noticed after 10.0 s; 10.0 s is/,
    ],
    ["a time never came: it hung", { times: { noticed: 40 } }, /it never ended/],
    ["anything else was wrong", { faults: ["the audit found it"] }, /the audit found it/],
  ];
  for (const [when, change, reason] of failures) {
    test(`FAILED when ${when}`, () => {
      const { verdict, reasons } = judge(row, { ...good, ...change });
      expect(verdict).toBe("FAILED");
      expect(reasons.join("\n")).toMatch(reason);
    });
  }

  test("not blamed for a time that nobody could see", () => {
    const unseen: Sighting = { ...good, times: { ended: 4_000 }, unseen: ["noticed"] };
    expect(judge(row, unseen).verdict).toBe("ok");
  });

  test("FAILED with what was slow told behind", () => {
    const { reasons } = judge(row, { ...good, lost: 2, times: { noticed: 5_000, ended: 1 } });
    expect(reasons).toEqual(["2 of 80 items were lost", "it was noticed after 5.0 s instead of 1.0 s"]);
  });
});

test("an item that started three times was run again twice", () => {
  expect(startsAgain([])).toBe(0);
  expect(startsAgain([0, 1, 2])).toBe(0);
  expect(startsAgain([0, 1, 1, 2, 1])).toBe(2);
});

test("each row's limits are generous, in their order, and told by --list", () => {
  for (const { id, limits } of rows) {
    expect(Object.keys(limits).length, id).toBeGreaterThan(0);
    for (const moment of moments) {
      const limit = limits[moment];
      if (limit !== undefined) expect(limit.mostMs, `${id} ${moment}`).toBeGreaterThan(limit.ms);
    }
  }
  for (const { id, promise, promised } of rows) {
    const line = listText(rows)
      .split("\n")
      .find((text) => text.startsWith(`${id} `));
    expect(line).toContain(promise);
    expect(line).toContain(promised);
  }
});

test("the table has limits beside times, reasons for what is skipped, and a sum", () => {
  const reports: RowReport[] = [
    { row, verdict: "ok", reasons: [], seen: good, jobs: [], tookMs: 5_000 },
    { row: { ...row, id: "stop" }, verdict: "skipped", reasons: ["not here"], jobs: [], tookMs: 0 },
    {
      row: { ...row, id: "crash" },
      verdict: "FAILED",
      reasons: ["1 of 80 items were lost"],
      seen: { ...good, lost: 1, times: { ended: 100 } },
      jobs: ["0123456789abcdef0123"],
      tookMs: 1_000,
    },
  ];
  const text = reportText(reports);
  expect(text).toMatch(/^worker +80 +0 +1 +40 ms \(1 s\) +4\.0 s \(20 s\) +P4 +ok$/m);
  expect(text).toMatch(/^stop .*skipped: not here$/m);
  expect(text).toMatch(/^crash +80 +1 +1 +- +100 ms \(20 s\) +P4 +FAILED$/m);
  expect(text).toContain("worker: 1 run again: its worker was killed");
  expect(text).toContain("crash: FAILED: 1 of 80 items were lost");
  expect(text).toContain("crash: kept: everycore job get 01234567");
  expect(text).toContain("2 of 3 rows in 6.0 s, 1 item lost, 1 failed, 1 skipped");
  expect(reportValues(reports)).toMatchObject([
    { row: "worker", lost: 0, again: 1, againWhy: "its worker was killed", times: { noticed: 40 } },
    { row: "stop", verdict: "skipped", reasons: ["not here"] },
    { row: "crash", verdict: "FAILED", lost: 1, jobs: ["0123456789abcdef0123"] },
  ]);
});

test("a cluster whose jobs wait is well; one without a leader, or that waits for its nodes, is not", () => {
  const status = (waiting: readonly string[]) => ({ waiting }) as unknown as Parameters<typeof isWell>[0];
  expect(isWell(status([]))).toBe(true);
  expect(isWell(status(["job 1a2b3c4d: blocked: no-node"]))).toBe(true);
  expect(isWell(status(["reports of 2 known agents after a takeover"]))).toBe(false);
  expect(isWell(undefined)).toBe(false);
});

test("a row that does not exist is refused with the one that was meant", async () => {
  const only = (text: string): Promise<unknown> =>
    program().parseAsync(["drill", "--list", "--only", text], { from: "user" });
  await expect(only("leader,wroker")).rejects.toMatchObject({
    code: "bad-input",
    message: '"wroker" is no row of a drill',
    hint: "did you mean worker?",
  });
  await expect(only("")).rejects.toMatchObject({ code: "bad-input" });
});

describe.runIf(process.platform === "linux")("processes", () => {
  const stateOf = (pid: number): string | undefined =>
    / ([A-Z]) /.exec(readFileSync(`/proc/${pid}/stat`, "utf8"))?.[1];

  test("our own children are no parts unless they run a part's program; a part's other parents do not count", async () => {
    const program = `${process.cwd()}/packages/node-agent/src/main.ts`;
    const agent = spawn("/bin/sh", ["-c", "read -r line", program], { stdio: ["pipe", "ignore", "ignore"] });
    const other = spawn("/bin/sh", ["-c", "read -r line"], { stdio: ["pipe", "ignore", "ignore"] });
    await Promise.all([once(agent, "spawn"), once(other, "spawn")]);
    const pids = partsOf(process.pid).map(({ pid }) => pid);
    expect(pids).toContain(agent.pid);
    expect(pids).not.toContain(other.pid);
    expect(partsOf(process.ppid).map(({ pid }) => pid)).not.toContain(agent.pid);
    agent.stdin.end();
    other.stdin.end();
    await Promise.all([once(agent, "exit"), once(other, "exit")]);
    expect(partsOf(process.pid).map(({ pid }) => pid)).not.toContain(agent.pid);
  });

  test("what is stopped goes on when it is disposed of", async () => {
    const child = spawn("/bin/sh", ["-c", "echo up; read -r line"], { stdio: ["pipe", "pipe", "ignore"] });
    await once(child.stdout, "data");
    {
      await using _stopped = await stopProcess(child.pid!);
      await until(() => stateOf(child.pid!) === "T", { what: "the process to be stopped" });
    }
    await until(() => stateOf(child.pid!) !== "T", { what: "the process to go on" });
    child.stdin.end();
    expect((await once(child, "exit"))[1]).toBe(null);
  });
});
