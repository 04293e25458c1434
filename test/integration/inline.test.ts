// `map --inline`: a map in the command's own process gives what a cluster gives, byte for byte.

import { existsSync, readFileSync, readdirSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";
import { type Ended, type TestUser, everycore, jsonLines, makeTestUser } from "../support/command.ts";
import { RunLog, taskFile, upTo } from "../support/jobs.ts";
import { until } from "../support/until.ts";

let cluster: TestCluster;
/** Has no cluster: whatever needs one fails. */
let user: TestUser;
beforeAll(async () => {
  [cluster, user] = await Promise.all([startCluster({ slots: 2 }), makeTestUser()]);
});
afterAll(() => Promise.all([cluster?.[Symbol.asyncDispose](), user?.[Symbol.asyncDispose]()]));

const inline = (args: readonly string[], more: { stdin?: string } = {}): Promise<Ended> =>
  user.run(["map", ...args, "--inline"], more);

/** Both ways; the node that ran an item is known to a cluster alone. */
async function both(args: readonly string[]): Promise<{ here: Ended; there: Ended }> {
  const here = await inline(args);
  const there = await everycore(["map", ...args], { environment: cluster.environment });
  const stdout = there.stdout.replaceAll(/"node":"[0-9a-f]*"/g, '"node":""');
  return { here, there: { ...there, stdout } };
}

const write = async (name: string, text: string): Promise<string> => {
  await writeFile(user.path(name), text);
  return user.path(name);
};

test.each([
  ["a range with seeded random numbers", ["arithmetic.ts:random", "--range", "0-499", "--seed", "42"]],
  ["Python's random numbers", ["plain.py:dice", "--range", "0-99", "--seed", "42"]],
  [
    "a reduction whose bits depend on its order",
    ["arithmetic.ts:fraction", ...["--range", "0-4999", "--reduce", "add", "--seed", "7"]],
  ],
  ["a Python reduction", ["plain.py:fraction", "--range", "0-2999", "--reduce", "add"]],
  ["items that fail, between others", ["failures.ts:odd", "--range", "0-9"]],
  ["bare values, failures left out", ["failures.ts:odd", "--range", "0-9", "--values"]],
  ["what has no bytes", ["failures.ts:unencodable", "--range", "0-4"]],
  ["Python's exceptions", ["plain.py:odd", "--range", "0-5"]],
  ["values of many kinds", ["plain.py:many_kinds", "--range", "0-5"]],
  ["pickled values", ["plain.py:pickled", "--range", "0-3"]],
])("%s: the same bytes and the same exit code", async (_, [task, ...flags]) => {
  const { here, there } = await both([taskFile(task!), ...flags]);
  expect(here.stdout).toBe(there.stdout);
  expect(here.code).toBe(there.code);
});

test("lines and JSON lines, from files and from stdin", async () => {
  const lines = await write("lines.txt", "one two\n\nthree\r\nlast");
  const json = await write("items.jsonl", '{"a":[1,2.50]}\n"x"\n\nnull\n12345678901234567890\n');
  const identity = `${taskFile("arithmetic.ts")}:identity`;
  for (const input of [
    ["--each-line", lines],
    ["--items", json],
  ]) {
    const { here, there } = await both([identity, ...input]);
    expect(here).toMatchObject({ code: 0, stdout: there.stdout });
    const piped = await inline([identity, input[0]!, "-"], { stdin: readFileSync(input[1]!, "utf8") });
    expect(piped).toMatchObject({ code: 0, stdout: there.stdout });
  }
  const large = await write("large.jsonl", `${JSON.stringify("y".repeat(3_000_000))}\n`);
  const lengths = await inline([`${taskFile("arithmetic.ts")}:lengthOf`, "--items", large, "--values"]);
  expect(lengths).toMatchObject({ code: 0, stdout: "3000000\n" });
});

test("a reduction of none and of one, with missing values, and --strict", async () => {
  const square = [`${taskFile("arithmetic.ts")}:square`, "--reduce", "add"];
  expect(await inline([...square, "--items", "-"], { stdin: "" })).toMatchObject({
    code: 0,
    stdout: '{"value":null,"missing":0}\n',
  });
  expect(await inline([...square, "--range", "7-7", "--values"])).toMatchObject({ code: 0, stdout: "49\n" });
  const task = await write(
    "mixed.ts",
    "export const even = (n: number) => { if (n % 2 === 1) throw new Error('odd'); return n; };\nexport const add = (a: number, b: number) => a + b;\n",
  );
  const even = [`${task}:even`, "--range", "0-999", "--reduce", "add"];
  expect(await inline(even)).toMatchObject({ code: 1, stdout: '{"value":249500,"missing":500}\n' });
  const strict = await inline([...even, "--strict"]);
  expect(strict).toMatchObject({ code: 1, stdout: "" });
  expect(strict.stderr).toContain("an item of the reduction has no value (--strict)");
});

test("--retries tries an item again, a failure names its trace once", async () => {
  const log = new RunLog(user.home, "flaky");
  const items = upTo(4).map((index) =>
    JSON.stringify({ ...log.item(index), failures: index === 2 ? user.path("flaky.failed") : log.file }),
  );
  const flaky = [`${taskFile("recorded.ts")}:flaky`, "--items", "-", "--values"];
  const saved = await inline([...flaky, "--retries", "2"], { stdin: items.join("\n") });
  expect(saved).toMatchObject({ code: 0, stdout: "0\n1\n2\n3\n" });
  expect(log.begun()).toHaveLength(5);
  expect(log.repeated()).toEqual([2]);
  const failed = await inline([`${taskFile("failures.ts")}:odd`, "--range", "0-9"]);
  expect(failed.code).toBe(1);
  expect(failed.stderr).toMatch(
    /^5 of 10 items failed \(5 error\); the first is item 1:\n {2}RangeError: 1 is odd\n/,
  );
  expect(failed.stderr.trim().split("\n")).toHaveLength(3); // nothing of how it came to be called here
});

test("a Python item that kills its worker twice is a crash of that item alone, in a reduction too", async () => {
  const segfault = `${taskFile("plain.py")}:segfault`;
  const { code, stdout } = await inline([segfault, "--range", "0-9"]);
  expect(code).toBe(1);
  const lines = jsonLines(stdout) as {
    index: number;
    value?: number;
    error?: { kind: string; message: string };
  }[];
  expect(lines.map(({ value }) => value)).toEqual([0, 1, 2, 3, 4, undefined, 6, 7, 8, 9]);
  expect(lines[5]!.error).toMatchObject({
    kind: "crash",
    message: "the worker died twice while it ran this item: killed by SIGSEGV",
  });
  const sum = await inline([segfault, "--range", "0-9", "--reduce", "add"]);
  expect(sum).toMatchObject({ code: 1, stdout: '{"value":40,"missing":1}\n' });
});

test("what tasks print goes to stderr, and nowhere with --quiet", async () => {
  const chatty = [`${taskFile("arithmetic.ts")}:chatty`, "--range", "0-2", "--values"];
  const loud = await inline(chatty);
  expect(loud).toMatchObject({ code: 0, stdout: "0\n1\n2\n" });
  expect(loud.stderr).toContain("item 1 says hello\nitem 1 complains\n");
  expect(await inline([...chatty, "--quiet"])).toMatchObject({ code: 0, stdout: "0\n1\n2\n", stderr: "" });
  const python = await inline([`${taskFile("plain.py")}:chatty`, "--range", "0-2", "--values"]);
  expect(python).toMatchObject({ code: 0, stdout: "0\n1\n2\n" });
  expect(python.stderr).toContain("item 1 says hello\n");
});

test("tasks run in a scratch folder, --out is written where the command was started", async () => {
  const task = await write("where.ts", "export default (n: number) => [n, process.cwd()];\n");
  const { code } = await inline([task, "--range", "0-0", "--out", "result.jsonl"]);
  expect(code).toBe(0);
  expect(readFileSync(user.path("result.jsonl"), "utf8")).toMatch(
    /^\{"index":0,"value":\[0,".*\/scratch"\]\}\n$/,
  );
  expect(readdirSync(join(user.home, "tmp"))).toEqual([]);
});

test("a task that ends the process is named; what it leaves running does not keep the command", async () => {
  const ended = await inline([`${taskFile("deaths.ts")}:exits`, "--range", "5-9"]);
  expect(ended.code).toBe(1);
  expect(ended.stderr).toContain("item 0 ended this process (exit code 7)");
  const lingering = await write(
    "lingering.ts",
    "setInterval(() => {}, 1000);\nexport default (n: number) => n;\n",
  );
  expect(await inline([lingering, "--range", "0-2", "--values"])).toMatchObject({
    code: 0,
    stdout: "0\n1\n2\n",
  });
  expect(readdirSync(join(user.home, "tmp"))).toEqual([]);
});

/** Item 3 says that it has begun, and never ends. */
const endless: Readonly<Record<string, string>> = {
  "stuck.ts": `import { writeFileSync } from "node:fs";
export default (n: number) => {
  if (n === 3) writeFileSync(process.env["HOME"] + "/begun", "");
  while (n === 3) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_000);
  return n;
};
`,
  "waits.ts": `import { writeFileSync } from "node:fs";
export default async (n: number) => {
  if (n === 3) writeFileSync(process.env["HOME"] + "/begun", "");
  if (n === 3) await new Promise((resolve) => setTimeout(resolve, 1e9));
  return n;
};
`,
  "stuck.py:stuck": `import os, time
def stuck(n):
    if n == 3:
        open(os.environ["HOME"] + "/begun", "w").close()
    while n == 3:
        time.sleep(1000)
    return n
`,
};

test.each(Object.keys(endless))("one Ctrl-C ends a map whose item never ends (%s)", async (task) => {
  const [file, name] = task.split(":");
  const path = await write(file!, endless[task]!);
  await rm(join(user.home, "begun"), { force: true });
  const args = [
    "map",
    name === undefined ? path : `${path}:${name}`,
    "--range",
    "0-9",
    "--inline",
    "--values",
  ];
  const command = user.start(args, { stdin: "" });
  await until(() => existsSync(join(user.home, "begun")), { what: "the item to begin" });
  command.pressCtrlC();
  const { code, stderr, ms } = await command.end();
  expect(code).toBe(3);
  expect(stderr).toMatch(/cancelled; [1-3] of 10 items had ended\n$/);
  expect(ms).toBeLessThan(20_000);
  expect(readdirSync(join(user.home, "tmp"))).toEqual([]);
});

test("a debugger that --inspect has waited for knows the task by its own file, and sees each item", async () => {
  const task = await write("sum.ts", "export default (n: number) => {\n  debugger;\n  return n + 1;\n};\n");
  const args = ["map", task, "--range", "5-6", "--inline", "--inspect", "--inspect-port", "0"];
  const command = user.start(args, { stdin: "" });
  const url = (): string | undefined => /ws:\/\/\S+/.exec(command.stderr)?.[0];
  await until(() => url() !== undefined, { what: "the inspector to listen" });
  const socket = new WebSocket(url()!);
  const send = (id: number, method: string): void => socket.send(JSON.stringify({ id, method }));
  let stops = 0;
  let map = "";
  socket.addEventListener("message", ({ data }) => {
    const { method, params } = JSON.parse(String(data)) as { method?: string; params: Parsed };
    if (method === "Debugger.scriptParsed" && params.url.endsWith("/task.mjs"))
      map = readFileSync(fileURLToPath(`${params.url}.map`), "utf8");
    if (method !== "Debugger.paused") return;
    stops += 1;
    send(2 + stops, "Debugger.resume");
  });
  socket.addEventListener("open", () => {
    send(1, "Debugger.enable");
    send(2, "Runtime.runIfWaitingForDebugger");
  });
  await command.prints('{"index":1,"value":7}\n');
  socket.close();
  expect((await command.end()).code).toBe(0);
  expect(stops).toBe(2);
  expect(JSON.parse(map)).toMatchObject({
    sources: ["sum.ts"],
    sourceRoot: `${pathToFileURL(user.home).href}/`,
  });
});

interface Parsed {
  readonly url: string;
}

test("--halt ends it at the failure, a reader that leaves ends it quietly", async () => {
  const odd = [`${taskFile("failures.ts")}:odd`, "--range", "0-99", "--values"];
  const halted = await inline([...odd, "--halt", "now,fail=2"]);
  expect(halted).toMatchObject({ code: 1, stdout: "0\n2\n" });
  expect(halted.stderr).toContain("halted (--halt now,fail=2): 2 failed, 4 of 100 had ended");
  const square = `${taskFile("arithmetic.ts")}:square`;
  const command = user.start(["map", square, "--range", "0-99999999", "--inline"], { stdin: "" });
  await command.prints('{"index":0,"value":0}\n');
  command.process.stdout!.destroy();
  expect(await command.end()).toMatchObject({ code: 3, stderr: "" });
});

test("a task that cannot be loaded fails the map, with the reason that a cluster gives", async () => {
  const { here, there } = await both([taskFile("no_load.ts"), "--range", "0-3"]);
  expect(here).toMatchObject({ code: 1, stdout: "" });
  const reason = (ended: Ended): string | undefined => /failed: (.+)/.exec(ended.stderr)?.[1];
  expect(reason(here)).toBe(reason(there));
  const dying = await inline([taskFile("dies_loading.ts"), "--range", "0-3"]);
  expect(dying).toMatchObject({ code: 1, stdout: "" });
  expect(dying.stderr).toContain("the task, while it was loaded, ended this process (exit code 11)");
});

test("flags that need a cluster are refused in one sentence", async () => {
  const square = [`${taskFile("arithmetic.ts")}:square`, "--range", "0-9"];
  for (const flag of [
    ["--detach"],
    ["--require", "gpu"],
    ["--item-timeout", "1s"],
    ["--joblog", "x"],
    ["--address", "h:1"],
    ["--keep"],
    ["--priority", "0"],
  ]) {
    const { code, stdout, stderr } = await inline([...square, ...flag]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(
      new RegExp(`^everycore: ${flag[0]!} does not go with --inline: .+\\n {2}hint: .+\\n$`),
    );
  }
  const without = await user.run(["map", ...square, "--inspect-brk"]);
  expect(without.code).toBe(2);
  expect(without.stderr).toContain("--inspect-brk means something only with --inline");
});
