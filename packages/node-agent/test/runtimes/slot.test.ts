/** The worker's side of the slot files: the golden bytes of its records, and what a full disk does to a host. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { page } from "@everycore/protocol";
import { describe, expect, test } from "vitest";
import { Slot } from "../../src/runtimes/host/slot.ts";
import { newFolder, startHost } from "./host.ts";
import { canMount, mountSmall } from "./small-disk.ts";

interface Vector {
  index: number;
  status: number;
  codec: number;
  micros: number;
  payload: string;
  bytes: string;
}

test("records are written as the golden vectors say", () => {
  const path = new URL("../../../../proto/vectors/slot-records.json", import.meta.url);
  const vectors = JSON.parse(readFileSync(path, "utf8")) as Vector[];
  const dir = newFolder();
  writeFileSync(join(dir, "page"), Buffer.alloc(page.bytes));
  const slot = new Slot(dir);
  slot.enter(1, join(dir, "out-1"));
  for (const { index, status, codec, micros, payload } of vectors) {
    slot.append(index, status, codec, micros, Buffer.from(payload, "hex"));
  }
  expect(readFileSync(join(dir, "out-1")).toString("hex")).toBe(vectors.map(({ bytes }) => bytes).join(""));
});

const tasks = [
  {
    runtime: "js",
    file: "task.mjs",
    entry: "task.mjs",
    code: "export const work = (n) => 'x'.repeat(n * 10_000);",
  },
  {
    runtime: "python",
    file: "task_of_test.py",
    entry: "task_of_test",
    code: "def work(n): return 'x' * (n * 10_000)",
  },
] as const;

describe.each(tasks)("$runtime on a full disk", ({ runtime, file, entry, code }) => {
  const files = { [file]: code };

  test("the first append that fails ends it with exit code 75: no item is to blame", async () => {
    const host = await startHost(runtime, { files });
    await host.load({ entry, export: "work" });
    host.slice(1, 0, 10, { file: "/dev/full" });
    expect(await host.exited).toEqual([75, null]);
    expect(await host.stderr).toContain("cannot write outcomes");
  });

  test.runIf(canMount())(
    "a disk that fills up keeps the records before, and a torn one is none",
    async () => {
      const disk = join(newFolder(), "disk");
      mountSmall(disk);
      const host = await startHost(runtime, { files });
      await host.load({ entry, export: "work" });
      host.slice(1, 0, 100, { file: join(disk, "out") });
      expect(await host.exited).toEqual([75, null]);
      const items = host.items(join(disk, "out"));
      expect(items.length).toBeGreaterThan(2);
      expect(items.map(({ index }) => index)).toEqual(items.map((_, at) => at));
      for (const { index, payload } of items) expect(payload.length).toBeGreaterThanOrEqual(index * 10_000);
    },
  );
});
