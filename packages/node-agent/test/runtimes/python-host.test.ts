/** The host of Python: pickled values, exceptions for clients, exits that are errors, deaths, seeds. */
import { execFileSync } from "node:child_process";
import { codecs, decode, limits, packEntries } from "@everycore/protocol";
import { expect, test } from "vitest";
import { discover } from "../../src/runtimes/index.ts";
import { errorOf, startHost } from "./host.ts";

const python = (await discover()).find(({ name }) => name === "python")!.path;
const entry = { entry: "task_of_test", export: "work" };
const hostOf = (code: string) => startHost("python", { files: { "task_of_test.py": code } });

async function loaded(code: string) {
  const host = await hostOf(code);
  expect(await host.load(entry)).toEqual({ t: "loaded" });
  return host;
}

/** What Python itself makes of a pickle: its repr. */
const unpickled = (bytes: Uint8Array): string =>
  execFileSync(python, ["-c", "import pickle, sys; print(repr(pickle.load(sys.stdin.buffer)))"], {
    input: bytes,
    encoding: "utf8",
  }).trim();

const hasNumpy = (() => {
  try {
    execFileSync(python, ["-c", "import numpy"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();

test.each([
  ["a syntax error", "def work(n):\n    return (\n", /task_of_test\.py", line 2/],
  ["a missing import", "\nimport nowhere_at_all\n", /task_of_test\.py", line 2[^]*nowhere_at_all/],
  ["sys.exit while loading", "import sys\nsys.exit('no licence')\n", /SystemExit: no licence/],
])("%s is one failure of the task that names the place", async (_, code, place) => {
  const host = await hostOf(code);
  const answer = await host.load(entry);
  expect(answer["t"]).toBe("initFailed");
  expect(errorOf(answer).trace).toMatch(place);
  expect((await host.stop())[0]).toBe(0);
});

test("what msgpack cannot say is pickled, what other languages can read is not", async () => {
  const host = await loaded(
    "def work(n): return [(1, {2}), {'a': [1, None]}, b'x', {1: 2}, 2**70, 1 + 2j][n]",
  );
  const records = await host.run(1, 0, 6);
  const { py, msgpack, raw } = codecs;
  expect(records.map(({ codec }) => codec)).toEqual([py, msgpack, raw, py, py, py]);
  expect(unpickled(records[0]!.payload)).toBe("(1, {2})");
  expect(decode(records[1]!.payload)).toEqual({ a: [1, null] });
  expect(unpickled(records[4]!.payload)).toBe(String(2n ** 70n));
});

test("what cannot be pickled is the item's error and costs the next one nothing", async () => {
  const host = await loaded("def work(n): return (lambda: n) if n == 0 else n");
  const [refused, next] = await host.run(1, 0, 2);
  expect(errorOf(refused!)).toMatchObject({ kind: "encode", name: "Unencodable" });
  expect(decode(next!.payload)).toBe(1);
});

test("a value over the limit is the item's error, which names the limit, and costs the next one nothing", async () => {
  const host = await loaded("def work(n): return bytes(256 * 1024 * 1024 + 1) if n == 0 else n");
  const [refused, next] = await host.run(1, 0, 2);
  expect(errorOf(refused!)).toMatchObject({
    kind: "output-too-large",
    name: "OutputTooLarge",
    message: expect.stringContaining(`outcomeBytesMax = ${limits.outcomeBytesMax}`) as string,
  });
  expect(decode(next!.payload)).toBe(1);
});

test("pickled items arrive as objects", async () => {
  const host = await loaded("def work(pair): return pair[0] + len(pair[1])");
  const code = "import pickle, sys; sys.stdout.buffer.write(pickle.dumps((5, {1, 2}), protocol=5))";
  const block = packEntries([execFileSync(python, ["-c", code])]);
  expect(decode((await host.run(1, 0, 1, { codec: codecs.py, block }))[0]!.payload)).toBe(7);
});

test("an exception travels in words, with its cause and frames, and as itself for Python", async () => {
  const host = await loaded(`
def work(n):
    try:
        {}["missing"]
    except KeyError as error:
        raise ValueError("bad", n) from error
`);
  const info = errorOf((await host.run(1, 7, 8))[0]!);
  expect(info).toMatchObject({
    kind: "error",
    name: "ValueError",
    message: "('bad', 7)",
    cause: "KeyError: 'missing'",
  });
  expect(info.trace).toMatch(/task_of_test\.py", line 6, in work/);
  expect(info.trace).not.toContain("worker_host");
  expect(unpickled(info.native!.bytes)).toBe("ValueError('bad', 7)");
});

test("an exception that cannot be described, pickled or encoded is an error all the same", async () => {
  const host = await loaded(`
class Odd(Exception):
    def __str__(self): raise RuntimeError("no text")
    def __reduce__(self): raise RuntimeError("no pickle")
def work(n):
    if n == 0: raise Odd()
    if n == 1: raise ValueError("\\ud800")
    return n
`);
  const records = await host.run(1, 0, 3);
  expect(records.map(({ status }) => status)).toEqual([1, 1, 0]);
  expect(errorOf(records[0]!).name).toBe("Odd");
  expect(errorOf(records[0]!).native).toBeUndefined();
});

test.each(["sys.exit(3)", "raise KeyboardInterrupt", "raise GeneratorExit"])(
  "%s is an error of its item",
  async (act) => {
    const host = await loaded(`
import sys
def work(n):
    if n == 1: ${act}
    return n
`);
    expect((await host.run(1, 0, 3)).map(({ status }) => status)).toEqual([0, 1, 0]);
  },
);

test.each([
  ["os._exit(9)", [9, null]],
  ["os.kill(os.getpid(), signal.SIGSEGV)", [null, "SIGSEGV"]],
  ["os.abort()", [null, "SIGABRT"]],
])("%s is a death that leaves its neighbours' records (P4)", async (act, ended) => {
  const host = await loaded(`
import os, signal
def work(n):
    if n == 2: ${act}
    return n
`);
  host.slice(1, 0, 10);
  expect(await host.exited).toEqual(ended);
  expect(host.items().map(({ index }) => index)).toEqual([0, 1]);
});

test("prints reach stderr and stdout though the task closed or replaced them", async () => {
  const host = await loaded(`
import sys
def work(n):
    print("seen", file=sys.stderr)
    sys.stdout = None
    sys.stderr.close()
    return n
`);
  expect((await host.run(1, 0, 1))[0]!.status).toBe(0);
  expect(await host.run(2, 1, 2)).toHaveLength(1);
  await host.stop();
  expect(await host.stderr).toContain("seen");
});

test("random draws depend on seed and index alone, not on slicing (P6)", async () => {
  const host = await loaded("import random\ndef work(n): return random.random()");
  const whole = (await host.run(1, 0, 4)).map(({ payload }) => decode(payload));
  const parts = [...(await host.run(2, 0, 1)), ...(await host.run(3, 1, 4))].map(({ payload }) =>
    decode(payload),
  );
  expect(new Set(whole).size).toBe(4);
  expect(parts).toEqual(whole);
});

test.runIf(hasNumpy)("numpy's generator is seeded alike, its values are pickled", async () => {
  const host = await loaded(
    "import numpy\ndef work(n): return float(numpy.random.rand()) if n else numpy.zeros(2)",
  );
  const first = await host.run(1, 0, 3);
  const again = await host.run(2, 1, 3);
  expect(first[0]!.codec).toBe(codecs.py);
  expect(again.map(({ payload }) => decode(payload))).toEqual(
    first.slice(1).map(({ payload }) => decode(payload)),
  );
});
