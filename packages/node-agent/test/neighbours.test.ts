import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { claimSlots } from "../src/machine/neighbours.ts";
import { startTimeOf } from "../src/machine/processes.ts";

function folder(): { path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), "everycore-neighbours-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
}

test("an agent alone has no warning, and leaves no file behind", () => {
  using dir = folder();
  const claimed = claimSlots({ flag: 2, dir: dir.path, cores: 2 });
  expect(claimed).toMatchObject({ slots: 2, reason: "asked for", warning: undefined });
  claimed.release();
  expect(readdirSync(dir.path)).toEqual([]);
});

test("a living neighbour counts: more slots than cores are said", () => {
  using dir = folder();
  // Our parent lives as long as we do.
  const pid = process.ppid;
  writeFileSync(join(dir.path, String(pid)), JSON.stringify({ startTime: startTimeOf(pid), slots: 2 }));
  const claimed = claimSlots({ flag: 1, dir: dir.path, cores: 2 });
  expect(claimed.warning).toContain("together 3 slots on 2 cores");
  expect(claimed.reason).toContain("asked for; ");
  claimed.release();
  const fits = claimSlots({ flag: 1, dir: dir.path, cores: 4 });
  expect(fits.warning).toBeUndefined();
  fits.release();
});

test("files of dead agents and of others are removed and not counted", () => {
  using dir = folder();
  writeFileSync(join(dir.path, "1"), JSON.stringify({ startTime: 1, slots: 64 }));
  writeFileSync(join(dir.path, "nonsense"), "{");
  const claimed = claimSlots({ flag: 2, dir: dir.path, cores: 2 });
  expect(claimed.warning).toBeUndefined();
  expect(readdirSync(dir.path)).toEqual([String(process.pid)]);
  claimed.release();
});
