/** The compile cache of worker hosts: used when it is ours alone (P8), emptied when it is too large (P7). */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { prepareCache } from "../../src/runtimes/compile-cache.ts";
import { until } from "../../../../test/support/until.ts";
import { newFolder, startHost } from "./host.ts";

test("a folder of ours is made, closed to others", () => {
  const path = prepareCache(join(newFolder(), "new"));
  expect(statSync(path!).mode & 0o777).toBe(0o700);
});

test("a folder that others can write to, or a link to elsewhere, is not used", () => {
  const base = newFolder();
  const path = prepareCache(base)!;
  chmodSync(path, 0o777);
  expect(prepareCache(base)).toBeUndefined();
  const other = newFolder();
  mkdirSync(join(other, "everycore"));
  symlinkSync(newFolder(), join(other, "everycore", "compiled"));
  expect(prepareCache(other)).toBeUndefined();
});

test("no folder is no failure: workers only start more slowly", () => {
  const file = join(newFolder(), "file");
  writeFileSync(file, "");
  expect(prepareCache(file)).toBeUndefined();
});

test("over its bound it is emptied, below it is kept", () => {
  const base = newFolder();
  const path = prepareCache(base)!;
  mkdirSync(join(path, "v24"));
  writeFileSync(join(path, "v24", "small"), "code");
  prepareCache(base);
  expect(existsSync(join(path, "v24", "small"))).toBe(true);
  truncateSync(join(path, "v24", "small"), 65 * 1024 * 1024);
  expect(prepareCache(base)).toBe(path);
  expect(readdirSync(path)).toEqual([]);
});

test("a host fills it while it lives, since it may be killed later", async () => {
  const cache = newFolder();
  const host = await startHost("js", {
    files: { "task.mjs": "export default (n) => n;" },
    env: { NODE_COMPILE_CACHE: cache },
  });
  await host.load({ entry: "task.mjs", export: "default" });
  await until(() => readdirSync(cache, { recursive: true }).length > 5, {
    what: "the host's modules to be kept",
  });
});
