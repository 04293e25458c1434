/** The host of JavaScript: what a bad module, a stray rejection, a source map and an odd value look like outside. */
import { codecs, decode, packEntries } from "@everycore/protocol";
import { expect, test } from "vitest";
import { errorOf, startHost } from "./host.ts";

const entry = { entry: "task.mjs", export: "default" };
const hostOf = (code: string, more: Record<string, string> = {}) =>
  startHost("js", { files: { "task.mjs": code, ...more } });

async function loaded(code: string, more: Record<string, string> = {}) {
  const host = await hostOf(code, more);
  expect(await host.load(entry)).toEqual({ t: "loaded" });
  return host;
}

test.each([
  ["a syntax error", "export default (n) =>\n  n +;\n", /task\.mjs:2/],
  ["a missing import", 'import "nowhere-at-all";\nexport default (n) => n;\n', /nowhere-at-all.*task\.mjs/s],
  ["a throw while loading", '\nthrow new Error("no licence");\n', /no licence[^]*task\.mjs:2/],
])("%s is one failure of the task that names the place", async (_, code, place) => {
  const host = await hostOf(code);
  const answer = await host.load(entry);
  expect(answer["t"]).toBe("initFailed");
  const { message, trace } = errorOf(answer);
  expect(`${message}\n${trace}`).toMatch(place);
  expect(trace).toContain(message.split(" (")[0]);
  expect((await host.stop())[0]).toBe(0);
});

test("a dying item leaves its neighbours' records (P4)", async () => {
  const host = await loaded("export default (n) => n === 2 ? process.exit(9) : n;");
  host.slice(1, 0, 10);
  expect((await host.exited)[0]).toBe(9);
  expect(host.items().map((item) => item.index)).toEqual([0, 1]);
});

test.each([
  ["an unhandled rejection", "Promise.reject(new Error('left behind'))"],
  ["a throw in a timer", "setTimeout(() => { throw new Error('left behind'); }, 0)"],
])("%s is a death with its reason on stderr, not a wrong outcome", async (_, stray) => {
  const host = await loaded(`
    export default async (n) => {
      if (n === 1) { ${stray}; await new Promise((resolve) => setTimeout(resolve, 10_000)); }
      return n;
    };`);
  host.slice(1, 0, 3);
  expect((await host.exited)[0]).not.toBe(0);
  expect(await host.stderr).toContain("left behind");
  expect(host.items().map((item) => item.index)).toEqual([0]);
});

test("a trace names the lines of the TypeScript that was written", async () => {
  // "AAEA": the first column of the bundle is line 3 of task.ts.
  const map = {
    version: 3,
    sources: ["task.ts"],
    sourcesContent: ["\n\nthrow"],
    names: [],
    mappings: "AAEA",
  };
  const code = 'export default () => { throw new Error("boom"); };\n//# sourceMappingURL=task.mjs.map\n';
  const host = await loaded(code, { "task.mjs.map": JSON.stringify(map) });
  const [record] = await host.run(1, 0, 1);
  expect(errorOf(record!).trace).toMatch(/task\.ts:3/);
  expect(errorOf(record!).trace).not.toMatch(/runtimes\/host|node:/);
});

test("random streams do not depend on slicing (P6)", async () => {
  const host = await loaded("export default (n, ctx) => ctx.random();");
  const whole = await host.run(1, 0, 4);
  const parts = [...(await host.run(2, 0, 1)), ...(await host.run(3, 1, 4))];
  const values = (records: typeof whole) => records.map((record) => decode(record.payload));
  expect(new Set(values(whole)).size).toBe(4);
  expect(values(parts)).toEqual(values(whole));
});

test.each([
  ["undefined", null],
  ["new Float64Array([0.5, 1])", [0.5, 1]],
  ["new Set([1, 2])", [1, 2]],
  ["new Map([[1, { a: [] }]])", { 1: { a: [] } }],
  ["2n ** 60n", 2n ** 60n],
  ["{ toJSON: () => 5 }", 5],
])("the value %s arrives", async (code, value) => {
  const host = await loaded(`export default async () => (${code});`);
  const [record] = await host.run(1, 0, 1);
  expect(record!.status).toBe(0);
  expect(decode(record!.payload)).toEqual(value);
});

test.each([
  ["() => 1", "value is a function"],
  ["{ a: [Symbol('x')] }", "value.a[0] is a symbol"],
  ["{ when: { then: 1, p: Promise.resolve() } }", "value.when.p is a Promise"],
  ["(() => { const a = {}; a.a = a; return a; })()", "value.a is circular"],
  ["2n ** 64n", "beyond 64 bits"],
])("the value %s is refused with its path, as the item's error", async (code, said) => {
  const host = await loaded(`export default async (n) => n === 0 ? (${code}) : n;`);
  const [refused, next] = await host.run(1, 0, 2);
  expect(errorOf(refused!)).toMatchObject({
    kind: "encode",
    message: expect.stringContaining(said) as string,
  });
  expect(decode(next!.payload)).toBe(1);
});

test.each(["null", "'text'", "Object.create(null)", "new Proxy({}, {})"])(
  "throw %s is an error",
  async (thrown) => {
    const host = await loaded(`export default (n) => { if (n === 0) throw ${thrown}; return n; };`);
    expect((await host.run(1, 0, 2)).map((record) => record.status)).toEqual([1, 0]);
  },
);

test("bytes come back as they are", async () => {
  const host = await loaded("export default (item) => item;");
  const block = packEntries([Buffer.from([0, 255, 7])]);
  const [record] = await host.run(1, 0, 1, { codec: codecs.raw, block });
  expect(record).toMatchObject({ codec: codecs.raw, payload: Buffer.from([0, 255, 7]) });
});

test("a task does not see the host's compile cache", async () => {
  const host = await loaded("export default () => process.env.NODE_COMPILE_CACHE ?? 'none';");
  expect(decode((await host.run(1, 0, 1))[0]!.payload)).toBe("none");
});
