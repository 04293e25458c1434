// What a spare does before its first job must leave no trace, and may fail without anybody noticing.
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { rehearse } from "../../src/runtimes/host/rehearsal.ts";
import { until } from "../../../../test/support/until.ts";
import { startHost } from "./host.ts";

test("a rehearsal runs two items of a task that is there, and takes everything away", async () => {
  const dir = mkdtempSync(join(tmpdir(), "everycore-rehearsal-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const seen: unknown[] = [];
  await rehearse(dir, () => ({
    load: async (task) => void seen.push(existsSync(join(task.dir!, task.entry!))),
    run: (item, index) => (seen.push([item, index]), null),
  }));
  expect(seen).toEqual([true, [0, 0], [1, 1]]);
  expect(readdirSync(dir)).toEqual([]);
});

test("without a folder to write to there is none, and no error", async () => {
  const newRunner = () => ({ load: () => Promise.reject(new Error("never")), run: () => 0 });
  await rehearse(import.meta.filename, newRunner); // a file is no folder
});

test("a spare that has rehearsed serves its first job as any other, and told nobody", async () => {
  const host = await startHost("js", { files: { "double.mjs": "export default (n) => n * 2;" } });
  // The rehearsal comes and goes by itself; whichever side of it we meet, the job must not see it.
  await until(() => !existsSync(join(host.dir, "rehearsal")), { what: "the end of the rehearsal" });
  expect(await host.load({ entry: "double.mjs", export: "default" })).toEqual({ t: "loaded" });
  const records = await host.run(1, 0, 3);
  expect(records.map(({ index }) => index)).toEqual([0, 1, 2]);
  expect(readdirSync(host.dir)).not.toContain("rehearsal");
});
