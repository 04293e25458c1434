/** What progress and `job watch` say, from numbers and times alone. */
import type { JobInfo } from "@everycore/client/internal";
import { expect, test } from "vitest";
import { Pace } from "../src/terminal/pace.ts";
import { countsOf, PlainLines, progressStyle, progressText } from "../src/terminal/progress.ts";
import { Screen } from "../src/terminal/screen.ts";
import { watchLine, watchScreen } from "../src/terminal/watch-text.ts";

test("progress says how far, how fast, how long, and what failed", () => {
  const pace = { perSecond: 300, estimate: { soonest: 20_000, latest: 29_300 } };
  expect(progressText({ done: 1200, total: 10_000, failures: "3 error" }, pace)).toBe(
    "1,200/10,000 12 % · 300/s · 20.0 s to 29.3 s left · 3 error",
  );
  const narrow = { perSecond: 5, estimate: { soonest: 20_000, latest: 21_000 } };
  expect(progressText({ done: 1200, total: 10_000, failures: "" }, narrow)).toContain("5.0/s · 21.0 s left");
  expect(
    progressText({ done: 1200, total: undefined, failures: "" }, { perSecond: 300, estimate: undefined }),
  ).toBe("1,200 done · 300/s");
  expect(progressText({ done: 0, total: 0, failures: "" }, { perSecond: 0, estimate: undefined })).toBe(
    "0/0 100 %",
  );
});

test("a job whose items have all ended says how far its audit is", () => {
  const info = {
    state: "running",
    total: 20,
    counts: { value: 20, error: 0, timeout: 0, crash: 0, lost: 0, cancelled: 0, expired: 0 },
    audit: { share: 1, checked: 11, differing: 0, unchecked: 1, open: 8, items: [] },
  } as unknown as JobInfo;
  const pace = { perSecond: 0, estimate: undefined };
  expect(progressText(countsOf(info), pace)).toBe("20/20 100 % · audit 12/20");
  const running = { ...info, counts: { ...info.counts!, value: 19 } };
  expect(progressText(countsOf(running), pace)).toBe("19/20 95 %");
});

test("a job that slows down has a range between its first and its latest pace", () => {
  const pace = new Pace();
  expect(pace.estimate(0, 100)).toBeUndefined();
  for (let second = 0; second <= 20; second += 1) pace.add(second * 1_000, second * 100);
  for (let second = 21; second <= 40; second += 1) pace.add(second * 1_000, 2_000 + (second - 20) * 10);
  expect(pace.perSecond(40_000)).toBeCloseTo(10, 0);
  const { soonest, latest } = pace.estimate(40_000, 1_000)!;
  expect(latest).toBeCloseTo(100_000, -3); // 10/s of late
  expect(soonest).toBeCloseTo(18_181, -3); // 55/s in all
  // standing still, both ages
  expect(pace.perSecond(100_000)).toBeLessThan(5);
});

test("items that are opened again begin a new pace", () => {
  const pace = new Pace();
  pace.add(0, 0);
  pace.add(1_000, 500);
  pace.add(2_000, 100);
  pace.add(3_000, 200);
  expect(pace.perSecond(3_000)).toBe(100);
});

test("a terminal gets a bar, a CI log plain lines, a pipe nothing; the flag wins, --quiet most of all", () => {
  const at = (isTerminal: boolean, ci: string | undefined, quiet = false) => ({ isTerminal, ci, quiet });
  expect(progressStyle("auto", at(true, undefined))).toBe("bar");
  expect(progressStyle("auto", at(true, "true"))).toBe("plain");
  expect(progressStyle("auto", at(false, "1"))).toBe("plain");
  expect(progressStyle("auto", at(true, "false"))).toBe("bar");
  expect(progressStyle("auto", at(false, undefined))).toBe("none");
  expect(progressStyle("plain", at(true, undefined))).toBe("plain");
  expect(progressStyle("plain", at(true, "true", true))).toBe("none");
});

test("plain lines: at each tenth, not more than one in two seconds, one in half a minute at least", () => {
  const lines = new PlainLines(0);
  const due = (done: number, second: number): boolean =>
    lines.isDue({ done, total: 100, failures: "" }, second * 1_000);
  expect(due(15, 1)).toBe(false); // a short job says nothing
  expect(due(15, 3)).toBe(true);
  expect(due(19, 10)).toBe(false);
  expect(due(20, 11)).toBe(true);
  expect(due(21, 40)).toBe(false);
  expect(due(21, 41)).toBe(true);
});

const info = (more: Partial<JobInfo>): JobInfo =>
  ({
    id: "1a2b3c4d5e6f70819203",
    name: "squares",
    state: "running",
    reason: "",
    total: 1000,
    appended: 1000,
    counts: { value: 497, error: 2, timeout: 0, crash: 1, lost: 0, cancelled: 0, expired: 0 },
    leased: 20,
    retries: 0,
    strikes: 2,
    startedAt: 1_000,
    endedAt: 0,
    usage: [
      {
        node: "5f3c9a0111112222",
        host: "here",
        leases: 3,
        slots: [{ slot: 0, items: 500, slices: 9, splits: 0, busyMs: 5_000, cpuMs: 4_000 }],
      },
    ],
    ...more,
  }) as unknown as JobInfo;

test("watch shows items, outcomes, pace, trouble and who did the work", () => {
  const pace = new Pace();
  pace.add(0, 0);
  pace.add(10_000, 500);
  const text = watchScreen(info({}), pace, { now: 11_000, at: 10_000 });
  expect(text).toContain("[###############---------------] 50 %  500/1,000");
  expect(text).toContain("497 value, 2 error, 1 crash");
  expect(text).toContain("50/s, 10.0 s left");
  expect(text).toContain("0 retries, 2 strikes");
  expect(text).toMatch(/5f3c9a01 +here +1 +500 +10 ms +5\.0 s +4\.0 s/);
  expect(watchLine(info({}), pace, 10_000)).toBe(
    "job 1a2b3c4d running: 500/1,000 50 % · 50/s · 10.0 s left · 2 error, 1 crash\n",
  );
  expect(watchLine(info({ state: "paused" }), pace, 10_000)).not.toContain("left");
  const open = watchScreen(info({ total: 0, appended: 600 }), pace, { now: 11_000, at: 10_000 });
  expect(open).toContain("500 of 600 so far");
});

test("a screen takes back what it drew, and is never larger than the terminal", () => {
  const written: string[] = [];
  const stream = { columns: 10, rows: 4, write: (text: string) => written.push(text) };
  const screen = new Screen(stream as unknown as NodeJS.WriteStream);
  screen.draw("1\n2 is longer than that\n3\n4\n5\n");
  screen.draw("again\n");
  expect(written).toEqual(["1\n2 is longe\n3\n", "\u001B[3A\r\u001B[Jagain\n"]);
});
